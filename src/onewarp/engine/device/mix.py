"""Mixing on the device: every entry of a batch with its partners', the last thing that happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from onewarp.boxes import from_corners, to_corners
from onewarp.draw import partners
from onewarp.engine.device.verbs import entry, flags, floats, settled
from onewarp.engine.follow import mixed_boxes, mixed_points, without_padding
from onewarp.engine.mix import check_points, needed_classes
from onewarp.plan import MixStage, Plan
from onewarp.random import Array
from onewarp.targets import one_hot
from onewarp.transform import Mix


def mix(
    plan: Plan,
    arrays: Mapping[str, Array],
    batch: dict[str, Any],
    box_format: str,
    num_classes: int | None,
    valid: int,
    start: int = 0,
) -> None:
    """Replace the entries of `batch` by mixed ones. See `run` for the arguments."""
    if "labels" in batch:
        batch["labels"] = _float_labels(plan, batch["labels"], num_classes)
    for number, stage in enumerate(plan.stages):
        if not isinstance(stage, MixStage) or number < start:
            continue
        weight = floats(entry(arrays, number, "weight"))
        other = ops.cast(partners(floats(entry(arrays, number, "partner")), valid, ops), "int32")
        fires = flags(entry(arrays, number, "active"), 0)
        cuts = type(plan.transform(stage.place)).rect is not Mix.rect
        rect = ops.cast(entry(arrays, number, "rect"), "int32") if cuts else None
        batch["images"] = _mix_pixels(batch["images"], other, weight, rect, plan)
        if "segmentation_masks" in batch:
            batch["segmentation_masks"] = _mix_masks(batch["segmentation_masks"], other, weight, rect)
        for role in ("labels", "sample_weight"):
            if role in batch:
                batch[role] = _blend(floats(batch[role]), other, weight)
        if "bounding_boxes" in batch:
            batch["bounding_boxes"] = _mix_boxes(plan, batch["bounding_boxes"], other, fires, rect, box_format)
        if "keypoints" in batch:
            check_points(batch["keypoints"])
            batch["keypoints"] = mixed_points(batch["keypoints"], other, fires, rect, ops)


def _float_labels(plan: Plan, labels: Array, num_classes: int | None) -> Array:
    if keras.backend.is_float_dtype(keras.backend.standardize_dtype(labels.dtype)):
        return labels
    if len(labels.shape) == 2 and labels.shape[1] > 1:  # one-hot already, as integers
        return floats(labels)
    classes = needed_classes(plan, num_classes)
    return one_hot(ops.reshape(ops.cast(labels, "int32"), (labels.shape[0],)), classes, ops)


def _blend(values: Array, other: Array, weight: Array) -> Array:
    """Each sample by its weight [n] with its partner."""
    share = ops.reshape(weight, (-1, *(1,) * (len(values.shape) - 1)))
    return share * values + (1.0 - share) * ops.take(values, other, axis=0)


def _inside(rect: Array, height: int, width: int) -> Array:
    """[n, h, w] booleans: the pixel lies in the rectangle."""
    y = ops.reshape(ops.arange(height, dtype="int32"), (1, height, 1))
    x = ops.reshape(ops.arange(width, dtype="int32"), (1, 1, width))
    top, left, bottom, right = (ops.reshape(rect[:, i], (-1, 1, 1)) for i in range(4))
    lines, columns = ops.logical_and(y >= top, y < bottom), ops.logical_and(x >= left, x < right)
    return ops.logical_and(lines, columns)


def _mix_pixels(images: Array, other: Array, weight: Array, rect: Array | None, plan: Plan) -> Array:
    if rect is None:
        return settled(_blend(floats(images), other, weight), plan.output_dtype)
    inside = ops.expand_dims(_inside(rect, *plan.size), 1 if plan.settings.data_format == "channels_first" else -1)
    return ops.where(inside, ops.take(images, other, axis=0), images)


def _mix_masks(masks: Array, other: Array, weight: Array, rect: Array | None) -> Array:
    theirs = ops.take(masks, other, axis=0)
    if rect is not None:
        inside = _inside(rect, *masks.shape[1:3])
        return ops.where(inside if len(masks.shape) == 3 else ops.expand_dims(inside, -1), theirs, masks)
    dtype = keras.backend.standardize_dtype(masks.dtype)
    if keras.backend.is_float_dtype(dtype):
        return ops.cast(_blend(floats(masks), other, weight), dtype)
    return ops.where(ops.reshape(weight, (-1, *(1,) * (len(masks.shape) - 1))) >= 0.5, masks, theirs)


def _mix_boxes(
    plan: Plan, given: dict[str, Any], other: Array, fires: Array, rect: Array | None, box_format: str
) -> dict[str, Any]:
    height, width = (ops.full((1,), float(side)) for side in plan.size)
    corners = to_corners(floats(given["boxes"]), box_format, height, width, ops)
    corners, labels = mixed_boxes(corners, given["labels"], other, fires, rect, plan.settings, ops)
    boxes = without_padding(from_corners(corners, box_format, height, width, ops), labels, ops)
    return {**given, "boxes": boxes, "labels": labels}
