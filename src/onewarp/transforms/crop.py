"""Geometric transforms that set the size of the frame: crops, resizes and padding.

A size is pixels: an int is a square, a pair is (height, width). Crops have whole-pixel offsets, so they are exact
    copies.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onewarp import _native
from onewarp.fields import Range, count, interval, size, span
from onewarp.matrices import translation, window
from onewarp.random import Array, constant, first_true, integer, pick, within
from onewarp.transform import Geometric, Side, Transform

Size = Any  # a user passes an int or (height, width); (height, width) is stored


def _as_numbers(*sides: float, xp: Any) -> list[Array]:
    return [constant([side], xp) for side in sides]


class _Sizing(Geometric):
    """What transforms that set the size share: a frame, or a window of it, becomes the output."""

    def shrink(self, height: Side, width: Side) -> float:
        out_height, out_width = self.output_size(height, width)
        if self.exact or height is None or width is None or out_height is None or out_width is None:
            return super().shrink(height, width)
        return float(max(height / out_height, width / out_width))


class _FixedSize(_Sizing):
    """What transforms with an output of `size` share."""

    size: Size

    def output_size(self, height: Any, width: Any, xp: Any = np) -> tuple[Any, Any]:
        out_height, out_width = self.size
        return out_height, out_width

    def scaled(self, strength: float) -> Transform:
        """What may not fire is a resize then, which differs from the gentlest crop: by p."""
        return super().scaled(strength) if self.p == 1.0 else dataclasses.replace(self, p=self.p * strength)


@dataclass(frozen=True)
class Resize(_FixedSize):
    """Stretch the frame to `size`."""

    draws: ClassVar[int] = 0

    size: Size = size()

    def matrix(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        zero = 0.0 * height
        return window(zero, zero, width / self.size[1], height / self.size[0], xp)


class _FixedSide(_Sizing):
    """Resizes that keep the ratio of the sides; `matrix` stretches by the rounded size."""

    size: Any

    def scale(self, height: Any, width: Any, xp: Any) -> Any:
        """The magnification, from the sides."""
        raise NotImplementedError

    def output_size(self, height: Any, width: Any, xp: Any = np) -> tuple[Any, Any]:
        if height is None or width is None:
            return (None, None)
        scale = self.scale(height, width, xp)
        sides = [xp.maximum(xp.floor(side * scale + 0.5), 1.0) for side in (height, width)]
        return (int(sides[0]), int(sides[1])) if isinstance(height, int) else (sides[0], sides[1])

    def matrix(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        out_height, out_width = self.output_size(height, width, xp)
        zero = 0.0 * height
        return window(zero, zero, width / out_width, height / out_height, xp)


@dataclass(frozen=True)
class ResizeShortest(_FixedSide):
    """Resize so that the shorter side has `size` pixels; the ratio of the sides stays."""

    draws: ClassVar[int] = 0

    size: int = count(1, 32767, unit="pixels")

    def scale(self, height: Any, width: Any, xp: Any) -> Any:
        return self.size / xp.minimum(height, width)


@dataclass(frozen=True)
class ResizeLongest(_FixedSide):
    """Resize so that the longer side has `size` pixels; the ratio of the sides stays."""

    draws: ClassVar[int] = 0

    size: int = count(1, 32767, unit="pixels")

    def scale(self, height: Any, width: Any, xp: Any) -> Any:
        return self.size / xp.maximum(height, width)


@dataclass(frozen=True)
class ResizeCover(_FixedSide):
    """Resize so that the frame just covers `size`, the ratio of the sides kept;
    CenterCrop or RandomCrop usually follows.
    """

    draws: ClassVar[int] = 0

    size: Size = size()

    def scale(self, height: Any, width: Any, xp: Any) -> Any:
        return xp.maximum(self.size[0] / height, self.size[1] / width)


@dataclass(frozen=True)
class LetterBox(_FixedSize):
    """Resize to fit into `size` with the ratio of the sides kept, centred; the rest is the policy's fill."""

    draws: ClassVar[int] = 0

    size: Size = size()

    def matrix(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        out_height, out_width = self.size
        scale = xp.maximum(height / out_height, width / out_width)
        return window(0.5 * (width - out_width * scale), 0.5 * (height - out_height * scale), scale, scale, xp)


@dataclass(frozen=True)
class Pad(Geometric):
    """Add `padding` pixels on every side, or (vertical, horizontal); what they show is the policy's fill."""

    draws: ClassVar[int] = 0
    exact: ClassVar[bool] = True

    padding: Size = size()

    def output_size(self, height: Any, width: Any, xp: Any = np) -> tuple[Any, Any]:
        if height is None or width is None:
            return (None, None)
        return height + 2 * self.padding[0], width + 2 * self.padding[1]

    def matrix(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        vertical, horizontal = _as_numbers(-self.padding[0], -self.padding[1], xp=xp)
        return translation(horizontal, vertical, xp)


@dataclass(frozen=True)
class CenterCrop(_FixedSize):
    """Cut `size` from the middle; a frame that is smaller is padded by the policy's fill."""

    draws: ClassVar[int] = 0
    exact: ClassVar[bool] = True

    size: Size = size()

    def matrix(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        left, top = xp.floor((width - self.size[1]) / 2), xp.floor((height - self.size[0]) / 2)
        return translation(left, top, xp)


@dataclass(frozen=True)
class RandomCrop(_FixedSize):
    """Cut `size` from anywhere, at whole pixels. `padding` pixels are added on every side first (CIFAR: size 32,
    padding 4).

    A frame that is smaller than the crop is centred in it. `reach` is the part of the room, about the centre, that the
    crop is drawn from: with 0 it is a CenterCrop.
    """

    draws: ClassVar[int] = 2
    exact: ClassVar[bool] = True

    size: Size = size()
    padding: int = count(0, 4096, default=0, unit="pixels")
    reach: float = interval(0, 1, default=1.0, unit="fraction of the room", identity=0.0)

    def matrix(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        def offset(part: Array, side: Array, wanted: int) -> Array:
            room = side + 2 * self.padding - wanted
            # To whole pixels; halves go up, also where float32 puts them a little lower.
            used = xp.floor(self.reach * xp.maximum(room, 0.0) + 0.501)
            drawn = xp.floor((room - used) / 2) + integer(part, used + 1.0, xp)
            return xp.where(room >= 0, drawn, xp.floor(room / 2)) - self.padding

        return translation(offset(u[:, 1], width, self.size[1]), offset(u[:, 0], height, self.size[0]), xp)

    def deterministic(self, resize: float) -> tuple[Transform, ...]:
        return (CenterCrop(self.size, name=self.name),)


TRIALS = 10


def first_fit(
    u: Array, scale: Range, ratio: Range, along: Array, across: Array, *, smaller: bool, xp: Any
) -> tuple[Array, Array, Array]:
    """Of ten random rectangles the first that fits into the frame: whether there is one, its sides along and across.

    u: [n, 20 or more]: ten areas in the range `scale`, as fractions of the frame's, then ten ratios of the side along
        to the side across in the range `ratio`, whose logarithms are uniform.
    along, across: sides of the frame, [n] or [1]. smaller: both sides must be smaller than the frame's, not just fit.
    Native on the host. The sides are 0 where no rectangle fits.
    """
    if xp is not np:
        return first_fit_by_operations(u, scale, ratio, along, across, smaller=smaller, xp=xp)
    return _native.first_fit(u, TRIALS, scale, _logarithms(ratio), along, across, smaller)


def first_fit_by_operations(
    u: Array, scale: Range, ratio: Range, along: Array, across: Array, *, smaller: bool, xp: Any
) -> tuple[Array, Array, Array]:
    """`first_fit` by array operations, without a loop over data."""
    area = within(scale, u[:, :TRIALS]) * (along * across)[:, None]
    stretch = xp.exp(within(_logarithms(ratio), u[:, TRIALS : 2 * TRIALS]))
    squares = (area * stretch, area / stretch)  # of the sides; roots are taken of the chosen ones only
    limits = [(side * side)[:, None] for side in (along, across)]
    inside = [square < limit if smaller else square <= limit for square, limit in zip(squares, limits, strict=True)]
    fits = xp.logical_and(*inside)
    first = first_true(fits, xp)
    found = pick(fits, first, xp)
    side_along, side_across = (xp.where(found, xp.sqrt(pick(square, first, xp)), 0.0) for square in squares)
    return found, side_along, side_across


def _logarithms(bounds: Range) -> Range:
    return math.log(bounds[0]), math.log(bounds[1])


@dataclass(frozen=True)
class RandomResizedCrop(_FixedSize):
    """Cut a random window and resize it to `size` (Szegedy et al. 2015; torchvision's definition, at sub-pixel
    precision).

    scale: range of the window's area as a fraction of the frame's.
    ratio: range of the window's width / height, drawn log-uniformly.
    The first of ten windows that fit is taken; else the largest centred window within `ratio`.
    """

    draws: ClassVar[int] = 2 * TRIALS + 2

    size: Size = size()
    scale: Range = span(1e-4, 1, default=(0.08, 1.0), unit="fraction of the area", identity=1.0)
    ratio: Range = span(0.01, 100, default=(3 / 4, 4 / 3), unit="width / height", identity=1.0)

    def matrix(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        found, wide, high = first_fit(u, self.scale, self.ratio, width, height, smaller=False, xp=xp)
        nearest = xp.minimum(xp.maximum(width / height, self.ratio[0]), self.ratio[1])
        crop_width = xp.where(found, wide, xp.minimum(width, height * nearest))
        crop_height = xp.where(found, high, xp.minimum(height, width / nearest))
        left = (width - crop_width) * xp.where(found, u[:, -2], 0.5)
        top = (height - crop_height) * xp.where(found, u[:, -1], 0.5)
        return window(left, top, crop_width / self.size[1], crop_height / self.size[0], xp)

    def deterministic(self, resize: float) -> tuple[Transform, ...]:
        height, width = self.size
        cover = ResizeCover(size=(max(1, round(height * resize)), max(1, round(width * resize))))
        return (cover, CenterCrop(self.size))


__all__ = [
    "CenterCrop",
    "LetterBox",
    "Pad",
    "RandomCrop",
    "RandomResizedCrop",
    "Resize",
    "ResizeCover",
    "ResizeLongest",
    "ResizeShortest",
]
