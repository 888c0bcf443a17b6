"""Images to test with: small, coloured, without symmetry, and files made of them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(height: int = 12, width: int = 18, seed: int = 0) -> np.ndarray:
    """A smooth uint8 RGB image [h, w, 3] that no flip or turn maps onto itself."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(2, height // 4), max(2, width // 4), 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encode(image: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    """Encode with Pillow: kind is its name of the format, options go to `save`."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def with_orientation(orientation: int) -> Image.Exif:
    """EXIF data that say no more than the orientation."""
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def pillow(data: bytes, mode: str | None = None) -> np.ndarray:
    """What Pillow reads, as an oracle."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image if mode is None else image.convert(mode))


def class_folder(root: Path, classes: dict[str, int], kind: str = "PNG", size: tuple[int, int] = (12, 18)) -> Path:
    """A folder with one sub-folder of images per class; image k of class number c is `picture(seed=100 * c + k)`."""
    for number, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True)
        for k in range(count):
            (root / name / f"{k:03d}.{kind.lower()}").write_bytes(encode(picture(*size, seed=100 * number + k), kind))
    return root


def tar_of(root: Path, target: Path, mode: Any = "w") -> Path:
    """The files below `root` in a tar file, under the name of the folder."""
    with tarfile.open(target, mode) as tar:
        tar.add(root, arcname=root.name)
    return target
