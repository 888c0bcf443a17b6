"""Images to test with: small, coloured, without symmetry, and files made of them."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onewarp.data as data
from onewarp.errors import InputError


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


def same(a: Any, b: Any) -> None:
    """Equal structure, dtypes and bytes."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            same(a[key], b[key])
    else:
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def check_source(source: data.Source, n: int) -> None:
    """What holds for every source."""
    assert len(source) == n
    indices = np.arange(n)
    assert source.ids(indices).dtype == np.int64 and len(set(source.ids(indices).tolist())) == n
    again = pickle.loads(pickle.dumps(source))
    for index in (0, n - 1, -1):
        sample, copy = source[index], again[index]
        assert set(sample) == set(source.roles) == set(copy)
        assert sample["images"].ndim == 3 and str(sample["images"].dtype) == source.dtype
        for side, known in zip(sample["images"].shape, source.image_shape, strict=True):
            assert known in (None, side)
        np.testing.assert_array_equal(sample["images"], copy["images"])
        if source.labels is not None:
            np.testing.assert_array_equal(sample["labels"], source.labels[index])
    assert len({source.name(index) for index in range(n)}) == n
    assert repr(source).startswith(type(source).__name__)
    with pytest.raises(IndexError):
        source[n]
    if source.dense:
        picked = np.array([n - 1, 0])
        batch = source.gather(picked)
        np.testing.assert_array_equal(batch["images"], [source[n - 1]["images"], source[0]["images"]])
    else:
        with pytest.raises(InputError, match="in_memory"):
            source.gather(indices)
