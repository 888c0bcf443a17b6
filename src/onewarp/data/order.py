"""Shuffling without a generator: the order of an epoch is a pure function of (seed, epoch, number of samples).

A short order is the argsort of random keys. A long one is never written down: `feistel` computes the sample at any
position by itself, from a dozen random numbers.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from onewarp.random import uniforms, words

LONG = 1 << 18  # orders of more samples are computed position by position; sorting that many keys takes 33 ms
FEW = 64  # so few numbers need more rounds before all their orders are equally likely


def random_keys(seed: int, epoch: int, name: str, n: int) -> np.ndarray:
    """One 64-bit random key per index 0..n-1, uint64 [n], from the counter-based generator; `name` separates uses."""
    low, high = words(seed, epoch, (name, 0), np.arange(n, dtype=np.int64))
    keys: np.ndarray = low.astype(np.uint64) << np.uint64(32) | high.astype(np.uint64)
    return keys


@lru_cache(maxsize=8)  # every batch of an epoch asks for it
def _sorted(seed: int, epoch: int, name: str, n: int) -> np.ndarray:
    found = np.argsort(random_keys(seed, epoch, name, n), kind="stable").astype(np.int64)
    found.setflags(write=False)
    return found


def order(seed: int, epoch: int, n: int) -> np.ndarray:
    """The order in which a shuffled epoch visits n samples: a permutation of 0..n-1, int64 [n], read-only.

    The same numbers on every machine and in every process; another seed or epoch gives an unrelated permutation.
    """
    if n <= LONG:
        return _sorted(seed, epoch, "onewarp.order", n)
    found = permuted(seed, epoch, n, np.arange(n, dtype=np.int64))
    found.setflags(write=False)
    return found


def permuted(seed: int, epoch: int, n: int, positions: np.ndarray, name: str = "onewarp.order") -> np.ndarray:
    """`order(seed, epoch, n)[positions]`, int64: for a large n in constant memory. `name` separates uses."""
    if n <= LONG:
        chosen: np.ndarray = _sorted(seed, epoch, name, n)[positions]
        return chosen
    return feistel(seed, epoch, name, n, positions)


def rounds_for(least: int) -> int:
    """How many rounds permutations of `least` numbers and more need."""
    return 24 if least < FEW else 8


def feistel(
    seed: int, epoch: int, name: str, n: Any, x: np.ndarray, part: Any = 0, rounds: int | None = None
) -> np.ndarray:
    """Where `x` lies in a permutation of 0..n-1 that is drawn from (seed, epoch, name, part): int64 [k].

    A number below n is a pair (left, right) with left < a, right < b, and a * b just above n. Each round adds to one
    half a random number made from the other, left and right in turn, which can be undone; so it permutes the pairs. The
    random numbers are Threefry's. A pair that stands for n or more is sent on until it does not (cycle walking), which
    permutes what is left; since a * b - n < a, this is seldom. `a` is even, so that odd permutations can come out, too.

    Args:
        n: length of the permutation, a number or int64 [k], below 2**62.
        x: int64 [k], each in [0, n).
        part: tells permutations of one name apart, a number or [k], below 2**32.
        rounds: even; by default as many as the smallest n needs. It must not depend on what else is asked for.
    """
    rounds = rounds_for(int(np.min(n))) if rounds is None else rounds
    a = _root(n)
    b = -(-n // a)
    high = np.asarray(part, np.uint64) << np.uint64(32)
    found = _rounds(seed, epoch, name, rounds, a, b, x, high)
    while True:
        beyond = np.flatnonzero(found >= n)
        if not len(beyond):
            return found
        some = [value if np.ndim(value) == 0 else value[beyond] for value in (a, b, high)]
        found[beyond] = _rounds(seed, epoch, name, rounds, some[0], some[1], found[beyond], some[2])


def _root(n: Any) -> Any:
    """The square root of n, rounded up to an even number."""
    if np.ndim(n) == 0:
        root = math.isqrt(max(int(n), 1) - 1) + 1
        return root + root % 2
    roots = np.ceil(np.sqrt(n)).astype(np.int64)  # may be off by one above 2**52; any even number would do
    return np.maximum(roots + roots % 2, 2)


def _rounds(
    seed: int, epoch: int, name: str, rounds: int, a: Any, b: Any, x: np.ndarray, high: np.ndarray
) -> np.ndarray:
    right, left = np.divmod(x, a)
    for number in range(0, rounds, 2):
        left = (left + _noise(seed, epoch, (name, number + 1), high, right, a)) % a
        right = (right + _noise(seed, epoch, (name, number + 2), high, left, b)) % b
    found: np.ndarray = right * a + left
    return found


def _noise(seed: int, epoch: int, slot: tuple[str, int], high: np.ndarray, half: np.ndarray, side: Any) -> np.ndarray:
    """A random whole number in [0, side) for each value of `half`, int64 [k]."""
    u = uniforms(seed, epoch, half.view(np.uint64) | high, None, slot, 2)
    noise: np.ndarray = ((u[:, 0] + u[:, 1] * 2.0**-24) * side).astype(np.int64)  # 48 bits, below 1
    return noise
