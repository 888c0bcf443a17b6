"""Masks that are shapes until the last moment: polygons follow the geometry exactly and are drawn once.

A mask that is drawn at the size of the photograph and then resampled loses its edges twice. Here the corners of the
polygons go through the warps, like keypoints, and the result is drawn by the COCO rule at the size of the batch. An RLE
has no corners: it is decoded and resampled, as are pixels beyond the photograph under a fill mode that repeats it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from onewarp.coco.annotations import Rle, Segmentation
from onewarp.coco.masks import decode, fill, run_lengths
from onewarp.data.base import DrawnMask
from onewarp.engine import host
from onewarp.params import Params
from onewarp.plan import Plan, WarpStage
from onewarp.targets import move_points

_BEHIND = 1e8  # a corner this far away was thrown behind the viewer by a perspective
_STEP = 2.0  # pixels between the points of an edge that a displacement field bends


@dataclass(frozen=True)
class Shape:
    """One object: its segmentation, and what its pixels are worth in the mask."""

    segmentation: Segmentation
    value: int


class Shapes(DrawnMask):
    """The objects of one photograph as a mask that is drawn when it is needed.

    Args:
        shapes: painted in this order, later ones over earlier ones.
        height, width: size of the photograph.
        channels: 0 for one mask [h, w] of values; K for one [h, w, K] whose channel `value` has 1 inside a shape.
        dtype: of the masks, "uint8" or "uint16".
    """

    def __init__(
        self, shapes: Sequence[Shape], height: int, width: int, channels: int = 0, dtype: str = "uint8"
    ) -> None:
        self.shapes, self.height, self.width = tuple(shapes), height, width
        self.channels, self.dtype = channels, dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.height, self.width, *([self.channels] if self.channels else []))

    def decode(self) -> np.ndarray:
        """The mask at the size of the photograph: [h, w] or [h, w, channels]."""
        mask = self._empty(self.height, self.width)
        for shape in self.shapes:
            self._paint(mask, decode(run_lengths(shape.segmentation, self.height, self.width)), shape.value)
        return mask

    def draw(self, plan: Plan, params: Params, slot: int) -> np.ndarray:
        """The mask after the plan's warps under the parameters of sample `slot`, [1, h, w] or [1, h, w, channels]."""
        warps = [(i, stage) for i, stage in enumerate(plan.stages) if isinstance(stage, WarpStage)]
        if not warps:
            return self.decode()[None]
        height, width = plan.size
        corners = self._moved(params, warps, slot)
        mask = self._empty(height, width)
        for number, shape in enumerate(self.shapes):
            parts = corners[number]
            if parts is not None:
                inside = fill(parts, height, width)
            else:
                whole = decode(run_lengths(shape.segmentation, self.height, self.width))
                inside = host.run_masks(_empty_outside(plan), params, [whole], start=slot)[0]
            self._paint(mask, inside, shape.value)
        seen = self._seen(plan, params, warps, slot)
        if seen is not None:
            if plan.settings.fill_mode == "constant":
                mask[~seen] = plan.settings.mask_fill_value
            else:
                mask[~seen] = host.run_masks(plan, params, [self.decode()], start=slot)[0][~seen]
        return mask[None]

    def _empty(self, height: int, width: int) -> np.ndarray:
        return np.zeros((height, width, self.channels) if self.channels else (height, width), self.dtype)

    def _paint(self, mask: np.ndarray, inside: np.ndarray, value: int) -> None:
        if self.channels:
            np.maximum(mask[..., value], inside, out=mask[..., value])
        else:
            np.putmask(mask, inside, value)

    def _moved(self, params: Params, warps: list[tuple[int, WarpStage]], slot: int) -> list[list[np.ndarray] | None]:
        """The polygons of each shape after the warps; None for an RLE, and where a corner is behind the viewer."""
        bends = any(stage.fields for _, stage in warps)
        polygons = [None if isinstance(shape.segmentation, Rle) else _parts(shape, bends) for shape in self.shapes]
        every = [part for parts in polygons for part in parts or ()]
        if not every:
            return [None if parts is None else [] for parts in polygons]
        points = np.concatenate(every)[None]
        for number, _ in warps:
            prefix = f"{number}."
            own = {k[len(prefix) :]: v[slot : slot + 1] for k, v in params.arrays.items() if k.startswith(prefix)}
            points = move_points(points, own, np)
        moved = iter(np.split(points[0], np.cumsum([len(part) for part in every])[:-1]))
        result: list[list[np.ndarray] | None] = []
        for parts in polygons:
            found = None if parts is None else [next(moved) for _ in parts]
            behind = found is not None and any((np.abs(part) > _BEHIND).any() for part in found)
            result.append(None if behind else found)
        return result

    def _seen(self, plan: Plan, params: Params, warps: list[tuple[int, WarpStage]], slot: int) -> np.ndarray | None:
        """Which pixels of the result show the photograph, bool [h, w]; None where all do."""
        if len(warps) == 1 and not warps[0][1].fields:
            height, width = plan.size
            matrix = params.arrays[f"{warps[0][0]}.matrix"][slot, 0].astype(np.float64)
            ends = np.array([[x, y, 1.0] for x in (0.5, width - 0.5) for y in (0.5, height - 0.5)]) @ matrix.T
            if (ends[:, 2] > 0).all():
                place = ends[:, :2] / ends[:, 2:]
                if (place >= 0).all() and (place <= (self.width, self.height)).all():
                    return None  # the corners are inside, and a photograph is convex
        ones = np.ones((self.height, self.width), np.uint8)
        return np.asarray(host.run_masks(_empty_outside(plan), params, [ones], start=slot)[0] != 0)


def _parts(shape: Shape, bends: bool) -> list[np.ndarray]:
    """The polygons of a shape, float64 [k, 2] each; with points along the edges where those will not stay straight."""
    assert not isinstance(shape.segmentation, Rle)
    parts = [np.array(part, np.float64).reshape(-1, 2) for part in shape.segmentation]
    return [_finer(part) for part in parts] if bends else parts


def _finer(part: np.ndarray) -> np.ndarray:
    """A polygon with a point at least every `_STEP` pixels of its edges."""
    edges = np.roll(part, -1, axis=0) - part
    counts = np.maximum(np.ceil(np.hypot(*edges.T) / _STEP), 1).astype(np.int64)
    start = np.repeat(np.arange(len(part)), counts)
    place = np.arange(len(start)) - np.repeat(np.cumsum(counts) - counts, counts)
    finer: np.ndarray = part[start] + edges[start] * (place / counts[start])[:, None]
    return finer


def _empty_outside(plan: Plan) -> Plan:
    """The plan with 0 beyond the photograph, whatever its fill mode."""
    return replace(plan, settings=replace(plan.settings, fill_mode="constant", mask_fill_value=0))
