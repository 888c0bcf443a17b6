"""What happens to boxes, points and labels under the parameters of a warp, and of a mix. `xp` is handed in.

Matrices map output points to input points, so points follow the inverse. Boxes are corners (x1, y1, x2, y2) in pixels
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onewarp.matrices import inverse
from onewarp.random import Array, constant

_FAR = 1e9  # where points go that a perspective throws behind the viewer
_STEPS = 12  # Newton steps to invert a displacement field
_SLACK = 1e-3  # pixels, where edges are compared


def _apply(matrix: Array, points: Array, xp: Any) -> Array:
    """[n, 3, 3] on points [n, k, 2]."""
    x, y = points[..., 0], points[..., 1]

    def row(i: int) -> Array:
        return matrix[:, i, 0:1] * x + matrix[:, i, 1:2] * y + matrix[:, i, 2:3]

    w = row(2)
    seen = w > 1e-8
    safe = xp.where(seen, w, 1.0)
    return xp.stack([xp.where(seen, row(0) / safe, _FAR), xp.where(seen, row(1) / safe, _FAR)], axis=-1)


def _field_at(field: Array, frame: Array, points: Array, xp: Any) -> tuple[Array, Array, Array]:
    """The displacement [n, k, 2] at `points`, and its derivatives by x and by y; clamped to the frame."""
    rows, columns = field.shape[1], field.shape[2]
    values = xp.reshape(field, (field.shape[0], rows * columns, 2))
    position, cell, fraction, scale = [], [], [], []
    for axis, nodes in ((0, columns), (1, rows)):
        side = frame[:, 1 - axis : 2 - axis]
        t = xp.clip(points[..., axis] / side, 0.0, 1.0) * (nodes - 1.0)
        low = xp.clip(xp.floor(t), 0.0, max(nodes - 2.0, 0.0))
        position.append(t)
        cell.append(low)
        fraction.append(xp.expand_dims(t - low, -1))
        scale.append(xp.expand_dims((nodes - 1.0) / side, -1))

    def node(down: int, across: int) -> Array:
        row, column = xp.minimum(cell[1] + down, rows - 1.0), xp.minimum(cell[0] + across, columns - 1.0)
        index = row * columns + column
        index = index.astype(np.int64) if xp is np else xp.cast(index, "int32")
        return xp.take_along_axis(values, xp.expand_dims(index, -1), axis=1)

    fx, fy = fraction
    a, b, c, d = node(0, 0), node(0, 1), node(1, 0), node(1, 1)
    value = (a * (1 - fx) + b * fx) * (1 - fy) + (c * (1 - fx) + d * fx) * fy
    by_x = ((b - a) * (1 - fy) + (d - c) * fy) * scale[0]
    by_y = ((c - a) * (1 - fx) + (d - b) * fx) * scale[1]
    return value, by_x, by_y


def _undo_field(field: Array, frame: Array, points: Array, xp: Any) -> Array:
    """The points q with q + field(q) = points, by Newton's method."""

    def step(_: Any, q: Array) -> Array:
        value, by_x, by_y = _field_at(field, frame, q, xp)
        error = q + value - points
        a, b, c, d = 1.0 + by_x[..., 0], by_y[..., 0], by_x[..., 1], 1.0 + by_y[..., 1]
        det = a * d - b * c
        det = xp.where(xp.abs(det) < 0.05, 0.05, det)  # a fold: creep instead of jumping
        change = xp.stack(
            [(d * error[..., 0] - b * error[..., 1]) / det, (a * error[..., 1] - c * error[..., 0]) / det],
            axis=-1,
        )
        return q - change

    if xp is not np:
        return xp.fori_loop(0, _STEPS, step, points)  # a compiler that saw all steps would take half a minute
    q = points
    for i in range(_STEPS):
        q = step(i, q)
    return q


def move_points(points: Array, stage: Mapping[str, Array], xp: Any) -> Array:
    """Points [n, k, 2] of a warp's input frame -> of its output frame. `stage`:
    the warp's arrays, "matrix" and so on.
    """
    matrices = stage["matrix"]
    matrices = matrices.astype(np.float64) if xp is np else matrices
    for i in range(matrices.shape[1]):
        points = _apply(inverse(matrices[:, i], xp), points, xp)
        if f"field{i}" in stage:
            points = _undo_field(stage[f"field{i}"], stage["frames"][:, i], points, xp)
    return points


