"""Mixing a sample with a partner of its batch: the last thing that happens. Labels, masks and boxes follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from onewarp.fields import interval
from onewarp.random import Array, beta_table, lookup
from onewarp.transform import Mix


@dataclass(frozen=True)
class MixUp(Mix):
    """Blend with a partner (Zhang et al. 2017): the weight is drawn from Beta(alpha, alpha).

    Labels are blended by the same weight. An integer mask takes the heavier image's classes (a class id is never
    averaged), a float mask is blended; boxes and points of both are kept.
    """

    draws: ClassVar[int] = 2

    alpha: float = interval(0.01, 100, default=0.2)

    def weight(self, u: Array, xp: Any) -> Array:
        return lookup(beta_table(self.alpha), u[:, 1], xp)


@dataclass(frozen=True)
class CutMix(Mix):
    """Paste a rectangle of a partner (Yun et al. 2019): its area is drawn from Beta(alpha, alpha).

    Labels are weighted by the true area; masks follow the rectangle; boxes are cut to what is still to be seen of them.
    """

    draws: ClassVar[int] = 4

    alpha: float = interval(0.01, 100, default=1.0)

    def weight(self, u: Array, xp: Any) -> Array:
        return lookup(beta_table(self.alpha), u[:, 1], xp)

    def rect(self, u: Array, weight: Array, height: int, width: int, xp: Any) -> Array:
        cut = xp.sqrt(1.0 - weight)
        top, left = u[:, 2] * height - 0.5 * cut * height, u[:, 3] * width - 0.5 * cut * width
        edges = [
            xp.clip(xp.round(top), 0, height),
            xp.clip(xp.round(left), 0, width),
            xp.clip(xp.round(top + cut * height), 0, height),
            xp.clip(xp.round(left + cut * width), 0, width),
        ]
        return xp.stack(edges, axis=-1)


__all__ = ["CutMix", "MixUp"]
