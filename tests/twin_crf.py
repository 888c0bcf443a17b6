"""Slow, obvious twins of the dense CRF: every pair of pixels by brute force, and a permutohedral lattice out of sets.

Imports NumPy only, so that the native tests run under a sanitizer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Filter = Callable[[np.ndarray], np.ndarray]  # values [pixels, classes] -> the same


def features(image: np.ndarray, sxy: tuple[float, float], srgb: tuple[float, ...] | None = None) -> np.ndarray:
    """Points [pixels, 2 or 5] whose squared distances are twice the exponents of the kernel."""
    h, w = image.shape[:2]
    y, x = np.divmod(np.arange(h * w), w)
    columns = [x / sxy[0], y / sxy[1]]
    if srgb is not None:
        columns += [image[..., c].reshape(-1) / srgb[c] for c in range(3)]
    return np.stack(columns, 1)


def symmetric(kernel: Filter, pixels: int) -> Filter:
    """A kernel normalised from both sides by the square root of what it makes of the number 1."""
    norm = 1 / np.sqrt(kernel(np.ones((pixels, 1))))
    return lambda values: norm * kernel(norm * values)


def brute_force(points: np.ndarray) -> Filter:
    """The Gaussian of every pair of points."""
    squares = (points**2).sum(1)
    distance = squares[:, None] + squares - 2 * points @ points.T
    kernel = np.exp(-0.5 * np.maximum(distance, 0))
    return symmetric(lambda values: kernel @ values, len(points))


def lattice(points: np.ndarray) -> Filter:
    """Splat, blur along d + 1 axes by [0.5, 1, 0.5], slice: Adams, Baek and Davis (2010), in float64."""
    pixels, d = points.shape
    scale = np.sqrt(2 / 3) * (d + 1) / np.sqrt(np.arange(1, d + 1) * np.arange(2, d + 2))
    elevate = np.zeros((d, d + 1))
    for j in range(1, d + 1):
        elevate[j - 1, :j] = scale[j - 1]
        elevate[j - 1, j] = -j * scale[j - 1]
    elevated = points @ elevate

    base = np.rint(elevated / (d + 1)) * (d + 1)  # the nearest point whose coordinates are multiples of d + 1
    order = np.argsort(np.argsort(-(elevated - base), axis=1, kind="stable"), axis=1)  # 0: the furthest above it
    order += np.rint(base.sum(1) / (d + 1)).astype(int)[:, None]  # the sum has to be 0: move the nearest ones
    base -= (d + 1) * (order > d)
    base += (d + 1) * (order < 0)
    order %= d + 1

    # Corner k is k steps above the base in all coordinates but the nearest k, which are d + 1 - k below it.
    rest = np.take_along_axis((elevated - base) / (d + 1), np.argsort(order, axis=1), axis=1)  # falling
    corners = np.empty((pixels, d + 1, d + 1), int)
    weights = np.empty((pixels, d + 1))
    for corner in range(d + 1):
        corners[:, corner] = base + corner - (d + 1) * (order > d - corner)
        weights[:, corner] = rest[:, d - corner] - (rest[:, d - corner + 1] if corner else rest[:, 0] - 1)

    keys = [tuple(key) for key in corners.reshape(-1, d + 1).tolist()]
    number = {key: k for k, key in enumerate(dict.fromkeys(keys))}
    vertex = np.array([number[key] for key in keys]).reshape(pixels, d + 1)
    steps = np.full((d + 1, 2, len(number)), len(number))
    for axis in range(d + 1):
        for side, sign in enumerate((1, -1)):
            for key, k in number.items():
                there = tuple(c + sign * (d if i == axis else -1) for i, c in enumerate(key))
                steps[axis, side, k] = number.get(there, len(number))

    def kernel(values: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(number) + 1, values.shape[1]))  # the last row: neighbours that are not there
        np.add.at(sums, vertex, weights[..., None] * values[:, None])
        for axis in range(d + 1):
            sums[:-1] += 0.5 * (sums[steps[axis, 0]] + sums[steps[axis, 1]])
        return (weights[..., None] * sums[vertex]).sum(1) / (1 + 2.0**-d)

    return symmetric(kernel, pixels)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def mean_field(probs: np.ndarray, terms: list[tuple[Filter, float | np.ndarray]], iterations: int) -> np.ndarray:
    """Marginals [iterations + 1, h, w, classes]; a term is a filter and a weight, or a matrix of costs."""
    classes = probs.shape[-1]
    logs = np.log(np.clip(probs.reshape(-1, classes).astype(np.float64), 1e-5, 1))
    found = [softmax(logs)]
    for _ in range(iterations):
        energy = logs.copy()
        for kernel, compat in terms:
            cost = -compat * np.eye(classes) if np.ndim(compat) == 0 else np.asarray(compat)
            energy -= kernel(found[-1]) @ cost.T
        found.append(softmax(energy))
    return np.stack(found).reshape(-1, *probs.shape)
