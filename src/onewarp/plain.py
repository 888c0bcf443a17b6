"""Plain samples: rows of a batch shown as `policy.deterministic()` shows them, under the plan of the policy itself.

So a batch can hold augmented and plain samples, run on either engine, and has one size. What is random does not fire
for plain rows; what becomes something else for validation (RandomResizedCrop a resize and a centre crop) gets its
matrix.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from onewarp.errors import PolicyError
from onewarp.plan import Plan, WarpStage
from onewarp.transform import Combinator, Geometric, Transform

RESIZE = 256 / 224  # as in policy.deterministic()
Form = tuple[Transform, ...] | None


@lru_cache(maxsize=256)
def plain_forms(plan: Plan) -> tuple[Form, ...]:
    """For each place of a plan what stands there for plain rows: None, the transform itself; (), nothing; or others.

    Raises:
        PolicyError: a transform whose `deterministic` cannot be shown in its place.
    """
    forms: list[Form] = [() for _ in plan.places]
    for index, place in enumerate(plan.places):
        if place.parent is not None:
            continue
        left = place.transform.deterministic(RESIZE)
        if not isinstance(place.transform, Combinator):
            forms[index] = None if left == (place.transform,) else left
        elif left:
            members = [child for child, other in enumerate(plan.places) if other.parent == index]
            same = [child for child in members if plan.transform(child).deterministic(RESIZE) == left]
            _require(bool(same), place.label)
            forms[same[0]] = left
    for place, form in zip(plan.places, forms, strict=True):
        transform = place.transform
        others = tuple(form or ())
        movable = isinstance(transform, Geometric) and not transform.displaces
        _require(not others or others == (transform,) or (movable and all(map(_moves, others))), place.label)
        lost = form == () and place.parent is None and transform.p == 1.0 and hasattr(transform, "size")
        _require(not (lost and isinstance(transform, Geometric)), place.label)
    return tuple(forms)


def _moves(transform: Transform) -> bool:
    return isinstance(transform, Geometric) and not transform.displaces and transform.uniform_count() == 0


def _require(condition: bool, label: str) -> None:
    if not condition:
        raise PolicyError(
            f"{label} cannot be shown plain, as its deterministic() does not fit in its place; use "
            "augment_probability=1 and originals=False"
        )


@lru_cache(maxsize=256)
def with_plain(plan: Plan) -> Plan:
    """The plan, ready for plain rows: a warp may be asked for any reduction that their geometry needs."""
    forms = plain_forms(plan)
    stages = list(plan.stages)
    for number, stage in enumerate(plan.stages):
        if not isinstance(stage, WarpStage):
            continue
        others = [transform for index in stage.places for transform in forms[index] or ()]
        if all(transform.exact for transform in others if isinstance(transform, Geometric)):
            continue
        smooth = plan.settings.antialias and plan.settings.interpolation != "nearest"
        stages[number] = replace(stage, exact=False, levels=(1, 2, 4, 8) if smooth else (1,))
    return replace(plan, stages=tuple(stages))
