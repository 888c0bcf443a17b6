"""placement="auto": a few steps of the real model with the policy on the host and on the device, then a choice."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from onewarp.data.prefetch import prefetch_batches
from onewarp.errors import OnewarpError
from onewarp.fit.loader import Loader

WARM_UP, STEPS = 2, 10


@dataclass(frozen=True)
class Measured:
    """Some steps with one placement.

    Attributes:
        seconds: per step, waiting included.
        data_wait: fraction of the time in which the step waited for data, 0 to 1.
    """

    seconds: float
    data_wait: float

    def __str__(self) -> str:
        return f"{1e3 * self.seconds:.2f} ms per step, data_wait {self.data_wait:.0%}"


def place(model: Any, loader: Any) -> None:
    """Choose the placement of a training loader with placement="auto", and print why."""
    if not isinstance(loader, Loader) or loader.placement != "auto":
        return
    found = {}
    for placement in ("host", "device"):
        try:
            found[placement] = measure(model, loader, placement)
        except OnewarpError as error:
            if placement == "host":
                raise
            loader.place("host")
            print(f'placement="auto": host, the device cannot run this policy: {error}')
            return
    chosen = min(found, key=lambda placement: found[placement].seconds)
    loader.place(chosen)
    print(f'placement="auto": {chosen} ({"; ".join(f"{name} {numbers}" for name, numbers in found.items())})')


def measure(model: Any, loader: Loader, placement: str, steps: int = STEPS) -> Measured:
    """Train some steps on the loader's first batches, then put the model back to where it was."""
    batches = loader.placed(placement)
    count = min(WARM_UP + steps, len(batches))
    first = batches.xyw(batches.batch(loader.epoch, 0))
    model.predict_on_batch(first[0])  # builds it, where it is not yet
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    kept = [(variable, np.array(keras.ops.convert_to_numpy(variable.value))) for variable in _variables(model)]
    prefetcher = prefetch_batches(batches, loader.epoch, 0, count, loader.threads, loader.prefetch)
    waited, began, done = 0.0, time.perf_counter(), 0
    try:
        for number in range(count):
            if number == min(WARM_UP, count - 1):  # what comes before compiles
                waited, began, done = 0.0, time.perf_counter(), 0
            asked = time.perf_counter()
            batch = batches.xyw(prefetcher.get().entries)
            waited += time.perf_counter() - asked
            model.train_on_batch(*batch)
            done += 1
        seconds = time.perf_counter() - began
    finally:
        prefetcher.close()
        for variable, value in kept:
            variable.assign(value)
    model.reset_metrics()
    return Measured(seconds / done, waited / seconds)


def _variables(model: Any) -> list[Any]:
    found = [*model.variables, *model.optimizer.variables]
    return list({id(variable): variable for variable in found}.values())
