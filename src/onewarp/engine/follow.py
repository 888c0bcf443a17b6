"""Boxes and points follow the pixels, under warps and when samples are mixed. For both engines, `xp` is handed in.

Boxes are corners (x1, y1, x2, y2) in pixels here; labels -1 are padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onewarp.engine.outlines import Outlined
from onewarp.plan import Plan, WarpStage
from onewarp.random import Array, constant
from onewarp.targets import (
    area,
    clip_boxes,
    common,
    keep_visible,
    move_boxes,
    move_points,
    uncovered,
    visible_part,
)


def _warps(plan: Plan, arrays: Mapping[str, Array], start: int) -> list[tuple[WarpStage, dict[str, Array]]]:
    """The warps among the stages from number `start` on, each with its own arrays."""
    found = []
    for number, stage in enumerate(plan.stages):
        if isinstance(stage, WarpStage) and number >= start:
            prefix = f"{number}."
            found.append((stage, {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}))
    return found


def follow_boxes(
    plan: Plan,
    arrays: Mapping[str, Array],
    corners: Array,
    labels: Array,
    xp: Any,
    start: int = 0,
    outlined: Outlined | None = None,
) -> tuple[Array, Array]:
    """Boxes [n, k, 4] and labels [n, k] through the warps: clipped, and dropped where too little is left.

    A box becomes that of its warped corners, or of the warped outline of what is in it, where `outlined` knows that.
    """
    warps = _warps(plan, arrays, start)
    before = visible = xp.ones_like(corners[..., 0])
    moved = corners
    for stage, own in warps:
        height, width = stage.size
        before, moved = visible, move_boxes(corners, own, xp)
        corners = clip_boxes(moved, constant([[0.0, 0.0, width, height]], xp), xp)
        visible = before * visible_part(moved, corners, xp)
    if not warps:
        return corners, labels
    if outlined is not None:
        # Never beyond the corners' box: the outline may be, a little, and frames of earlier warps cut only that.
        seen, whole = common(corners, outlined.seen, xp), common(moved, outlined.whole, xp)
        apart = xp.logical_and(area(seen, xp) <= 0, area(outlined.seen, xp) > 0)  # an outline of something else
        known = xp.logical_and(outlined.known, xp.logical_not(apart))
        visible = xp.where(known, before * visible_part(whole, seen, xp), visible)
        corners = xp.where(known[..., None], seen, corners)
    return keep_visible(corners, visible, labels, plan.settings, xp)


def follow_points(
    plan: Plan, arrays: Mapping[str, Array], points: Array, xp: Any, start: int = 0
) -> tuple[Array, Array]:
    """Points [n, k, 2] through the warps; and whether each stayed inside all their frames, [n, k]."""
    inside = xp.ones_like(points[..., 0]) > 0
    for stage, own in _warps(plan, arrays, start):
        points = move_points(points, own, xp)
        for axis in (0, 1):
            place = points[..., axis]
            inside = xp.logical_and(inside, xp.logical_and(place >= 0.0, place <= stage.size[1 - axis]))
    return points, inside


def mixed_boxes(
    corners: Array, labels: Array, other: Array, fires: Array, rect: Array | None, settings: Any, xp: Any
) -> tuple[Array, Array]:
    """Each sample's boxes with those of its partner `other` [n] behind them; under `rect` [n, 4] its own are hidden."""
    fires = fires[:, None]
    theirs = xp.take(corners, other, axis=0)
    their_labels = xp.where(fires, xp.take(labels, other, axis=0), -1)
    own, own_labels = corners, labels
    if rect is not None:
        region = constant(xp.stack([rect[:, i] for i in (1, 0, 3, 2)], axis=-1), xp)
        left, seen = uncovered(corners, region, xp)
        too_little = xp.logical_or(seen <= 0.0, seen < settings.min_visibility)
        too_little = xp.logical_or(too_little, area(left, xp) < settings.min_area)
        own = xp.where(fires[..., None], left, corners)
        own_labels = xp.where(xp.logical_and(fires, too_little), -1, labels)
        whole, theirs = theirs, clip_boxes(theirs, region, xp)
        theirs, their_labels = keep_visible(theirs, visible_part(whole, theirs, xp), their_labels, settings, xp)
    return xp.concatenate([own, theirs], axis=1), xp.concatenate([own_labels, their_labels], axis=1)


def without_padding(boxes: Array, labels: Array, xp: Any) -> Array:
    """Boxes in any format, 0 where the label says padding."""
    return xp.where((labels != -1)[..., None], boxes, 0.0)


def mixed_points(points: Array, other: Array, fires: Array, rect: Array | None, xp: Any) -> Array:
    """Points [n, k, 3] (x, y, visibility) with the partner's behind them; what is covered has visibility 0."""
    own, theirs = points, xp.take(points, other, axis=0)
    kept, seen = xp.ones_like(points[..., 2]) > 0, xp.broadcast_to(fires[:, None], points.shape[:2])
    if rect is not None:
        top, left, bottom, right = (constant(rect, xp)[:, i : i + 1] for i in range(4))

        def covered(p: Array) -> Array:
            across = xp.logical_and(p[..., 0] >= left, p[..., 0] < right)
            return xp.logical_and(across, xp.logical_and(p[..., 1] >= top, p[..., 1] < bottom))

        kept = xp.logical_not(xp.logical_and(covered(own), fires[:, None]))
        seen = xp.logical_and(seen, covered(theirs))
    both = xp.concatenate([own, theirs], axis=1)
    visible = xp.where(xp.concatenate([kept, seen], axis=1), both[..., 2], 0)
    return xp.concatenate([both[..., :2], visible[..., None]], axis=-1)
