"""run(plan, params, batch): all entries of a batch through one plan under one set of parameters.

Images and masks go through the engine, boxes and points through `onewarp.engine.follow`; then samples are mixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onewarp.boxes import from_corners, to_corners
from onewarp.engine import host
from onewarp.engine.follow import follow_boxes, follow_points
from onewarp.engine.mix import as_given, mix
from onewarp.engine.outlines import Outlined
from onewarp.params import Params
from onewarp.plan import Plan


def run(
    plan: Plan,
    params: Params,
    batch: dict[str, Any],
    *,
    bounding_box_format: str = "xyxy",
    num_classes: int | None = None,
    valid: int | None = None,
    threads: int = 1,
    warped: Mapping[str, np.ndarray] | None = None,
    outlined: Outlined | None = None,
) -> dict[str, Any]:
    """The batch after the plan. Nothing of the caller's is written to.

    bounding_box_format: of the boxes that come and go, a Keras name. num_classes: needed to mix integer labels.
    valid: number of real samples, the rest is padding that is never a partner. warped: "images" and
    "segmentation_masks" that the caller has run already (the loader warps each image as it is decoded).
    outlined: what outlines say of the boxes [n, k], where the caller has some.
    """
    result = {**batch, **(warped or {})}
    warped = warped or {}
    if "images" not in warped:
        result["images"] = host.run_images(plan, params, batch["images"], threads=threads)
    if "segmentation_masks" in batch and "segmentation_masks" not in warped:
        result["segmentation_masks"] = host.run_masks(plan, params, batch["segmentation_masks"], threads=threads)
    if "bounding_boxes" in batch:
        result["bounding_boxes"] = _boxes(plan, params, batch["bounding_boxes"], bounding_box_format, outlined)
    if "keypoints" in batch:
        result["keypoints"] = _keypoints(plan, params, np.asarray(batch["keypoints"]))
    if plan.mixes:
        mix(plan, params, result, bounding_box_format, num_classes, valid or len(result["images"]), threads)
    return result


def _boxes(
    plan: Plan, params: Params, given: dict[str, Any], box_format: str, outlined: Outlined | None
) -> dict[str, Any]:
    boxes, labels = np.asarray(given["boxes"]), np.asarray(given["labels"])
    height, width = params.sizes[:, 0].astype(float), params.sizes[:, 1].astype(float)
    corners = to_corners(boxes.astype(np.float64), box_format, height, width, np)
    corners, labels = follow_boxes(plan, params.arrays, corners, labels, np, outlined=outlined)
    out_height, out_width = (np.full(len(boxes), float(side)) for side in plan.size)
    back = from_corners(corners, box_format, out_height, out_width, np)
    return {**given, "boxes": as_given(back, boxes), "labels": labels}


def _keypoints(plan: Plan, params: Params, given: np.ndarray) -> np.ndarray:
    points, inside = follow_points(plan, params.arrays, given[..., :2].astype(np.float64), np)
    if given.shape[2] == 2:
        return as_given(points, given)
    return as_given(np.concatenate([points, np.where(inside, given[..., 2], 0)[..., None]], axis=-1), given)
