"""Erasing: parts of the frame are overwritten. Masks, boxes and points stay: the object is still there, only hidden.

`fill_value` is in image units (0...255 for uint8), a number or one per channel, or "noise" for uniform noise per value.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from onewarp.fields import Range, counts, interval, numbers, probability, span
from onewarp.random import Array, constant, integer, within
from onewarp.transform import Erase
from onewarp.transforms.crop import TRIALS, first_fit


def _rect(top: Array, left: Array, height: Array, width: Array, xp: Any) -> Array:
    """Whole pixels, rounded: [n, 4] or [n, m, 4]."""
    return xp.round(xp.stack([top, left, top + height, left + width], axis=-1))


@dataclass(frozen=True)
class RandomErasing(Erase):
    """Overwrite one rectangle (Zhong et al. 2017; torchvision's definition).

    scale: range of its area as a fraction of the frame's; ratio: range of its height / width, drawn log-uniformly.
    The first of ten rectangles that fit is taken; where none does, nothing is erased.
    """

    draws: ClassVar[int] = 2 * TRIALS + 2

    scale: Range = span(0, 1, default=(0.02, 0.33), unit="fraction of the area", identity=0.0)
    ratio: Range = span(0.01, 100, default=(0.3, 3.3), unit="height / width")
    fill_value: Any = numbers(default=0.0, words=("noise",))
    _: KW_ONLY
    p: float = probability(0.5)

    def rects(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        _, h, w = first_fit(u, self.scale, self.ratio, height, width, smaller=True, xp=xp)
        return _rect(u[:, -2] * (height - h), u[:, -1] * (width - w), h, w, xp)[:, None]


@dataclass(frozen=True)
class CoarseDropout(Erase):
    """Overwrite several rectangles (Cutout, DeVries and Taylor 2017).

    holes: how many, a number or (low, high); height, width: their sides as fractions of the frame's.
    """

    holes: Range = counts(1, 64, default=(1, 8))
    height: Range = span(0, 1, default=(0.05, 0.15), unit="fraction of the height", identity=0.0)
    width: Range = span(0, 1, default=(0.05, 0.15), unit="fraction of the width", identity=0.0)
    fill_value: Any = numbers(default=0.0, words=("noise",))
    _: KW_ONLY
    p: float = probability(0.5)

    def uniform_count(self) -> int:
        return 1 + 4 * int(self.holes[1])

    def rects(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        low, high = self.holes
        number = low + integer(u[:, 0], float(high - low + 1), xp)
        tops, lefts, heights, widths = (u[:, 1 + i * high : 1 + (i + 1) * high] for i in range(4))
        there = xp.where(constant(range(high), xp)[None] < number[:, None], 1.0, 0.0)
        h = within(self.height, heights) * height[:, None] * there
        w = within(self.width, widths) * width[:, None] * there
        return _rect(tops * (height[:, None] - h), lefts * (width[:, None] - w), h, w, xp)


@dataclass(frozen=True)
class GridDropout(Erase):
    """Overwrite a regular grid of rectangles (GridMask, Chen et al. 2020).

    unit: side of a grid cell as a fraction of the shorter side; ratio: the hole's side as a fraction of the cell's.
    """

    draws: ClassVar[int] = 3
    method: ClassVar[str] = "grid"

    ratio: float = interval(0, 1, default=0.5, unit="fraction of the cell's side", identity=0.0)
    unit: Range = span(0.01, 1, default=(0.1, 0.3), unit="fraction of the shorter side")
    fill_value: Any = numbers(default=0.0, words=("noise",))
    _: KW_ONLY
    p: float = probability(0.5)

    def grid(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        side = xp.maximum(xp.round(within(self.unit, u[:, 0]) * xp.minimum(height, width)), 2.0)
        hole = xp.round(self.ratio * side)
        return xp.stack([side, side, hole, hole, xp.floor(u[:, 1] * side), xp.floor(u[:, 2] * side)], axis=-1)


__all__ = ["CoarseDropout", "GridDropout", "RandomErasing"]
