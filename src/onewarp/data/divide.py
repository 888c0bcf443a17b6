"""A policy in two parts: what makes frames that can be kept, and what still happens to them in every epoch."""

from __future__ import annotations

import dataclasses
from collections import Counter

from onewarp.errors import PolicyError
from onewarp.plan import Plan
from onewarp.policy import Policy, checked_policy
from onewarp.transform import Color, Combinator, Mix, Transform

_PLAIN = {"dtype": None, "data_format": "channels_last"}  # settings of a policy whose results are frames


def divided(policy: Policy, then: Policy | None = None) -> tuple[Policy, Policy]:
    """The policy that makes frames, and the one that runs on them in every epoch.

    Raises:
        PolicyError: `policy` normalises or mixes, or asks for another dtype or layout, although there is a second one.
    """
    late = next((number for number, one in enumerate(checked_policy(policy).transforms) if _ends_frames(one)), None)
    if then is None:
        made, rest = policy.transforms[:late], () if late is None else policy.transforms[late:]
        settings = dataclasses.asdict(policy.settings)
        return Policy(made, **{**settings, **_PLAIN}), Policy(rest, **settings)
    checked_policy(then, "then")
    if late is not None:
        name = type(policy.transforms[late]).__name__
        raise PolicyError(f"{name} cannot be part of what is kept as frames; move {name} into the policy then=")
    for name, plain in _PLAIN.items():
        value = getattr(policy.settings, name)
        if value != plain:
            raise PolicyError(f"frames are kept as they are augmented, so {name}={value!r} belongs to the policy then=")
    return policy, then


def _ends_frames(transform: Transform) -> bool:
    """Whether frames are made only up to this transform."""
    if isinstance(transform, Combinator):
        return any(_ends_frames(member) for member in transform.transforms)
    return isinstance(transform, Mix) or (isinstance(transform, Color) and "output" in transform.colour_steps())


def following(first: Plan, second: Plan) -> Plan:
    """The second plan with the random keys it has behind the first: its flip is not drawn like the other's.

    Raises:
        PolicyError: a `name=` that both have.
    """
    before = Counter(place.slot[0] for place in first.places)
    places = []
    for place in second.places:
        kind, number = place.slot
        if kind.startswith("name:") and before[kind]:
            raise PolicyError(
                f"two transforms have the name {kind[5:]!r}; a name pins random numbers, so it must be unique"
            )
        places.append(dataclasses.replace(place, slot=(kind, number + before[kind])))
    return dataclasses.replace(second, places=tuple(places))
