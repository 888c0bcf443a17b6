"""The order of an epoch: microseconds for the samples of one batch, and how many blocks a stretch of it touches.

python -m benchmarks.order
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from onewarp.data.order import random_keys
from onewarp.data.sampling import Sampling, Shuffled, Windowed


def median_us(action: Callable[[int], Any], repeats: int = 2000) -> tuple[float, float]:
    """Median and 99th percentile of action(0), action(1), ... in microseconds."""
    taken = []
    for number in range(repeats):
        start = time.perf_counter()
        action(number)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)) * 1e6, float(np.percentile(taken, 99)) * 1e6


def per_batch(sampling: Sampling, rows: int) -> tuple[float, float]:
    starts = np.random.default_rng(0).integers(0, len(sampling) - rows, 2000)
    return median_us(lambda number: sampling.at(3, np.arange(starts[number], starts[number] + rows)))


def main() -> None:
    for power in (14, 16, 18, 20):
        start = time.perf_counter()
        np.argsort(random_keys(1, 0, "benchmark", 1 << power), kind="stable")
        print(f"sorting the keys of 2^{power} samples: {(time.perf_counter() - start) * 1e3:.1f} ms")
    blocks = np.append(np.arange(0, 10**9, 10_000), 10**9)
    for name, sampling in (("shuffled", Shuffled(10**9, 7)), ("windowed", Windowed(10**9, 7, blocks, 16))):
        start = time.perf_counter()
        sampling.at(3, np.arange(1))
        print(f"{name}, 10^9 samples: first batch of an epoch {(time.perf_counter() - start) * 1e3:.2f} ms")
        for rows in (32, 128, 256, 1024):
            middle, late = per_batch(sampling, rows)
            print(f"{name}, 10^9 samples, a batch of {rows}: median {middle:.0f} us, 99 % below {late:.0f} us")
        for rows in (256, 10_000, 160_000):
            touched = [
                len(np.unique(sampling.at(3, np.arange(start, start + rows)).rows // 10_000))
                for start in np.linspace(0, 10**9 - rows, 20).astype(int)
            ]
            print(f"{name}, blocks of 10,000: a stretch of {rows} touches {np.mean(touched):.0f} of 100,000")


if __name__ == "__main__":
    main()
