"""What a pass measures: how long the step waited for data, under a clock that only the test moves. No Keras here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from onewarp.data.batches import Batch
from onewarp.fit import passes
from onewarp.fit.passes import Pass


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


class Stub:
    """Batches of two rows; handing one out takes `seconds` on the clock."""

    def __init__(self, clock: Clock, count: int, seconds: float) -> None:
        self.clock, self.count, self.seconds = clock, count, seconds

    def __len__(self) -> int:
        return self.count

    def begin(self, epoch: int) -> None:
        pass

    def frames(self, epoch: int) -> None:
        return None

    def get(self) -> Batch:
        self.clock.now += self.seconds
        return Batch({"images": np.zeros((2, 1, 1, 3))}, ("a file",))

    def close(self) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(passes, "time", found)
    monkeypatch.setattr(passes, "prefetch_batches", lambda batches, *_: batches)
    return found


def begin(clock: Clock, count: int, seconds: float, **options: Any) -> Pass:
    return Pass(Stub(clock, count, seconds), 7, 0, 1, None, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("load", "step", "expected"), [(0.0, 1.0, 0.0), (1.0, 1.0, 0.5), (3.0, 1.0, 0.75), (2.0, 0.0, 1.0)]
)
def test_wait_of_a_step_that_asks_for_its_batch(clock: Clock, load: float, step: float, expected: float) -> None:
    running = begin(clock, 4, load)
    running.build_first()
    for _ in range(4):
        running.next()
        clock.now += step
    stats = running.stats()
    assert stats.data_wait == pytest.approx(expected) and stats.seconds == pytest.approx(4 * (load + step))
    assert (stats.epoch, stats.batches, stats.images, len(stats.skipped)) == (7, 4, 8, 4)
    assert stats.images_per_second == pytest.approx(8 / stats.seconds)


def elsewhere(action: Callable[[], Any]) -> None:
    """Run in another thread, as TensorFlow asks for batches."""
    thread = threading.Thread(target=action)
    thread.start()
    thread.join()


def test_wait_of_a_step_whose_batches_are_asked_for_ahead(clock: Clock) -> None:
    """Batch 1 is there before step 0 ends: nobody waits. Batch 2 comes 3 seconds after the end of step 1."""
    running = begin(clock, 3, 2.0)
    running.watched = True
    running.build_first()  # 2 seconds, in which nothing else can happen
    elsewhere(running.next)
    elsewhere(running.next)  # 2 seconds, while step 0 runs
    clock.now += 1.0
    running.step_ended(1)
    clock.now += 1.0
    running.step_ended(2)
    clock.now += 1.0  # the step waits
    elsewhere(running.next)  # asked late: 2 seconds more
    running.step_ended(3)
    assert running.stats().data_wait == pytest.approx((2.0 + 2.0) / 9.0)


def test_a_request_made_ahead_waits_from_the_end_of_the_step(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch takes 2 seconds; the step before it ends after one of them."""
    running = begin(clock, 2, 0.0)
    running.watched = True
    elsewhere(running.next)

    def get(stub: Stub) -> Batch:
        clock.now += 1.0
        running.step_ended(1)
        clock.now += 1.0
        return Batch({"images": np.zeros((2, 1, 1, 3))})

    monkeypatch.setattr(Stub, "get", get)
    elsewhere(running.next)
    assert running.stats().data_wait == pytest.approx(0.5)


def test_wait_is_unknown_when_nobody_counts_the_steps(clock: Clock) -> None:
    running = begin(clock, 1, 1.0)
    elsewhere(running.next)
    assert running.stats().data_wait is None
    assert begin(clock, 1, 1.0).stats().data_wait == 0.0


def test_a_pass_that_was_asked_for_ahead_is_complete_only_when_trained(clock: Clock) -> None:
    running = begin(clock, 2, 0.0)
    for _ in range(2):
        elsewhere(running.next)
    assert running.complete
    running.asked = 3  # Keras has turned to a new iterator meanwhile
    assert not running.complete
    running.watched = True
    running.step_ended(2)
    assert running.complete
    running.steps = 1
    assert not running.complete
