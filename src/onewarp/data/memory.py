"""A source decoded into one array, by threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np

from onewarp.data.base import Source
from onewarp.data.decode import EncodedImage, LazyMask
from onewarp.data.sources import ArraySource
from onewarp.errors import DataError

BLOCK = 256


def processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class MemorySource(ArraySource):
    """An `ArraySource` that keeps the names and the permanent ids of the source that it was decoded from."""

    def __init__(self, source: Source, images: Any, **entries: Any) -> None:
        super().__init__(
            images,
            source.labels,
            class_names=source.class_names,
            outputs=source.outputs,
            value_range=source.value_range,
            **entries,
        )
        self._ids: np.ndarray = source.ids(np.arange(len(source)))
        self._names = [source.name(index) for index in range(len(source))]
        self._classes, self.ignore = source.num_classes, source.ignore

    def ids(self, indices: np.ndarray) -> np.ndarray:
        chosen: np.ndarray = self._ids[indices]
        return chosen

    def name(self, index: int) -> str:
        return self._names[index]

    @property
    def num_classes(self) -> int | None:
        return self._classes


def in_memory(
    source: Source, threads: int | None = None, progress: Callable[[int, int], None] | None = None
) -> MemorySource:
    """Decode every sample of `source`, whose images must have one size, into one array; see `Source.in_memory`.

    Raises:
        DataError: an unreadable sample, or one of another size; the message names it.
    """
    n = len(source)
    first = source[0]
    images = np.empty((n, *first["images"].shape), first["images"].dtype)
    others: dict[str, list[Any]] = {role: [None] * n for role in first if role not in ("images", "labels")}

    def read(index: int) -> None:
        sample = source.lazy(index)
        image = sample["images"]
        if image.shape != images.shape[1:]:
            raise DataError(
                f"{source.name(index)}: the image has the shape {image.shape}, the first one {images.shape[1:]}; "
                "in_memory needs images of one size"
            )
        if isinstance(image, EncodedImage):
            image.decode(images[index])
        else:
            images[index] = image
        for role, rows in others.items():
            value = sample[role]
            rows[index] = value.decode() if isinstance(value, LazyMask) else value

    # OpenCV's own pool would only fight with ours.
    pool = ThreadPoolExecutor(threads or processors(), "onewarp-read", initializer=cv2.setNumThreads, initargs=(0,))
    with pool:
        for start in range(0, n, BLOCK):
            list(pool.map(read, range(start, min(start + BLOCK, n))))
            if progress is not None:
                progress(min(start + BLOCK, n), n)
    return MemorySource(source, images, **_entries(others))


def _entries(others: dict[str, list[Any]]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for role, rows in others.items():
        if role == "bounding_boxes":
            entries[role] = {name: [row[name] for row in rows] for name in ("boxes", "labels")}
        else:
            entries[role] = np.stack(rows) if len({row.shape for row in rows}) == 1 else rows
    return entries
