"""Frames: augmented samples that are kept for some epochs, and what is still done to them in each.

A policy is cut in two. Its first part makes frames: images of one size in the source's dtype, under the draws of the
first epoch that shows them. The second part, normalising and mixing or a policy of its own, runs anew in every epoch.
Both parts are pure functions, so keeping frames changes how long a batch takes and never what it holds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from onewarp.blocks import BLOCKS
from onewarp.data.assemble import Assembler
from onewarp.data.base import SMALL, Sample
from onewarp.data.batches import Batch, Batches
from onewarp.data.divide import divided, following
from onewarp.data.frame_memory import Columns, FrameMemory, Generation, Generations, columns_of, entries_of, parse_bytes
from onewarp.data.order import permuted
from onewarp.data.sampling import Chosen, Sampling
from onewarp.data.shards import Steps
from onewarp.data.slots import Unreadable
from onewarp.data.travel import PARAMS, travelling
from onewarp.draw import draw
from onewarp.engine.run import run
from onewarp.errors import InputError
from onewarp.plain import with_plain
from onewarp.plan import Plan
from onewarp.policy import Policy
from onewarp.spec import Spec

if TYPE_CHECKING:
    from onewarp.data.workers import WorkerPool


class FrameBatches(Batches):
    """Batches of frames that are reused: drawn at `epoch - epoch % reuse`, shown in the order of `epoch`.

    Args:
        reuse: epochs for which a frame is shown, at least 2.
        then: a policy run on the frames anew in every epoch; by default what `policy` has behind the point up to which
            frames are made: its first Normalize, Rescale or Mix.
        frames_memory: RAM for frames, of two generations together; what is beyond lies in a memory-mapped file.
        frames_dir: where that file is made; the system's folder for temporary files by default.
        source, policy, batch_size, options: as in `Batches`.

    Raises:
        InputError, PolicyError: as `Batches`, and for policies that cannot be cut.
    """

    assemble: FrameAssembler
    sampling: Reused

    def __init__(
        self,
        source: Any,
        policy: Policy,
        batch_size: int = 32,
        *,
        reuse: int,
        then: Policy | None = None,
        frames_memory: int | str = "4GB",
        frames_dir: str | Path | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(reuse, (int, np.integer)) or isinstance(reuse, bool) or reuse < 2:
            raise InputError(f"reuse={reuse!r} must be a whole number of epochs, 2 or more; 1 keeps no frames")
        super().__init__(source, policy, batch_size, **options)
        limit = parse_bytes(frames_memory, "frames_memory")
        if frames_dir is not None and not Path(frames_dir).is_dir():
            raise InputError(f"frames_dir={str(frames_dir)!r} is not a folder; make it first")
        first, second = divided(policy, then)
        self.reuse, self.then = int(reuse), then
        self.sampling = Reused(self.sampling, self.steps, self.reuse, self.seed if self.shuffle else None)
        made = first.plan(self.plan.spec)
        after = second.plan(Spec(made.output_shape, made.output_dtype, source.value_range))
        if self.sampling.plains:
            made, after = with_plain(made), with_plain(after)
        self.plan = self._compiled = following(made, after)
        generations = Generations(len(self.sampling.places), self.reuse, FrameMemory(limit, frames_dir))
        self.assemble = FrameAssembler(self.assemble, made, self.plan, generations)

    def begin(self, epoch: int) -> None:
        self.assemble.generations.show(epoch, begins=True)

    def frames(self, epoch: int) -> tuple[str, int]:
        return "reused" if epoch % self.reuse else "new", self.assemble.generations.made(epoch)

    def keeping_all(self) -> FrameBatches:
        twin = cast(FrameBatches, super().keeping_all())
        twin.sampling = Reused(self.sampling.first, twin.steps, self.reuse, self.sampling.seed)
        twin.assemble = copy.copy(self.assemble)
        twin.assemble.generations = Generations(0, self.reuse, FrameMemory(0))  # other slots, and asked for once
        return twin

    def build(self, epoch: int, index: int, pool: Executor | None = None) -> Batch:
        return self._build(epoch, index, pool, None)

    def build_by(self, workers: WorkerPool, epoch: int, index: int) -> Batch:
        """`build`, whose frames are made by worker processes; they are kept, and run through the rest, here."""
        return self._build(epoch, index, None, workers)

    def make(self, number: int, rows: np.ndarray, occurrence: np.ndarray, plain: np.ndarray | None) -> Sample:
        """New frames of the samples `rows`, under the draws of epoch `number`, as entries of a batch."""
        return self.assemble.maker(number, rows, occurrence, None, plain=plain)

    def _build(self, epoch: int, index: int, pool: Executor | None, workers: WorkerPool | None) -> Batch:
        self.assemble.generations.show(epoch)
        twin = copy.copy(self)
        twin.assemble = self.assemble.at(self.sampling.slots(epoch, self.positions(index)), workers)
        batch = super(FrameBatches, twin).build(epoch, index, pool)
        self._make_ahead(epoch, index, pool, workers)
        return batch

    def _make_ahead(self, epoch: int, index: int, pool: Executor | None, workers: WorkerPool | None) -> None:
        """This batch's share of the next generation: what is missing, spread over the batches until it is needed."""
        number = self.assemble.generations.of(epoch) + self.reuse
        left = (number - epoch) * len(self) - index
        with self.assemble.generations.open(number) as generation:
            slots = np.empty(0, np.int64) if generation is None else generation.claim(left)
            if generation is None or not len(slots):
                return
            chosen = self.sampling.made(number, slots)
            readable = np.array([int(row) not in self._unreadable for row in chosen.rows])
            rows, occurrence = chosen.rows[readable], chosen.occurrence[readable]
            plain = None if chosen.plain is None else chosen.plain[readable]
            self.assemble.at(slots[readable], workers).make_ahead(generation, epoch, rows, occurrence, pool, plain)


