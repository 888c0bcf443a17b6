"""One training: a policy, three sources and settings in; a model, its history and its test result out."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from rich.console import Console

from onewarp.data.base import Source
from onewarp.errors import DataError, InputError, PolicyError
from onewarp.fit.callbacks import PipelineMonitor
from onewarp.fit.loader import Loader
from onewarp.fit.progress import EpochRows, ProgressBar, Row
from onewarp.fit.schedule import LearningRate, factor
from onewarp.models import build
from onewarp.policy import Policy


@dataclass(frozen=True)
class Data:
    """Three disjoint sources with class numbers as labels.

    train: what is learnt from; validation: what is watched; test: what is reported, once, at the end.
    """

    name: str
    train: Source
    validation: Source
    test: Source


@dataclass(frozen=True)
class Settings:
    """How to train.

    model: a name in `onewarp.models.MODELS`. epochs, batch_size: at least 1. learning_rate: Adam's highest.
    schedule: one of `onewarp.fit.schedule.SCHEDULES`. warmup: epochs of linear warm-up. seed: of weights, order, draws.
    threads: of the loader; None for the processors at hand, at most 8.
    """

    model: str = "lenet5"
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    schedule: str = "constant"
    warmup: int = 0
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.warmup < self.epochs:
            raise InputError(
                f"the warm-up of {self.warmup} epochs must be shorter than the run of {self.epochs} epochs"
            )


@dataclass(frozen=True)
class Result:
    """What a training gave: name, model, epochs (see `EpochRows`), seconds of compiling, test loss and accuracy."""

    name: str
    model: Any
    rows: Sequence[Row]
    compile_seconds: float
    test_loss: float
    test_accuracy: float

    def typical(self, column: str) -> float:
        """See `typical`."""
        return typical(self.rows, column)


def train(
    name: str,
    policy: Policy,
    data: Data,
    settings: Settings,
    console: Console,
    watch: Callable[[Row], Any] = lambda row: None,
) -> Result:
    """Train a model on `data` under `policy`, validating and testing under what is deterministic of it.

    Args:
        name: what progress and results call this training.
        watch: called with the numbers of each epoch as soon as it has ended.

    Raises:
        InputError, PolicyError: settings, or a policy, that do not fit the data or the model.
        DataError: a sample that cannot be read, by name.
    """
    keras.utils.set_random_seed(settings.seed)
    options: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "seed": settings.seed,
        "threads": settings.threads,
        "labels": "one_hot",  # also what MixUp and CutMix give
    }
    training = Loader(data.train, policy, **options)
    validation, test = (
        Loader(source, policy.deterministic(), shuffle=False, **options) for source in (data.validation, data.test)
    )
    model = build(settings.model, _input_shape(training, validation), data.train.num_classes or 0)
    total, warmup = settings.epochs * len(training), settings.warmup * len(training)
    rate = LearningRate(settings.learning_rate, total, settings.schedule, warmup)
    model.compile(keras.optimizers.Adam(rate), loss="categorical_crossentropy", metrics=["accuracy"])

    def rate_at(step: int) -> float:
        return float(settings.learning_rate * factor(step, total, settings.schedule, warmup, np))

    rows = fit_watched(model, training, validation, settings.epochs, name, rate_at, console, watch)
    with errors_of(test):
        found = model.evaluate(test, return_dict=True, verbose=0)
    return Result(name, model, rows.rows, rows.compile_seconds, found["loss"], found["accuracy"])


def fit_watched(
    model: Any,
    training: Loader,
    validation: Loader,
    epochs: int,
    name: str,
    rate_at: Callable[[int], float],
    console: Console,
    watch: Callable[[Row], Any],
) -> EpochRows:
    """`model.fit` with a progress bar, `data_wait`, and every epoch's numbers collected and handed to `watch`.

    Args:
        model: compiled.
        name: what progress calls this training.
        rate_at: step -> learning rate, for the records.
        console, watch: as in `train`.

    Raises:
        DataError: a sample that cannot be read, by name.
    """
    rows, bar = EpochRows(rate_at, watch), ProgressBar(console, name, epochs)
    callbacks = [PipelineMonitor(), rows, bar]
    try:
        with errors_of(training, validation):
            model.fit(training, validation_data=validation, epochs=epochs, verbose=0, callbacks=callbacks)
    finally:
        bar.close()
    return rows


@contextlib.contextmanager
def errors_of(*loaders: Loader) -> Iterator[None]:
    """Raise what went wrong with a sample: TensorFlow buries it under an error of its own, the loader has kept it."""
    try:
        yield
    except Exception as fault:
        cause = next((loader.error for loader in loaders if loader.error is not None), None)
        if cause is None or cause is fault:
            raise
        raise cause from fault


def typical(rows: Sequence[Row], column: str) -> float:
    """The median over the epochs; without the first one, which compiles, where there are others."""
    return statistics.median([row.get(column, float("nan")) for row in rows[1:] or rows])


def _input_shape(training: Loader, validation: Loader) -> tuple[int, int, int]:
    """(height, width, channels) of what the policy gives, the same in training and validation."""
    shape, other = training.batches.plan.output_shape, validation.batches.plan.output_shape
    if training.policy.settings.data_format != "channels_last":
        raise PolicyError("the models here take channels_last images; leave data_format out of the policy")
    if shape != other:
        raise PolicyError(
            f"the policy gives {shape} in training but {other} in validation; end its geometry with a Resize"
        )
    if training.source.num_classes is None:
        raise DataError(f"{training.source!r} has no class numbers to learn; give it labels")
    return shape
