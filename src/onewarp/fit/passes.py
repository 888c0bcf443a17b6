"""One pass over an epoch: batches built ahead and handed out in order, the time they kept somebody waiting, its
sums.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onewarp.data.batches import Batch, Batches
from onewarp.data.prefetch import prefetch_batches
from onewarp.data.workers import WorkerPool
from onewarp.errors import InputError


@dataclass(frozen=True)
class EpochStats:
    """What one complete pass took.

    Attributes:
        epoch: its number.
        batches, images: how many it showed.
        seconds: from its beginning to its end.
        data_wait: fraction of that time in which the step waited for data, 0 to 1; None where it cannot be known (on
            TensorFlow, whose own prefetching hides it, without `PipelineMonitor`). Where an accelerator works on after
            the Python thread has gone ahead, it is an upper bound.
        skipped: a line for each unreadable sample that was replaced.
        frames: with Loader(reuse=N), "new" for the first epoch that shows frames, "reused" for the others; else None.
        frames_made: how many frames were made in that time, for this epoch or ahead for later ones.
        shown: (originals, augmented) by class name or number: how many samples were shown plain, as
            `policy.deterministic()` shows them, and how many were augmented. Where the loader neither balances classes
            nor has an `augment_probability`, empty.
    """

    epoch: int
    batches: int
    images: int
    seconds: float
    data_wait: float | None
    skipped: tuple[str, ...] = ()
    frames: str | None = None
    frames_made: int = 0
    shown: Mapping[str | int, tuple[int, int]] = field(default_factory=dict)

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds if self.seconds > 0 else 0.0


def cut_short(length: int) -> str:
    """Why fit may not take an epoch of other than the loader's `length` batches, and what to do instead."""
    return (
        f"fit was told to end epochs elsewhere than this loader, whose epochs have {length} batches: "
        "steps_per_epoch is not supported, because the rest would never be shown; take a subset of the source for a "
        "shorter epoch (after restore() in the middle of an epoch, fit the rest of it first, with epochs=1)"
    )


def checked_state(state: Mapping[str, Any], key: Mapping[str, int | str], length: int) -> tuple[int, int]:
    """(epoch, batch) of a state; InputError unless it fits a loader with `key` and epochs of `length` batches."""
    if set(state) != {"epoch", "batch", *key}:
        raise InputError(f"{dict(state)!r} is not a state; pass what state() returned")
    for name, value in key.items():
        if state[name] != value:
            raise InputError(
                f"the state was taken with {name}={state[name]!r}, this loader has {value!r}; make them equal"
            )
    epoch, batch = int(state["epoch"]), int(state["batch"])
    if epoch < 0 or not 0 <= batch < length:
        raise InputError(
            f"the state stands at epoch {epoch}, batch {batch}; an epoch has {length} batches; make last_batch equal"
        )
    return epoch, batch


class Pass:
    """A pass over the batches from `start` to the end of an epoch. Work begins at once, in `threads` threads or
    in `workers`.

    Attributes:
        length: batches in the pass.
        fresh: whether Keras had just made a new iterator, so that this may be no more than a look at the shapes.
        steps: how many batches Keras was told to use; None for all.
        requested: batches handed out, or being waited for.
        asked_before, asked: how often Keras asked for the length before and since the first request.
        watched: whether somebody counts the steps, so that `trained` is known.
        trained: batches whose step has ended.
        failed: whether a batch could not be built; nothing more comes then.
    """

    def __init__(
        self,
        batches: Batches,
        epoch: int,
        start: int,
        threads: int,
        prefetch: int | None,
        first: Batch | None = None,
        fresh: bool = False,
        steps: int | None = None,
        workers: WorkerPool | None = None,
    ) -> None:
        self.epoch, self.start, self.length, self.fresh = epoch, start, len(batches) - start, fresh
        self._batches = batches
        self.steps = steps
        self.thread = threading.get_ident()
        self.requested = self.asked_before = self.asked = self.trained = 0
        self.watched = self.failed = False
        self._began, self._ended, self._wait = time.perf_counter(), 0.0, 0.0
        self._foreign = False  # requests come from another thread, ahead of the steps
        self._images = 0
        self._skipped: list[str] = []
        self._shown: np.ndarray | None = None
        self._ready = [] if first is None else [first]
        have = len(self._ready)
        left = self.length - have
        self._prefetcher = prefetch_batches(batches, epoch, start + have, left, threads, prefetch, workers)
        self._lock = threading.Lock()  # one request after the other

    def build_first(self) -> None:
        """Wait until the first batch is there; raises what keeps it from being built."""
        if not self._ready:
            since = time.perf_counter()
            self._ready.append(self._get())
            self._wait += time.perf_counter() - since

    def next(self) -> Batch:
        """The next batch, in order; raises what kept it from being built."""
        with self._lock:
            asked = time.perf_counter()
            index, self.requested = self.requested, self.requested + 1
            batch = self._ready.pop() if self._ready else self._get()
            now = time.perf_counter()
            if threading.get_ident() == self.thread:
                self._wait += now - asked
            else:
                self._foreign = True
                # Asked ahead of time: somebody waits only if every earlier step has ended, and only since then.
                if self.watched and self.trained == index:
                    self._wait += now - max(asked, self._ended)
            self._images += len(batch.entries["images"])
            self._skipped += batch.skipped
            if batch.shown is not None:
                self._shown = batch.shown + (0 if self._shown is None else self._shown)
            return batch

    def step_ended(self, trained: int) -> None:
        """The steps of the first `trained` batches have ended."""
        self.trained, self._ended = min(trained, self.length), time.perf_counter()

    @property
    def broken_off(self) -> bool:
        """Whether Keras has turned to another iterator since: a run was broken off, and this is the next one.

        It then asks for the length more often than in a pass that goes on: up to twice before the first request and
        once after the last.
        """
        return self.failed or self.asked >= 2 or self.asked_before >= 3

    @property
    def look(self) -> bool:
        """Whether Keras only had a look at the shapes: one batch from a new iterator, then the length once more."""
        return self.fresh and self.requested == 1 and self.asked == 1

    @property
    def complete(self) -> bool:
        """Whether every batch was used. Batches asked for ahead, by another thread, may not have been."""
        if self.failed or self.look or self.requested < self.length:
            return False
        if self.steps is not None and self.steps < self.length:
            return False
        if self._foreign:
            return self.trained >= self.length if self.watched else not self.broken_off
        return True

    def stats(self) -> EpochStats:
        """The sums of a pass that has just ended."""
        seconds = time.perf_counter() - self._began
        known = self.watched or not self._foreign
        data_wait = min(self._wait / max(seconds, 1e-9), 1.0) if known else None
        frames, made = self._batches.frames(self.epoch) or (None, 0)
        skipped = tuple(self._skipped)
        shown = {} if self._shown is None else self._batches.by_class(self._shown)
        return EpochStats(self.epoch, self.length, self._images, seconds, data_wait, skipped, frames, made, shown)

    def close(self) -> None:
        """End the threads and drop what was built ahead."""
        self._prefetcher.close()
        self._ready.clear()

    def _get(self) -> Batch:
        try:
            return self._prefetcher.get()
        except Exception:
            self.failed = True
            self._prefetcher.close()
            raise
