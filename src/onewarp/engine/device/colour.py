"""The colour program on raw float32 values [n, h, w, c]: maps, tables, hue, and what needs a frame's statistics."""

from __future__ import annotations

from collections.abc import Mapping

from keras import ops

from onewarp.engine.device.verbs import entry, flags, floats, occurrences, pixelwise, rows, saturated
from onewarp.engine.passes import smooth
from onewarp.plan import ColorOp, ColorStage, Plan
from onewarp.random import Array


def run_colour(plan: Plan, number: int, arrays: Mapping[str, Array], values: Array) -> Array:
    """All steps of a colour stage. Values are not saturated at its end: the pass does that."""
    stage = plan.stages[number]
    assert isinstance(stage, ColorStage)
    for i, op in enumerate(stage.ops):
        if op.kind == "affine":  # a map that does not fire is the identity
            values = _affine(plan, op, floats(entry(arrays, number, f"op{i}")), values)
            continue
        if op.kind == "table":
            changed = _table(plan, floats(entry(arrays, number, f"op{i}")), smooth(plan, number), values)
        elif op.kind == "hue":
            changed = _hue(plan, floats(entry(arrays, number, f"op{i}")), values)
        else:
            changed = {"autocontrast": _autocontrast, "equalize": _equalize}[op.kind](plan, values)
        values = ops.where(flags(entry(arrays, number, f"active{i}")), changed, values)
    return values


def _affine(plan: Plan, op: ColorOp, coefficients: Array, values: Array) -> Array:
    """x' = A x + K mean(x) + d on unit values, for raw ones. Sums are written out: a matrix product loses bits."""
    (low, high), channels = plan.spec.range, plan.spec.channels
    offset = low + (high - low) * coefficients[:, :, 2 * channels]
    means = None
    if any(plan.transform(index).uses_mean() for index in op.places):
        means = ops.mean(ops.mean(values, axis=2), axis=1) - low  # by rows: a long sum of floats loses bits
    for c in range(channels):
        if means is not None:
            offset = offset + coefficients[:, :, channels + c] * means[:, c : c + 1]
        if low != 0.0:
            offset = offset - low * coefficients[:, :, c]
    total = pixelwise(offset)
    for c in range(channels):
        total = total + values[..., c : c + 1] * pixelwise(coefficients[:, :, c])
    return total


def _levels(plan: Plan, values: Array) -> Array:
    """Saturated, above the low end; whole levels where the images are of integers."""
    low, high = plan.spec.range
    levels = saturated(values, (low, high)) - low
    return ops.round(levels) if plan.spec.dtype != "float32" else levels


def _table(plan: Plan, tables: Array, interpolate: bool, values: Array) -> Array:
    """Look up in tables [n, nodes, c or 1] of unit values: by level for uint8, on a grid otherwise."""
    low, high = plan.spec.range
    n, nodes, columns = tables.shape
    flat = ops.reshape(tables, (n * nodes * columns,))
    column = ops.arange(values.shape[3], dtype="int32") if columns > 1 else 0
    first = pixelwise(ops.arange(n, dtype="int32") * (nodes * columns), 3) + column
    levels = _levels(plan, values)

    def node(k: Array) -> Array:
        return rows(flat, first + ops.cast(ops.clip(k, 0.0, nodes - 1.0), "int32") * columns)

    if plan.spec.dtype == "uint8":
        return low + (high - low) * node(levels)
    t = levels / (high - low) * (nodes - 1.0)
    if not interpolate:
        return low + (high - low) * node(ops.floor(t + 1e-3))  # a node's own value must not fall below it
    k = ops.floor(t)
    below = node(k)
    return low + (high - low) * (below + (t - k) * (node(k + 1.0) - below))


def _hue(plan: Plan, turns: Array, values: Array) -> Array:
    """torchvision's shift of the hue: to HSV, h = (h + shift) mod 1, back. Further channels are only saturated."""
    low, high = plan.spec.range
    unit = (saturated(values, (low, high)) - low) / (high - low)
    r, g, b = unit[..., 0], unit[..., 1], unit[..., 2]
    most = ops.maximum(r, ops.maximum(g, b))
    chroma = most - ops.minimum(r, ops.minimum(g, b))
    by = 1.0 / ops.where(chroma > 0.0, chroma, 1.0)
    blue = ops.where(ops.equal(most, g), 2.0 + (b - r) * by, 4.0 + (r - g) * by)
    sixth = ops.where(ops.equal(most, r), (g - b) * by, blue)
    sixth = sixth + pixelwise(6.0 * (turns - ops.floor(turns)))
    sixth = sixth - 6.0 * ops.floor(sixth / 6.0)

    def channel(ahead: float) -> Array:
        k = sixth + ahead
        k = ops.where(k >= 6.0, k - 6.0, k)
        lacking = ops.clip(ops.minimum(k, 4.0 - k), 0.0, 1.0)
        return ops.clip(most - chroma * lacking, 0.0, 1.0)

    shifted = [ops.expand_dims(channel(ahead), -1) for ahead in (5.0, 3.0, 1.0)]
    return low + (high - low) * ops.concatenate([*shifted, unit[..., 3:]], axis=-1)


def _autocontrast(plan: Plan, values: Array) -> Array:
    """Each channel stretched to the whole range; one division, last: where the exact result is a half, so is this."""
    low, high = plan.spec.range
    levels = _levels(plan, values)
    least, most = ops.amin(levels, axis=(1, 2), keepdims=True), ops.amax(levels, axis=(1, 2), keepdims=True)
    flat = most <= least
    return low + ops.where(flat, levels, (levels - least) * (high - low) / ops.where(flat, 1.0, most - least))


def _equalize(plan: Plan, values: Array) -> Array:
    """Pillow's equalisation with 256 bins; counts are integers, added up by bin."""
    low, high = plan.spec.range
    n, height, width, channels = values.shape
    values = saturated(values, (low, high))
    bins = ops.cast(ops.clip(ops.round((values - low) * (255.0 / (high - low))), 0.0, 255.0), "int32")
    column = ops.reshape(ops.arange(n * channels, dtype="int32") * 256, (n, 1, 1, channels))
    place = ops.reshape(bins + column, (-1,))
    counts = ops.cast(ops.reshape(occurrences(place, n * channels * 256), (n, channels, 256)), "int32")
    numbers = ops.arange(256, dtype="int32")
    brightest = ops.amax(ops.where(counts > 0, numbers, -1), axis=2, keepdims=True)
    last = ops.sum(ops.where(ops.equal(numbers, brightest), counts, 0), axis=2, keepdims=True)
    width_of_bin = (height * width - last) // 255
    step = ops.maximum(width_of_bin, 1)
    before = ops.cumsum(counts, axis=2) - counts
    levels = ops.minimum((before + step // 2) // step, 255)
    table = floats(ops.reshape(levels, (n * channels * 256,)))
    changed = low + rows(table, bins + column) * ((high - low) / 255.0)
    stays = ops.reshape(ops.equal(width_of_bin, 0), (n, 1, 1, channels))
    return ops.where(stays, values, changed)
