"""Colour transforms: each says what a pixel's values become. One alone gives what torchvision's definition of it gives.

Values are unit values: 0 is the low end of the image's value range, 1 the high end (uint8: 255). Grey is
0.299 R + 0.587 G + 0.114 B. `u` holds uniform numbers [n, draws].
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from onewarp.errors import PolicyError
from onewarp.fields import Range, choice, counts, factor, probability, span, spread
from onewarp.matrices import LUMA, alpha_in, colour_map, jitter_map, rgb_in
from onewarp.random import Array, constant, exp_over, integer, integers, single, within
from onewarp.transform import Color, Transform

_UNCHANGED = (1.0, 1.0)
_SHUFFLES = [np.eye(3)[list(order)] for order in itertools.permutations(range(3))]


@dataclass(frozen=True)
class Brightness(Color):
    """Multiply all channels by a number drawn from `factor`."""

    factor: Range = factor(default=0.2)

    def uses_mean(self) -> bool:
        return False

    def affine(self, u: Array, channels: int, xp: Any) -> Array:
        return jitter_map(channels, xp, brightness=within(self.factor, u[:, 0]))


@dataclass(frozen=True)
class Contrast(Color):
    """Blend with the mean of the grey image: below 1 flatter, above 1 steeper."""

    factor: Range = factor(default=0.2)

    def check_channels(self, channels: int) -> None:
        self.check_grey(channels)

    def affine(self, u: Array, channels: int, xp: Any) -> Array:
        return jitter_map(channels, xp, contrast=within(self.factor, u[:, 0]))


@dataclass(frozen=True)
class Saturation(Color):
    """Blend with the grey image: 0 is grey, 1 unchanged, above 1 more colourful."""

    needs_rgb: ClassVar[bool] = True

    factor: Range = factor(default=0.2)

    def uses_mean(self) -> bool:
        return False

    def affine(self, u: Array, channels: int, xp: Any) -> Array:
        return jitter_map(channels, xp, saturation=within(self.factor, u[:, 0]))


@dataclass(frozen=True)
class Hue(Color):
    """Turn the colours by a fraction of the colour circle.

    method "linear": a rotation about the grey axis, a matrix that fuses with its neighbours; "hsv": torchvision's shift
    of the hue in HSV, a step of its own. They differ: the rotation keeps R + G + B, the HSV shift keeps the largest
    channel.
    """

    needs_rgb: ClassVar[bool] = True

    turns: Range = spread(0.5, default=0.1, unit="turns of the colour circle")
    method: str = choice("linear", "hsv", default="linear")

    def colour_steps(self) -> tuple[str, ...]:
        return ("affine",) if self.method == "linear" else ("hue",)

    def uses_mean(self) -> bool:
        return False

    def affine(self, u: Array, channels: int, xp: Any) -> Array:
        return jitter_map(channels, xp, turns=within(self.turns, u[:, 0]))

    def shift(self, u: Array, xp: Any) -> Array:
        return within(self.turns, u[:, 0])


@dataclass(frozen=True)
class ColorJitter(Color):
    """Brightness, contrast, saturation and hue, in this order, each by its own draw. All but `hue_method="hsv"` is one
    matrix.

    brightness, contrast, saturation: factor ranges as in `Brightness`, ...; hue: as in `Hue`; 0 leaves that one out.
    """

    draws: ClassVar[int] = 4

    brightness: Range = factor(default=0.0)
    contrast: Range = factor(default=0.0)
    saturation: Range = factor(default=0.0)
    hue: Range = spread(0.5, default=0.0, unit="turns of the colour circle")
    hue_method: str = choice("linear", "hsv", default="linear")

    def _turns(self) -> bool:
        return bool(self.hue != (0, 0))

    def colour_steps(self) -> tuple[str, ...]:
        return ("affine", "hue") if self.hue_method == "hsv" and self._turns() else ("affine",)

    def check_channels(self, channels: int) -> None:
        if self.saturation != _UNCHANGED or self._turns():
            self.check_rgb(channels)
        elif self.contrast != _UNCHANGED:
            self.check_grey(channels)

    def uses_mean(self) -> bool:
        return bool(self.contrast != _UNCHANGED)

    def affine(self, u: Array, channels: int, xp: Any) -> Array:
        return jitter_map(
            channels,
            xp,
            None if self.brightness == _UNCHANGED else within(self.brightness, u[:, 0]),
            None if self.contrast == _UNCHANGED else within(self.contrast, u[:, 1]),
            None if self.saturation == _UNCHANGED else within(self.saturation, u[:, 2]),
            within(self.hue, u[:, 3]) if self._turns() and self.hue_method == "linear" else None,
        )

    def shift(self, u: Array, xp: Any) -> Array:
        return within(self.hue, u[:, 3])

    def scaled(self, strength: float) -> Transform:
        """At 0 by p: without hue, "hsv" would lose its step."""
        return super().scaled(strength) if strength else dataclasses.replace(self, p=0.0)


@dataclass(frozen=True)
class Grayscale(Color):
    """Replace R, G and B by the grey value; the number of channels stays."""

    draws: ClassVar[int] = 0
    needs_rgb: ClassVar[bool] = True

    _: KW_ONLY
    p: float = probability(0.1)

    def uses_mean(self) -> bool:
        return False

    def affine(self, u: Array, channels: int, xp: Any) -> Array:
        return colour_map(constant(rgb_in(LUMA, channels) + alpha_in(channels), xp)[None], xp=xp)


@dataclass(frozen=True)
class Invert(Color):
    """The negative: x becomes 1 - x (a fourth channel stays)."""

    draws: ClassVar[int] = 0

    _: KW_ONLY
    p: float = probability(0.5)

    def uses_mean(self) -> bool:
        return False

    def affine(self, u: Array, channels: int, xp: Any) -> Array:
        turned = np.ones(channels) - (np.diag(alpha_in(channels)) if channels == 4 else 0.0)
        linear, offset = constant(np.diag(1.0 - 2.0 * turned), xp), constant(turned, xp)
        return colour_map(linear[None], offset=offset[None], xp=xp)


@dataclass(frozen=True)
class ChannelShuffle(Color):
    """Put R, G and B into one of the six orders, each as likely."""

    needs_rgb: ClassVar[bool] = True

    _: KW_ONLY
    p: float = probability(0.5)

    def uses_mean(self) -> bool:
        return False

    def affine(self, u: Array, channels: int, xp: Any) -> Array:
        orders = constant(np.stack([rgb_in(order, channels) + alpha_in(channels) for order in _SHUFFLES]), xp)
        return colour_map(xp.take(orders, integers(integer(u[:, 0], 6, xp), xp), axis=0), xp=xp)


@dataclass(frozen=True)
class ChannelShift(Color):
    """Add to R, G and B a number of their own, drawn from `shift` (a fraction of the value range);
    1 channel has one number.
    """

    draws: ClassVar[int] = 3

    offset: Range = spread(1, default=0.1, unit="fraction of the value range")

    def check_channels(self, channels: int) -> None:
        if channels not in (1, 3, 4):
            raise PolicyError(
                f"ChannelShift takes images of 1, 3 or 4 channels, not {channels}; remove it from the policy"
            )

    def uses_mean(self) -> bool:
        return False

    def affine(self, u: Array, channels: int, xp: Any) -> Array:
        shifts = within(self.offset, u)[:, : min(channels, 3)]
        if channels == 4:
            shifts = xp.concatenate([shifts, xp.zeros_like(shifts[:, :1])], axis=1)
        linear = constant(np.eye(channels), xp)[None] + 0.0 * shifts[:, :, None]
        return colour_map(linear, offset=shifts, xp=xp)


class _Curve(Color):
    """What transforms by a curve share. On uint8 a curve is a table of 256 entries."""

    steps: ClassVar[tuple[str, ...]] = ("table",)
    bounded: ClassVar[bool] = True
    smooth: ClassVar[bool] = False  # False: the curve has steps, so its table is not interpolated


@dataclass(frozen=True)
class Gamma(_Curve):
    """x becomes x ** gamma: below 1 brighter, above 1 darker."""

    smooth: ClassVar[bool] = True

    gamma: Range = span(0.01, 100, default=(0.8, 1.25), unit="exponent", identity=1.0)

    def curve(self, u: Array, x: Array, xp: Any) -> Array:
        logarithm = xp.where(x > 0.0, xp.log(xp.maximum(x, 1e-300)), -np.inf)
        exponent = within(self.gamma, u[:, 0])[:, None, None]
        return exp_over(single(exponent, xp) * single(logarithm, xp), xp)  # x ** gamma, in less time


@dataclass(frozen=True)
class Solarize(_Curve):
    """Invert what is as bright as `threshold` or brighter."""

    threshold: Range = span(0, 1, default=0.5, unit="fraction of the value range")
    _: KW_ONLY
    p: float = probability(0.5)

    def curve(self, u: Array, x: Array, xp: Any) -> Array:
        return xp.where(x < within(self.threshold, u[:, 0])[:, None, None], x, 1.0 - x)


@dataclass(frozen=True)
class Posterize(_Curve):
    """Keep the upper `bits` of eight bits; a pair (low, high) draws the number of bits."""

    bits: Range = counts(1, 8, default=4, unit="bits")
    _: KW_ONLY
    p: float = probability(0.5)

    def curve(self, u: Array, x: Array, xp: Any) -> Array:
        low, high = self.bits
        kept = low + integer(u[:, 0], float(high - low + 1), xp)
        step = 2.0 ** (8.0 - kept)[:, None, None]
        # The levels are whole numbers of 1/255, computed and so not quite whole.
        return xp.floor((x * 255.0 + 1e-3) / step) * step / 255.0


@dataclass(frozen=True)
class AutoContrast(Color):
    """Stretch each channel so that its darkest value becomes 0 and its brightest 1."""

    draws: ClassVar[int] = 0
    steps: ClassVar[tuple[str, ...]] = ("autocontrast",)

    _: KW_ONLY
    p: float = probability(0.5)


@dataclass(frozen=True)
class Equalize(Color):
    """Make the histogram of each channel flat, with 256 bins (Pillow's and torchvision's definition)."""

    draws: ClassVar[int] = 0
    steps: ClassVar[tuple[str, ...]] = ("equalize",)

    _: KW_ONLY
    p: float = probability(0.5)


__all__ = [
    "AutoContrast",
    "Brightness",
    "ChannelShift",
    "ChannelShuffle",
    "ColorJitter",
    "Contrast",
    "Equalize",
    "Gamma",
    "Grayscale",
    "Hue",
    "Invert",
    "Posterize",
    "Saturation",
    "Solarize",
]
