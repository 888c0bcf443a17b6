"""Filters: what a pixel becomes from its neighbours, or by noise of its own. Each is a barrier to fusion."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from onewarp.fields import Range, probability, span
from onewarp.random import Array, constant, within
from onewarp.transform import Filter


@dataclass(frozen=True)
class GaussianBlur(Filter):
    """Blur by a Gaussian of standard deviation `sigma` pixels; the kernel reaches three of the largest sigma.

    The border is mirrored about the edge pixel (torchvision's "reflect").
    """

    method: ClassVar[str] = "blur"

    sigma: Range = span(0.05, 50, default=(0.1, 2.0), unit="pixels")
    _: KW_ONLY
    p: float = probability(0.5)

    def blur(self, u: Array, xp: Any) -> Array:
        radius = math.ceil(3 * self.sigma[1])
        distance = constant(np.arange(-radius, radius + 1), xp)
        weights = xp.exp(-0.5 * (distance[None] / within(self.sigma, u[:, 0])[:, None]) ** 2)
        return weights / xp.sum(weights, axis=1)[:, None]


@dataclass(frozen=True)
class GaussianNoise(Filter):
    """Add to every value a normal number of its own; its standard deviation is drawn from `std` for each image."""

    draws: ClassVar[int] = 3
    method: ClassVar[str] = "noise"

    std: Range = span(0, 1, default=(0.01, 0.05), unit="fraction of the value range", identity=0.0)
    _: KW_ONLY
    p: float = probability(0.5)

    def noise(self, u: Array, xp: Any) -> Array:
        return within(self.std, u[:, 2])


__all__ = ["GaussianBlur", "GaussianNoise"]
