"""Where a run stands and how it goes on, with and without Keras: run once per backend, with KERAS_BACKEND set."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from loader_helpers import (
    BATCH,
    POLICY,
    N,
    Recording,
    StopAfter,
    assert_same,
    fingerprint,
    model,
    source,
)

from onewarp.errors import InputError
from onewarp.fit.callbacks import PipelineMonitor
from onewarp.fit.loader import Loader

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside Keras


@pytest.mark.parametrize("steps", [1, 4, 6])
def test_resuming_in_mid_epoch_gives_the_same_weights(steps: int) -> None:
    straight, through = Loader(source(), POLICY, BATCH), model()
    through.fit(straight, epochs=3, verbose=0)

    first, resumed = Loader(source(), POLICY, BATCH), model()
    resumed.fit(first, epochs=3, verbose=0, callbacks=[PipelineMonitor(), StopAfter(steps, epoch=1)])
    state = first.state()
    assert (state["epoch"], state["batch"]) == ((1, steps) if steps < 6 else (2, 0))
    second = Recording(source(), POLICY, BATCH)
    second.restore(state)
    assert len(second) == 6 - steps % 6
    if steps < 6:
        resumed.fit(second, epochs=1, verbose=0)
        assert second.passes[-1] == second.expected(1, steps) and len(second) == 6
    resumed.fit(second, epochs=1, verbose=0)
    assert second.epoch == 3 and second.state()["batch"] == 0
    assert_same(through, resumed)


@pytest.mark.parametrize(("built", "left"), [(True, 1), (False, 1), (True, 3)])
def test_after_restore_the_rest_must_be_fitted_alone(built: bool, left: int) -> None:
    """Keras keeps the length of the first pass; the next epochs would silently be as short."""
    loader = Recording(source(), POLICY, BATCH)
    loader.restore({**loader.state(), "batch": 6 - left})
    with pytest.raises(InputError, match="epochs=1"):
        model(built=built).fit(loader, epochs=3, verbose=0)


def test_state_without_a_monitor_says_what_is_missing() -> None:
    seen: list[Any] = []

    class Ask(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            try:
                seen.append(loader.state()["batch"])
            except InputError as error:
                seen.append(str(error))

    loader, trained = Loader(source(), POLICY, BATCH), model()
    trained.fit(loader, epochs=1, verbose=0, callbacks=[Ask()])
    assert len(seen) == 6 and all("PipelineMonitor" in answer for answer in seen)
    seen.clear()
    trained.fit(loader, epochs=1, verbose=0, callbacks=[PipelineMonitor(), Ask()])
    assert seen == [1, 2, 3, 4, 5, 0]
    key = {"seed": 0, "batch_size": BATCH, "samples": N, "order": "shuffled"}
    assert loader.state() == {"epoch": 2, "batch": 0, **key}


def test_restore_refuses_foreign_states() -> None:
    loader = Loader(source(), POLICY, BATCH, seed=1)
    state = loader.state()
    for name, value in (("seed", 2), ("batch_size", 5), ("samples", 9), ("order", "sequential")):
        with pytest.raises(InputError, match=f"{name}={value!r}"):
            loader.restore({**state, name: value})
    with pytest.raises(InputError, match="last_batch"):
        loader.restore({**state, "batch": 6})
    with pytest.raises(InputError, match="not a state"):
        loader.restore({"epoch": 1})


def test_a_loop_is_an_epoch() -> None:
    loader = Recording(source(), POLICY, BATCH)
    for epoch in range(2):
        assert [fingerprint(images) for images, _ in loader] == loader.expected(epoch)
    assert loader.ends == [0, 1]
    for _ in loader:
        break
    assert loader.ends == [0, 1] and loader.state()["epoch"] == 2 and loader.state()["batch"] == 1
    assert [fingerprint(images) for images, _ in loader] == loader.expected(2)
    for step, _ in enumerate(loader):
        if step == 3:
            state = loader.state()
            break
    other = Recording(source(), POLICY, BATCH)
    other.restore(state)
    assert (state["epoch"], state["batch"], len(other)) == (3, 4, 2)
    assert [fingerprint(images) for images, _ in other] == other.expected(3, 4)
    assert [fingerprint(images) for images, _ in other] == other.expected(4) and other.ends == [3, 4]


def test_reads_outside_an_epoch_show_the_coming_one() -> None:
    loader = Recording(source(), POLICY, BATCH)
    for index in (0, 1, 0):
        images, _ = loader[index]
        assert fingerprint(images) == loader.expected(0)[0]
        images[:] = -1.0  # what a caller does to them does not reach the training
    model().fit(loader, epochs=1, verbose=0)
    assert loader.passes[-1] == loader.expected(0)
    assert fingerprint(loader[3][0]) == loader.expected(1)[0]