class Reused(Sampling):
    """For some epochs the showings that another sampling gives for the first of them, in another order each time.

    The order is drawn within what this shard shows, so that a shard keeps the frames that it needs, and all of them
    together show exactly the epoch. Positions are those of this shard's steps.

    Args:
        first: what the first epoch shows, in its order.
        steps: of this shard.
        reuse: how many epochs.
        seed: of the orders of the others; None leaves them as the first one.

    Attributes:
        places: the positions that this shard shows, ascending, int64 [slots].
    """

    def __init__(self, first: Sampling, steps: Steps, reuse: int, seed: int | None) -> None:
        super().__init__(len(first))
        self.first, self.reuse, self.seed = first, reuse, seed
        self.spans, self.plains, self.counted = first.spans, first.plains, first.counted
        self.places = np.concatenate([steps.positions(step) for step in range(len(steps))])

    @property
    def key(self) -> str:
        return f"{self.first.key}, reuse={self.reuse}"

    def at(self, epoch: int, positions: np.ndarray) -> Chosen:
        return self.made(epoch - epoch % self.reuse, self.slots(epoch, positions))

    def instead(self, epoch: int, position: int, tries: int) -> int:
        place = self.places[self.slots(epoch, np.array([position], np.int64))[0]]
        return self.first.instead(epoch - epoch % self.reuse, int(place), tries)

    def made(self, number: int, slots: np.ndarray) -> Chosen:
        """What the generation that begins at epoch `number` has in its slots."""
        return self.first.at(number, self.places[slots])

    def slots(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        """Where the showings at `positions` of `epoch` stand in its generation, int64 [n]."""
        own = np.searchsorted(self.places, positions)
        if self.seed is None or epoch % self.reuse == 0:
            return own
        return permuted(self.seed, epoch, len(self.places), own)


class FrameAssembler(Assembler):
    """Rows of a source -> the entries of a batch, by way of frames. Safe to call from several threads.

    Args:
        whole: the assembler of the policy as one, whose settings this takes over.
        made: the plan that makes frames.
        plan: the plan that is run on frames in every epoch.
        generations: where frames are kept.

    Attributes:
        maker: the assembler that makes frames.
    """

    def __init__(self, whole: Assembler, made: Plan, plan: Plan, generations: Generations) -> None:
        settings = whole.bounding_box_format, whole.max_boxes, whole.fast
        super().__init__(whole.source, plan, whole.seed, whole.one_hot, whole.weights, *settings)
        self.start = 0  # frames have one size
        self.generations = generations
        self._slots = np.empty(0, np.int64)
        self._workers: WorkerPool | None = None
        self.maker = _Maker(whole.source, made, whole.seed, False, None, *settings)

    def at(self, slots: np.ndarray, workers: WorkerPool | None = None) -> FrameAssembler:
        """The assembler of the rows whose frames have these slots in their generation, int64 [n].

        workers: processes that make the frames.
        """
        twin = copy.copy(self)
        twin._slots, twin._workers = slots, workers
        return twin

    def __call__(
        self,
        epoch: int,
        rows: np.ndarray,
        occurrence: np.ndarray,
        pool: Executor | None,
        device: bool = False,
        plain: np.ndarray | None = None,
    ) -> Sample:
        source, number = self.source, self.generations.of(epoch)
        with self.generations.open(number) as generation:
            columns = self._frames(generation, epoch, rows, occurrence, pool, plain)
            images = columns.pop("images")
            batch = entries_of(columns, _stacked)
            batch["images"] = _stacked(images) if device else images
            if source.labels is not None:
                batch["labels"] = self._labels(source.labels[rows], device)
                if self.weights is not None:
                    batch["sample_weight"] = self.weights[source.labels[rows]]
            batch = {role: batch[role] for role in (*source.roles, "sample_weight") if role in batch}
            sizes = np.repeat(np.array([self.plan.spec.images[:2]]), len(rows), axis=0)
            params = draw(self.plan, self.seed, epoch, source.ids(rows), occurrence, sizes, plain)
            if device:
                return {**batch, PARAMS: travelling(params, 0)}
            options: dict[str, Any] = {"bounding_box_format": self.bounding_box_format, "num_classes": self.num_classes}
            return run(self.plan, params, batch, **options)

    def make_ahead(
        self,
        generation: Generation,
        epoch: int,
        rows: np.ndarray,
        occurrence: np.ndarray,
        pool: Executor | None,
        plain: np.ndarray | None,
    ) -> None:
        """Make and keep frames that will be needed. What goes wrong here goes wrong again where they are needed, and
        is raised there.
        """
        assert generation.number is not None
        slots = self._slots
        missing = ~generation.has(slots, rows, occurrence)
        while missing.any():
            rows, occurrence, slots = rows[missing], occurrence[missing], slots[missing]
            plain = None if plain is None else plain[missing]
            try:
                made = self._make(generation.number, rows, occurrence, pool, plain)
            except Unreadable as unreadable:
                missing = np.array([i not in unreadable.errors for i in range(len(rows))])
                continue
            except Exception:
                return
            generation.put(slots, rows, occurrence, self._columns(made))
            self.generations.count(epoch, len(rows))
            return

    def _frames(
        self,
        generation: Generation | None,
        epoch: int,
        rows: np.ndarray,
        occurrence: np.ndarray,
        pool: Executor | None,
        plain: np.ndarray | None,
    ) -> Columns:
        """The frames of a batch, one column per entry: views of those that are kept, and new ones."""
        n, slots = len(rows), self._slots
        here = np.zeros(n, bool) if generation is None else generation.has(slots, rows, occurrence)
        missing, made = np.flatnonzero(~here), Columns()
        if len(missing):
            try:
                some = None if plain is None else plain[missing]
                number = self.generations.of(epoch)
                entries = self._make(number, rows[missing], occurrence[missing], pool, some)
            except Unreadable as unreadable:
                raise Unreadable({int(missing[slot]): error for slot, error in unreadable.errors.items()}) from None
            made = self._columns(entries)
            self.generations.count(epoch, len(missing))
            if generation is not None:
                generation.put(slots[missing], rows[missing], occurrence[missing], made)
            if len(missing) == n:
                return made
        assert generation is not None
        place = {int(slot): i for i, slot in enumerate(missing)}
        columns = Columns()
        for path in made or generation.paths:
            whole = None if made else generation.whole(path)
            if whole is not None and whole[0].nbytes <= SMALL:
                columns[path] = whole[slots]
            else:
                columns[path] = [
                    made[path][place[i]] if i in place else generation.view(path, int(slots[i])) for i in range(n)
                ]
        return columns

    def _make(
        self, number: int, rows: np.ndarray, occurrence: np.ndarray, pool: Executor | None, plain: np.ndarray | None
    ) -> Sample:
        if self._workers is not None:
            return self._workers.make(number, rows, occurrence, plain)
        return self.maker(number, rows, occurrence, pool, plain=plain)

    def _columns(self, entries: Sample) -> Columns:
        return columns_of({role: value for role, value in entries.items() if role != "labels"})


class _Maker(Assembler):
    """The assembler that makes frames. Masks come as a list: each keeps the dtype of its file."""

    def _joined(self, masks: list[np.ndarray]) -> Any:
        return [mask[0] for mask in masks]


def _stacked(rows: Any) -> np.ndarray:
    """Rows as one new array, of a dtype that holds them all."""
    if isinstance(rows, np.ndarray):
        return rows
    found = BLOCKS.empty((len(rows), *rows[0].shape), np.result_type(*{row.dtype for row in rows}))
    for i, row in enumerate(rows):
        found[i] = row
    return found


def kept_or_not(
    reuse: int, then: Policy | None, frames_memory: int | str, frames_dir: str | Path | None
) -> Callable[..., Batches]:
    """What makes the batches of a Loader with these arguments: `Batches`, or `FrameBatches` that reuse frames."""
    settings: dict[str, Any] = {"reuse": reuse, "then": then, "frames_memory": frames_memory, "frames_dir": frames_dir}
    kept = not isinstance(reuse, (int, np.integer)) or isinstance(reuse, bool) or reuse != 1
    if not kept and then is not None:
        raise InputError("then= runs on frames that are reused; pass reuse=N, too, or put it into the policy")

    def make(source: Any, policy: Policy, batch_size: int, **options: Any) -> Batches:
        if kept:
            batches: Batches = FrameBatches(source, policy, batch_size, **settings, **options)
        else:
            batches = Batches(source, policy, batch_size, **options)
        batches.options.update(settings)
        return batches

    return make


def remade(batches: Batches, policy: Policy | None = None, keep: bool = True, **changes: Any) -> Batches:
    """Batches of the same source with another policy or other arguments, `reuse` among them.

    keep: whether frames are kept where they are reused; else each batch makes its own.

    Raises:
        InputError, PolicyError: as `Batches` and `FrameBatches`.
    """
    options: dict[str, Any] = {"reuse": 1, "then": None, "frames_memory": "4GB", "frames_dir": None}
    options |= {**batches.options, "placement": batches.placement, **changes}
    settings: list[Any] = [options.pop(name) for name in ("reuse", "then", "frames_memory", "frames_dir")]
    other = kept_or_not(*settings)(batches.source, policy or batches.policy, batches.batch_size, **options)
    other.take_over(batches)
    if isinstance(other, FrameBatches) and not keep:
        other.assemble.generations = Generations(0, other.reuse, FrameMemory(0, None))
    return other