def outline(boxes: Array, per_side: int, xp: Any) -> Array:
    """Points on the outline of boxes [n, k, 4]: [n, k, 4 * per_side, 2], corners included."""
    t = [i / per_side for i in range(per_side)]
    back, none, all_ = [1 - v for v in t], [0.0] * per_side, [1.0] * per_side
    x, y = [*t, *all_, *back, *none], [*none, *t, *all_, *back]
    # Weights instead of start + t * length: at a corner the result is the corner, to the last bit.
    x1, y1, x2, y2 = (xp.expand_dims(boxes[..., i], -1) for i in range(4))
    fx, fy = constant(x, xp), constant(y, xp)
    return xp.stack([x1 * (1 - fx) + x2 * fx, y1 * (1 - fy) + y2 * fy], axis=-1)


def _homogeneous(matrix: Array, points: Array, xp: Any) -> tuple[Array, Array, Array]:
    """[n, 3, 3] on points [n, k, m, 2] before the division: x, y, w, each [n, k, m]."""
    rows = [xp.reshape(matrix[:, i], (-1, 1, 1, 3)) for i in range(3)]
    x, y = points[..., 0], points[..., 1]
    first, second, third = (row[..., 0] * x + row[..., 1] * y + row[..., 2] for row in rows)
    return first, second, third


def _seen_hull(x: Array, y: Array, w: Array, xp: Any) -> Array:
    """Bounding boxes [n, k, 4] of the part of closed outlines that lies before the viewer (w > 0).

    An outline that passes behind the viewer is cut there: every edge that does adds the point where it is cut.
    """
    least = 1e-6
    turn = [*range(1, w.shape[2]), 0]
    next_x, next_y, next_w = (xp.take(v, xp.array(turn, dtype="int32"), axis=2) for v in (x, y, w))
    crosses = (w > least) != (next_w > least)
    t = xp.where(crosses, (least - w) / xp.where(crosses, next_w - w, 1.0), 0.0)
    safe = xp.where(w > least, w, 1.0)
    both = [(x / safe, y / safe, w > least)]
    both.append(((x + t * (next_x - x)) / least, (y + t * (next_y - y)) / least, crosses))
    hulls = []
    for px, py, there in both:
        hulls.append([xp.amin(xp.where(there, v, _FAR), axis=2) for v in (px, py)])
        hulls[-1] += [xp.amax(xp.where(there, v, -_FAR), axis=2) for v in (px, py)]
    low = [xp.minimum(hulls[0][i], hulls[1][i]) for i in (0, 1)]
    high = [xp.maximum(hulls[0][i], hulls[1][i]) for i in (2, 3)]
    return xp.stack(low + high, axis=-1)


def move_boxes(boxes: Array, stage: Mapping[str, Array], xp: Any) -> Array:
    """Corner boxes [n, k, 4] -> the bounding boxes of their warped outlines, not yet clipped; behind the viewer:
    empty.
    """
    matrices = stage["matrix"]
    if "field0" not in stage:
        matrix = matrices[:, 0].astype(np.float64) if xp is np else matrices[:, 0]
        return _seen_hull(*_homogeneous(inverse(matrix, xp), outline(boxes, 1, xp), xp), xp)
    points = outline(boxes, 8, xp)
    n, k, m = points.shape[0], points.shape[1], points.shape[2]
    moved = xp.reshape(move_points(xp.reshape(points, (n, k * m, 2)), stage, xp), (n, k, m, 2))
    there = xp.abs(moved) < 0.5 * _FAR
    low, high = xp.where(there, moved, _FAR), xp.where(there, moved, -_FAR)
    return xp.concatenate([xp.amin(low, axis=2), xp.amax(high, axis=2)], axis=-1)


