"""Erasing: rectangles or a grid of holes, filled with a colour or with keyed noise."""

from __future__ import annotations

from collections.abc import Mapping

from keras import ops

from onewarp.engine.device.noise import words
from onewarp.engine.device.verbs import entry, flags, floats, numbers, pixelwise
from onewarp.engine.passes import fills
from onewarp.plan import Plan
from onewarp.random import Array, unit


def run_erase(plan: Plan, number: int, arrays: Mapping[str, Array], values: Array) -> Array:
    """All transforms of an erase stage on raw values [n, h, w, c]."""
    low, high = plan.spec.range
    height, width = values.shape[1:3]
    for i, (method, fill) in enumerate(fills(plan, number)):
        where = entry(arrays, number, f"erase{i}")
        hidden = _in_rects(where, height, width) if method == "rects" else _in_grid(floats(where), height, width)
        hidden = ops.logical_and(ops.expand_dims(hidden, -1), flags(entry(arrays, number, f"active{i}")))
        if fill is None:
            keys = entry(arrays, number, f"keys{i}")
            new = low + (high - low) * unit(words(keys, values.shape, 1 + i), ops)
        else:
            new = numbers(fill)
        values = ops.where(hidden, new, values)
    return values


def _in_rects(rects: Array, height: int, width: int) -> Array:
    """[n, h, w] booleans: the pixel lies in one of the rectangles [n, m, 4] (top, left, bottom, right)."""
    rects = ops.cast(rects, "int32")
    n, m = rects.shape[:2]
    y = ops.reshape(ops.arange(height, dtype="int32"), (1, 1, height))
    x = ops.reshape(ops.arange(width, dtype="int32"), (1, 1, width))
    top, left, bottom, right = (rects[:, :, i : i + 1] for i in range(4))
    lines = ops.reshape(ops.logical_and(y >= top, y < bottom), (n, m, height, 1))
    columns = ops.reshape(ops.logical_and(x >= left, x < right), (n, m, 1, width))
    return ops.any(ops.logical_and(lines, columns), axis=1)


def _in_grid(grid: Array, height: int, width: int) -> Array:
    """[n, h, w] booleans: the pixel lies in a hole of its grid [n, 6]."""
    unit_y, unit_x, hole_y, hole_x, offset_y, offset_x = (pixelwise(grid[:, i]) for i in range(6))
    y = ops.reshape(ops.arange(height, dtype="float32") + 0.5, (1, height, 1))
    x = ops.reshape(ops.arange(width, dtype="float32") + 0.5, (1, 1, width))
    return ops.logical_and(ops.mod(y + offset_y, unit_y) < hole_y, ops.mod(x + offset_x, unit_x) < hole_x)
