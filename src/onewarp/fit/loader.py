"""Loader: a source and a policy as a `keras.utils.PyDataset`, so that `model.fit(loader)` works, and as a plain
iterator.

How Keras 3 uses a PyDataset decides most of this file. It asks for batches under shuffled indices, reads one or two
batches around the first epoch only to learn shapes, calls `on_epoch_end` before the first epoch, and on TensorFlow asks
from another thread and ahead of the training step. So indices are ignored: between `on_epoch_begin` and `on_epoch_end`
the n-th request gets batch n; requests outside get batch 0 of the coming epoch; and only a pass that asked for every
batch is an epoch.
"""

from __future__ import annotations

import copy
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import keras

from onewarp.data.base import Outputs, Source
from onewarp.data.batches import Batch, Batches
from onewarp.data.collate import copied
from onewarp.data.frames import kept_or_not
from onewarp.data.memory import processors
from onewarp.data.store.storing import storing
from onewarp.data.workers import WorkerPool, check_picklable
from onewarp.errors import InputError
from onewarp.fit.callers import give_weights_back, keras_call
from onewarp.fit.checks import check_device_can, check_placement
from onewarp.fit.course import Course
from onewarp.fit.export import Stream, exporter
from onewarp.fit.passes import EpochStats, Pass, cut_short
from onewarp.fit.shards import process_shard

T = TypeVar("T")

started = threading.local()  # .loader: a weak reference to the loader whose pass this thread began last


