"""Filters: blur by separable weights, and noise with the same values as on the host from the same key."""

from __future__ import annotations

from collections.abc import Mapping

from keras import ops

from onewarp.engine.device.noise import words
from onewarp.engine.device.verbs import entry, flags, floats, pixelwise, saturated, settled
from onewarp.plan import FilterStage, Plan
from onewarp.random import Array, normal, unit

METHODS = ("blur", "noise")


def run_filter(plan: Plan, number: int, arrays: Mapping[str, Array], images: Array) -> Array:
    """Images [n, h, w, c] through a filter, as pixels of the images' dtype again."""
    stage = plan.stages[number]
    assert isinstance(stage, FilterStage)
    method = plan.transform(stage.place).method
    values = floats(images)
    if method == "blur":
        weights = floats(entry(arrays, number, "weights"))
        changed = _weighted(_weighted(values, weights, 2), weights, 1)
    else:
        changed = _noisy(plan, number, arrays, values)
    active = flags(entry(arrays, number, "active"))
    return ops.where(active, settled(changed, plan.spec.dtype), images)


def _mirrored(k: int, size: int) -> int:
    """The pixel that stands for k: ... 2 1 | 0 1 2 ... size-1 | size-2 ..., repeated as often as needed."""
    k %= max(2 * (size - 1), 1)
    return k if k < size else 2 * (size - 1) - k


def _weighted(values: Array, weights: Array, axis: int) -> Array:
    """The sum of shifted values by weights [n, k] along an axis, mirrored about the edge pixels."""
    size, count = values.shape[axis], weights.shape[1]
    radius = count // 2
    order = [_mirrored(k, size) for k in range(-radius, size + radius)]
    wide = ops.take(values, ops.convert_to_tensor(order, dtype="int32"), axis=axis)
    total = None
    for t in range(count):
        part = wide[:, t : t + size] if axis == 1 else wide[:, :, t : t + size]
        part = pixelwise(weights[:, t], 3) * part
        total = part if total is None else total + part
    return total


def _noisy(plan: Plan, number: int, arrays: Mapping[str, Array], values: Array) -> Array:
    low, high = plan.spec.range
    strength = pixelwise(floats(entry(arrays, number, "std")) * (high - low), 3)
    noise = normal(unit(words(entry(arrays, number, "keys"), values.shape, 0), ops), ops)
    return saturated(values + strength * noise, (low, high))
