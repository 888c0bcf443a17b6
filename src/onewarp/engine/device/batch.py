"""run(plan, arrays, batch): all entries of a batch through one plan under one set of parameters, on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from onewarp.boxes import from_corners, to_corners
from onewarp.engine.cut import frame_at
from onewarp.engine.device.mix import mix
from onewarp.engine.device.pixels import check_device, run_images, run_masks
from onewarp.engine.device.verbs import floats
from onewarp.engine.follow import follow_boxes, follow_points
from onewarp.errors import InputError
from onewarp.plan import Plan
from onewarp.random import Array


def run(
    plan: Plan,
    arrays: Mapping[str, Array],
    batch: Mapping[str, Any],
    *,
    bounding_box_format: str = "xyxy",
    num_classes: int | None = None,
    valid: int | None = None,
    start: int = 0,
) -> dict[str, Any]:
    """The batch after the plan. Tensors in, tensors out; shapes are static; boxes, points and labels become float32.

    arrays: those of `Params`, drawn on the host and brought along, or drawn in the step by
        `draw_arrays(..., xp=keras.ops)`.
    batch: "images" [n, h, w, c], uint8 or float32, and any of the other entries of `onewarp.spec`.
    bounding_box_format: of the boxes that come and go, a Keras name. num_classes: needed to mix integer labels.
    valid: number of real samples, the rest is padding that is never a partner.
    start: number of the first stage to run; the host has done those before it (`onewarp.engine.cut`).

    Raises:
        PolicyError: the device cannot do all of the plan.
        InputError: an entry of the parameters is missing, or the batch does not fit the plan.
    """
    check_device(plan, start)
    result = dict(batch)
    images = ops.convert_to_tensor(batch["images"])
    _check_images(plan, images, start)
    result["images"] = run_images(plan, arrays, images, start)
    if "segmentation_masks" in batch:
        masks = ops.convert_to_tensor(batch["segmentation_masks"])
        result["segmentation_masks"] = run_masks(plan, arrays, masks, start)
    if "bounding_boxes" in batch:
        size = (images.shape[1], images.shape[2])
        result["bounding_boxes"] = _boxes(plan, arrays, batch["bounding_boxes"], bounding_box_format, size, start)
    if "keypoints" in batch:
        result["keypoints"] = _keypoints(plan, arrays, floats(batch["keypoints"]), start)
    if plan.mixes:
        mix(plan, arrays, result, bounding_box_format, num_classes, valid or images.shape[0], start)
    return result


def _check_images(plan: Plan, images: Array, start: int) -> None:
    """Shapes and dtypes are known when a step is compiled, so this costs nothing when it runs."""
    wanted = (*frame_at(plan, start), plan.spec.channels)
    shape, dtype = tuple(images.shape), keras.backend.standardize_dtype(images.dtype)
    fits = len(shape) == 4 and all(w is None or w == s for w, s in zip(wanted, shape[1:], strict=True))
    if None in shape or not fits or dtype != plan.spec.dtype:
        sides = ", ".join("any" if side is None else str(side) for side in wanted)
        raise InputError(
            f"images are {dtype} of shape {shape}, the plan was made for {plan.spec.dtype} of shape [n, {sides}] with "
            "all sizes known; make the plan from Spec.of(images)"
        )


def _boxes(
    plan: Plan,
    arrays: Mapping[str, Array],
    given: Mapping[str, Any],
    box_format: str,
    size: tuple[int, int],
    start: int,
) -> dict[str, Any]:
    height, width = (ops.full((1,), float(side)) for side in size)
    corners = to_corners(floats(given["boxes"]), box_format, height, width, ops)
    corners, labels = follow_boxes(plan, arrays, corners, ops.convert_to_tensor(given["labels"]), ops, start)
    out_height, out_width = (ops.full((1,), float(side)) for side in plan.size)
    return {**given, "boxes": from_corners(corners, box_format, out_height, out_width, ops), "labels": labels}


def _keypoints(plan: Plan, arrays: Mapping[str, Array], given: Array, start: int) -> Array:
    points, inside = follow_points(plan, arrays, given[..., :2], ops, start)
    if given.shape[2] == 2:
        return points
    visibility = ops.where(inside, given[..., 2], 0.0)
    return ops.concatenate([points, ops.expand_dims(visibility, -1)], axis=-1)
