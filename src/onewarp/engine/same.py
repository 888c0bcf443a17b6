"""Whether a compiled step can go on under another plan: the numbers that travel change, what is compiled stays."""

from __future__ import annotations

import dataclasses

import numpy as np

from onewarp.draw import draw
from onewarp.engine.passes import fills
from onewarp.plan import ColorStage, EraseStage, Plan, Stage, WarpStage


def serves(old: Plan, new: Plan) -> bool:
    """Whether a step that was compiled for `old` does with the numbers of `new` what `new` says.

    That is so where they have the same stages of the same transforms, and nothing in `new` that `old` left out: the
    plans of a policy and of `policy.strength(...)`, say.
    """
    if (old.spec, old.settings, old.table_nodes) != (new.spec, new.settings, new.table_nodes):
        return False
    if [type(place.transform) for place in old.places] != [type(place.transform) for place in new.places]:
        return False
    if len(old.stages) != len(new.stages) or not all(
        _stage_serves(old, new, number) for number in range(len(old.stages))
    ):
        return False
    return _shapes(old) == _shapes(new)


def _stage_serves(old: Plan, new: Plan, number: int) -> bool:
    mine, other = old.stages[number], new.stages[number]
    if isinstance(mine, WarpStage) and isinstance(other, WarpStage):
        return set(other.levels) <= set(mine.levels) and _plain(mine) == _plain(other)
    if mine != other:
        return False
    if isinstance(mine, ColorStage):  # a mean that `old` does not take cannot be used
        return all(
            any(old.transform(i).uses_mean() for i in op.places)
            or not any(new.transform(i).uses_mean() for i in op.places)
            for op in mine.ops
            if op.kind == "affine"
        )
    if isinstance(mine, EraseStage):
        return fills(old, number) == fills(new, number)
    return True


def _plain(stage: WarpStage) -> Stage:
    return dataclasses.replace(stage, levels=())


def _shapes(plan: Plan) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """What is drawn for one sample: shape and dtype of each array."""
    sizes = np.array([[side or 64 for side in plan.spec.images[:2]]], np.int32)
    drawn = draw(plan, 0, 0, np.zeros(1, np.int64), None, sizes).arrays
    return {name: (array.shape[1:], array.dtype) for name, array in drawn.items()}
