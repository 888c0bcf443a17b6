"""Geometric transforms: each says where the pixels of its output frame come from.

Angles are degrees, counter-clockwise positive as seen; shifts are fractions of the frame's side; sizes are pixels.
`u` holds uniform numbers [n, draws]; `height` and `width` are those of the frame that comes in, as [n] or [1] numbers.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from onewarp.fields import Range, count, interval, probability, span, spread
from onewarp.matrices import ZERO, about_centre, affine, matmul, quad_to_frame, rotation, shearing, translation
from onewarp.random import Array, constant, integer, integers, normal, within
from onewarp.transform import Geometric, Side


@dataclass(frozen=True)
class HorizontalFlip(Geometric):
    """Mirror left and right."""

    draws: ClassVar[int] = 0
    exact: ClassVar[bool] = True

    _: KW_ONLY
    p: float = probability(0.5)

    def matrix(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        return affine(-1.0, ZERO, width, ZERO, 1.0, ZERO, xp)


@dataclass(frozen=True)
class VerticalFlip(Geometric):
    """Mirror top and bottom."""

    draws: ClassVar[int] = 0
    exact: ClassVar[bool] = True

    _: KW_ONLY
    p: float = probability(0.5)

    def matrix(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        return affine(1.0, ZERO, ZERO, ZERO, -1.0, height, xp)


@dataclass(frozen=True)
class Rotate(Geometric):
    """Rotate about the centre of the frame by an angle drawn from `degrees`; counter-clockwise is positive."""

    rigid: ClassVar[bool] = True

    degrees: Range = spread(360, default=15, unit="degrees")

    def matrix(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        return about_centre(rotation(within(self.degrees, u[:, 0]), xp), height, width, xp)


_TURNS = np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]], float)
_SYMMETRIES = np.concatenate([_TURNS, _TURNS @ np.diag([-1.0, 1.0])]).reshape(8, 4)


class _QuarterTurns(Geometric):
    """What the exact transforms share that may exchange the sides of the frame."""

    exact: ClassVar[bool] = True

    def symmetry(self, u: Array, xp: Any) -> Array:
        """Which of the eight symmetries, [n or 1] numbers 0...7; odd ones exchange the sides."""
        raise NotImplementedError

    def output_size(self, height: Any, width: Any, xp: Any = np) -> tuple[Any, Any]:
        return (height, width) if isinstance(height, int) and height == width else (None, None)

    def frame(self, u: Array, height: Array, width: Array, xp: Any) -> tuple[Array, Array]:
        turned = self.symmetry(u, xp) % 2 == 1
        return xp.where(turned, width, height), xp.where(turned, height, width)

    def matrix(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        entries = xp.take(constant(_SYMMETRIES, xp), integers(self.symmetry(u, xp), xp), axis=0)
        linear = (entries[:, 0], entries[:, 1], entries[:, 2], entries[:, 3])
        out_height, out_width = self.frame(u, height, width, xp)
        return about_centre(linear, height, width, xp, out_height, out_width)


@dataclass(frozen=True)
class Rotate90(_QuarterTurns):
    """Rotate by 0, 90, 180 or 270 degrees, each as likely.

    Frames that are not square need a resize or crop behind it.
    """

    def symmetry(self, u: Array, xp: Any) -> Array:
        return integer(u[:, 0], 4, xp)


@dataclass(frozen=True)
class Transpose(_QuarterTurns):
    """Exchange rows and columns. Frames that are not square need a resize or crop behind it."""

    draws: ClassVar[int] = 0

    _: KW_ONLY
    p: float = probability(0.5)

    def symmetry(self, u: Array, xp: Any) -> Array:
        return constant([7.0], xp)


@dataclass(frozen=True)
class D4(_QuarterTurns):
    """One of the eight symmetries of the square. Frames that are not square need a resize or crop behind it."""

    def symmetry(self, u: Array, xp: Any) -> Array:
        return integer(u[:, 0], 8, xp)


@dataclass(frozen=True)
class Translate(Geometric):
    """Shift by fractions of the width and height; `height=None` draws it from the range of `width`."""

    draws: ClassVar[int] = 2
    rigid: ClassVar[bool] = True

    width: Range = spread(1, default=0.1, unit="fraction of the width, positive to the right")
    height: Range = spread(1, default=None, unit="fraction of the height, positive downwards", optional=True)

    def matrix(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        vertical = self.width if self.height is None else self.height
        return translation(-within(self.width, u[:, 0]) * width, -within(vertical, u[:, 1]) * height, xp)


@dataclass(frozen=True)
class Scale(Geometric):
    """Magnify about the centre by a factor drawn from `factor`; above 1 things become larger."""

    factor: Range = span(0.01, 100, default=(0.8, 1.2), unit="magnification", identity=1.0)

    def shrink(self, height: Side, width: Side) -> float:
        return float(1.0 / self.factor[0])

    def matrix(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        inverse = 1.0 / within(self.factor, u[:, 0])
        x, y = 0.5 * width, 0.5 * height
        return affine(inverse, ZERO, x - inverse * x, ZERO, inverse, y - inverse * y, xp)


def _slope(*angles: Range) -> float:
    """The steepest slope among ranges of angles."""
    return float(np.tan(np.radians(np.abs(angles).max())))


@dataclass(frozen=True)
class Shear(Geometric):
    """Shear about the centre: rows slide along x by the angle `x`, columns along y by the angle `y`."""

    draws: ClassVar[int] = 2

    x: Range = spread(89, default=10, unit="degrees")
    y: Range = spread(89, default=0, unit="degrees")

    def shrink(self, height: Side, width: Side) -> float:
        return 1.0 + _slope(self.x, self.y)

    def matrix(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        return about_centre(shearing(within(self.x, u[:, 0]), within(self.y, u[:, 1]), xp), height, width, xp)


@dataclass(frozen=True)
class Affine(Geometric):
    """Rotation, shear and magnification about the centre, then a shift: one transform for the usual four."""

    draws: ClassVar[int] = 5

    degrees: Range = spread(360, default=0, unit="degrees, counter-clockwise")
    translate: Range = spread(1, default=0, unit="fraction of each side")
    scale: Range = span(0.01, 100, default=(1.0, 1.0), unit="magnification", identity=1.0)
    shear: Range = spread(89, default=0, unit="degrees, along x")

    def shrink(self, height: Side, width: Side) -> float:
        return float((1.0 + _slope(self.shear)) / self.scale[0])

    def matrix(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        cosine, minus_sine, sine, _ = rotation(within(self.degrees, u[:, 0]), xp)
        _, lean, _, _ = shearing(within(self.shear, u[:, 1]), 0.0 * u[:, 1], xp)
        inverse = 1.0 / within(self.scale, u[:, 2])
        linear = (
            inverse * (cosine + lean * sine),
            inverse * (minus_sine + lean * cosine),
            inverse * sine,
            inverse * cosine,
        )
        shift = translation(-within(self.translate, u[:, 3]) * width, -within(self.translate, u[:, 4]) * height, xp)
        return matmul(about_centre(linear, height, width, xp), shift, xp)


@dataclass(frozen=True)
class Perspective(Geometric):
    """Move the four corners of the image inwards, each by up to distortion/2 of the sides (torchvision's
    definition).
    """

    draws: ClassVar[int] = 8
    projective: ClassVar[bool] = True

    distortion: float = interval(0, 0.95, default=0.5, unit="fraction of the sides", identity=0.0)
    _: KW_ONLY
    p: float = probability(0.5)

    def matrix(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        reach_x, reach_y = 0.5 * self.distortion * width, 0.5 * self.distortion * height
        x, y = [reach_x * u[:, i] for i in range(4)], [reach_y * u[:, i] for i in range(4, 8)]
        corners = [
            (x[0], y[0]),
            (width - x[1], y[1]),
            (width - x[2], height - y[2]),
            (x[3], height - y[3]),
        ]
        return quad_to_frame(corners, height + 0.0 * x[0], width + 0.0 * x[0], xp)


def _cubic_spline_weights(nodes: int, control: int) -> np.ndarray:
    """[nodes, control]: uniform cubic B-spline through `control` coefficients, evaluated at `nodes` points of [0,
    1].
    """
    t = np.linspace(0.0, 1.0, nodes) * (control - 3)
    first = np.minimum(np.floor(t), control - 4).astype(int)
    f = t - first
    basis4 = [
        (1 - f) ** 3 / 6,
        (3 * f**3 - 6 * f**2 + 4) / 6,
        (-3 * f**3 + 3 * f**2 + 3 * f + 1) / 6,
        f**3 / 6,
    ]
    weights = np.zeros((nodes, control))
    for k, values in enumerate(basis4):
        weights[np.arange(nodes), first + k] += values
    return weights


@dataclass(frozen=True)
class ElasticTransform(Geometric):
    """Shake the image like jelly: a smooth random displacement (Simard et al. 2003, with a B-spline instead of a blur).

    alpha: standard deviation of the displacement at the control points, as a fraction of the shorter side.
    cells: the control points divide each side into that many cells; more cells are finer waves.
    """

    displaces: ClassVar[bool] = True

    alpha: float = interval(0, 0.5, default=0.03, unit="fraction of the shorter side", identity=0.0)
    cells: int = count(1, 16, default=4)
    _: KW_ONLY
    p: float = probability(0.5)

    def uniform_count(self) -> int:
        return 2 * (self.cells + 3) ** 2

    def field(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        control, nodes = self.cells + 3, 6 * self.cells + 1
        weights = constant(_cubic_spline_weights(nodes, control), xp)
        waves = xp.reshape(normal(u, xp), (-1, control, control, 2))
        # [n, control, control, 2] -> [n, nodes, control, 2] -> [n, nodes, nodes, 2], as sums of products
        rows = xp.sum(weights[None, :, :, None, None] * xp.expand_dims(waves, 1), axis=2)
        field = xp.sum(weights[None, None, :, :, None] * xp.expand_dims(rows, 2), axis=3)
        return field * (self.alpha * xp.minimum(height, width))[:, None, None, None]


@dataclass(frozen=True)
class GridDistortion(Geometric):
    """Stretch and squeeze the columns and the rows of a grid, each by a factor in [1 - limit, 1 + limit].

    The sum of the sides stays, so the frame is filled. (Albumentations' GridDistortion, normalised.)
    """

    displaces: ClassVar[bool] = True

    steps: int = count(1, 32, default=5, unit="cells per side")
    limit: float = interval(0, 0.9, default=0.3, unit="fraction of a cell", identity=0.0)
    _: KW_ONLY
    p: float = probability(0.5)

    def uniform_count(self) -> int:
        return 2 * self.steps

    def field(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        def moved(part: Array, side: Array) -> Array:
            widths = 1.0 + self.limit * (2.0 * part - 1.0)
            ends = xp.cumsum(widths, axis=1) / xp.sum(widths, axis=1)[:, None]
            even = constant(np.arange(1, self.steps + 1) / self.steps, xp)
            offset = (ends - even[None]) * side[:, None]
            return xp.concatenate([xp.zeros_like(offset[:, :1]), offset], axis=1)  # [n, steps + 1]

        across, down = moved(u[:, : self.steps], width), moved(u[:, self.steps :], height)
        zero = 0.0 * (across[:, None, :] + down[:, :, None])
        return xp.stack([zero + across[:, None, :], zero + down[:, :, None]], axis=-1)


__all__ = [
    "D4",
    "Affine",
    "ElasticTransform",
    "GridDistortion",
    "HorizontalFlip",
    "Perspective",
    "Rotate",
    "Rotate90",
    "Scale",
    "Shear",
    "Translate",
    "Transpose",
    "VerticalFlip",
]
