"""The slow twin of the native kernels: float64 NumPy, written from their definition, never from their code.

`run_pass(setup, call)` takes the very arguments of `Pass(**setup).run(**call)`; the parts are usable alone:
twin_warp (coordinates and sampling), twin_color (colour program, erase, cast, blur), twin_random (Threefry,
noise).
Everything returns values *before* the final rounding, so that a test can tell a rounding from an error;
`cast(values, dtype)` rounds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from twin_color import cast, colour, erase, finish, gaussian_blur
from twin_random import gaussian_noise, threefry2x32, uniform
from twin_warp import nearest, render, source_points, unsure

__all__ = [
    "cast", "colour", "erase", "finish", "gaussian_blur", "gaussian_noise", "nearest", "render", "run_pass",
    "source_points", "threefry2x32", "uniform", "unsure", "unsure_pass",
]  # fmt: skip


def run_pass(setup: Mapping[str, Any], call: Mapping[str, Any]) -> np.ndarray:
    """What `Pass(**setup).run(**call)` means: float64 in the layout of call["out"], before the cast.

    setup: channels, interpolation, fill_mode, fill_value, low, high, ops, linear_tables, erase, scale, offset,
    channels_first. call: images, out (its shape; it is not written), matrices, fields, frames, reduction, ops,
    erase, start; threads is ignored.
    """
    low, high, start = setup["low"], setup["high"], call.get("start", 0)
    frames = render(
        call["images"],
        call["matrices"],
        call["fields"],
        call["frames"],
        call["reduction"],
        setup["interpolation"],
        setup["fill_mode"],
        setup["fill_value"],
        out_size(setup, call["out"]),
        start,
    )
    dtype = call["images"][0].dtype
    frames = colour(frames, setup["ops"], call["ops"], low, high, dtype, setup["linear_tables"], start)
    frames = erase(frames, setup["erase"], call["erase"], low, high, start)
    return finish(frames, low, high, setup["scale"], setup["offset"], setup["channels_first"])


def out_size(setup: Mapping[str, Any], out: np.ndarray) -> tuple[int, int]:
    height, width = out.shape[2:4] if setup["channels_first"] else out.shape[1:3]
    return height, width


def unsure_pass(setup: Mapping[str, Any], call: Mapping[str, Any]) -> np.ndarray:
    """bool, broadcastable to call["out"]: pixels whose value the definition leaves open (see `unsure`)."""
    if call["matrices"] is None:
        return np.zeros((1, 1, 1, 1), bool)
    open_ = unsure(
        call["matrices"],
        call["fields"],
        call["frames"],
        setup["interpolation"],
        setup["fill_mode"],
        out_size(setup, call["out"]),
        len(call["images"]),
        call.get("start", 0),
    )
    return open_[:, None] if setup["channels_first"] else open_[..., None]
