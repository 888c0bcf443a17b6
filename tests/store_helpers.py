"""What the tests of stores share: a source with every target, and a folder as bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import onewarp.data as data
from data_helpers import encode, picture

SIZES = [(30, 44), (61, 40), (20, 20), (48, 90), (33, 33), (70, 52), (24, 31)]


def photos(root: Path, n: int = 7, kind: str = "JPEG") -> list[str]:
    """Image files of different sizes."""
    root.mkdir(parents=True, exist_ok=True)
    files = []
    for k in range(n):
        path = root / f"{k:02d}.{kind.lower()}"
        options = {"quality": 95} if kind == "JPEG" else {}
        path.write_bytes(encode(picture(*SIZES[k % len(SIZES)], seed=k), kind, **options))
        files.append(str(path))
    return files


def everything(root: Path, n: int = 7, kind: str = "JPEG", same_size: bool = False) -> data.FileSource:
    """Files with labels, masks, boxes and keypoints; sample 2 has no boxes."""
    files = photos(root / "images", n, kind)
    sizes = [SIZES[k % len(SIZES)] for k in range(n)]
    if same_size:
        sizes = [(40, 60)] * n
        for k, file in enumerate(files):
            Path(file).write_bytes(encode(picture(40, 60, seed=k), kind))
    rng = np.random.default_rng(5)
    masks: list[Any] = []
    (root / "masks").mkdir()
    for k, size in enumerate(sizes):
        path = root / "masks" / f"{k:02d}.png"
        path.write_bytes(encode(np.kron(rng.integers(0, 4, (10, 10)), np.ones((9, 9)))[: size[0], : size[1]].astype(
            np.uint8
        ), "PNG"))  # fmt: skip
        masks.append(str(path))
    counts = [0 if k == 2 else k % 3 + 1 for k in range(n)]
    sides = [[size[1], size[0], size[1], size[0]] for size in sizes]
    corners = [np.sort(rng.random((count, 2, 2)), axis=1).reshape(-1, 4) for count in counts]
    boxes = [(rows * side).astype(np.float32) for rows, side in zip(corners, sides, strict=True)]
    points = [np.c_[rng.random((4, 2)) * size[::-1], np.full(4, 2)].astype(np.float32) for size in sizes]
    return data.FileSource(
        files,
        np.arange(n) % 3,
        class_names=("ant", "bee", "cat"),
        masks=masks,
        bounding_boxes={"boxes": boxes, "labels": [np.arange(count) for count in counts]},
        keypoints=points,
    )


def content(folder: Path) -> dict[str, bytes]:
    """The files of a store."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
