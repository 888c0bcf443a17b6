"""What a transform is: the distribution of one random change, as a frozen dataclass, in one of five kinds.

A transform turns uniform numbers `u` [n, draws] into what its kind needs. It never sees a generator, imports no backend
(`xp` is handed in: NumPy, or `keras.ops` inside a compiled step) and knows no target: masks, boxes and points follow
from the kind. Whether it fires (`p`, combinators) is decided once, outside; a transform describes what happens when it
does.
"""

from __future__ import annotations

import dataclasses
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from onewarp.errors import PolicyError
from onewarp.fields import label, probability, towards_identity, validate
from onewarp.random import Array

Side = int | None  # a side of a frame; None where it differs from sample to sample


@dataclass(frozen=True)
class Transform:
    """Base of all transforms.

    p: probability in [0, 1] that the transform acts on a sample.
    name: pins the key of the random numbers for good; by default it is the class name and the transform's
        position among those of its class in the policy.
    """

    draws: ClassVar[int] = 1  # uniforms needed per sample, beyond the one for `p`

    _: KW_ONLY
    p: float = probability(1.0)
    name: str | None = label()

    def __post_init__(self) -> None:
        validate(self)

    def uniform_count(self) -> int:
        """How many uniforms per sample the transform takes; `draws`, unless it depends on the parameters."""
        return self.draws

    def deterministic(self, resize: float) -> tuple[Transform, ...]:
        """What is left of the transform in `policy.deterministic()`: what is certain stays, what is random goes."""
        return (self,) if self.uniform_count() == 0 and self.p == 1.0 else ()

    def scaled(self, strength: float) -> Transform:
        """The transform at a fraction `strength` in [0, 1] of its strength: the same stages, nearer to doing nothing.

        Parameters that declare an identity move there, and p stays. Where there is none, p is multiplied.
        """
        moved = towards_identity(self, strength)
        return dataclasses.replace(self, **(moved or {"p": self.p * strength}))

    def settings(self) -> dict[str, Any]:
        """The parameters that differ from their defaults, in the order in which they can be passed."""
        found = {}
        for field in sorted(dataclasses.fields(self), key=lambda field: bool(field.kw_only)):
            value = getattr(self, field.name)
            default = field.default
            rule = field.metadata.get("rule")
            if rule is not None and default is not dataclasses.MISSING:
                default = rule.check(type(self).__name__, field.name, default)
            if value != default:
                found[field.name] = value
        return found

    def expression(self) -> str:
        """The Python expression that makes it, defaults left out."""

        def text(value: Any) -> str:
            if isinstance(value, tuple) and value and isinstance(value[0], Transform):
                return "[" + ", ".join(member.expression() for member in value) + "]"
            return repr(value)

        return f"{type(self).__name__}({', '.join(f'{name}={text(value)}' for name, value in self.settings().items())})"


