"""Mixing on the host: every entry of a batch with its partners', the last thing that happens."""

from __future__ import annotations

from typing import Any

import numpy as np

from onewarp import _native
from onewarp.blocks import BLOCKS
from onewarp.boxes import from_corners, to_corners
from onewarp.draw import partners
from onewarp.engine.follow import mixed_boxes, mixed_points, without_padding
from onewarp.errors import InputError
from onewarp.params import Params
from onewarp.plan import MixStage, Plan
from onewarp.targets import one_hot


def as_given(values: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Back to the caller's dtype if it is a float, else float32."""
    return values.astype(given.dtype if given.dtype.kind == "f" else np.float32)


def mix(
    plan: Plan,
    params: Params,
    batch: dict[str, Any],
    box_format: str,
    num_classes: int | None,
    valid: int,
    threads: int = 1,
) -> None:
    """Replace the entries of `batch` by mixed ones; the arrays themselves are not written to.

    See `run` for the arguments.
    """
    if "labels" in batch:
        batch["labels"] = _float_labels(plan, np.asarray(batch["labels"]), num_classes)
    for number, stage in enumerate(plan.stages):
        if not isinstance(stage, MixStage):
            continue
        arrays = params.arrays
        weight = arrays[f"{number}.weight"]
        other = partners(arrays[f"{number}.partner"].astype(np.float64), valid).astype(np.int64)
        fires = arrays[f"{number}.active"].astype(bool)
        rect = arrays.get(f"{number}.rect")
        batch["images"] = _mix_pixels(batch["images"], other, weight, rect, plan, threads)
        if "segmentation_masks" in batch:
            batch["segmentation_masks"] = _mix_masks(batch["segmentation_masks"], other, weight, rect)
        for role in ("labels", "sample_weight"):
            if role in batch:
                values = np.asarray(batch[role])
                share = weight.reshape(-1, *(1,) * (values.ndim - 1))
                batch[role] = (share * values + (1 - share) * values[other]).astype(np.float32)
        if "bounding_boxes" in batch:
            batch["bounding_boxes"] = _mix_boxes(plan, batch["bounding_boxes"], other, fires, rect, box_format)
        if "keypoints" in batch:
            batch["keypoints"] = _mix_points(batch["keypoints"], other, fires, rect)


def needed_classes(plan: Plan, num_classes: int | None) -> int:
    """The number of classes; raises InputError where class numbers are to be mixed and it is not known."""
    if num_classes is None:
        name = next(plan.places[s.place].label for s in plan.stages if isinstance(s, MixStage))
        raise InputError(
            f"{name} mixes labels, which are class numbers here; pass num_classes=, or labels [n, classes]"
        )
    return num_classes


def check_points(points: Any) -> None:
    """Raise InputError for points without visibility: what is covered could not be told."""
    if points.shape[2] != 3:
        raise InputError("mixing keypoints needs their visibility; give keypoints as [n, k, 3] (x, y, visibility)")


def _float_labels(plan: Plan, labels: np.ndarray, num_classes: int | None) -> np.ndarray:
    if labels.dtype.kind == "f":
        return labels
    if labels.ndim == 2 and labels.shape[1] > 1:  # one-hot already, as integers
        return labels.astype(np.float32)
    num_classes = needed_classes(plan, num_classes)
    flat = labels.reshape(len(labels))
    if flat.size and int(flat.max()) >= num_classes:
        raise InputError(f"labels reach {int(flat.max())}, num_classes is {num_classes}; classes count from 0")
    return np.asarray(one_hot(flat, num_classes, np))


def _pasted(own: np.ndarray, other: np.ndarray, rect: np.ndarray, first: int) -> np.ndarray:
    """A copy of `own` [n, ...] with each one's rectangle from its partner; rows are axis `first`, columns the next."""
    result = own.copy()
    for i, (top, left, bottom, right) in enumerate(rect.tolist()):
        place = (*(slice(None),) * (first - 1), slice(top, bottom), slice(left, right))
        result[i][place] = own[other[i]][place]
    return result


def _mix_pixels(
    images: np.ndarray, other: np.ndarray, weight: np.ndarray, rect: np.ndarray | None, plan: Plan, threads: int
) -> np.ndarray:
    if rect is not None:
        return _pasted(images, other, rect, 2 if plan.settings.data_format == "channels_first" else 1)
    result = BLOCKS.empty(images.shape, images.dtype)
    _native.mix(images, result, weight.astype(np.float32), other.astype(np.int32), threads)
    return result


def _mix_masks(masks: np.ndarray, other: np.ndarray, weight: np.ndarray, rect: np.ndarray | None) -> np.ndarray:
    if rect is not None:
        return _pasted(masks, other, rect, 1)
    if masks.dtype.kind == "f":
        share = weight.reshape(-1, *(1,) * (masks.ndim - 1))
        return np.asarray((share * masks + (1 - share) * masks[other]).astype(masks.dtype))
    return np.asarray(masks[np.where(weight >= 0.5, np.arange(len(masks)), other)])


def _mix_boxes(
    plan: Plan, given: dict[str, Any], other: np.ndarray, fires: np.ndarray, rect: np.ndarray | None, box_format: str
) -> dict[str, Any]:
    boxes = given["boxes"]
    height, width = (np.full(len(boxes), float(side)) for side in plan.size)
    corners = to_corners(boxes.astype(np.float64), box_format, height, width, np)
    corners, labels = mixed_boxes(corners, given["labels"], other, fires, rect, plan.settings, np)
    both = without_padding(from_corners(corners, box_format, height, width, np), labels, np)
    return {**given, "boxes": as_given(both, boxes), "labels": labels}


def _mix_points(points: np.ndarray, other: np.ndarray, fires: np.ndarray, rect: np.ndarray | None) -> np.ndarray:
    check_points(points)
    return np.asarray(mixed_points(points, other, fires, rect, np).astype(points.dtype))
