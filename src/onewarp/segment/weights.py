"""Class weights from how often classes are seen, so that rare classes count as much as frequent ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from onewarp.data.base import Source
from onewarp.errors import InputError


def median_frequency(
    masks: Source | Sequence[Any],
    classes: int | None = None,
    *,
    void: int | None = None,
    threads: int | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Weights by median frequency (Eigen and Fergus 2015): the median of all classes' frequencies over the class's own.

    The frequency of a class is the number of its pixels, divided by the number of all pixels, void left out, of the
    images in which it is seen. So a class of median frequency weighs 1, a rarer one more.

    Args:
        masks: a source with masks (their images are not decoded), or a sequence of masks, whole numbers [h, w].
        classes: their number; that of the source's class names by default.
        void: label of pixels that do not count; `ignore` of the source by default.
        threads: that read masks; the processors at hand by default.
        progress: show a bar.

    Returns:
        float32 [classes]; 1 for a class that is seen nowhere. `PixelCrossentropy(class_weights=)` takes them.

    Raises:
        InputError: no masks, no number of classes, or a label that is neither a class nor void, with its sample.
    """
    source = masks if isinstance(masks, Source) else None
    if source is not None:
        classes = source.num_classes if classes is None else classes
        void = source.ignore if void is None else void
    if classes is None or classes < 1:
        raise InputError(f"classes={classes} is not a number of classes; pass it, or class_names= to the source")
    if not len(masks):
        raise InputError("there are no masks; the source or the list is empty")

    def count(index: int) -> np.ndarray:
        mask = np.asarray(source.mask(index) if source is not None else masks[index])
        if mask.dtype.kind not in "iu":
            raise InputError(f"{_name(source, index)}: the mask is {mask.dtype}, must be whole numbers")
        labels = mask.reshape(-1) if void is None else mask[mask != void]
        wrong = labels[(labels < 0) | (labels >= classes)]
        if wrong.size:
            raise InputError(
                f"{_name(source, index)}: the mask has the label {wrong[0]}, which is not in [0, {classes}); "
                "name it with void= if it does not count"
            )
        return np.bincount(labels.astype(np.intp), minlength=classes)

    pixels, seen = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for found in _with_bar(pool.map(count, range(len(masks))), len(masks), progress):
            pixels += found
            seen += np.where(found > 0, found.sum(), 0)
    known = pixels > 0
    if not known.any():
        raise InputError(f"no pixel of {len(masks)} masks counts: all are void ({void}); check void=")
    frequency = pixels[known] / seen[known]
    weights = np.ones(classes, np.float32)
    weights[known] = np.median(frequency) / frequency
    return weights


def _name(source: Source | None, index: int) -> str:
    return f"mask {index}" if source is None else source.name(index)


def _with_bar(steps: Any, total: int, progress: bool) -> Any:
    if not progress:
        return steps
    from rich.progress import track

    return track(steps, description="counting classes", total=total)
