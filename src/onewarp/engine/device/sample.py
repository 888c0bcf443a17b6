"""Reading a source at points between its pixels: nearest, bilinear, bicubic; what lies outside follows the fill mode.

Everything is written as steps away from one tap, so that a flat image stays flat to the last bit.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from onewarp.engine.device.reduce import Source
from onewarp.engine.device.verbs import floats, numbers, rows
from onewarp.random import Array

Tap = tuple[Array, Array | None]  # the index of a pixel along an axis, and 0 where it is the fill, else 1 (None: 1)

_LIMIT = 2.0**22  # pixels; beyond it float32 has no fractions of a pixel left


def _guarded(position: Array) -> Array:
    """Within +-_LIMIT; not a number becomes far outside."""
    return ops.minimum(ops.where(position > -_LIMIT, position, -_LIMIT), _LIMIT)


def _tap(k: Array, size: Any, fill_mode: str) -> Tap:
    """The pixel that stands for pixel k (whole numbers) of an axis, and where that is the fill: 0, else 1."""
    if fill_mode == "reflect":
        k = _modulo(k, 2.0 * size)
        k = ops.minimum(k, 2.0 * size - 1.0 - k)
    elif fill_mode == "wrap":
        k = _modulo(k, size)
    inside = ops.minimum(ops.maximum(k, 0.0), size - 1.0)
    return ops.cast(inside, "int32"), floats(ops.equal(inside, k)) if fill_mode == "constant" else None


def _modulo(k: Array, period: Any) -> Array:
    """k mod period; the half keeps the quotient away from whole numbers, where rounding would decide."""
    return k - period * ops.floor((k + 0.5) / period)


class _Reader:
    """Pixels of a source by tap, float32, with the fill (in image units) outside."""

    def __init__(self, source: Source, fill: list[float]) -> None:
        self.source, self.fill = source, numbers(fill) if any(fill) else None
        if self.fill is not None and source.unit is not None:
            self.fill = self.fill / ops.expand_dims(source.unit, -1)

    def __call__(self, column: Tap, line: Tap) -> Array:
        source = self.source
        pixel = floats(rows(source.pixels, source.start + line[0] * source.stride + column[0]))
        if column[1] is None or line[1] is None:
            return pixel
        # Factors instead of a choice: compilers make vectors of them. They are 0 or 1, so nothing is rounded.
        inside = ops.expand_dims(column[1] * line[1], -1)
        return pixel * inside if self.fill is None else pixel * inside + self.fill * (1.0 - inside)


def read(
    source: Source, points: tuple[Array, Array], interpolation: str, fill_mode: str, fill: Any, copy: bool = False
) -> Array:
    """The source's values at `points`: [n, h, w, c] float32; with `copy`, its own pixels in their own dtype."""
    x, y = points if source.shrink is None else (points[0] * source.shrink, points[1] * source.shrink)
    if interpolation == "nearest":
        column = _tap(ops.floor(_guarded(x)), source.width, fill_mode)
        line = _tap(ops.floor(_guarded(y)), source.height, fill_mode)
        return _copied(source, column, line, fill) if copy else _Reader(source, fill)(column, line)
    u, v = _guarded(x - 0.5), _guarded(y - 0.5)
    left, top = ops.floor(u), ops.floor(v)
    fx, fy = ops.expand_dims(u - left, -1), ops.expand_dims(v - top, -1)
    along, steps = (_linear, (0.0, 1.0)) if interpolation == "bilinear" else (_cubic, (-1.0, 0.0, 1.0, 2.0))
    columns = [_tap(left + step, source.width, fill_mode) for step in steps]
    lines = [_tap(top + step, source.height, fill_mode) for step in steps]
    reader = _Reader(source, fill)
    values = along([along([reader(column, line) for column in columns], fx) for line in lines], fy)
    return values if source.unit is None else values * ops.expand_dims(source.unit, -1)


def _copied(source: Source, column: Tap, line: Tap, fill: float) -> Array:
    pixels = rows(source.pixels, source.start + line[0] * source.stride + column[0])
    if column[1] is None or line[1] is None:
        return pixels
    inside = ops.expand_dims(column[1] * line[1] > 0.5, -1)
    dtype = keras.backend.standardize_dtype(pixels.dtype)
    number = float(fill) if keras.backend.is_float_dtype(dtype) else int(fill)
    return ops.where(inside, pixels, ops.convert_to_tensor(number, dtype=dtype))


def _linear(values: list[Array], t: Array) -> Array:
    return values[0] + t * (values[1] - values[0])


def _cubic(values: list[Array], t: Array) -> Array:
    """Keys' cubic convolution, a = -0.5, at distance t in [0, 1) behind the second of four values."""
    before = ((-0.5 * t + 1.0) * t - 0.5) * t
    after = ((-1.5 * t + 2.0) * t + 0.5) * t
    beyond = (0.5 * t - 0.5) * t * t
    base = values[1]
    return base + (before * (values[0] - base) + after * (values[2] - base) + beyond * (values[3] - base))
