"""What of a loader may change between two epochs, and how its state keeps it.

`CHANGEABLE` has a line for each: a change is checked against the batches as they are, gives other batches, and is kept
as plain values. To make something else changeable, add a line.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from onewarp.data.batches import Batches
from onewarp.data.frames import remade
from onewarp.errors import InputError, PolicyError
from onewarp.policy import Policy, checked_policy
from onewarp.transform import Combinator, Transform
from onewarp.transforms import vocabulary


@dataclass(frozen=True)
class Change:
    """One thing that may change.

    Attributes:
        of: the value that batches have.
        apply: batches with another value; raises InputError or PolicyError where that cannot be.
        plain: a value as JSON can keep it.
        read: the value of what `plain` gave, for these batches.
    """

    of: Callable[[Batches], Any]
    apply: Callable[[Batches, Any], Batches]
    plain: Callable[[Any], Any]
    read: Callable[[Batches, Any], Any]


def _with_policy(batches: Batches, policy: Any) -> Batches:
    other = remade(batches, policy=checked_policy(policy))
    for name, mine, its in (
        ("images of shape", batches.plan.output_shape, other.plan.output_shape),
        ("images of type", batches.plan.output_dtype, other.plan.output_dtype),
        ("mixed labels:", batches.plan.mixes, other.plan.mixes),
    ):
        if mine != its:
            raise PolicyError(
                f"the new policy gives {name} {its}, the model was made for {mine}; give it the same end as the old one"
            )
    if batches.placement == "device" and other.route != batches.route:
        raise PolicyError(
            "the new policy has other stages than the one that the train step was compiled for; on the device only "
            'ranges, probabilities and strength may change: use placement="host" for more'
        )
    return other


def own_transforms(policy: Policy) -> list[type[Transform]]:
    """Classes in a policy that are not the library's; reading it from plain values needs them."""
    known = vocabulary()

    def classes(transforms: Iterable[Transform]) -> Iterable[type[Transform]]:
        for transform in transforms:
            yield type(transform)
            if isinstance(transform, Combinator):
                yield from classes(transform.transforms)

    return [cls for cls in dict.fromkeys(classes(policy)) if known.get(cls.__name__) is not cls]


def _argument(name: str) -> Change:
    """The change of an argument of the Loader that JSON can keep as it is."""
    return Change(
        of=lambda batches: batches.options.get(name),
        apply=lambda batches, value: remade(batches, **{name: value}),
        plain=lambda value: value,
        read=lambda batches, plain: plain,
    )


CHANGEABLE: dict[str, Change] = {
    "policy": Change(
        of=lambda batches: batches.policy,
        apply=_with_policy,
        plain=lambda policy: policy.to_dict(),
        read=lambda batches, plain: Policy.from_dict(plain, own_transforms(batches.policy)),
    ),
    "samples_per_class": _argument("samples_per_class"),
    "reuse": _argument("reuse"),
}


def changed(batches: Batches, changes: Mapping[str, Any]) -> Batches:
    """Batches with other settings. Raises InputError or PolicyError for what cannot change, or not to that."""
    for name, value in changes.items():
        if name not in CHANGEABLE:
            close = difflib.get_close_matches(name, CHANGEABLE, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise InputError(f"{name!r} of a Loader cannot change between epochs{hint}; {', '.join(CHANGEABLE)} can")
        batches = CHANGEABLE[name].apply(batches, value)
    return batches


def as_plain(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes as JSON can keep them."""
    return {name: CHANGEABLE[name].plain(value) for name, value in changes.items()}


def from_plain(batches: Batches, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Changes of what `as_plain` gave. Raises InputError for anything else."""
    for name in plain:
        if name not in CHANGEABLE:
            raise InputError(f"the state changes {name!r}, which this Loader cannot; use the version that wrote it")
    return {name: CHANGEABLE[name].read(batches, value) for name, value in plain.items()}
