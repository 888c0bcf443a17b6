"""Batches as a pure function of (epoch, index): which samples, in which order, under which draws.

Nothing here remembers what was asked before, so batches may be built in any order and by any number of threads, and a
run is resumed by asking for the next index.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from onewarp.data.assemble import Assembler
from onewarp.data.base import Outputs, Sample, Source, checked_outputs, checked_source, class_numbers
from onewarp.data.epochs import sampling_of
from onewarp.data.shards import Steps, checked_shard
from onewarp.data.slots import Unreadable
from onewarp.data.travel import PARAMS, READY, Route, pack
from onewarp.engine.same import serves
from onewarp.errors import DataError, InputError
from onewarp.plain import with_plain
from onewarp.policy import checked_policy
from onewarp.spec import Spec

if TYPE_CHECKING:
    from onewarp.data.workers import WorkerPool

REPLACED = 1 << 16  # occurrence numbers of samples that stand in for unreadable ones start here


@dataclass(frozen=True)
class Batch:
    """The entries of a batch by role, and what is to be known about them.

    Attributes:
        entries: arrays by role.
        skipped: a line for each sample that could not be read and was replaced.
        shown: how many samples of each class were shown plain and how many augmented, int64 [classes, 2]; None where
            no sample may be shown plain and classes are not balanced.
    """

    entries: Sample
    skipped: tuple[str, ...] = ()
    shown: np.ndarray | None = None


class Batches:
    """Source + policy -> batches, addressed by (epoch, index).

    Args:
        source: where samples come from.
        policy: what happens to them; it must make all images one size.
        batch_size: rows of a batch.
        shuffle: True, each epoch has an order of its own, drawn from (seed, epoch); False, the source's order; or
            "windowed": the source's blocks (the shards of a store) are shuffled, and then samples within each `window`
            of them, so that what was read for one batch serves the next ones.
        window: how many blocks "windowed" shuffles into each other; 16 by default.
        shard: (index, count): this reader is number `index` of `count` that share each epoch: equally many batches for
            each, no sample twice, together one epoch up to `last_batch`. `batch_size` is that of one shard.
        balance: "classes": the same number of samples of each class, together about as many as the source has; or
            shares such as {"cat": 3, "dog": 1}, by class name or number, together as many as the source has. In a class
            with images enough none is shown twice in an epoch, and other ones in the next; a scarce class shows each
            image, and then again under other draws, no two alike.
        samples_per_class: how many samples an epoch shows of each class: a number, or {class: number}.
        augment_probability: with which probability a sample is augmented, rather than shown plain, as
            `policy.deterministic()` would: a number; or {"rich": 0.2}, of classes with images enough; or by class.
        originals: whether an image of a scarce class is shown plain the first time in an epoch; False augments it, too.
        seed: whole number in [0, 2**64) behind the order and every draw.
        last_batch: what becomes of the samples that do not fill a batch: "wrap" completes it with the first samples of
            the same epoch's order (the default when shuffling), "drop" leaves them out, "keep" hands over a short batch
            (the default when not shuffling).
        labels: "int" leaves labels as the source has them, "one_hot" makes rows [n, classes] of class numbers.
        class_weight: {class number: weight}; adds `sample_weight` [n]; 1 for classes left out. Mixed samples get mixed
            weights.
        outputs: which entries become (x, y, sample_weight); the source's choice by default.
        on_error: "raise", or "skip": an unreadable sample is replaced by the next readable one half an epoch's order
            further, under a draw of its own, so that shapes and the other samples stay as they are. It is listed in
            `Batch.skipped`.
        bounding_box_format: of the source's boxes and of the result, one of Keras' names.
        max_boxes: rows that boxes (or keypoints) are padded to; by default the most that any sample has.
        decode: "exact", or "fast": JPEGs take libjpeg-turbo's faster DCT and upsampling, and are decoded at the half,
            quarter or eighth to which an antialiased warp would reduce them; pixels differ a little.
        placement: "host", or "device": batches hold the images as they are (of different sizes: warped to one) and x
            carries the numbers that are to be run on them; see `onewarp.data.travel`.

    Raises:
        InputError: an argument that is out of range.
        PolicyError: a policy that cannot run on this source.
    """

    policy: Any

    def __init__(
        self,
        source: Source,
        policy: Any,
        batch_size: int = 32,
        *,
        shuffle: bool | str = True,
        window: int | None = None,
        shard: tuple[int, int] = (0, 1),
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
        placement: str = "host",
    ) -> None:
        given = locals()
        self.options: dict[str, Any] = {name: given[name] for name in _OPTIONS}  # for `onewarp.data.frames.remade`
        if last_batch is None:
            last_batch = "wrap" if shuffle else "keep"
        _known("last_batch", last_batch, ("wrap", "drop", "keep"))
        _known("labels", labels, ("int", "one_hot"))
        _known("on_error", on_error, ("raise", "skip"))
        _known("decode", decode, ("exact", "fast"))
        _known("placement", placement, ("host", "device"))
        if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise InputError(f"batch_size={batch_size!r} is not a positive whole number; pass e.g. 32")
        if not isinstance(seed, (int, np.integer)) or not 0 <= seed < 1 << 64:
            raise InputError(f"seed={seed!r} must be a whole number in [0, 2**64); pass e.g. 0")
        checked_source(source)
        checked_policy(policy)
        if not len(source):
            raise DataError("the source has no samples; check how it was made")
        self.source, self.policy, self.batch_size, self.seed = source, policy, int(batch_size), int(seed)
        self.shuffle, self.last_batch, self.on_error = bool(shuffle), last_batch, on_error
        plan = policy.plan(Spec(source.image_shape, source.dtype, source.value_range))
        self.sampling = sampling_of(
            source, plan, self.seed, shuffle, window, balance, samples_per_class, augment_probability, originals
        )
        self.plan = self._compiled = with_plain(plan) if self.sampling.plains else plan
        self.shard = checked_shard(shard)
        self.steps = Steps(len(self.sampling), self.batch_size, last_batch, *self.shard, self.sampling.spans)
        self.steps.check()
        self.placement = placement
        self.marks = False  # whether x says that it has been augmented, for a model that would do it otherwise
        if labels == "one_hot" and not has_class_numbers(source):
            raise InputError('labels="one_hot" needs class numbers, one for each sample; this source has none')
        weights = None if class_weight is None else _class_weights(class_weight, source)
        self.assemble = Assembler(
            source, self.plan, self.seed, labels == "one_hot", weights, bounding_box_format, max_boxes, decode == "fast"
        )
        self.outputs = _with_weights(outputs, source, weights is not None)
        self._unreadable: set[int] = set()  # found so far; saves trying them again in each epoch

    def __len__(self) -> int:
        """Batches in a full epoch."""
        return len(self.steps)

    def positions(self, index: int) -> np.ndarray:
        """Places in the epoch's order that batch `index` shows, int64 [rows]; those behind the end wrap around."""
        if not 0 <= index < len(self):
            raise InputError(f"batch {index} of an epoch of {len(self)} batches; indices run from 0 to {len(self) - 1}")
        return self.steps.positions(index)

    def indices(self, epoch: int, index: int) -> np.ndarray:
        """Indices into the source of the samples that batch `index` of `epoch` shows, int64 [rows]."""
        return self.sampling.at(epoch, self.positions(index)).rows

    def begin(self, epoch: int) -> None:
        """A pass over `epoch` begins; for batches that keep something from one epoch to the next."""

    def frames(self, epoch: int) -> tuple[str, int] | None:
        """For batches that keep frames, see `onewarp.data.frames`: ("new" or "reused", how many were made)."""
        return None

    def batch(self, epoch: int, index: int) -> Sample:
        """The entries of a batch by role, new arrays: `images` and whatever targets the source has."""
        return self.build(epoch, index).entries

    def build(self, epoch: int, index: int, pool: Executor | None = None) -> Batch:
        """Batch `index` of `epoch`. A `pool` spreads reading and decoding; the result does not depend on it.

        Raises:
            DataError: a sample that cannot be used, by name; with on_error="skip" only when none can be.
        """
        n, positions = len(self.sampling), self.positions(index)
        chosen = self.sampling.at(epoch, positions)
        rows, occurrence = chosen.rows.copy(), chosen.occurrence.copy()
        skipped: dict[int, str] = {}
        tries = np.zeros(len(rows), np.int64)
        bad = [slot for slot, row in enumerate(rows) if int(row) in self._unreadable] if self._unreadable else []
        skipped.update((slot, f"{self.source.name(int(rows[slot]))}: unreadable, as found before") for slot in bad)
        while True:
            for slot in bad:
                while tries[slot] <= n:
                    tries[slot] += 1
                    rows[slot] = self.sampling.instead(epoch, int(positions[slot]), int(tries[slot]))
                    if int(rows[slot]) not in self._unreadable:
                        break
                if tries[slot] > n:
                    raise DataError(f"none of the {n} samples can be read; {next(iter(skipped.values()))}")
                occurrence[slot] = REPLACED + tries[slot]
            try:
                device = self.placement == "device"
                entries = self.assemble(epoch, rows, occurrence, pool, device, chosen.plain)
                return Batch(entries, tuple(skipped.values()), self._shown(rows, chosen.plain))
            except Unreadable as unreadable:
                if self.on_error == "raise":
                    raise next(iter(unreadable.errors.values())) from None
                bad = list(unreadable.errors)
                for slot, error in unreadable.errors.items():
                    skipped.setdefault(slot, str(error))
                    self._unreadable.add(int(rows[slot]))

    def build_by(self, workers: WorkerPool, epoch: int, index: int) -> Batch:
        """`build` by worker processes that have these batches."""
        return workers.build(epoch, index)

    def _shown(self, rows: np.ndarray, plain: np.ndarray | None) -> np.ndarray | None:
        """How many of `rows` are plain and how many augmented, by class (all in one where there are no classes)."""
        if not self.sampling.counted:
            return None
        classes = has_class_numbers(self.source)
        labels = self.source.labels[rows] if classes and self.source.labels is not None else np.zeros(len(rows), int)
        shown = np.zeros((self.source.num_classes if classes and self.source.num_classes else 1, 2), np.int64)
        np.add.at(shown, (labels, np.ones(len(rows), int) if plain is None else 1 - plain.astype(int)), 1)
        return shown

    def by_class(self, shown: np.ndarray) -> dict[str | int, tuple[int, int]]:
        """Counts of `Batch.shown` by the name or number of the class; "all" for a source without classes."""
        names: Sequence[str | int] = self.source.class_names or range(len(shown))
        if not has_class_numbers(self.source):
            names = ("all",)
        return {name: (int(plain), int(augmented)) for name, (plain, augmented) in zip(names, shown, strict=True)}

    def xyw(self, entries: Sample) -> Any:
        """The entries of a batch as x, (x, y) or (x, y, sample_weight), as `outputs` says."""
        parts = tuple(
            entries[name] if isinstance(name, str) else {key: entries[key] for key in name} for name in self.outputs
        )
        if self.placement == "device":
            parts = (pack(self.route, parts[0], entries[PARAMS]), *parts[1:])
        elif self.marks:
            parts = ({READY: parts[0]}, *parts[1:])
        return parts if len(parts) > 1 else parts[0]

    @property
    def key(self) -> dict[str, int | str]:
        """What must not change between saving a run's state and going on; the number of shards may, where it changes no
        step.
        """
        steps = self.steps
        cut = f", {steps.count} shards" if steps.count > 1 and (steps.spans or steps.last_batch == "keep") else ""
        return {
            "seed": self.seed,
            "batch_size": self.batch_size * steps.count,  # of a step of all shards
            "samples": len(self.source),
            "order": self.sampling.key + cut,
        }

    @property
    def route(self) -> Route:
        """What is left for the device to do with a batch."""
        return Route(
            self._compiled, self.assemble.start, self.batch_size, self.steps.full, self.assemble.bounding_box_format
        )

    def keeping_all(self) -> Batches:
        """The same batches with last_batch="keep": every sample exactly once, the last batch short."""
        twin = copy.copy(self)
        twin.last_batch, twin.steps = "keep", replace(self.steps, last_batch="keep")
        twin.steps.check()
        return twin

    def placed(self, placement: str) -> Batches:
        """The same batches with another placement."""
        twin = copy.copy(self)
        twin.placement = placement
        return twin

    def take_over(self, former: Batches) -> None:
        """Keep what `former` batches of the same source know: unreadable samples, and the step compiled for them."""
        self._unreadable, self.marks = former._unreadable, former.marks
        if serves(former._compiled, self.plan):
            self._compiled = former._compiled


