"""Where each output pixel comes from, and the pixel read there: the warp of a whole batch, float32.

Nothing is a matrix product: on accelerators those keep 10 bits of mantissa. A pixel is read by one gather per tap, of
all its channels at once; coordinates and weights are computed where they are used and never need memory of their own
in compiled code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import ops

from onewarp.engine.device.reduce import pyramid, whole
from onewarp.engine.device.sample import read
from onewarp.engine.device.verbs import entry, floats, pixelwise, rows
from onewarp.engine.passes import per_channel
from onewarp.plan import Plan, WarpStage
from onewarp.random import Array

_FAR = 1e8  # where a point goes that has no source
_HORIZON = 1e-8  # a perspective denominator at or below this lies behind the viewer

Points = tuple[Array, Array]  # x, y: [n, h, w] float32


def source_points(plan: Plan, number: int, arrays: Mapping[str, Array]) -> Points:
    """The points of the source that the pixels of a warp's result show."""
    stage = plan.stages[number]
    assert isinstance(stage, WarpStage)
    projective = any(plan.transform(index).projective for index in stage.places)
    matrices = floats(entry(arrays, number, "matrix"))
    height, width = stage.size
    points = _centres(height, width)
    points = _transformed(matrices[:, stage.fields], points, projective)
    for i in range(stage.fields - 1, -1, -1):
        frame = floats(entry(arrays, number, "frames"))[:, i]
        points = _displaced(floats(entry(arrays, number, f"field{i}")), frame, points)
        points = _transformed(matrices[:, i], points, projective)
    return points


def _centres(height: int, width: int) -> Points:
    x = ops.reshape(ops.arange(width, dtype="float32") + 0.5, (1, 1, width))
    y = ops.reshape(ops.arange(height, dtype="float32") + 0.5, (1, height, 1))
    return x, y


def _transformed(matrix: Array, points: Points, projective: bool) -> Points:
    x, y = points

    def row(i: int) -> Array:
        a, b, c = (pixelwise(matrix[:, i, j]) for j in range(3))
        return a * x + b * y + c

    if not projective:
        return row(0), row(1)
    w = row(2)
    seen = w > _HORIZON
    safe = ops.where(seen, w, 1.0)
    return ops.where(seen, row(0) / safe, -_FAR), ops.where(seen, row(1) / safe, -_FAR)


def _displaced(field: Array, frame: Array, points: Points) -> Points:
    """Points moved by a field [n, gh, gw, 2] over a frame [n, 2] (h, w): bilinear, constant beyond the frame."""
    n, high, wide = field.shape[:3]
    nodes = ops.reshape(field, (n * high * wide, 2))
    first = pixelwise(ops.arange(n, dtype="int32") * (high * wide))
    place, step, fraction = [], [], []
    for axis, count in ((0, wide), (1, high)):
        side = pixelwise(frame[:, 1 - axis])
        t = ops.clip(points[axis] * ((count - 1.0) / side), 0.0, count - 1.0)
        low = ops.minimum(ops.floor(t), max(count - 2.0, 0.0))
        place.append(ops.cast(low, "int32"))
        step.append(min(1, count - 1))
        fraction.append(ops.expand_dims(t - low, -1))
    corner = first + place[1] * wide + place[0]

    def node(down: int, across: int) -> Array:
        return rows(nodes, corner + (down * step[1] * wide + across * step[0]))

    top = node(0, 0) + fraction[0] * (node(0, 1) - node(0, 0))
    bottom = node(1, 0) + fraction[0] * (node(1, 1) - node(1, 0))
    shift = top + fraction[1] * (bottom - top)
    return points[0] + shift[..., 0], points[1] + shift[..., 1]


def warp_images(plan: Plan, number: int, arrays: Mapping[str, Array], images: Array) -> Array:
    """Images [n, h, w, c] through a warp: [n, h', w', c] float32, in image units, not rounded."""
    stage = plan.stages[number]
    assert isinstance(stage, WarpStage)
    settings = plan.settings
    interpolation = "nearest" if stage.exact else settings.interpolation
    if len(stage.levels) > 1:
        source = pyramid(images, ops.cast(entry(arrays, number, "reduction"), "int32"), stage.levels)
    else:
        source = whole(images)
    fill = per_channel(settings.fill_value, images.shape[3])
    return read(source, source_points(plan, number, arrays), interpolation, settings.fill_mode, fill)


def warp_masks(plan: Plan, number: int, arrays: Mapping[str, Array], masks: Any) -> Array:
    """Masks [n, h, w, c] through a warp: the nearest pixel, dtype kept."""
    points = source_points(plan, number, arrays)
    fill = plan.settings.mask_fill_value
    return read(whole(masks), points, "nearest", plan.settings.fill_mode, fill, copy=True)
