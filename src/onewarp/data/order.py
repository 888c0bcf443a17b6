"""Shuffling without a generator: the order of an epoch is a pure function of (seed, epoch, number of samples)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from onewarp.random import words


def random_keys(seed: int, epoch: int, name: str, n: int) -> np.ndarray:
    """One 64-bit random key per index 0..n-1, uint64 [n], from the counter-based generator; `name` separates uses."""
    low, high = words(seed, epoch, (name, 0), np.arange(n, dtype=np.int64))
    keys: np.ndarray = low.astype(np.uint64) << np.uint64(32) | high.astype(np.uint64)
    return keys


@lru_cache(maxsize=8)  # every batch of an epoch asks for it
def order(seed: int, epoch: int, n: int) -> np.ndarray:
    """The order in which a shuffled epoch visits n samples: a permutation of 0..n-1, int64 [n], read-only.

    The same numbers on every machine and in every process; another seed or epoch gives an unrelated permutation.
    """
    found = np.argsort(random_keys(seed, epoch, "onewarp.order", n), kind="stable").astype(np.int64)
    found.setflags(write=False)
    return found
