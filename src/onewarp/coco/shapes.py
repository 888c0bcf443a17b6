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
from onewarp.engine.outlines import Outline, moved
from onewarp.params import Params
from onewarp.plan import Plan, WarpStage


def outline_of(segmentation: Segmentation, height: int = 0, width: int = 0) -> Outline:
    """The outline of polygons, or of the pixels of an RLE for an image of that size."""
    if isinstance(segmentation, Rle):
        return Outline.of_mask(decode(run_lengths(segmentation, height, width)))
    return Outline.of_polygons(segmentation)


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
        polygons = [None if isinstance(s.segmentation, Rle) else outline_of(s.segmentation) for s in self.shapes]
        mask = self._empty(height, width)
        for shape, outline in zip(self.shapes, moved(plan, params, slot, polygons), strict=True):
            if outline is not None:
                inside = fill(outline.polygons, height, width)
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


def _empty_outside(plan: Plan) -> Plan:
    """The plan with 0 beyond the photograph, whatever its fill mode."""
    return replace(plan, settings=replace(plan.settings, fill_mode="constant", mask_fill_value=0))
