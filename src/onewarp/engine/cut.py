"""A plan in two parts: photos of different sizes are warped on the host, which makes them one size; the rest of the
plan can then run on the device. Stages keep their numbers, so both parts read the same parameters.

What is cut is rounded to the images' dtype in between. A box is judged by `min_area` and `min_visibility` in each part.
"""

from __future__ import annotations

import dataclasses

from onewarp.plan import OutputStage, Plan, WarpStage


def cut(plan: Plan) -> int:
    """The number of the stage behind the first warp, where all frames have one size; 0 for a plan without a warp."""
    warps = [number for number, stage in enumerate(plan.stages) if isinstance(stage, WarpStage)]
    return warps[0] + 1 if warps else 0


def head(plan: Plan, stop: int) -> Plan:
    """The plan of the stages before number `stop` alone: its result are frames in the images' own dtype and layout.

    The host runs it with the parameters of the whole plan; `device.run(..., start=stop)` goes on from there.
    """
    channels = plan.spec.channels
    output = OutputStage((), (1.0,) * channels, (0.0,) * channels, plan.spec.dtype)
    settings = dataclasses.replace(plan.settings, dtype=None, data_format="channels_last")
    return dataclasses.replace(plan, settings=settings, stages=(*plan.stages[:stop], output))


def frame_at(plan: Plan, start: int) -> tuple[int | None, int | None]:
    """(height, width) of the frames that stage number `start` gets; None where they differ."""
    sizes = [stage.size for stage in plan.stages[:start] if isinstance(stage, WarpStage)]
    return sizes[-1] if sizes else plan.spec.images[:2]
