"""Which part of each image a plan reads: what is not read need not be decoded."""

from __future__ import annotations

import numpy as np

from onewarp.params import Params
from onewarp.plan import Plan, WarpStage

_BESIDE = {"nearest": 1, "bilinear": 2, "bicubic": 3}  # pixels beside the outermost points that taps may read


def visited(plan: Plan, params: Params, sizes: np.ndarray) -> np.ndarray:
    """The part of each image that the plan reads, int32 [n, 4]: top, left, bottom, right; the last two exclusive.

    sizes: (height, width) of each image, [n, 2]. A part is all of the image where the plan begins with something else
    than a warp, or with one that has a displacement field; where a perspective shows the horizon; and where the frame
    shows an image that repeats beyond its edge.
    """
    first = plan.stages[0]
    if not isinstance(first, WarpStage) or first.fields:
        return np.concatenate([np.zeros_like(sizes), sizes], axis=1).astype(np.int32)
    height, width = first.size
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float64)
    points = params.arrays["0.matrix"][: len(sizes), 0].astype(np.float64) @ corners.T  # [n, 3, 4]
    in_front = points[:, 2].min(-1) > 1e-6
    points[~in_front] = 1.0
    places = points[:, 1::-1] / points[:, 2:]  # row and column; straight edges stay straight, so that corners suffice
    reduction = params.arrays.get("0.reduction")
    taps = _BESIDE[plan.settings.interpolation]
    beside = taps if reduction is None else taps * reduction[: len(sizes), None]
    low, high = np.floor(places.min(-1) - beside), np.ceil(places.max(-1) + beside)  # [n, 2]
    known = in_front
    if plan.settings.fill_mode in ("reflect", "wrap"):
        known = in_front & ((low >= 0) & (high <= sizes)).all(-1)
    low = np.where(known[:, None], np.clip(low, 0, sizes - 1), 0)
    high = np.where(known[:, None], np.clip(high, low + 1, sizes), sizes)
    return np.concatenate([low, high], axis=1).astype(np.int32)
