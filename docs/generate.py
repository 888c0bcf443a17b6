"""Make the parts of the documentation that the code knows best: docs/transforms.md and the pictures.

    python docs/generate.py            # the page and the pictures
    python docs/generate.py --check    # exit 1 if the page differs from the code (the tests run this)

The photographs are scikit-learn's sample images: china.jpg by Danielle Buma and flower.jpg by Mike Behnke, both CC BY
2.0.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

import onewarp as ow  # noqa: E402
from onewarp.transform import Color, Combinator, Erase, Filter, Geometric, Mix  # noqa: E402
from onewarp.transforms import vocabulary  # noqa: E402

KINDS = {
    "Geometry": (Geometric, "Where pixels come from. Neighbours fuse into one warp; one resample per image."),
    "Colour": (Color, "What values become. Neighbours fuse into one pass."),
    "Filters": (Filter, "From the neighbourhood, or with noise. Each is a barrier to fusion."),
    "Erasing": (Erase, "Parts of the frame are overwritten; masks, boxes and points stay."),
    "Mixing": (Mix, "With a partner of the batch, last. Labels, masks, boxes and points follow."),
    "Combinators": (Combinator, "They decide which of their members fire for a sample."),
}


def page() -> str:
    """docs/transforms.md as text."""
    lines = [
        "# The transforms",
        "",
        "Generated from the code by `python docs/generate.py`. Every transform takes `p`, the probability that it acts",
        "on a sample, and `name`, which pins its random numbers. s or (low, high): a number, or a pair to draw from.",
    ]
    for kind, (base, text) in KINDS.items():
        lines += ["", f"## {kind}", "", text]
        if kind != "Combinators":
            lines += ["", f"![{kind}](images/gallery-{kind.lower()}.jpg)"]
        for name, cls in vocabulary().items():
            if issubclass(cls, base):
                lines += ["", f"### {name}", "", *entry(cls)]
    return "\n".join(lines) + "\n"


def entry(cls: type) -> list[str]:
    """The docstring of a transform and the table of its arguments."""
    lines = [inspect.cleandoc(cls.__doc__ or ""), "", "| argument | default | what it takes |", "|---|---|---|"]
    for field in sorted(dataclasses.fields(cls), key=lambda field: bool(field.kw_only)):
        if field.name == "name":
            continue
        rule = field.metadata.get("rule")
        wanted = rule.wanted if rule else "a list of transforms"
        default = "required" if field.default in (dataclasses.MISSING, ()) else f"`{shown(field.default)}`"
        lines.append(f"| `{field.name}` | {default} | {wanted.replace('|', '/')} |")
    return lines


def shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"({', '.join(shown(v) for v in value)})" if isinstance(value, tuple) else repr(value)


def photographs() -> list[np.ndarray]:
    """Two photographs of 256x384."""
    from sklearn.datasets import load_sample_image

    return [
        cv2.resize(load_sample_image(name), (384, 256), interpolation=cv2.INTER_AREA)
        for name in ("china.jpg", "flower.jpg")
    ]


def caption(text: str, width: int, height: int = 22) -> np.ndarray:
    strip = np.full((height, width, 3), 255, np.uint8)
    cv2.putText(strip, text, (4, height - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 30), 1, cv2.LINE_AA)
    return strip


def example(row: Any, photo: np.ndarray, draws: int = 5) -> np.ndarray:
    """One line of the gallery: the transform's name over `draws` samples of it, each fitted into 120x168."""
    square = photo[:, :256] if row.square else photo
    transform = row.make(1.0)
    batch = np.stack([square] * draws)
    if isinstance(transform, Mix):
        batch[0::2], batch[1::2] = photographs()
    images = ow.Policy([transform])({"images": batch, "labels": np.eye(draws, dtype=np.float32)}, seed=3)["images"]
    if images.dtype != np.uint8:
        low, high = images.min(), images.max()
        images = np.rint((images - low) / (high - low) * 255).astype(np.uint8)
    tiles = []
    for image in images:
        tile = np.full((120, 168, 3), 235, np.uint8)
        scale = min(116 / image.shape[0], 164 / image.shape[1])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        top, left = (120 - small.shape[0]) // 2, (168 - small.shape[1]) // 2
        tile[top : top + small.shape[0], left : left + small.shape[1]] = small
        tiles.append(tile)
    strip = np.concatenate(tiles, axis=1)
    text = transform.expression().replace("p=1.0, ", "").replace(", p=1.0", "").replace("p=1.0", "")
    return np.concatenate([caption(text[:118], strip.shape[1]), strip])


