"""Data sets by name: scikit-learn's scanned digits and CIFAR-10."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from onewarp.data.files import FolderSource
from onewarp.data.memory import in_memory
from onewarp.data.sources import ArraySource
from onewarp.data.tar import TarSource
from onewarp.errors import DataError, InputError, MissingDependency

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class DigitsSource(ArraySource):
    """The 1,797 scanned digits that come with scikit-learn: 8 x 8 x 1, uint8 0..255, labels 0 to 9; no download."""

    def __init__(self) -> None:
        try:
            from sklearn.datasets import load_digits
        except ImportError:
            raise MissingDependency(
                "DigitsSource needs scikit-learn; install it with: pip install scikit-learn"
            ) from None
        digits = load_digits()
        images = np.rint(digits.images * (255.0 / 16.0)).astype(np.uint8)  # stored as 0..16
        super().__init__(
            images[..., None], digits.target.astype(np.int64), class_names=[str(digit) for digit in range(10)]
        )


class Cifar10Source(ArraySource):
    """CIFAR-10 in memory: 50,000 training or 10,000 test images, 32 x 32 x 3, uint8.

    Args:
        path: where it lies: None for the cache of `keras.datasets.cifar10`, a folder with the original batches
            (`data_batch_1` ...), a folder or tar file with one folder per class, or a folder with `cifar10-train.tar`
            and `cifar10-test.tar` or with `train` and `test`.
        split: "train" or "test".
        threads, progress: as in `Source.in_memory`, where images have to be decoded.

    Raises:
        DataError: there is no CIFAR-10 at that place; the message says how to get it.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        split: str = "train",
        *,
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if split not in ("train", "test"):
            raise InputError(f'split={split!r} is not known; use "train" or "test"')
        places = [Path(path)] if path is not None else _keras_cache()
        for place in places:
            loaded = _load(place, split, threads, progress)
            if loaded is not None:
                images, labels = loaded
                super().__init__(images, labels, class_names=CIFAR10_CLASSES)
                return
        raise DataError(
            f"there is no CIFAR-10 at {places[0]}; pass its folder or tar file, or fetch it once with: "
            'python -c "import keras; keras.datasets.cifar10.load_data()"'
        )


def cifar10(path: str | Path | None = None, split: str = "train", **options: Any) -> Cifar10Source:
    """CIFAR-10 as a source; see `Cifar10Source`."""
    return Cifar10Source(path, split, **options)


def _keras_cache() -> list[Path]:
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "datasets"
    return [home / "cifar-10-batches-py-target", home]


def _load(place: Path, split: str, threads: int | None, progress: Any) -> tuple[np.ndarray, np.ndarray] | None:
    for folder in (place, place / "cifar-10-batches-py"):
        if (folder / "data_batch_1").is_file():
            return _batches(folder, split)
    options: dict[str, Any] = {"class_names": CIFAR10_CLASSES, "image_size": (32, 32)}
    source: FolderSource | TarSource | None = None
    for tar in (place, place / f"cifar10-{split}.tar"):
        if tar.is_file():
            source = TarSource(tar, **options)
            break
    else:
        for folder in (place / split, place / "cifar10" / split, place):
            if (folder / CIFAR10_CLASSES[0]).is_dir():
                source = FolderSource(folder, **options)
                break
    if source is None:
        return None
    memory = in_memory(source, threads, progress)
    return memory.images, np.asarray(memory.labels)


class _Unpickler(pickle.Unpickler):
    """Reads the original batches, which are pickled dictionaries of arrays, and nothing that could run code."""

    allowed = frozenset({"_reconstruct", "ndarray", "dtype", "encode"})

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] in ("numpy", "_codecs") and name in self.allowed:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise DataError(f"the batch file asks for {module}.{name}, which CIFAR-10 does not need; fetch the data again")


def _batches(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    names = [f"data_batch_{number}" for number in range(1, 6)] if split == "train" else ["test_batch"]
    images, labels = [], []
    for name in names:
        try:
            with open(folder / name, "rb") as file:
                batch = _Unpickler(file, encoding="bytes").load()
            images.append(np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
            labels.append(np.asarray(batch[b"labels"], np.int64))
        except (OSError, EOFError, pickle.UnpicklingError, KeyError, ValueError) as error:
            raise DataError(f"{folder / name}: not a batch of CIFAR-10 ({error}); fetch the data again") from None
    return np.ascontiguousarray(np.concatenate(images)), np.concatenate(labels)