class Geometric(Transform):
    """Moves pixels: a 3x3 matrix from output to input points, or a displacement field on a coarse grid.

    Neighbours become one warp: matrices multiply, a field composes with the matrices around it.
    """

    exact: ClassVar[bool] = False  # only permutes pixels: nothing is interpolated
    displaces: ClassVar[bool] = False  # yields `field` instead of `matrix`
    projective: ClassVar[bool] = False  # its matrices may have another last row than (0, 0, 1)
    rigid: ClassVar[bool] = False  # keeps distances, as all that is exact does

    def output_size(self, height: Any, width: Any, xp: Any = np) -> tuple[Any, Any]:
        """The size of the frame it makes from a frame of that size. None (unknown) in may give None out."""
        return height, width

    def shrink(self, height: Side, width: Side) -> float:
        """A bound of how many pixels of a frame of that size lie between neighbouring pixels of its result; infinity
        where none is known. Where it stays below 2, an engine can do without what antialiasing needs.
        """
        return 1.0 if self.rigid or self.exact or self.displaces else np.inf

    def frame(self, u: Array, height: Array, width: Array, xp: Any) -> tuple[Array, Array]:
        """The same per sample, where it depends on the draw; [n] or [1] numbers."""
        return self.output_size(height, width, xp)

    def matrix(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        """[n or 1, 3, 3], output points to input points; `height`, `width` ([n] or [1]) of the input frame."""
        raise NotImplementedError

    def field(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        """[n, gh, gw, 2]: (dx, dy) in pixels at nodes that divide the frame evenly, borders included."""
        raise NotImplementedError


class Color(Transform):
    """Changes values without moving them. Its `steps` say how: "affine" (a colour map), "table" (a curve), "hue" (an
    HSV shift), "autocontrast", "equalize" (from the frame's statistics), or "output" (the last scale and offset).

    Neighbours become one pass: maps multiply, curves compose. Unit values: 0 is the low end of the value range, 1 the
        high.
    """

    steps: ClassVar[tuple[str, ...]] = ("affine",)
    needs_rgb: ClassVar[bool] = False
    bounded: ClassVar[bool] = False  # its curve stays within [0, 1]: there is nothing to clip

    def colour_steps(self) -> tuple[str, ...]:
        """The steps; `steps`, unless they depend on the parameters."""
        return self.steps

    def uses_mean(self) -> bool:
        """Whether the K of `affine` may differ from 0. An engine that knows it does not can leave the mean out."""
        return True

    def check_channels(self, channels: int) -> None:
        """Raise PolicyError where the transform cannot work on that many channels."""
        if self.needs_rgb:
            self.check_rgb(channels)

    def check_rgb(self, channels: int) -> None:
        """For what works on RGB: 3 channels, or 4 of which the last is left alone."""
        if channels not in (3, 4):
            raise PolicyError(
                f"{type(self).__name__} needs RGB (3 channels, or 4 with the last left alone), the images have "
                f"{channels}; remove it or convert the images"
            )

    def check_grey(self, channels: int) -> None:
        """For what needs a grey value: RGB, or a single channel, which is its own grey value."""
        if channels != 1:
            self.check_rgb(channels)

    def affine(self, u: Array, channels: int, xp: Any) -> Array:
        """[n or 1, c, 2c+1] = [A | K | d] on unit values: x' = A x + K mean(x) + d."""
        raise NotImplementedError

    def curve(self, u: Array, x: Array, xp: Any) -> Array:
        """The value that unit value `x` ([n or 1, nodes, c or 1], within [0, 1]) becomes;
        same shape, broadcast over n.
        """
        raise NotImplementedError

    def shift(self, u: Array, xp: Any) -> Array:
        """The hue shift in turns, [n]."""
        raise NotImplementedError

    def output(self, low: float, high: float, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """(scale [c], offset [c]): the output is value * scale + offset; `low`, `high` are the range at that point."""
        raise NotImplementedError


class Filter(Transform):
    """Changes a pixel from its neighbours or by noise of its own. A barrier: nothing fuses across it."""

    method: ClassVar[str] = ""  # "blur" or "noise": the engine's verb

    def blur(self, u: Array, xp: Any) -> Array:
        """Weights [n, k], k odd, of a separable kernel that sums to 1."""
        raise NotImplementedError

    def noise(self, u: Array, xp: Any) -> Array:
        """Standard deviation [n] as a fraction of the value range. Columns 0 and 1 of `u` key the noise itself."""
        raise NotImplementedError


class Erase(Transform):
    """Overwrites parts of the frame. Masks, boxes and points stay as they are."""

    method: ClassVar[str] = "rects"  # or "grid"

    def rects(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        """[n, m, 4] (top, left, bottom, right) in pixels, half-open; an empty one erases nothing."""
        raise NotImplementedError

    def grid(self, u: Array, height: Array, width: Array, xp: Any) -> Array:
        """[n, 6] (unit height, unit width, hole height, hole width, offset y, offset x) in pixels."""
        raise NotImplementedError


class Mix(Transform):
    """Combines a sample with a partner from its batch, the last thing that happens; labels, masks and boxes follow."""

    def weight(self, u: Array, xp: Any) -> Array:
        """[n] in [0, 1]: how much of the sample itself remains (before a rectangle's true area is known)."""
        raise NotImplementedError

    def rect(self, u: Array, weight: Array, height: int, width: int, xp: Any) -> Array | None:
        """[n, 4] (top, left, bottom, right) in pixels that come from the partner, or None: blend."""
        return None


class Combinator(Transform):
    """Decides which of its members fire for a sample; changes nothing itself."""

    sequential: ClassVar[bool] = False  # all members fire together, one after the other

    transforms: tuple[Transform, ...] = ()

    def select(self, u: Array, xp: Any) -> Array:
        """[n, members] of booleans."""
        raise NotImplementedError