SIZED = {
    transform.__class__.__name__: transform
    for transform in (
        ow.RandomCrop(160),
        ow.CenterCrop(160),
        ow.RandomResizedCrop(160),
        ow.Resize((160, 320)),
        ow.ResizeShortest(100),
        ow.ResizeLongest(100),
        ow.ResizeCover((160, 160)),
        ow.LetterBox(160),
        ow.Pad(40),
    )
}


def shown_row(row: Any) -> Any:
    """The row with sizes that suit the gallery's photographs."""
    transform = SIZED.get(row.name)
    return row if transform is None else dataclasses.replace(row, make=lambda p: transform)


def gallery() -> None:
    """docs/images/gallery-*.jpg, one sheet per kind, from the rows of the tests' table."""
    from table import ROWS, VARIANTS

    photos = photographs()
    for kind, (base, _) in KINDS.items():
        rows = [row for row in ROWS + VARIANTS[:2] if isinstance(row.make(1.0), base)]
        if kind == "Geometry":
            rows = [shown_row(row) for row in rows]
        if kind == "Combinators":
            continue
        sheet = np.concatenate([example(row, photos[i % 2]) for i, row in enumerate(rows)])
        write(HERE / "images" / f"gallery-{kind.lower()}.jpg", sheet)


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def readme_picture() -> None:
    """docs/images/samples.jpg: two photographs, and five samples of each under the README's policy."""
    policy = ow.Policy(
        [
            ow.RandomResizedCrop(168, scale=(0.35, 1.0)),
            ow.HorizontalFlip(),
            ow.Rotate(15),
            ow.Shear(10),
            ow.Scale((0.8, 1.2)),
            ow.Translate(0.1),
            ow.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1),
            ow.RandomErasing(p=0.3, fill_value=128),
        ],
        fill_mode="reflect",
    )
    lines = []
    for number, photo in enumerate(photographs()):
        drawn = policy(np.stack([photo] * 5), seed=12, ids=np.arange(5) + 5 * number)
        lines.append(np.concatenate([cv2.resize(photo, (252, 168), interpolation=cv2.INTER_AREA), *drawn], axis=1))
    write(HERE / "images" / "samples.jpg", np.concatenate(lines))


def crf_picture() -> None:
    """docs/images/crf.jpg: labels after 0, 1, 2, 5 and 10 iterations of a short-range CRF and of the dense one."""
    from onewarp.segment import DenseCRF, GridCRF

    photo = photographs()[1]
    probs = rough_probabilities(photo)
    steps = (0, 1, 2, 5, 10)
    dense = DenseCRF(dict(sxy=3, compat=3), dict(sxy=60, srgb=10, compat=8))
    lines = []
    for text, crf in (("4 neighbours", GridCRF(smooth=1, contrast=3, srgb=10)), ("dense", dense)):
        found = crf(photo, probs, return_iterations=True).argmax(-1)
        tiles = [photo, *(painted(photo, found[t]) for t in steps)]
        names = [text, *(f"{t} iterations" if t != 1 else "1 iteration" for t in steps)]
        tiles = [tile[40:, 76:292] for tile in tiles]
        lines.append(
            np.concatenate([np.concatenate([caption(n, 216), t]) for n, t in zip(names, tiles, strict=True)], axis=1)
        )
    write(HERE / "images" / "crf.jpg", np.concatenate(lines))


def rough_probabilities(photo: np.ndarray) -> np.ndarray:
    """Flower or not, as a small network would say it: known for blocks of 32 pixels alone, and here and there wrong."""
    colours = photo.astype(np.float32)
    red = colours[..., 0] - np.maximum(colours[..., 1], colours[..., 2])
    h, w = photo.shape[:2]
    flower = cv2.resize((red > 30).astype(np.float32), (w // 32, h // 32), interpolation=cv2.INTER_AREA)
    flower = cv2.resize(flower, (w, h), interpolation=cv2.INTER_LINEAR)
    noise = np.random.default_rng(0).normal(0, 1.5, (h, w))
    probability = 1 / (1 + np.exp(-(5 * (flower - 0.5) + noise)))
    return np.stack([1 - probability, probability], -1).astype(np.float32)


def painted(photo: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The photograph with all that is labelled 0 in blue."""
    blue = np.array([40, 60, 150]) * 0.85 + photo * 0.15
    return np.where(labels[..., None] == 0, blue, photo).astype(np.uint8)


if __name__ == "__main__":
    target = HERE / "transforms.md"
    if "--check" in sys.argv:
        sys.exit(target.read_text(encoding="utf-8") != page())
    target.write_text(page(), encoding="utf-8")
    gallery()
    readme_picture()
    crf_picture()
