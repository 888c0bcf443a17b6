"""Which method of a Keras model is running, read from the stack: Keras does not tell a PyDataset."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple


class Call(NamedTuple):
    """A running `fit`, `evaluate` or `predict`, its model, and the steps per epoch that it was given, if any."""

    method: str
    model: Any
    steps: int | None


def keras_call() -> Call | None:
    """The innermost `fit`, `evaluate` or `predict` of Keras that this thread is in; None outside of them.

    Only the public names of these methods and of their arguments are relied on.
    """
    frame = sys._getframe(1)
    while frame is not None:
        method = frame.f_code.co_name
        if method in ("fit", "evaluate", "predict") and frame.f_globals.get("__name__", "").startswith("keras."):
            steps = frame.f_locals.get("steps_per_epoch" if method == "fit" else "steps")
            return Call(method, frame.f_locals.get("self"), steps)
        frame = frame.f_back  # type: ignore[assignment]
    return None


def give_weights_back() -> None:
    """To be called when an error is about to leave an `evaluate` or `predict`.

    On JAX these take the weights out of the model while they run and, unlike `fit`, would lose them.
    """
    call = keras_call()
    if call is not None and call.method != "fit" and hasattr(call.model, "jax_state_sync"):
        call.model.jax_state_sync()
