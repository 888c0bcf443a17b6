"""run(plan, params, batch): all entries of a batch through one plan under one set of parameters.

Images and masks go through the engine, boxes and points through `onewarp.targets`; then samples are mixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onewarp.boxes import from_corners, to_corners
from onewarp.engine import host
from onewarp.engine.mix import as_given, mix
from onewarp.params import Params
from onewarp.plan import Plan, WarpStage
from onewarp.targets import clip_boxes, keep_visible, move_boxes, move_points, visible_part


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
) -> dict[str, Any]:
    """The batch after the plan. Nothing of the caller's is written to.

    bounding_box_format: of the boxes that come and go, a Keras name. num_classes: needed to mix integer labels.
    valid: number of real samples, the rest is padding that is never a partner. warped: "images" and
    "segmentation_masks" that the caller has run already (the loader warps each image as it is decoded).
    """
    result = {**batch, **(warped or {})}
    warped = warped or {}
    if "images" not in warped:
        result["images"] = host.run_images(plan, params, batch["images"], threads=threads)
    if "segmentation_masks" in batch and "segmentation_masks" not in warped:
        result["segmentation_masks"] = host.run_masks(plan, params, batch["segmentation_masks"], threads=threads)
    if "bounding_boxes" in batch:
        result["bounding_boxes"] = _boxes(plan, params, batch["bounding_boxes"], bounding_box_format)
    if "keypoints" in batch:
        result["keypoints"] = _keypoints(plan, params, np.asarray(batch["keypoints"]))
    if plan.mixes:
        mix(plan, params, result, bounding_box_format, num_classes, valid or len(result["images"]), threads)
    return result


def _stages(plan: Plan, params: Params) -> list[tuple[WarpStage, dict[str, np.ndarray]]]:
    """The warps of a plan with their own arrays."""
    found = []
    for number, stage in enumerate(plan.stages):
        if isinstance(stage, WarpStage):
            prefix = f"{number}."
            found.append((stage, {k[len(prefix) :]: v for k, v in params.arrays.items() if k.startswith(prefix)}))
    return found


def _frame(height: int, width: int, n: int) -> np.ndarray:
    return np.broadcast_to(np.array([0.0, 0.0, width, height]), (n, 4))


def _boxes(plan: Plan, params: Params, given: dict[str, Any], box_format: str) -> dict[str, Any]:
    boxes, labels = np.asarray(given["boxes"]), np.asarray(given["labels"])
    n = len(boxes)
    height, width = params.sizes[:, 0].astype(float), params.sizes[:, 1].astype(float)
    corners = to_corners(boxes.astype(np.float64), box_format, height, width, np)
    visible = np.ones(corners.shape[:2])
    for stage, arrays in _stages(plan, params):
        moved = move_boxes(corners, arrays, np)
        corners = clip_boxes(moved, _frame(*stage.size, n), np)
        visible = visible * visible_part(moved, corners, np)
    if plan.moves:
        corners, labels = keep_visible(corners, visible, labels, plan.settings, np)
    out_height, out_width = (np.full(n, float(side)) for side in plan.size)
    back = from_corners(corners, box_format, out_height, out_width, np)
    return {**given, "boxes": as_given(back, boxes), "labels": labels}


def _keypoints(plan: Plan, params: Params, given: np.ndarray) -> np.ndarray:
    points = given[..., :2].astype(np.float64)
    inside = np.ones(points.shape[:2], bool)
    for stage, arrays in _stages(plan, params):
        points = move_points(points, arrays, np)
        inside &= ((points >= 0) & (points <= stage.size[::-1])).all(axis=-1)
    if given.shape[2] == 2:
        return as_given(points, given)
    return as_given(np.concatenate([points, np.where(inside, given[..., 2], 0)[..., None]], axis=-1), given)