def area(boxes: Array, xp: Any) -> Array:
    """[n, k] areas of corner boxes; 0 for empty ones."""
    return xp.maximum(boxes[..., 2] - boxes[..., 0], 0.0) * xp.maximum(boxes[..., 3] - boxes[..., 1], 0.0)


def clip_boxes(boxes: Array, region: Array, xp: Any) -> Array:
    """Corner boxes cut to `region` [n, 4] (x1, y1, x2, y2)."""
    low_x, low_y, high_x, high_y = (region[:, i : i + 1] for i in range(4))
    edges = [
        xp.clip(boxes[..., 0], low_x, high_x),
        xp.clip(boxes[..., 1], low_y, high_y),
        xp.clip(boxes[..., 2], low_x, high_x),
        xp.clip(boxes[..., 3], low_y, high_y),
    ]
    return xp.stack(edges, axis=-1)


def common(boxes: Array, others: Array, xp: Any) -> Array:
    """What corner boxes [..., 4] have in common with `others`; ends before it begins where that is nothing."""
    low = [xp.maximum(boxes[..., i], others[..., i]) for i in (0, 1)]
    high = [xp.minimum(boxes[..., i], others[..., i]) for i in (2, 3)]
    return xp.stack(low + high, axis=-1)


def visible_part(before: Array, after: Array, xp: Any) -> Array:
    """[n, k] fraction of corner boxes `before` that is left in `after`."""
    whole = area(before, xp)
    return area(after, xp) / xp.where(whole > 0, whole, 1.0)


def keep_visible(boxes: Array, visible: Array, labels: Array, settings: Any, xp: Any) -> tuple[Array, Array]:
    """Drop the boxes of which too little is left: box 0, label -1 (Keras' padding).

    boxes: corners [n, k, 4] as they are now; visible: [n, k] fraction of what they once were.
    """
    left = area(boxes, xp)
    keep = xp.logical_and(left > 0, xp.logical_and(left >= settings.min_area, visible >= settings.min_visibility))
    keep = xp.logical_and(keep, labels != -1)
    return xp.where(xp.expand_dims(keep, -1), boxes, 0.0), xp.where(keep, labels, -1)


def uncovered(boxes: Array, rect: Array, xp: Any) -> tuple[Array, Array]:
    """What of corner boxes [n, k, 4] is to be seen beside `rect` [n, 4]: its bounding box, and its fraction [n, k]."""
    inside = clip_boxes(boxes, rect, xp)
    whole = area(boxes, xp)
    hidden = xp.where(whole > 0, area(inside, xp) / xp.where(whole > 0, whole, 1.0), 0.0)
    x1, y1, x2, y2 = (boxes[..., i] for i in range(4))
    rx1, ry1, rx2, ry2 = (rect[:, i : i + 1] for i in range(4))
    # A box that ends at the frame may have passed through another format, and lie a rounding beyond a rectangle's edge.
    tall = xp.logical_and(ry1 <= y1 + _SLACK, ry2 >= y2 - _SLACK)  # the rectangle takes a vertical slice off
    wide = xp.logical_and(rx1 <= x1 + _SLACK, rx2 >= x2 - _SLACK)
    touches = xp.logical_and(hidden > 0, hidden < 1)
    tall, wide = xp.logical_and(tall, touches), xp.logical_and(wide, touches)
    edges = [
        xp.where(xp.logical_and(tall, rx1 <= x1 + _SLACK), rx2, x1),
        xp.where(xp.logical_and(wide, ry1 <= y1 + _SLACK), ry2, y1),
        xp.where(xp.logical_and(tall, rx2 >= x2 - _SLACK), rx1, x2),
        xp.where(xp.logical_and(wide, ry2 >= y2 - _SLACK), ry1, y2),
    ]
    return xp.stack(edges, axis=-1), 1.0 - hidden


def one_hot(labels: Any, classes: int, xp: Any) -> Array:
    """[n] class numbers -> [n, classes] float32; -1 gives zeros."""
    numbers = np.arange(classes) if xp is np else xp.arange(classes, dtype=labels.dtype)
    hot = xp.where(labels[..., None] == numbers, 1.0, 0.0)
    return hot.astype(np.float32) if xp is np else xp.cast(hot, "float32")