_OPTIONS = tuple(
    name for name in inspect.signature(Batches).parameters if name not in ("source", "policy", "batch_size")
)


def has_class_numbers(source: Source) -> bool:
    """Whether the labels of a source are class numbers, one for each sample."""
    return source.labels is not None and class_numbers(source.labels)


def _known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{name}={value!r} is not known; use {' or '.join(map(repr, known))}")


def _class_weights(given: Mapping[int, float], source: Source) -> np.ndarray:
    """Weight of each class, float32 [classes]; 1 for those left out."""
    classes = source.num_classes
    if not has_class_numbers(source) or classes is None:
        raise InputError(
            "class_weight needs class numbers, one for each sample, as labels; this source has none; "
            "for masks compile with onewarp.segment.PixelCrossentropy(class_weights=)"
        )
    weights = np.ones(classes, np.float32)
    for label, weight in given.items():
        if label not in range(classes):
            raise InputError(f"class_weight has class {label!r}, but classes run from 0 to {classes - 1}")
        if not 0 <= weight < np.inf:
            raise InputError(f"class_weight[{label}]={weight!r} must be a finite number that is not negative")
        weights[int(label)] = weight
    return weights


def _with_weights(outputs: Outputs | None, source: Source, weighted: bool) -> Outputs:
    """The outputs chosen by the user or by the source, and the sample weights where there are any."""
    roles = (*source.roles, "sample_weight") if weighted else source.roles
    chosen = source.outputs if outputs is None else checked_outputs(outputs, roles)
    if not weighted or len(chosen) == 3:
        return chosen
    if len(chosen) == 1:
        raise InputError(f'class_weight needs targets, but outputs is {chosen}; use ("images", "labels")')
    return (*chosen, "sample_weight")
