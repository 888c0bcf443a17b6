"""Which method of a Keras model is running, read from the stack: Keras does not tell a PyDataset."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple


class Call(NamedTuple):
    """A running `fit`, `evaluate` or `predict`, its model, and the `steps_per_epoch` that fit was given."""

    method: str
    model: Any
    steps_per_epoch: int | None


def keras_call() -> Call | None:
    """The innermost `fit`, `evaluate` or `predict` of Keras that this thread is in; None outside of them.

    Only the public names of these methods and of fit's argument are relied on.
    """
    frame = sys._getframe(1)
    while frame is not None:
        method = frame.f_code.co_name
        if method in ("fit", "evaluate", "predict") and frame.f_globals.get("__name__", "").startswith("keras."):
            return Call(method, frame.f_locals.get("self"), frame.f_locals.get("steps_per_epoch"))
        frame = frame.f_back  # type: ignore[assignment]
    return None
