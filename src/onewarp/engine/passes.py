"""Stages are carried out in passes: one sweep over the pixels does warp -> colour -> erase -> saturate, scale, cast.

Both engines use these groups, because they are part of the meaning: between passes (a filter is a pass of its own)
pixels have the images' dtype, within one they do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onewarp.plan import ColorStage, EraseStage, FilterStage, MixStage, OutputStage, Plan, Stage, WarpStage


@dataclass(frozen=True)
class Pass:
    """Stage numbers of what one pass does (None: nothing of that kind). With a filter there is nothing else."""

    warp: int | None = None
    colour: int | None = None
    erase: int | None = None
    filter: int | None = None
    last: bool = False  # it ends with the plan's output

    def behind(self, start: int) -> Pass:
        """What is left of it from stage number `start` on."""
        numbers = (self.warp, self.colour, self.erase, self.filter)
        warp, colour, erase, filter = (None if n is None or n < start else n for n in numbers)
        return Pass(warp, colour, erase, filter, self.last)

    @property
    def number(self) -> int | None:
        """The number of its first stage; None for a pass that only makes the output."""
        return next((n for n in (self.warp, self.colour, self.erase, self.filter) if n is not None), None)


_FIELD = {WarpStage: "warp", ColorStage: "colour", EraseStage: "erase"}
_RANK = {name: rank for rank, name in enumerate(_FIELD.values())}


def passes(plan: Plan) -> tuple[Pass, ...]:
    """The passes of a plan, in order; mixes come after the last one."""
    found: list[Pass] = []
    group: dict[str, int] = {}

    def flush(last: bool) -> None:
        if group or last:
            found.append(Pass(**group, last=last))
        group.clear()

    for number, stage in enumerate(plan.stages):
        if isinstance(stage, MixStage):
            break
        if isinstance(stage, OutputStage):
            flush(True)
        elif isinstance(stage, FilterStage):
            flush(False)
            found.append(Pass(filter=number))
        else:
            name = _FIELD[type(stage)]
            if group and _RANK[name] <= max(_RANK[other] for other in group):
                flush(False)
            group[name] = number
    return tuple(found)


def per_channel(value: Any, channels: int) -> list[float]:
    """A number, or one for each channel, as one for each channel."""
    return [float(v) for v in value] if isinstance(value, tuple) else [float(value)] * channels


def fills(plan: Plan, erase: int | None) -> list[tuple[str, list[float] | None]]:
    """("rects" or "grid", fill per channel or None for noise) of each transform of an erase stage."""
    if erase is None:
        return []
    stage = plan.stages[erase]
    assert isinstance(stage, EraseStage)
    transforms = [plan.transform(index) for index in stage.places]
    return [
        (t.method, None if t.fill_value == "noise" else per_channel(t.fill_value, plan.spec.channels))
        for t in transforms
    ]


def smooth(plan: Plan, colour: int | None) -> bool:
    """Whether the tables of a colour stage may be interpolated: none of the curves has steps."""
    if colour is None:
        return False
    stage: Stage = plan.stages[colour]
    assert isinstance(stage, ColorStage)
    return all(plan.transform(i).smooth for op in stage.ops if op.kind == "table" for i in op.places)
