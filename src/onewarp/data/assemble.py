"""One batch, assembled: samples read, drawn for, warped and collated.

Samples that lie in arrays go through the engine in one call per batch. Samples in files are read, drawn for together
from the sizes in their headers, and then decoded and warped, each into its slot of the batch while its pixels are in
the cache: one by one, or a few small ones together.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from onewarp.batch import check_batch
from onewarp.boxes import to_corners
from onewarp.data.base import DrawnMask, Sample, Source, class_numbers
from onewarp.data.collate import padded_boxes, padded_points
from onewarp.data.decode import EncodedImage, LazyMask
from onewarp.data.travel import PARAMS, travelling
from onewarp.draw import draw
from onewarp.engine import host
from onewarp.engine.cut import cut, head
from onewarp.engine.outlines import Outlined, boxes_of
from onewarp.engine.run import run
from onewarp.engine.visited import visited
from onewarp.errors import DataError, InputError, OnewarpError
from onewarp.params import Params
from onewarp.plan import Plan, WarpStage
from onewarp.targets import one_hot

RUN = 1 << 18  # bytes of decoded images that are warped by one call; they are to stay in a core's cache


class Unreadable(Exception):
    """Samples of a batch under construction that cannot be used: slot -> error. Never leaves this package."""

    def __init__(self, errors: Mapping[int, OnewarpError]) -> None:
        self.errors = dict(sorted(errors.items()))


class Assembler:
    """Rows of a source -> the entries of a batch, under one plan and seed. Safe to call from several threads.

    Args:
        source, plan, seed: what is drawn for and how.
        one_hot: whether class numbers become rows [n, classes].
        weights: weight of each class, float32 [classes], or None; gives the entry `sample_weight`.
        bounding_box_format: of the source's boxes and of the result.
        max_boxes: rows that boxes and keypoints are padded to; None for the most that any sample has.
        fast: whether JPEGs may be decoded fast, and at the scale to which a warp would reduce them anyway.
    """

    def __init__(
        self,
        source: Source,
        plan: Plan,
        seed: int,
        one_hot: bool,
        weights: np.ndarray | None,
        bounding_box_format: str,
        max_boxes: int | None,
        fast: bool = False,
    ) -> None:
        self.source, self.plan, self.seed, self.fast = source, plan, seed, fast
        self.one_hot, self.weights = one_hot, weights
        self.bounding_box_format, self.max_boxes = bounding_box_format, max_boxes
        self.num_classes = source.num_classes
        # Images of one size need nothing from the host; others get it from the first warp.
        self.start = 0 if None not in source.image_shape[:2] else cut(plan)
        self._head = head(plan, self.start)

    def __call__(
        self,
        epoch: int,
        rows: np.ndarray,
        occurrence: np.ndarray,
        pool: Executor | None,
        device: bool = False,
        plain: np.ndarray | None = None,
    ) -> Sample:
        """The entries of the batch of samples `rows` [n]; occurrence [n]: how often the epoch has shown them before.

        plain: booleans [n], which samples are shown as the certain part of the policy makes them; None for none.
        device: do only what makes the images one size, the stages before number `start`; the entry PARAMS then holds
        the parameter arrays of the others.

        Raises:
            Unreadable: with every sample that is to blame.
        """
        source, n = self.source, len(rows)
        outlines: list[Any] = []
        if source.dense:
            batch = source.gather(rows) if device else source.views(rows)
        else:
            batch, outlines = self._read(epoch, rows, occurrence, pool)
        images = batch["images"]
        sizes = np.array([image.shape[:2] for image in (images[:1] if source.dense else images)])
        if source.dense:  # one size for all
            sizes = np.repeat(sizes, n, axis=0)
        if source.labels is not None:
            batch["labels"] = self._labels(source.labels[rows], device)
            if self.weights is not None:
                batch["sample_weight"] = self.weights[source.labels[rows]]
        self._check(batch, sizes, rows)
        params = draw(self.plan, self.seed, epoch, source.ids(rows), occurrence, sizes, plain)
        plan = self._head if device else self.plan
        travels = {PARAMS: travelling(params, self.start)} if device else {}
        if device and source.dense:
            return {**batch, **travels}
        warped = {"images": host.allocate(plan, n)}
        if source.dense:
            host.run_images(plan, params, images, warped["images"])
        else:
            self._warp_each(plan, params, batch, warped, rows, sizes, pool)
        result = run(
            plan,
            params,
            batch,
            bounding_box_format=self.bounding_box_format,
            num_classes=self.num_classes,
            warped=warped,
            outlined=self._outlined(plan, params, outlines, batch, pool),
        )
        return {**result, **travels}

    def _labels(self, labels: np.ndarray, device: bool) -> np.ndarray:
        mixed = device and self.plan.mixes and class_numbers(labels)  # the device need not know how many classes
        return np.asarray(one_hot(labels, self.num_classes or 0, np)) if self.one_hot or mixed else labels

    def _read(
        self, epoch: int, rows: np.ndarray, occurrence: np.ndarray, pool: Executor | None
    ) -> tuple[Sample, list[Any]]:
        """Samples as lists of undecoded images and targets; boxes and points padded to one number of rows.

        Also what gives the outlines of each sample's boxes, see `OutlinedBoxes`; None for those without.
        """
        samples: list[Any] = [None] * len(rows)

        def read(slot: int) -> None:
            samples[slot] = self.source.drawn(int(rows[slot]), self.seed, epoch, int(occurrence[slot]))
            _ = samples[slot]["images"].shape  # reads the header, which may be what is wrong

        _spread(lambda piece: _each(read, piece), _pieces(len(rows), pool), pool)
        batch: Sample = {role: [sample[role] for sample in samples] for role in samples[0] if role != "labels"}
        outlines = [getattr(boxes, "outlines", None) for boxes in batch.get("bounding_boxes", ())]
        for role, padded in (("bounding_boxes", padded_boxes), ("keypoints", padded_points)):
            if role in batch:
                most = self.source.most(role) if self.max_boxes is None else self.max_boxes
                batch[role] = padded(batch[role], most, lambda slot: self.source.name(int(rows[slot])))
        return batch, outlines

    def _outlined(
        self, plan: Plan, params: Params, outlines: list[Any], batch: Sample, pool: Executor | None
    ) -> Outlined | None:
        """What the outlines of a batch say of its boxes; None where there are none, or nothing is warped."""
        if not any(outlines) or not any(isinstance(stage, WarpStage) for stage in plan.stages):
            return None
        found = Outlined.nothing(*batch["bounding_boxes"]["labels"].shape)

        def one(slot: int) -> None:
            if outlines[slot] is not None:
                found.set(slot, boxes_of(plan, params, slot, outlines[slot]()))

        _spread(lambda piece: _each(one, piece), _pieces(len(outlines), pool), pool)
        return found

    def _warp_each(
        self,
        plan: Plan,
        params: Params,
        batch: Sample,
        warped: dict[str, np.ndarray],
        rows: np.ndarray,
        sizes: np.ndarray,
        pool: Executor | None,
    ) -> None:
        """Decode what every image shows and warp it into its slot of warped["images"]; masks likewise, as a whole.

        JPEGs are decoded and warped by one call. Of what is left, small neighbours are decoded one behind the other and
        warped by one call, which by itself takes as long as the warp of a 32x32 image.
        """
        images, masks, out = batch["images"], batch.get("segmentation_masks"), warped["images"]
        found: list[np.ndarray] = [out] * len(rows)
        streamed, parts = host.streams(out), visited(plan, params, sizes)
        scales = [self._scale(plan, params, image, slot) for slot, image in enumerate(images)]
        places = np.concatenate([sizes, parts, np.reshape(scales, (-1, 1))], axis=1, dtype=np.int32)
        direct = host.takes_jpegs(plan)

        def warp(run: range) -> None:
            own, start, r = params, run.start, scales[run.start]
            if r > 1:
                own, start = host.reduced_source(plan, params, start, r), 0
            pixels = self._decoded(images, run, r, parts)
            host.run_images(plan, own, pixels, out[run.start : run.stop], start=start, streamed=streamed)

        def warp_jpegs(piece: range) -> list[int]:
            own = slice(piece.start, piece.stop)
            jpegs = [image.data if _straight(image) else b"" for image in images[own]]
            options: dict[str, Any] = {"start": piece.start, "streamed": streamed, "fast": self.fast}
            left = host.run_jpegs(plan, params, jpegs, places[own], out[own], **options)
            return [piece[number] for number in left]

        def work(piece: range) -> None:
            _spread(warp, _runs(warp_jpegs(piece) if direct else piece, room))
            if masks is not None:
                _spread(lambda run: self._warp_masks(plan, params, images, masks, run, rows, found), _runs(piece, room))

        room = [_bytes(image) if r == 1 else RUN for image, r in zip(images, scales, strict=True)]
        _spread(work, _pieces(len(rows), pool), pool)
        if masks is not None:
            warped["segmentation_masks"] = self._joined(found)

    def _decoded(self, images: Any, run: range, reduction: int, parts: np.ndarray) -> list[np.ndarray]:
        """The images of a run, one behind the other in memory that the thread's next run takes again."""
        pixels: list[np.ndarray] = []
        memory, at = None, 0

        def decode(slot: int) -> None:
            nonlocal memory, at
            image = images[slot]
            if not isinstance(image, EncodedImage):
                pixels.append(image)
                return
            shape, kind = image.scaled(reduction), np.dtype(image.dtype)
            size = math.prod(shape) * kind.itemsize
            if memory is None:
                memory = _scratch(max(size, RUN))
            place = memory[at : at + size].view(kind).reshape(shape)
            at += size + -size % 64
            top, left, bottom, right = parts[slot].tolist()
            part = top, left, bottom, right
            pixels.append(image.decode(place, fast=self.fast, reduction=reduction, part=part))

        _each(decode, run)
        return pixels

    def _warp_masks(
        self, plan: Plan, params: Params, images: Any, masks: Any, run: range, rows: np.ndarray, found: list[np.ndarray]
    ) -> None:
        """Decode and warp the masks of a run; found[slot] becomes [1, h, w]."""
        decoded: dict[int, np.ndarray] = {}

        def mask(slot: int) -> None:
            given = masks[slot]
            if isinstance(given, LazyMask) and not isinstance(given, DrawnMask):
                given = given.decode()
            self._check_mask(given.shape, images[slot].shape, int(rows[slot]))
            if isinstance(given, DrawnMask):
                found[slot] = given.draw(plan, params, slot)
            else:
                decoded[slot] = given

        _each(mask, run)
        if len(decoded) == len(run) and len({(given.dtype, given.shape[2:]) for given in decoded.values()}) == 1:
            together = host.run_masks(plan, params, list(decoded.values()), start=run.start)
            found[run.start : run.stop] = np.split(together, len(run))
        else:  # 8-bit and 16-bit files may meet in a batch
            for slot, given in decoded.items():
                found[slot] = host.run_masks(plan, params, [given], start=slot)

    def _joined(self, masks: list[np.ndarray]) -> Any:
        """Masks [1, h, w], one per sample, as one array."""
        widest = np.result_type(*(mask.dtype for mask in masks))  # 8-bit and 16-bit files may meet in a batch
        return np.concatenate(masks, dtype=widest)

    def _scale(self, plan: Plan, params: Params, image: EncodedImage, slot: int) -> int:
        """By how much the first warp reduces this image before it samples it, where the decoder can do that."""
        if not self.fast:
            return 1
        r = host.reduction(plan, params, slot)
        return r if image.scales(r) else 1

    def _check_mask(self, mask: tuple[int, ...], shape: tuple[int, ...], row: int) -> None:
        if mask[:2] != shape[:2]:
            raise DataError(
                f"{self.source.name(row)}: the image has {shape[0]}x{shape[1]} pixels (EXIF orientation "
                f"applied), its segmentation mask {mask[0]}x{mask[1]}; give it the image's size"
            )

    def _check(self, batch: Sample, sizes: np.ndarray, rows: np.ndarray) -> None:
        """Check values and boxes; where the batch is at fault, find the samples and name them."""
        try:
            self._check_rows(batch, sizes)
        except InputError as whole:
            errors: dict[int, OnewarpError] = {}
            for slot in range(len(rows)):
                try:
                    self._check_rows({role: _row(value, slot) for role, value in batch.items()}, sizes[slot : slot + 1])
                except InputError as error:
                    errors[slot] = DataError(f"{self.source.name(int(rows[slot]))}: {error}")
            if not errors:
                raise
            raise Unreadable(errors) from whole

    def _check_rows(self, batch: Sample, sizes: np.ndarray) -> None:
        corners = None
        if "bounding_boxes" in batch:
            height, width = sizes.T.astype(np.float64)
            boxes = batch["bounding_boxes"]["boxes"].astype(np.float64)
            corners = to_corners(boxes, self.bounding_box_format, height, width, np)
        # Masks in files are not decoded yet; their size is checked when they are.
        decoded = {role: value for role, value in batch.items() if self.source.dense or role != "segmentation_masks"}
        check_batch(decoded, self.plan.spec, corners)