class Loader(keras.utils.PyDataset):
    """Batches of augmented samples for `fit`, `evaluate`, `predict` and `for`; a pure function of (seed, epoch, index).

    `for images, labels in loader:` is an epoch, the next loop the next one. Epochs are counted by the loader itself:
    a second `fit` goes on, whatever its `initial_epoch`. A pass that is broken off starts again from its beginning,
    unless `restore` says otherwise.

    Args:
        source, policy, batch_size, shuffle, window, balance, samples_per_class, augment_probability, originals, seed,
            last_batch, labels, class_weight, outputs, on_error, bounding_box_format, max_boxes, decode: as in
            `onewarp.data.batches.Batches`.
        shard: None; (index, count) of the processes that share each epoch, as there; or "auto": as the active backend
            counts its processes (`onewarp.fit.shards`). `batch_size` is that of one process.
        reuse: epochs for which augmented samples ("frames") are kept, before they are normalised or mixed, and shown
            in a new order each time, while the next ones are made bit by bit. 1: every epoch augments anew.
        then: with reuse, a policy run on the frames anew in every epoch; an `AugmentedModel` is then made with it.
        frames_memory, frames_dir: RAM for frames, as bytes or "4GB"; beyond it they lie in a memory-mapped file in
            `frames_dir`, the system's folder for temporary files by default.
        threads: threads that read, decode and warp; the processors at hand, at most 8, by default. Results do not
            depend on it.
        processes: build batches (with `reuse`: make frames) in that many processes instead, each with one thread; for
            Python functions (`Source.map`) and sources that hold Python's lock. Source and policy must be picklable.
            They start with the first pass and end with the Loader.
        prefetch: how many batches may be under way or ready ahead of the one in use; threads + 2 by default, and 4 for
            files and more than two threads, which work on one batch together.
        placement: where the policy runs: "host", in the loader's threads; "device", in the train step of an
            `AugmentedModel`, for which the batches stay as they are and x carries the numbers drawn (photos of
            different sizes are warped to one on the host first); "auto": `AugmentedModel.fit` measures both.
        store: a folder in which the samples are kept as `onewarp prepare` would keep them: written while they are first
            read, read from there afterwards; or {"path": folder, "short_side": 256, "quality": 90, "raw": False} (or
            `size` in place of `short_side`).
        on_epoch_end: called as on_epoch_end(loader, epoch) once after each complete epoch.

    Attributes:
        batches: the pure function: `batches.batch(epoch, index)` gives any batch at any time.
        epoch: number of the coming (or running) epoch.
        error: the last error in a batch, readable where Keras buries it; None since the last pass began.
        history: an `EpochStats` for each complete pass.
        declared: the policy that it was made with; `policy` is the one in effect, see `reconfigure`.
        notes: what callbacks want to be kept with the state, as plain values by name.
        refits: whether who trains begins another `fit` where a change makes epochs longer or shorter (`resume_fit`).
        refit: whether the training was stopped for that.

    Raises:
        InputError, PolicyError: arguments that cannot be, or a policy that cannot run on this source.
        DataError: while iterating, a sample that cannot be read, by name.
    """

    def __init__(
        self,
        source: Source,
        policy: Any,
        batch_size: int = 32,
        *,
        shuffle: bool | str = True,
        window: int | None = None,
        shard: tuple[int, int] | str | None = None,
        balance: str | Mapping[Any, float] | None = None,
        samples_per_class: int | Mapping[Any, int] | None = None,
        augment_probability: float | Mapping[Any, float] | None = None,
        originals: bool = True,
        seed: int = 0,
        last_batch: str | None = None,
        labels: str = "int",
        class_weight: Mapping[int, float] | None = None,
        outputs: Outputs | None = None,
        on_error: str = "raise",
        bounding_box_format: str = "xyxy",
        max_boxes: int | None = None,
        decode: str = "exact",
        reuse: int = 1,
        then: Any = None,
        frames_memory: int | str = "4GB",
        frames_dir: str | Path | None = None,
        threads: int | None = None,
        processes: int | None = None,
        prefetch: int | None = None,
        placement: str = "host",
        store: Any = None,
        on_epoch_end: Callable[[Loader, int], Any] | None = None,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        for name, value in (("threads", threads), ("processes", processes), ("prefetch", prefetch)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InputError(f"{name}={value!r} is not a positive whole number; leave it out for the default")
        if placement not in ("host", "device", "auto"):
            raise InputError(f'placement={placement!r} is not known; use "host", "device" or "auto"')
        if store is not None:
            source = storing(source, store, bounding_box_format, on_error)
        batches = kept_or_not(reuse, then, frames_memory, frames_dir)(
            source,
            policy,
            batch_size,
            shuffle=shuffle,
            window=window,
            shard=process_shard() if shard == "auto" else (0, 1) if shard is None else shard,
            balance=balance,
            samples_per_class=samples_per_class,
            augment_probability=augment_probability,
            originals=originals,
            seed=seed,
            last_batch=last_batch,
            labels=labels,
            class_weight=class_weight,
            outputs=outputs,
            on_error=on_error,
            bounding_box_format=bounding_box_format,
            max_boxes=max_boxes,
            decode=decode,
            placement="device" if placement == "device" else "host",
        )
        if placement == "device":
            check_device_can(batches)
        self._course = Course(batches)
        self._chosen = False  # whether the placement was chosen by measuring
        self.threads = threads if threads is not None else min(processors(), 8)
        self.prefetch = prefetch
        self.processes = processes
        self._workers: WorkerPool | None = None
        if processes is not None:
            if not getattr(self.source, "complete", True):
                raise InputError(
                    f"processes={processes}: a store is written in one process; leave it out, or prepare a store"
                )
            check_picklable(batches, processes)
        self.placement = placement
        self.epoch = 0
        self.error: BaseException | None = None
        self.history: list[EpochStats] = []
        self._user_on_epoch_end = on_epoch_end
        self.declared = policy
        self.notes: dict[str, Any] = {}
        self.refits = self.refit = False
        self._start = 0  # batches of the coming epoch that a restored run has behind it
        self._pass: Pass | None = None  # between on_epoch_begin and on_epoch_end
        self._latest: Pass | None = None  # the last one that has not become an epoch, for state(); also of a `for` loop
        self._asked = False  # whether Keras asked for the length since the last pass
        self._peeked: Batch | None = None  # batch 0 of the coming epoch, once it was read outside a pass

    @property
    def batches(self) -> Batches:
        return self._course.batches

    @property
    def source(self) -> Source:
        return self.batches.source

    @property
    def policy(self) -> Any:
        return self.batches.policy

    @property
    def reuse(self) -> int:
        """Epochs for which a frame is shown; 1: every epoch augments anew."""
        return getattr(self.batches, "reuse", 1)

    @property
    def then(self) -> Any:
        """The policy that runs on reused frames anew in every epoch, where one was given."""
        return getattr(self.batches, "then", None)

    @property
    def start(self) -> int:
        """Batches of the coming (or running) epoch that a restored run has behind it: its next pass begins there."""
        return self._start

    @property
    def workers(self) -> int:
        """1: Keras must not put a pool of its own around ours."""
        return 1

    @workers.setter
    def workers(self, value: int) -> None:
        raise InputError(f"workers={value!r}: a Loader has threads of its own; use Loader(..., threads={value!r})")

    @property
    def use_multiprocessing(self) -> bool:
        """False, as `workers` is 1."""
        return False

    @use_multiprocessing.setter
    def use_multiprocessing(self, value: bool) -> None:
        raise InputError(f"use_multiprocessing={value!r}: a Loader works in threads; use Loader(..., threads=...)")

    def __len__(self) -> int:
        """Batches in the coming (or running) pass: a full epoch, or what is left of a restored one."""
        return self._pass.length if self._pass is not None else len(self.batches) - self._start

    @property
    def num_batches(self) -> int:
        """What Keras asks instead of len(); when it asks tells whose `on_epoch_end` follows, see there."""
        if self._pass is None:
            self._asked = True
        elif self._pass.thread == threading.get_ident():
            if self._pass.requested:
                self._pass.asked += 1
            else:
                self._pass.asked_before += 1
        return len(self)

    def __getitem__(self, index: int) -> Any:
        """The next batch of the running pass, whatever `index` is; outside a pass, batch 0 of the coming epoch."""
        current = self._pass
        if current is None or current.failed or current.requested >= current.length:
            return self.batches.xyw(copied(self._peek().entries))
        return self.batches.xyw(self._watching(current.next).entries)

    def on_epoch_begin(self) -> None:
        """Keras begins a pass. Its first batch is built here: an error in it must not surface inside a train step."""
        call = keras_call()
        if call is not None:
            check_placement(call.model, self)
        steps = None if call is None else call.steps
        if call is not None and call.method == "fit" and steps not in (None, len(self)):
            raise InputError(cut_short(len(self)))
        fresh = self._asked or (self._pass is not None and self._pass.asked > 0)
        self._asked = False
        self._pass = self._begin(fresh, steps)
        started.loader = weakref.ref(self)
        self._watching(self._pass.build_first)

    def on_epoch_end(self) -> None:
        """Keras ends a pass, or is about to use a new iterator. Only a complete pass is an epoch."""
        current, self._pass, self._asked = self._pass, None, False
        if current is None:
            return
        current.close()
        if current.complete:
            self._finish(current)
            return
        if not current.failed:
            self._latest = None
        call = keras_call()
        if call is not None and call.method == "fit" and current.requested and not (current.look or current.broken_off):
            raise InputError(cut_short(current.length))

    def __iter__(self) -> Iterator[Any]:
        current = self._begin()
        current.watched = True
        try:
            while current.requested < current.length:
                batch = self._watching(current.next)
                current.step_ended(current.requested)
                yield self.batches.xyw(batch.entries)
        finally:
            current.close()
        self._finish(current)

    def watched(self, trained: int) -> bool:
        """A callback says that the steps of the first `trained` batches of the running pass have ended.

        Returns whether there is a running pass.
        """
        if self._pass is not None:
            self._pass.watched = True
            if trained:
                self._pass.step_ended(trained)
        return self._pass is not None

    def rest(self) -> None:
        """End the threads of a run that was broken off; TensorFlow keeps its data set, and so the loader, for good."""
        if self._pass is not None:
            self._pass.failed = True
            self._pass.close()

    def placed(self, placement: str) -> Batches:
        """This loader's batches for an `AugmentedModel`, with the policy run on the host or left to the device."""
        batches = self.batches.placed(placement)
        batches.marks = placement == "host"
        if placement == "device":
            check_device_can(batches)
        return batches

    def place(self, placement: str) -> None:
        """Give a loader with placement="auto" the placement that was chosen; `state()` tells it."""
        self._drop()
        self._course.batches, self.placement, self._chosen = self.placed(placement), placement, True

    def reconfigure(self, **changes: Any) -> None:
        """Change how batches are made, from the next epoch that begins.

        `state()` keeps changes, so that a resumed run has them, too. What can change: `policy`, to one that makes
        images of the same shape and type (with placement="device": by the same stages, as `policy.strength(...)` has).

        Raises:
            InputError, PolicyError: something that cannot change, or not to that; everything stays as it was.
        """
        self.check(**changes)
        self._course.coming.update(changes)
        under_way = self._start or self._pass is not None or (self._latest is not None and self._latest.requested)
        if not under_way:
            self._take_up()

    def check(self, **changes: Any) -> None:
        """Raise what `reconfigure(**changes)` would raise; nothing is changed."""
        other = self._course.check(changes)
        call = keras_call()
        if call is not None and call.method == "fit" and len(other) != len(self.batches) and not self.refits:
            raise InputError(
                f"with {', '.join(changes)} changed an epoch has {len(other)} batches, not {len(self.batches)}, "
                "and fit keeps the length of its first epoch; train with resume_fit, or change it between calls of fit"
            )

    def set_policy(self, policy: Any) -> None:
        """`reconfigure(policy=policy)`: another policy from the coming epoch on."""
        self.reconfigure(policy=policy)

    def state(self) -> dict[str, Any]:
        """Where the run stands, as a few numbers and names: enough to go on with the next batch to be trained.

        It holds the placement, too, where that was chosen by measuring (placement="auto").

        Counts trained batches, not those that were built ahead. In a `for` loop the batch at hand counts as trained:
        call it after the step. In the middle of an epoch under `fit` it needs `PipelineMonitor()`, first among the
        callbacks, to know what was trained.
        """
        epoch, index, at = self.epoch, self._start, self._latest
        if at is not None and at.requested:
            if not at.watched:
                raise InputError(
                    "how many batches of this epoch were trained is not known; "
                    "add PipelineMonitor() as the first of fit's callbacks"
                )
            epoch, index = at.epoch, at.start + at.trained
        chosen = {"placement": self.placement} if self._chosen else {}
        notes = {"notes": copy.deepcopy(self.notes)} if self.notes else {}
        return {**self._course.state(epoch, index), **chosen, **notes}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state()` was taken: the next pass is the rest of that epoch.

        A placement in the state is taken over by a loader with placement="auto", which then need not measure.

        Raises:
            InputError: no state, or one of a loader with another seed, batch size, number of samples, or reuse.
        """
        ours = ("placement", "notes")
        known = {name: value for name, value in state.items() if name not in ours}
        course, epoch, batch = self._course.restored(known)
        self._drop()
        self._course = course
        self.notes = copy.deepcopy(dict(state.get("notes", {})))
        if self.placement == "auto" and "placement" in state:
            self.place(state["placement"])
        self.epoch, self._start = epoch, batch

    def to_grain(self, epochs: int = 1) -> Any:
        """The batches as a `grain.MapDataset` of `epochs` epochs from where the loader stands; see docs/loading.md."""
        return exporter("grain", self.placement).LoaderMapDataset(self._stream(), epochs)

    def to_torch(self) -> Any:
        """The batches as a `torch.utils.data.IterableDataset`: `DataLoader(loader.to_torch(), batch_size=None)`."""
        return exporter("torch", self.placement).LoaderIterableDataset(self._stream())

    def to_tf(self) -> Any:
        """The batches as a `tf.data.Dataset` of fixed shapes: each pass over it is the loader's next epoch."""
        return exporter("tensorflow", self.placement).dataset(self, self.batches.xyw(self._peek().entries))

    def __repr__(self) -> str:
        batches = self.batches
        index, count = batches.shard
        shard = f", shard {index} of {count}" if count > 1 else ""
        return f"Loader({batches.source!r}, {len(batches)} batches of {batches.batch_size}{shard}, epoch {self.epoch})"

    def _stream(self) -> Stream:
        return Stream(self.batches, self.epoch, self._start, self.threads, self.prefetch)

    def _begin(self, fresh: bool = False, steps: int | None = None) -> Pass:
        """Start a pass over what is left of the coming epoch."""
        first = self._peeked
        self._drop()
        self.error = None
        self._latest = Pass(
            self.batches,
            self.epoch,
            self._start,
            self.threads,
            self.prefetch,
            first=first,
            fresh=fresh,
            steps=steps,
            workers=self._pool(),
        )
        return self._latest

    def _pool(self) -> WorkerPool | None:
        """The worker processes for the batches as they are now, where there are to be any."""
        if self._workers is not None and self._workers.batches is not self.batches:  # placed or reconfigured
            self._workers.close()
            self._workers = None
        if self.processes is not None and self._workers is None:
            self._workers = WorkerPool(self.batches, self.processes)
        return self._workers

    def _drop(self) -> None:
        """Forget the running pass and what was read outside one."""
        if self._pass is not None:
            self._pass.close()
        self._pass = self._latest = self._peeked = None

    def _finish(self, current: Pass) -> None:
        """A complete pass: the epoch is over."""
        self.epoch, self._start = current.epoch + 1, 0
        self._latest = self._peeked = None
        self._take_up()
        stats = current.stats()
        self.history.append(stats)
        if stats.skipped:
            count = len(stats.skipped)
            warnings.warn(
                f"epoch {stats.epoch}: {count} unreadable samples were replaced, the first: {stats.skipped[0]}",
                stacklevel=3,
            )
        if self._user_on_epoch_end is not None:
            self._user_on_epoch_end(self, current.epoch)

    def _take_up(self) -> None:
        """What was changed for the coming epoch is in effect."""
        if self._course.take_up():
            self._peeked = None

    def _peek(self) -> Batch:
        """Batch 0 of the coming pass, built once and kept for it."""
        if self._peeked is None:
            self._peeked = self._watching(lambda: self.batches.build(self.epoch, self._start))
        return self._peeked

    def _watching(self, action: Callable[[], T]) -> T:
        """action(), its error kept in `error`."""
        try:
            return action()
        except Exception as error:
            self.error = error
            give_weights_back()
            raise
