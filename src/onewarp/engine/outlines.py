"""Objects that have an outline, of polygons or of the pixels of a mask: where it goes, and the box around it.

The box of a warped object is that of its warped outline, where it has one: a turned box is larger than what it holds.
On the host alone, in float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from onewarp.params import Params
from onewarp.plan import Plan, WarpStage
from onewarp.targets import move_points

_BEHIND = 1e8  # a corner this far away was thrown behind the viewer by a perspective
_STEP = 2.0  # pixels between the points of an edge that a displacement field bends


@dataclass(frozen=True)
class Outline:
    """The polygons of one object, which are united. Each is closed; inside is where a line from outside ends that has
    crossed it an odd number of times.

    Attributes:
        points: float64 [m, 2], corners (x, y) in pixels, one polygon after the other.
        counts: int64 [polygons], how many corners each has.
    """

    points: np.ndarray
    counts: np.ndarray

    @classmethod
    def of_polygons(cls, polygons: Iterable[Sequence[float] | np.ndarray]) -> Outline:
        """Of polygons [x, y, x, y, ...] or [k, 2]."""
        parts = [np.asarray(part, np.float64).reshape(-1, 2) for part in polygons]
        counts = np.array([len(part) for part in parts], np.int64)
        return cls(np.concatenate([np.zeros((0, 2)), *parts]), counts)

    @classmethod
    def of_mask(cls, mask: np.ndarray) -> Outline:
        """Of the pixels of a mask [h, w] that are not 0: a rectangle for each run of a column."""
        height, width = mask.shape
        columns = np.zeros((width, height + 2), np.int8)
        columns[:, 1:-1] = (mask != 0).T
        change = np.diff(columns, axis=1)
        (left, top), bottom = np.nonzero(change == 1), np.nonzero(change == -1)[1]
        corners = np.stack([left, top, left + 1, top, left + 1, bottom, left, bottom], axis=1)
        return cls(corners.reshape(-1, 2).astype(np.float64), np.full(len(left), 4, np.int64))

    @property
    def polygons(self) -> list[np.ndarray]:
        """The polygons, [k, 2] each."""
        return np.split(self.points, np.cumsum(self.counts)[:-1]) if len(self.counts) else []

    def following(self) -> np.ndarray:
        """For each corner the place of the one that its polygon has next, int64 [m]."""
        after = np.arange(1, len(self.points) + 1)
        ends = np.cumsum(self.counts)
        after[ends - 1] = ends - self.counts
        return after

    def finer(self) -> Outline:
        """The same with a corner at least every `_STEP` pixels of its edges, which then can bend."""
        edges = self.points[self.following()] - self.points
        pieces = np.maximum(np.ceil(np.hypot(*edges.T) / _STEP), 1).astype(np.int64)
        start = np.repeat(np.arange(len(pieces)), pieces)
        share = (np.arange(len(start)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) / pieces[start]
        per_polygon = np.add.reduceat(pieces, np.cumsum(self.counts) - self.counts) if len(self.counts) else pieces
        return Outline(self.points[start] + edges[start] * share[:, None], per_polygon)


@dataclass(frozen=True)
class Outlined:
    """What outlines say of boxes, in the frame of the result, corners in pixels.

    Attributes:
        whole: the box around all of each object, float64 [..., 4].
        seen: the box around what of it lies in the frame; without an area where nothing does.
        known: bool [...]; False for objects without an outline, and for those that pass behind the viewer.
    """

    whole: np.ndarray
    seen: np.ndarray
    known: np.ndarray

    @classmethod
    def nothing(cls, *shape: int) -> Outlined:
        """Of [*shape] boxes of which nothing is known."""
        return cls(np.zeros((*shape, 4)), np.zeros((*shape, 4)), np.zeros(shape, bool))

    def set(self, slot: int, one: Outlined) -> None:
        """Take over what is known of the first boxes of sample `slot` of a batch."""
        count = len(one.known)
        self.whole[slot, :count], self.seen[slot, :count], self.known[slot, :count] = one.whole, one.seen, one.known


def moved(plan: Plan, params: Params, slot: int, outlines: Sequence[Outline | None]) -> list[Outline | None]:
    """Outlines after the warps under the parameters of sample `slot`; None where a corner is behind the viewer."""
    warps = [(number, stage) for number, stage in enumerate(plan.stages) if isinstance(stage, WarpStage)]
    if any(stage.fields for _, stage in warps):
        outlines = [None if outline is None else outline.finer() for outline in outlines]
    every = [outline.points for outline in outlines if outline is not None]
    if not warps or not every:
        return list(outlines)
    points = np.concatenate(every)[None]
    for number, _ in warps:
        prefix = f"{number}."
        own = {k[len(prefix) :]: v[slot : slot + 1] for k, v in params.arrays.items() if k.startswith(prefix)}
        points = move_points(points, own, np)
    found = iter(np.split(points[0], np.cumsum([len(part) for part in every])[:-1]))
    result: list[Outline | None] = []
    for outline in outlines:
        corners = None if outline is None else next(found)
        if outline is None or corners is None or (np.abs(corners) > _BEHIND).any():
            result.append(None)
        else:
            result.append(Outline(corners, outline.counts))
    return result


def boxes_of(plan: Plan, params: Params, slot: int, outlines: Sequence[Outline | None]) -> Outlined:
    """The boxes of the objects of sample `slot` after the plan's warps, [k]."""
    height, width = plan.size
    found = Outlined.nothing(len(outlines))
    there = {i: one for i, one in enumerate(moved(plan, params, slot, outlines)) if one is not None and len(one.points)}
    if not there:
        return found
    rows = list(there)
    first = np.cumsum([0, *(len(one.points) for one in there.values())])[:-1]
    points = np.concatenate([one.points for one in there.values()])
    low, high = np.minimum.reduceat(points, first), np.maximum.reduceat(points, first)
    whole = np.concatenate([low, high], axis=1)
    sides = np.array([width, height], np.float64)
    cut = np.any((low < 0) | (high > sides), axis=1)
    gone = np.any((low >= sides) | (high <= 0), axis=1)
    seen = np.where(gone[:, None], 0.0, whole)
    for number in np.flatnonzero(cut & ~gone):
        seen[number] = _seen(there[rows[number]], height, width)
    found.whole[rows], found.seen[rows], found.known[rows] = whole, seen, True
    return found


