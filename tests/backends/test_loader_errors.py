"""The loader when something goes wrong or stops early, under Keras: run once per backend, with KERAS_BACKEND set."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loader_helpers import (
    BACKEND,
    BATCH,
    POLICY,
    Recording,
    StopAfter,
    damaged,
    model,
    source,
    weights,
)

from onewarp.errors import DataError, InputError
from onewarp.fit.callbacks import PipelineMonitor
from onewarp.fit.loader import Loader

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside Keras


@pytest.fixture
def tidy() -> Iterator[None]:
    """Destroys what an error left behind at once: TensorFlow takes a minute to end a data set that has lain about."""
    yield
    gc.collect()


@pytest.mark.parametrize(("bad", "built"), [(0, True), (7, False), (11, True)])
def test_an_error_is_readable_and_the_model_survives_it(tmp_path: Path, bad: int, built: bool, tidy: None) -> None:
    loader, good = Loader(damaged(tmp_path, bad), POLICY, BATCH, shuffle=False), Recording(source(), POLICY, BATCH)
    trained = model(built=built)
    if built:
        trained.fit(good, epochs=1, verbose=0)  # from here on JAX has the weights outside the model while it trains
    with pytest.raises(Exception) as caught:
        trained.fit(loader, epochs=2, verbose=0)
    if bad == 0 or BACKEND != "tensorflow":  # TensorFlow buries what comes later
        assert isinstance(caught.value, DataError)
    del caught
    assert isinstance(loader.error, DataError) and f"{bad:02d}.png" in str(loader.error)
    assert "\n" not in str(loader.error) and loader.epoch == 0
    with pytest.raises(Exception):  # noqa: B017 - each backend has its own; it must not hang or train on
        trained.fit(loader, epochs=1, verbose=0)
    trained.fit(good, epochs=1, verbose=0)
    assert good.ends == [0, 1][: 1 + built] and all(np.isfinite(array).all() for array in weights(trained))


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_an_error_while_evaluating_leaves_the_weights(tmp_path: Path, method: str, tidy: None) -> None:
    bad, good = Loader(damaged(tmp_path, 7), POLICY, BATCH, shuffle=False), Loader(source(), POLICY, BATCH)
    trained = model()
    trained.fit(good, epochs=1, verbose=0)
    before = weights(trained)
    with pytest.raises(Exception):  # noqa: B017 - TensorFlow has an error of its own
        getattr(trained, method)(bad, verbose=0)
    assert "07.png" in str(bad.error)
    for mine, other in zip(before, weights(trained), strict=True):
        np.testing.assert_array_equal(mine, other)
    with pytest.raises(Exception):  # noqa: B017
        trained.fit(good, validation_data=bad, epochs=1, verbose=0)
    trained.fit(good, epochs=1, verbose=0)
    assert good.epoch == 3 and all(np.isfinite(array).all() for array in weights(trained))


def test_skipped_files_are_reported_with_the_epoch(tmp_path: Path) -> None:
    loader = Loader(damaged(tmp_path, 5), POLICY, BATCH, on_error="skip")
    with pytest.warns(UserWarning, match=r"epoch \d: 1 unreadable samples were replaced, the first: .*05\.png"):
        history = model().fit(loader, epochs=2, verbose=0, callbacks=[PipelineMonitor()]).history
    assert [len(stats.skipped) for stats in loader.history] == [1, 1] and history["skipped"] == [1, 1]


def test_a_run_that_was_stopped_starts_its_epoch_again() -> None:
    loader, trained = Recording(source(), POLICY, BATCH), model()
    trained.fit(loader, epochs=3, verbose=0, callbacks=[StopAfter(2)])
    assert loader.ends == [] and loader.epoch == 0
    trained.fit(loader, epochs=1, verbose=0)
    assert loader.ends == [0] and loader.passes[-1] == loader.expected(0)


@pytest.mark.parametrize("steps", [1, 4])
def test_an_interrupted_run_can_be_fitted_again(steps: int) -> None:
    loader, trained = Recording(source(), POLICY, BATCH), model()
    with pytest.raises(KeyboardInterrupt):
        trained.fit(loader, epochs=3, verbose=0, callbacks=[StopAfter(steps, 1, KeyboardInterrupt())])
    assert loader.ends == [0]
    trained.fit(loader, epochs=1, verbose=0)
    assert loader.ends == [0, 1] and loader.passes[-1] == loader.expected(1)
    trained.evaluate(loader, verbose=0)
    trained.predict(loader, verbose=0)
    assert loader.ends == [0, 1, 2, 3]


@pytest.mark.parametrize(("built", "steps"), [(True, 1), (False, 1), (True, 5), (False, 9)])
def test_steps_per_epoch_is_refused_with_the_reason(built: bool, steps: int) -> None:
    loader, trained = Recording(source(), POLICY, BATCH), model(built=built)
    before = [] if not built else weights(trained)
    with pytest.raises(InputError, match=r"epochs have 6 batches: steps_per_epoch.*never be shown"):
        trained.fit(loader, epochs=2, steps_per_epoch=steps, verbose=0)
    assert loader.ends == [] and loader.epoch == 0
    for mine, other in zip(before, weights(trained), strict=False):
        np.testing.assert_array_equal(mine, other)  # refused before anything was trained
    trained.fit(loader, epochs=1, verbose=0)
    assert loader.ends == [0] and loader.passes[-1] == loader.expected(0)
    trained.fit(loader, epochs=2, steps_per_epoch=6, verbose=0)  # all of them is fine
    assert loader.ends == [0, 1, 2] and loader.passes[-1] == loader.expected(2)


@pytest.mark.parametrize(("built", "steps"), [(False, 1), (True, 2)])
def test_evaluating_a_few_batches_shows_the_first_ones(built: bool, steps: int) -> None:
    loader = Recording(source(), POLICY, BATCH)
    val = Recording(source(10), POLICY.deterministic(), BATCH, shuffle=False)
    trained = model(built=built)
    trained.fit(loader, validation_data=val, validation_steps=steps, epochs=2, verbose=0)
    assert trained.predict(val, steps=steps, verbose=0).shape == (steps * BATCH, 3)
    trained.evaluate(val, steps=steps, verbose=0)
    assert all(seen[:steps] == val.expected(0)[:steps] for seen in val.passes)
    assert val.ends == [] and val.epoch == 0 and loader.ends == [0, 1]
    assert trained.predict(val, verbose=0).shape == (10, 3) and val.ends == [0]


def alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("onewarp")]


def until_no_thread_is_left() -> None:
    for attempt in range(100):
        if not alive():
            return
        time.sleep(0.05)
        if attempt % 20 == 0:
            gc.collect()
    raise AssertionError(f"still running: {alive()}")


def test_threads_end_with_whoever_wanted_them(tmp_path: Path) -> None:
    until_no_thread_is_left()
    for made in (source(200), damaged(tmp_path, 0).subset(list(range(1, 12)) * 20)):
        loader = Loader(made, POLICY, BATCH, threads=3)
        iterator = iter(loader)
        next(iterator)
        assert alive()
        del iterator  # a loop that was left
        until_no_thread_is_left()
        model().fit(loader, epochs=2, verbose=0, callbacks=[PipelineMonitor(), StopAfter(2)])
        until_no_thread_is_left()
        assert loader.state()["batch"] == 2
        if BACKEND != "tensorflow":  # which keeps every data set of a run that was broken off
            model().fit(loader, epochs=2, verbose=0, callbacks=[StopAfter(2)])
            del loader
            until_no_thread_is_left()


def test_keras_may_not_add_workers_of_its_own() -> None:
    loader = Loader(source(), POLICY, BATCH)
    assert loader.workers == 1 and loader.use_multiprocessing is False
    with pytest.raises(InputError, match="threads=4"):
        loader.workers = 4
    with pytest.raises(InputError, match="threads"):
        loader.use_multiprocessing = True


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"placement": "moon"}, "not known"),
        ({"threads": 0}, "threads=0"),
        ({"prefetch": 0}, "prefetch=0"),
    ],
)
def test_bad_arguments(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Loader(source(), POLICY, BATCH, **options)
