"""Slow, obvious twin of the native random numbers: Threefry-2x32-20 and Gaussian noise.

Written from the definition (Random123, Salmon et al. 2011), in NumPy with 64-bit integers and masks.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

MASK = np.uint64(0xFFFFFFFF)
ROTATIONS = (
    (13, 15, 26, 6),
    (17, 29, 16, 24),
)  # rounds 0-3, 8-11, 16-19 use the first row, the others the second
PARITY = np.uint64(0x1BD11BDA)


def threefry2x32(k0, k1, c0, c1) -> tuple[np.ndarray, np.ndarray]:
    """Threefry-2x32 with 20 rounds: keys and counters as uint32 (broadcast) -> two uint32 arrays."""
    k0, k1, x0, x1 = (np.asarray(a).astype(np.uint64) & MASK for a in (k0, k1, c0, c1))
    keys = (k0, k1, k0 ^ k1 ^ PARITY)
    x0, x1 = (x0 + keys[0]) & MASK, (x1 + keys[1]) & MASK
    for group in range(5):
        for turn in ROTATIONS[group % 2]:
            x0 = (x0 + x1) & MASK
            x1 = ((x1 << np.uint64(turn)) | (x1 >> np.uint64(32 - turn))) & MASK
            x1 = x1 ^ x0
        x0 = (x0 + keys[(group + 1) % 3]) & MASK
        x1 = (x1 + keys[(group + 2) % 3] + np.uint64(group + 1)) & MASK
    x0, x1 = np.broadcast_arrays(x0, x1)
    return x0.astype(np.uint32), x1.astype(np.uint32)


def element_words(key, size: int, stream: int) -> np.ndarray:
    """uint32 [size]: element e reads word e % 2 of the block with counter (e // 2, stream)."""
    blocks = np.arange((size + 1) // 2)
    both = threefry2x32(key[0], key[1], blocks, np.full_like(blocks, stream))
    return np.stack(both, axis=1).reshape(-1)[:size]


def uniform(key, size: int, stream: int) -> np.ndarray:
    """float64 [size], multiples of 2**-24 in [0, 1)."""
    return (element_words(key, size, stream) >> np.uint32(8)) * 2.0**-24


def normal(key, size: int) -> np.ndarray:
    """float64 [size]: inverse normal CDF at the middle of each of 2**24 equal bins of (0, 1)."""
    p = ((element_words(key, size, 0) >> np.uint32(8)) + 0.5) * 2.0**-24
    inverse = NormalDist().inv_cdf
    return np.array([inverse(v) for v in p])


def gaussian_noise(images, std, keys, active, low: float, high: float, start: int = 0) -> np.ndarray:
    """float64 [n, H, W, C] before rounding: v + std * (high - low) * z, saturated; inactive: as is."""
    out = []
    for row, image in enumerate(images, start):
        values = np.asarray(image, np.float64)
        if active[row]:
            z = normal(keys[row], values.size).reshape(values.shape)
            values = np.clip(values + float(std[row]) * (high - low) * z, low, high)
        out.append(values)
    return np.stack(out)
