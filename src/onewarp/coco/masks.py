"""Segmentations of COCO as masks, areas and boxes: pycocotools' rules, and its code for all run lengths.

A polygon covers a pixel by the rule of `rleFrPoly`, by columns; the parts of one annotation are united; a box is
(x, y, width, height) in pixels, edges, without a +1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as _coco

from onewarp.coco.annotations import Rle, Segmentation
from onewarp.errors import InputError

Runs = dict[str, Any]  # pycocotools' compressed RLE: {"size": [h, w], "counts": bytes}


def run_lengths(shape: Segmentation, height: int, width: int) -> Runs:
    """The compressed RLE of polygons [[x, y, ...], ...] or of an RLE of either kind, for an image of that size."""
    if isinstance(shape, Rle):
        if isinstance(shape.counts, str):
            return {"size": [height, width], "counts": shape.counts.encode()}
        found: Runs = _coco.frPyObjects({"size": [height, width], "counts": shape.counts}, height, width)
        return found
    united: Runs = _coco.merge(_coco.frPyObjects([list(part) for part in shape], height, width))
    return united


def decode(runs: Runs) -> np.ndarray:
    """The mask of an RLE: uint8 [h, w], 1 inside."""
    mask: np.ndarray = _coco.decode(runs)
    return np.ascontiguousarray(mask)


def encode(mask: np.ndarray) -> Runs:
    """The compressed RLE of a mask [h, w]; everything that is not 0 is inside."""
    if mask.ndim != 2:
        raise InputError(f"a mask must be [height, width], got the shape {mask.shape}; encode one at a time")
    runs: Runs = _coco.encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return runs


def area_of(runs: Runs) -> int:
    """Pixels inside."""
    return int(_coco.area(runs))


def box_of(runs: Runs) -> np.ndarray:
    """The bounding box (x, y, width, height) of the pixels inside, float64 [4]; zeros where there are none."""
    box: np.ndarray = np.asarray(_coco.toBbox(runs), np.float64)
    return box


def fill(parts: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Polygons [k, 2] (x, y), united, as a mask uint8 [height, width] by the COCO rule; they may reach beyond it."""
    near = [part for part in (_cut(part, height, width) for part in parts) if len(part) >= 3]
    if not near:
        return np.zeros((height, width), np.uint8)
    return decode(_coco.merge(_coco.frPyObjects([part.ravel().tolist() for part in near], height, width)))


def _cut(part: np.ndarray, height: int, width: int) -> np.ndarray:
    """A polygon without what lies far outside: the rule walks every edge, and counts in 32 bits.

    Polygons that stay near are left alone, to the bit; others lose what is beyond one frame around the frame, where no
    pixel depends on it (Sutherland and Hodgman's clipping, one side after the other).
    """
    sides = ((0, -width, 1), (0, 2 * width, -1), (1, -height, 1), (1, 2 * height, -1))
    low, high = part.min(axis=0, initial=0), part.max(axis=0, initial=0)
    if (low >= (-4 * width, -4 * height)).all() and (high <= (5 * width, 5 * height)).all():
        return part
    for axis, limit, sign in sides:
        inside = sign * (part[:, axis] - limit) >= 0
        kept = []
        for i, point in enumerate(part):
            before = part[i - 1]
            if inside[i] != inside[i - 1]:
                t = (limit - before[axis]) / (point[axis] - before[axis])
                kept.append(before + t * (point - before))
            if inside[i]:
                kept.append(point)
        part = np.array(kept).reshape(-1, 2)
        if not len(part):
            break
    return part
