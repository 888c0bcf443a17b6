"""Images and masks through a plan: the passes that the host makes, with the same rounding between them."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from onewarp.engine.device.colour import run_colour
from onewarp.engine.device.erase import run_erase
from onewarp.engine.device.filters import METHODS, run_filter
from onewarp.engine.device.verbs import floats, numbers, saturated, settled
from onewarp.engine.device.warp import warp_images, warp_masks
from onewarp.engine.passes import Pass, passes
from onewarp.errors import InputError, PolicyError
from onewarp.plan import FilterStage, Plan, WarpStage
from onewarp.random import Array

IMAGE_DTYPES = ("uint8", "float32")
OUTPUT_DTYPES = ("uint8", "float16", "bfloat16", "float32")


def check_device(plan: Plan, start: int = 0) -> None:
    """Raise PolicyError unless the device can do all of the plan from stage number `start` on."""
    for stage in plan.stages[start:]:
        if isinstance(stage, FilterStage) and plan.transform(stage.place).method not in METHODS:
            label = plan.places[stage.place].label
            raise PolicyError(
                f"{label} runs on the host only; remove it from the policy, or place the policy on the host"
            )
    for what, dtype, can in (("images", plan.spec.dtype, IMAGE_DTYPES), ("result", plan.output_dtype, OUTPUT_DTYPES)):
        if dtype not in can:
            raise PolicyError(
                f"the {what} would have dtype {dtype}, the device has {', '.join(can)}; convert the images, set "
                "Policy(dtype=), or place the policy on the host"
            )


def run_images(plan: Plan, arrays: Mapping[str, Array], images: Array, start: int = 0) -> Array:
    """Everything but the mix from stage number `start` on, for images [n, h, w, c]."""
    current = images
    for parts in passes(plan):
        parts = parts.behind(start)
        if parts.filter is not None:
            current = run_filter(plan, parts.filter, arrays, current)
        elif parts.number is not None or parts.last:
            current = _run_pass(plan, parts, arrays, current)
    return current


def _run_pass(plan: Plan, parts: Pass, arrays: Mapping[str, Array], images: Array) -> Array:
    values = floats(images) if parts.warp is None else warp_images(plan, parts.warp, arrays, images)
    if parts.colour is not None:
        values = run_colour(plan, parts.colour, arrays, values)
    if parts.erase is not None:
        values = run_erase(plan, parts.erase, arrays, values)
    values = saturated(values, plan.spec.range)
    if not parts.last:
        return settled(values, plan.spec.dtype)
    output = plan.output
    if output.scale != (1.0,) * len(output.scale):
        values = values * numbers(output.scale)
    if any(output.offset):
        values = values + numbers(output.offset)
    values = settled(values, output.dtype)
    return ops.transpose(values, (0, 3, 1, 2)) if plan.settings.data_format == "channels_first" else values


def run_masks(plan: Plan, arrays: Mapping[str, Array], masks: Array, start: int = 0) -> Array:
    """Masks [n, h, w] or [n, h, w, c] through the warps from stage number `start` on: nearest, dtype kept."""
    dtype = keras.backend.standardize_dtype(masks.dtype)
    fill = plan.settings.mask_fill_value
    if dtype.startswith(("int", "uint")) and not np.iinfo(dtype).min <= fill <= np.iinfo(dtype).max:
        raise InputError(f"mask_fill_value={fill:g} does not fit the masks' dtype {dtype}; widen the masks")
    flat = len(masks.shape) == 3
    current = ops.expand_dims(masks, -1) if flat else masks
    for number, stage in enumerate(plan.stages):
        if number >= start and isinstance(stage, WarpStage):
            current = warp_masks(plan, number, arrays, current)
    return current[..., 0] if flat else current
