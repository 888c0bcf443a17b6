"""Slow, obvious float64 twin of what follows the warp: colour program, erasing, final cast; and of the blur."""

from __future__ import annotations

import colorsys

import numpy as np

from twin_random import uniform


def is_integer(dtype) -> bool:
    return np.dtype(dtype).kind in "iu"


def colour(frames, ops, params, low: float, high: float, dtype, linear_tables: bool = True, start: int = 0):
    """Run the colour program on float64 frames [n, h, w, C] in raw units -> the same, not saturated.

    ops: names in order; params: (array or None, active) per op; dtype: that of the source images, whose
    integer levels tables and statistics see.
    """
    out = []
    for row, frame in enumerate(frames, start):
        for name, (array, active) in zip(ops, params, strict=True):
            if active[row]:
                numbers = None if array is None else np.asarray(array[row], np.float64)
                frame = one_op(frame, name, numbers, low, high, dtype, linear_tables)
        out.append(frame)
    return np.stack(out)


def one_op(v, name: str, numbers, low: float, high: float, dtype, linear: bool) -> np.ndarray:
    span = high - low
    if name == "affine":
        return low + span * affine((v - low) / span, numbers)
    levels = np.clip(v, low, high) - low
    if is_integer(dtype) and name in ("table", "autocontrast"):
        levels = np.rint(levels)
    if name == "autocontrast":
        return low + autocontrast(levels, span)
    x = levels / span
    if name == "table":
        x = table(x, levels, numbers, np.dtype(dtype) == np.uint8, linear)
    elif name == "hue":
        x = hue(x, float(numbers))
    elif name == "equalize":
        x = equalize(x)
    else:
        raise ValueError(f"op {name!r}")
    return low + span * x


def affine(x, numbers) -> np.ndarray:
    """x' = A x + K mean(x) + d with [A | K | d] = numbers [C, 2C + 1]."""
    channels = x.shape[-1]
    a, k, d = numbers[:, :channels], numbers[:, channels:-1], numbers[:, -1]
    mean = x.reshape(-1, channels).mean(axis=0)
    return np.einsum("rc,hwc->hwr", a, x) + k @ mean + d


def table(x, levels, numbers, uint8: bool, linear: bool) -> np.ndarray:
    """Look x in [0, 1] up in numbers [T, C or 1]: by level for uint8, on a grid of T nodes otherwise."""
    nodes, channels = len(numbers), x.shape[-1]
    numbers = np.broadcast_to(numbers, (nodes, channels))
    every = np.arange(channels)
    if uint8:
        return numbers[levels.astype(int), every]
    t = x * (nodes - 1)
    if not linear:
        return numbers[np.floor(t + 1e-3).astype(int), every]
    node = np.minimum(np.floor(t).astype(int), nodes - 2)
    return numbers[node, every] * (1 - (t - node)) + numbers[node + 1, every] * (t - node)


def hue(x, shift: float) -> np.ndarray:
    """Shift the HSV hue of channels 0..2 by `shift` turns; further channels stay."""
    out = x.copy()
    for i, j in np.ndindex(x.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*x[i, j, :3])
        out[i, j, :3] = colorsys.hsv_to_rgb((h + shift) % 1.0, s, v)
    return out


def autocontrast(levels, span: float) -> np.ndarray:
    """Stretch each channel to [0, span]. One division, last: where the exact result is a half, so is this one."""
    low, high = levels.min(axis=(0, 1)), levels.max(axis=(0, 1))
    flat = high <= low
    return np.where(flat, levels, (levels - low) * span / np.where(flat, 1.0, high - low))


def equalize(x) -> np.ndarray:
    out = x.copy()
    bins = np.rint(x * 255).astype(int)
    for c in range(x.shape[-1]):
        histogram = np.bincount(bins[..., c].ravel(), minlength=256)
        step = (histogram.sum() - histogram[np.flatnonzero(histogram)[-1]]) // 255
        if step > 0:
            before = np.cumsum(histogram) - histogram
            lut = np.minimum(255, (before + step // 2) // step)
            out[..., c] = lut[bins[..., c]] / 255
    return out


def erase(frames, kinds, params, low: float, high: float, start: int = 0) -> np.ndarray:
    """Erase in frames [n, h, w, C]. kinds: ("rects" | "grid", fill per channel or None for noise) per op;
    params: (array, active, keys or None) per op."""
    frames = np.array(frames, np.float64)
    for index, ((kind, fill), (array, active, keys)) in enumerate(zip(kinds, params, strict=True)):
        for row, frame in enumerate(frames, start):
            if not active[row]:
                continue
            where = (inside_rects if kind == "rects" else inside_grid)(frame.shape[:2], array[row])
            if fill is None:
                values = low + (high - low) * uniform(keys[row], frame.size, 1 + index).reshape(frame.shape)
            else:
                values = np.broadcast_to(np.asarray(fill, np.float64), frame.shape)
            frame[where] = values[where]
    return frames


def inside_rects(size, rects) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    hit = np.zeros(size, bool)
    for y0, x0, y1, x1 in np.asarray(rects).tolist():
        hit |= (rows >= y0) & (rows < y1) & (columns >= x0) & (columns < x1)
    return hit


def inside_grid(size, numbers) -> np.ndarray:
    unit_h, unit_w, hole_h, hole_w, offset_y, offset_x = np.asarray(numbers, np.float64)
    rows, columns = np.mgrid[: size[0], : size[1]]
    in_row = np.fmod(rows + 0.5 + offset_y, unit_h) < hole_h
    return in_row & (np.fmod(columns + 0.5 + offset_x, unit_w) < hole_w)


def finish(frames, low: float, high: float, scale, offset, channels_first: bool) -> np.ndarray:
    """Saturate, scale and shift per channel, lay out: float64, before the cast."""
    values = np.clip(frames, low, high) * np.asarray(scale, np.float64) + np.asarray(offset, np.float64)
    return np.moveaxis(values, -1, 1) if channels_first else values


def cast(values, dtype) -> np.ndarray:
    """Integers: round half to even, then clip to the dtype. Floats: nearest representable."""
    dtype = np.dtype(dtype)
    if is_integer(dtype):
        values = np.clip(np.rint(values), np.iinfo(dtype).min, np.iinfo(dtype).max)
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def mirror(k: int, size: int) -> int:
    """Index of tap k on an axis mirrored at its edge pixels: ... 2 1 | 0 1 2 ..."""
    if size == 1:
        return 0
    k %= 2 * (size - 1)
    return k if k < size else 2 * (size - 1) - k


def gaussian_blur(images, weights, active, start: int = 0) -> np.ndarray:
    """Separable filter with weights [N, k] on [n, H, W, C] -> float64 before rounding; inactive: as is."""
    out = []
    for row, image in enumerate(images, start):
        values = np.asarray(image, np.float64)
        if active[row]:
            for axis in (0, 1):
                values = filtered(values, np.asarray(weights[row], np.float64), axis)
        out.append(values)
    return np.stack(out)


def filtered(values, weights, axis: int) -> np.ndarray:
    size, radius = values.shape[axis], len(weights) // 2
    total = np.zeros_like(values)
    for t, weight in enumerate(weights):
        rows = [mirror(k + t - radius, size) for k in range(size)]
        total += weight * np.take(values, rows, axis=axis)
    return total
