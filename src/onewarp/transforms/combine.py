"""Combinators: they only decide which of their members fire for a sample. Members must agree in output size."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onewarp.errors import InputError
from onewarp.fields import Range, counts, numbers
from onewarp.random import Array, constant, integer
from onewarp.transform import Combinator, Transform


class _Members(Combinator):
    def __post_init__(self) -> None:
        super().__post_init__()
        members = self.transforms
        if isinstance(members, list):
            members = tuple(members)
        elif isinstance(members, Transform):
            members = (members,)
        if not isinstance(members, tuple) or not members or not all(isinstance(m, Transform) for m in members):
            raise InputError(
                f"{type(self).__name__}(transforms={self.transforms!r}): transforms must be a list of at "
                "least one transform"
            )
        object.__setattr__(self, "transforms", members)

    def deterministic(self, resize: float) -> tuple[Transform, ...]:
        """What sizes the frame survives once:
        the members agree in output size, so the first that sets one speaks for all.
        """
        kept = [member.deterministic(resize) for member in self.transforms]
        sizing = [left for member, left in zip(self.transforms, kept, strict=True) if left and _sizes(member)]
        return sizing[0] if sizing else ()

    def scaled(self, strength: float) -> Transform:
        """Members that set the size of the frame differ even where they do nothing random: then p is multiplied."""
        if any(_sizes(member) for member in self.transforms):
            return dataclasses.replace(self, p=self.p * strength)
        members = tuple(member.scaled(strength) for member in self.transforms)
        return dataclasses.replace(self, **{"transforms": members})  # type: ignore[arg-type]


def _sizes(transform: Transform) -> bool:
    return bool(hasattr(transform, "size"))


@dataclass(frozen=True)
class OneOf(_Members):
    """One member is chosen for each sample, by `weights` (even by default); it then fires by its own p."""

    transforms: tuple[Transform, ...] = ()
    weights: Any = numbers(default=None, optional=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = self.weights
        if weights is not None and (
            not isinstance(weights, tuple)
            or len(weights) != len(self.transforms)
            or min(weights) < 0
            or sum(weights) <= 0
        ):
            raise InputError(
                f"OneOf(weights={weights!r}): weights must be {len(self.transforms)} numbers >= 0, not all "
                "zero, one for each member"
            )

    def select(self, u: Array, xp: Any) -> Array:
        weights = np.ones(len(self.transforms)) if self.weights is None else np.asarray(self.weights, float)
        ends = np.cumsum(weights) / np.sum(weights)
        ends[-1] = 2.0  # rounding must not leave a gap below 1
        starts = np.concatenate([[0.0], ends[:-1]])
        chosen = u[:, :1]
        return xp.logical_and(chosen >= constant(starts, xp)[None], chosen < constant(ends, xp)[None])


@dataclass(frozen=True)
class SomeOf(_Members):
    """`n` members, a number or (low, high), are chosen for each sample without repetition;
    each then fires by its own p.
    """

    transforms: tuple[Transform, ...] = ()
    n: Range = counts(0, 64, default=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n[1] > len(self.transforms):
            raise InputError(f"SomeOf(n={self.n}): n must not exceed the number of members, {len(self.transforms)}")

    def uniform_count(self) -> int:
        return 1 + len(self.transforms)

    def select(self, u: Array, xp: Any) -> Array:
        low, high = self.n
        number = low + integer(u[:, 0], float(high - low + 1), xp)
        one, other = xp.expand_dims(u[:, 1:], 2), xp.expand_dims(u[:, 1:], 1)
        earlier = constant(np.tril(np.ones((len(self.transforms),) * 2), -1), xp)[None]
        ahead = xp.where(other < one, 1.0, xp.where(other == one, earlier, 0.0))  # ties go to the first
        return xp.sum(ahead, axis=2) < number[:, None]


@dataclass(frozen=True)
class Sometimes(_Members):
    """All members together, with probability p; otherwise none."""

    draws: ClassVar[int] = 0
    sequential: ClassVar[bool] = True

    transforms: tuple[Transform, ...] = ()

    def select(self, u: Array, xp: Any) -> Array:
        return xp.ones((1, len(self.transforms)), dtype="bool")


__all__ = ["OneOf", "SomeOf", "Sometimes"]