_memory = threading.local()  # .bytes: where a thread decodes one run after the other; fresh memory costs page faults


def _scratch(size: int) -> np.ndarray:
    """Bytes of this thread's own to decode into; good until the thread's next run."""
    if getattr(_memory, "bytes", np.empty(0)).size < size:
        _memory.bytes = np.empty(size, np.uint8)
    memory: np.ndarray = _memory.bytes
    return memory


def _bytes(image: Any) -> int:
    """What an image takes when it is decoded, in whole lines of the cache."""
    size: int = math.prod(image.shape) * np.dtype(image.dtype).itemsize
    return size + -size % 64


def _row(value: Any, slot: int) -> Any:
    if isinstance(value, Mapping):
        return {key: _row(part, slot) for key, part in value.items()}
    return value[slot : slot + 1]


def _pieces(n: int, pool: Executor | None) -> list[range]:
    """The slots of a batch as tasks of a pool: a hand-over between threads costs more than an uneven end."""
    step = n if pool is None else max(1, n // 16)
    return [range(start, min(start + step, n)) for start in range(0, n, step)]


def _runs(slots: Sequence[int], room: list[int]) -> list[range]:
    """Neighbours among `slots` that take up to RUN bytes together, larger ones alone; room[slot]: what each takes."""
    found: list[range] = []
    taken = 0
    for slot in slots:
        if found and slot == found[-1].stop and taken + room[slot] <= RUN:
            found[-1] = range(found[-1].start, slot + 1)
            taken += room[slot]
        else:
            found.append(range(slot, slot + 1))
            taken = room[slot]
    return found


def _straight(image: Any) -> bool:
    return isinstance(image, EncodedImage) and image.straight


def _each(function: Callable[[int], None], slots: range) -> None:
    """function(slot) for each; every slot that fails is reported, not only the first."""
    errors: dict[int, OnewarpError] = {}
    for slot in slots:
        try:
            function(slot)
        except OnewarpError as error:
            errors[slot] = error
    if errors:
        raise Unreadable(errors)


def _spread(function: Callable[[range], None], ranges: list[range], pool: Executor | None = None) -> None:
    """function(slots) for each, by the pool where there is one; what they report as unreadable is put together."""
    errors: dict[int, OnewarpError] = {}

    def reporting(slots: range) -> None:
        try:
            function(slots)
        except Unreadable as unreadable:
            errors.update(unreadable.errors)

    if pool is None:
        for slots in ranges:
            reporting(slots)
    else:
        list(pool.map(reporting, ranges))
    if errors:
        raise Unreadable(errors)
