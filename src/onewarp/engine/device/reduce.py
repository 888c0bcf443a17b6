"""What a warp reads: the images themselves, or for each sample one of their box-reduced levels.

All levels of a batch lie in one flat array of pixels, so that a pixel of any level is one index: level r of sample b
starts at start[b], has `width` pixels to a row, and holds sums (of integers) or means (of floats) of r x r pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import keras
from keras import ops

from onewarp.engine.device.verbs import pixelwise
from onewarp.random import Array


@dataclass(frozen=True)
class Source:
    """Pixels to read. start, and what depends on the level, are [n, 1, 1]; a number where all samples have the same."""

    pixels: Array  # [m, c]
    start: Array  # int32
    height: Any  # float32, of the sample's level
    width: Any
    stride: Any  # int32: `width`
    shrink: Any = None  # float32: 1 / r; None: not reduced
    unit: Any = None  # float32: image units per unit of `pixels`; None: 1


def whole(images: Array) -> Source:
    """Images [n, h, w, c] as they are."""
    n, height, width, channels = images.shape
    start = pixelwise(ops.arange(n, dtype="int32") * (height * width))
    return Source(ops.reshape(images, (n * height * width, channels)), start, float(height), float(width), width)


def pyramid(images: Array, reduction: Array, levels: tuple[int, ...]) -> Source:
    """Images of which sample b is reduced by reduction[b], one of `levels`: powers of two from 1 on, without a gap."""
    n, height, width, channels = images.shape
    integer = keras.backend.standardize_dtype(images.dtype) == "uint8"
    sums = ops.cast(images, "int16") if integer else images  # 64 levels of 255 still fit
    sums = _edge_repeated(_edge_repeated(sums, 1, levels[-1]), 2, levels[-1])
    parts, sizes = [], []
    for level in levels:
        if level > 1:
            sums = sums[:, ::2] + sums[:, 1::2]
            sums = sums[:, :, ::2] + sums[:, :, 1::2]
            sums = sums if integer else sums * 0.25
        high, wide = -(-height // level), -(-width // level)
        parts.append(ops.reshape(sums[:, :high, :wide], (n, high * wide, channels)))
        sizes.append((high, wide))
    starts = list(accumulate((high * wide for high, wide in sizes), initial=0))
    pixels = ops.reshape(ops.concatenate(parts, axis=1), (-1, channels))

    def chosen(values: Any, dtype: str) -> Array:
        """The value of each sample's level."""
        total = ops.zeros((n,), dtype=dtype)
        for level, value in zip(levels, values, strict=True):
            total = ops.where(ops.equal(reduction, level), ops.cast(value, dtype), total)
        return pixelwise(total)

    wide = [size[1] for size in sizes]
    return Source(
        pixels,
        chosen(starts[:-1], "int32") + pixelwise(ops.arange(n, dtype="int32") * starts[-1]),
        chosen([size[0] for size in sizes], "float32"),
        chosen(wide, "float32"),
        chosen(wide, "int32"),
        chosen([1.0 / level for level in levels], "float32"),
        chosen([1.0 / level**2 for level in levels], "float32") if integer else None,
    )


def _edge_repeated(pixels: Array, axis: int, multiple: int) -> Array:
    """The last row or column repeated up to a whole number of blocks."""
    lacking = -pixels.shape[axis] % multiple
    if lacking == 0:
        return pixels
    last = pixels[:, -1:] if axis == 1 else pixels[:, :, -1:]
    return ops.concatenate([pixels, ops.repeat(last, lacking, axis=axis)], axis=axis)