def boxes_of_masks(
    plan: Plan, params: Params, masks: Sequence[np.ndarray] | np.ndarray, labels: np.ndarray
) -> Outlined:
    """The same for a batch whose object in box j of sample i is what is not 0 in channel j of masks[i] [h, w, c].

    labels: those of the boxes, [n, k]; -1 is padding.
    """
    found = Outlined.nothing(*labels.shape)
    for slot, mask in enumerate(masks):
        outlines = [Outline.of_mask(mask[..., j]) if labels[slot, j] != -1 else None for j in range(labels.shape[1])]
        found.set(slot, boxes_of(plan, params, slot, outlines))
    return found


def _seen(outline: Outline, height: int, width: int) -> np.ndarray:
    """The box (x1, y1, x2, y2) around what of an outline lies in the frame; zeros where nothing does."""
    # The furthest points of what is left are corners, or cuts of edges, or corners of the frame that lie inside.
    sides = np.array([width, height], np.float64)
    start, end = outline.points, outline.points[outline.following()]
    along = end - start
    with np.errstate(divide="ignore", invalid="ignore"):
        cuts = np.stack([-start / along, (sides - start) / along])  # [2, m, 2]: where an edge meets each side's line
    level = along == 0
    within = (start >= 0) & (start <= sides)
    enters = np.where(level, np.where(within, 0.0, 2.0), cuts.min(axis=0)).max(axis=1, initial=0.0, keepdims=True)
    leaves = np.where(level, 1.0, cuts.max(axis=0)).min(axis=1, initial=1.0, keepdims=True)
    kept = (enters <= leaves)[:, 0]
    ends = np.concatenate([(start + enters * along)[kept], (start + leaves * along)[kept]])
    corners = np.array([[0, 0], [0, height], [width, 0], [width, height]], np.float64)
    inside = _contains(outline, start, end, corners)
    points = np.concatenate([ends.clip(0, sides), corners[inside]])  # clip: a cut may be a rounding beyond its side
    return np.array([*points.min(axis=0), *points.max(axis=0)]) if len(points) else np.zeros(4)


def _contains(outline: Outline, start: np.ndarray, end: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Whether each of `points` [k, 2] lies in one of the polygons, whose edges are `start` and `end`, bool [k]."""
    x, y = points[:, :1], points[:, 1:]
    crosses = (start[:, 1] > y) != (end[:, 1] > y)  # [k, m]
    rise = np.where(crosses, end[:, 1] - start[:, 1], 1.0)
    right = crosses & (x < start[:, 0] + (y - start[:, 1]) / rise * (end[:, 0] - start[:, 0]))
    first = np.cumsum(outline.counts) - outline.counts
    times = np.add.reduceat(right.astype(np.int64), first, axis=1)
    found: np.ndarray = (times % 2 == 1).any(axis=1)
    return found
