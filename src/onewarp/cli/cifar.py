"""CIFAR-10 for the command line: from where the user says, else from `keras.datasets`, which fetches it once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from onewarp.data import Cifar10Source
from onewarp.errors import DataError, InputError


def open_cifar10(path: Path | None, threads: int | None = None) -> tuple[Cifar10Source, Cifar10Source]:
    """(training images, test images) of CIFAR-10, decoded into memory.

    Args:
        path: a folder as in `Cifar10Source`, or the tar of the training images, beside which that of the test images
            lies under the same name with "test" for "train"; None for `keras.datasets`.
        threads: decoding threads; the processors at hand by default.

    Raises:
        DataError: it is not there, or cannot be fetched.
        InputError: training and test images would be the same.
    """
    if path is None:
        _fetch()
    beside = path
    if path is not None and path.is_file():
        beside = path.with_name(path.name.replace("train", "test"))
        if beside == path or not beside.is_file():
            raise InputError(
                f"{path}: one tar cannot be training and test set; name ...train....tar with ...test....tar beside it, "
                "or the folder that has both"
            )
    opened = []
    with Progress(console=Console(), transient=True) as progress:
        for split, place in (("train", path), ("test", beside)):
            task = progress.add_task(f"reading CIFAR-10, {split}", total=None)

            def show(done: int, total: int, task: object = task) -> None:
                progress.update(task, completed=done, total=total)  # type: ignore[arg-type]

            opened.append(Cifar10Source(place, split, threads=threads, progress=show))
    train, test = opened
    if len(train) == len(test) and np.array_equal(train.images, test.images):
        raise InputError(f"{path}: has the same images for training and test; name a folder with train and test in it")
    return train, test


def _fetch() -> None:
    """Have Keras fetch CIFAR-10 into its cache, unless it is there already."""
    import keras

    try:
        keras.datasets.cifar10.load_data()
    except Exception as fault:  # Keras raises a bare Exception for whatever went wrong on the way
        raise DataError(
            f"keras.datasets cannot fetch CIFAR-10 ({' '.join(str(fault).split())}); pass a copy with --data PATH"
        ) from None
