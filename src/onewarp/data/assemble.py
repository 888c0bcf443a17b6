"""One batch, assembled: samples read, drawn for, warped and collated.

Samples that lie in arrays go through the engine in one call per batch. Samples in files are read, drawn for together
from the sizes in their headers, and then decoded and warped, each into its slot of the batch (`data.file_warp`).
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any

import numpy as np

from onewarp.batch import check_batch
from onewarp.boxes import to_corners
from onewarp.data.base import Sample, Source, class_numbers
from onewarp.data.collate import padded_boxes, padded_points
from onewarp.data.file_warp import FileWarp
from onewarp.data.slots import Unreadable, each, pieces, spread
from onewarp.data.travel import PARAMS, travelling
from onewarp.draw import draw
from onewarp.engine import host
from onewarp.engine.cut import cut, head
from onewarp.engine.outlines import Outlined, boxes_of
from onewarp.engine.run import run
from onewarp.errors import DataError, InputError, OnewarpError
from onewarp.params import Params
from onewarp.plan import Plan, WarpStage
from onewarp.targets import one_hot


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
        dense = source.dense  # a store may be finished, and dense from then on, while this batch is made
        if dense:
            batch = source.gather(rows) if device else source.views(rows)
        else:
            batch, outlines = self._read(epoch, rows, occurrence, pool)
        images = batch["images"]
        sizes = np.array([image.shape[:2] for image in (images[:1] if dense else images)])
        if dense:  # one size for all
            sizes = np.repeat(sizes, n, axis=0)
        if source.labels is not None:
            batch["labels"] = self._labels(source.labels[rows], device)
            if self.weights is not None:
                batch["sample_weight"] = self.weights[source.labels[rows]]
        self._check(batch, sizes, rows)
        params = draw(self.plan, self.seed, epoch, source.ids(rows), occurrence, sizes, plain)
        plan = self._head if device else self.plan
        travels = {PARAMS: travelling(params, self.start)} if device else {}
        if device and dense:
            return {**batch, **travels}
        warped = {"images": host.allocate(plan, n)}
        if dense:
            host.run_images(plan, params, images, warped["images"])
        else:
            warp = FileWarp(plan, params, images, batch.get("segmentation_masks"), sizes, warped["images"], self.fast)
            masks = warp(pool, lambda slot: source.name(int(rows[slot])))
            if masks is not None:
                warped["segmentation_masks"] = self._joined(masks)
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

        spread(lambda piece: each(read, piece), pieces(len(rows), pool), pool)
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

        spread(lambda piece: each(one, piece), pieces(len(outlines), pool), pool)
        return found

    def _joined(self, masks: list[np.ndarray]) -> Any:
        """Masks [1, h, w], one per sample, as one array."""
        widest = np.result_type(*(mask.dtype for mask in masks))  # 8-bit and 16-bit files may meet in a batch
        return np.concatenate(masks, dtype=widest)

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
        waiting = () if isinstance(batch.get("segmentation_masks"), np.ndarray) else ("segmentation_masks",)
        decoded = {role: value for role, value in batch.items() if role not in waiting}
        check_batch(decoded, self.plan.spec, corners)


def _row(value: Any, slot: int) -> Any:
    if isinstance(value, Mapping):
        return {key: _row(part, slot) for key, part in value.items()}
    return value[slot : slot + 1]
