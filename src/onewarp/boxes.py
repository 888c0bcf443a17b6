"""Formats of bounding boxes: Keras' names, to and from corners (x1, y1, x2, y2) in pixels."""

from __future__ import annotations

from typing import Any

from onewarp.errors import InputError
from onewarp.random import Array
from onewarp.spec import BOX_FORMATS

# The order of the four numbers; "c" stands for the centre, s for the other corner or the size.
_ORDER = {"xyxy": (0, 1, 2, 3), "yxyx": (1, 0, 3, 2), "xywh": (0, 1, 2, 3), "yxhw": (1, 0, 3, 2)}


def _parse(box_format: str) -> tuple[bool, bool, str]:
    """(relative, centre, order) of a format's name."""
    name = box_format.lower() if isinstance(box_format, str) else box_format
    if name not in BOX_FORMATS:
        raise InputError(f"bounding_box_format={box_format!r} is unknown; use one of {', '.join(BOX_FORMATS)}")
    relative = name.startswith("rel_")
    name = name.removeprefix("rel_")
    return relative, name.startswith("center_"), name.removeprefix("center_")


def to_corners(boxes: Array, box_format: str, height: Array, width: Array, xp: Any) -> Array:
    """[n, k, 4] in `box_format` -> corners in pixels. `height`, `width`: [n] of the images that the boxes belong to."""
    relative, centre, order = _parse(box_format)
    a, b, c, d = (boxes[..., i] for i in _ORDER[order])
    if relative:
        w, h = xp.reshape(width, (-1, 1)), xp.reshape(height, (-1, 1))
        a, b, c, d = a * w, b * h, c * w, d * h
    if centre:
        a, b = a - 0.5 * c, b - 0.5 * d
    if order in ("xywh", "yxhw"):
        c, d = a + c, b + d
    return xp.stack([a, b, c, d], axis=-1)


def from_corners(boxes: Array, box_format: str, height: Array, width: Array, xp: Any) -> Array:
    """Corners in pixels [n, k, 4] -> `box_format`. `height`, `width`: [n] of the images that the boxes belong to."""
    relative, centre, order = _parse(box_format)
    a, b, c, d = (boxes[..., i] for i in range(4))
    if order in ("xywh", "yxhw"):
        c, d = c - a, d - b
    if centre:
        a, b = a + 0.5 * c, b + 0.5 * d
    if relative:
        w, h = xp.reshape(width, (-1, 1)), xp.reshape(height, (-1, 1))
        a, b, c, d = a / w, b / h, c / w, d / h
    return xp.stack([(a, b, c, d)[i] for i in _ORDER[order]], axis=-1)
