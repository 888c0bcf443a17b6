"""Learning rates over a run: constant, step, cosine or poly, each with an optional linear warm-up.

`factor` is the formula, written once against a namespace `xp`; `LearningRate` is the same in Keras' compiled step.
"""

from __future__ import annotations

import math
from typing import Any

import keras

from onewarp.errors import InputError

SCHEDULES = ("constant", "step", "cosine", "poly")
POWER = 0.9  # of "poly", as in DeepLab


def factor(step: Any, total: int, schedule: str, warmup: int, xp: Any) -> Any:
    """The fraction of the base learning rate at `step`, in (0, 1] (0 at the very end of cosine and poly).

    Args:
        step: index of the optimizer step, from 0; a number or a float array of `xp`.
        total: number of steps of the whole run.
        schedule: `constant`; `step`: x 0.1 after half and again after three quarters of the steps that follow the
            warm-up; `cosine`: half a cosine from 1 to 0 over them; `poly`: (1 - progress) ** 0.9.
        warmup: number of steps over which the rate rises linearly from 1/warmup to 1; 0 for none.
        xp: namespace with `minimum`, `clip`, `where`, `cos` (NumPy or `keras.ops`).
    """
    ramp = xp.minimum((step + 1.0) / max(warmup, 1), 1.0)
    progress = xp.clip((step - warmup) / max(total - warmup, 1), 0.0, 1.0)
    if schedule == "cosine":
        return ramp * (0.5 + 0.5 * xp.cos(math.pi * progress))
    if schedule == "poly":
        return ramp * (1.0 - progress) ** POWER
    if schedule == "step":
        return ramp * xp.where(progress < 0.5, 1.0, xp.where(progress < 0.75, 0.1, 0.01))
    return ramp


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """`factor` times `base`, for a Keras optimizer.

    Args:
        base: highest learning rate, positive.
        total: number of optimizer steps of the whole run, at least 1.
        schedule: one of `SCHEDULES`.
        warmup: number of warm-up steps, 0 <= warmup < total.

    Raises:
        InputError: an argument is outside its range.
    """

    def __init__(self, base: float, total: int, schedule: str = "constant", warmup: int = 0) -> None:
        if schedule not in SCHEDULES:
            raise InputError(f"there is no schedule {schedule!r}; choose one of {', '.join(SCHEDULES)}")
        if not base > 0:
            raise InputError(f"the learning rate must be positive, got {base}")
        if not 0 <= warmup < total:
            raise InputError(f"the warm-up of {warmup} steps must be shorter than the run of {total} steps")
        self.base, self.total, self.schedule, self.warmup = base, total, schedule, warmup

    def __call__(self, step: Any) -> Any:
        step = keras.ops.cast(step, "float32")
        return self.base * factor(step, self.total, self.schedule, self.warmup, keras.ops)

    def get_config(self) -> dict[str, Any]:
        return {"base": self.base, "total": self.total, "schedule": self.schedule, "warmup": self.warmup}
