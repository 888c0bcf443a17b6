"""Random numbers from position, not from history: every draw is a pure function of its key.

The generator is Threefry-2x32-20 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011;
the same generator that `jax.random` uses). There are no generator objects and there is no state. The key chain is

    (seed low, seed high)  --counter (epoch, 0)-->                        stream key
    stream key             --counter (crc32 of the slot's name, index)--> slot key
    slot key               --counter (sample id low, sample id high)-->   sample key
    sample key             --counter (occurrence, k // 2), word k % 2-->  the k-th random word

so a sample gets the same numbers whatever its batch, worker or host. Uniforms are multiples of 2**-24 in [0, 1):
the same number in float32 and float64.

Functions take their array namespace `xp`: NumPy (uint32 words, float64 numbers) or `keras.ops` (int32 words with
wrap-around, float32 numbers). Only operations that both have are used, and nothing depends on the data.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from onewarp import _native
from onewarp.errors import InputError

Array = Any  # a NumPy array or a backend tensor, as `xp` makes them
Slot = tuple[str, int]  # the name of a transform and its occurrence among the transforms of that name

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
_MASK = 0xFFFFFFFF


def float_dtype(xp: Any) -> str:
    """The dtype in which `xp` computes draws: float64 on NumPy, float32 elsewhere."""
    return "float64" if xp is np else "float32"


def constant(values: Any, xp: Any) -> Array:
    """`values` as an array of `xp` in its drawing dtype; not to be written to, it may be `values` itself."""
    return np.asarray(values, np.float64) if xp is np else xp.array(values, dtype="float32")


def _words(values: Iterable[int], xp: Any) -> Array:
    """32-bit words as an array of shape [k] (arrays wrap around silently, scalars warn)."""
    values = [value & _MASK for value in values]
    if xp is np:
        return np.array(values, dtype=np.uint32)
    return xp.array([value - (1 << 32) if value >> 31 else value for value in values], dtype="int32")


def _word(value: int, xp: Any) -> Array:
    """One 32-bit word, [1]."""
    return _words([value], xp)


def threefry2x32(key0: Array, key1: Array, counter0: Array, counter1: Array, xp: Any = np) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds. Arguments broadcast: uint32 on NumPy, int32 bit patterns elsewhere.

    Returns the two output words in the same dtype.
    """
    keys = (key0, key1, xp.bitwise_xor(xp.bitwise_xor(key0, key1), _word(_PARITY, xp)))
    x0, x1 = counter0 + keys[0], counter1 + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            # The mask makes the shift logical where words are signed.
            low = xp.bitwise_and(xp.right_shift(x1, 32 - rotation), (1 << rotation) - 1)
            x1 = xp.bitwise_xor(xp.bitwise_or(xp.left_shift(x1, rotation), low), x0)
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + (keys[(group + 2) % 3] + _word(group + 1, xp))
    return x0, x1


def unit(words: Array, xp: Any = np) -> Array:
    """Random words -> multiples of 2**-24 in [0, 1)."""
    top = xp.bitwise_and(xp.right_shift(words, 8), 0xFFFFFF)
    return xp.cast(top, "float32") * 2.0**-24 if xp is not np else top * 2.0**-24


def _check_key(seed: int, epoch: Any) -> None:
    if not 0 <= seed < 1 << 64:
        raise InputError(f"seed must lie in [0, 2**64), got {seed}; pass a non-negative integer")
    if isinstance(epoch, (int, np.integer)) and not 0 <= epoch <= _MASK:
        raise InputError(f"epoch must lie in [0, 2**32), got {epoch}; pass a non-negative integer")


def _stream_key(seed: int, epoch: Any, xp: Any) -> tuple[Array, Array]:
    """Two words of shape [1]: what the keys of all slots come from."""
    _check_key(seed, epoch)
    if isinstance(epoch, (int, np.integer)):
        epoch = _word(int(epoch), xp)
    return threefry2x32(_word(seed, xp), _word(seed >> 32, xp), epoch, _word(0, xp), xp)


def slot_key(seed: int, epoch: Any, slot: Slot, xp: Any = np) -> tuple[Array, Array]:
    """The key of one slot: two words of shape [1]. `seed` is an integer in [0, 2**64), `epoch` in [0, 2**32)."""
    name, index = slot
    return threefry2x32(*_stream_key(seed, epoch, xp), _word(zlib.crc32(name.encode()), xp), _word(index, xp), xp)


def _id_words(ids: Any, xp: Any) -> tuple[Array, Array]:
    """Sample ids as (low, high) words. NumPy takes 64-bit ids; elsewhere int32 ids or a pair of words."""
    if isinstance(ids, tuple):
        return ids
    if xp is not np:
        return ids, xp.zeros_like(ids)
    wide = np.asarray(ids).astype(np.uint64)
    return (wide & np.uint64(_MASK)).astype(np.uint32), (wide >> np.uint64(32)).astype(np.uint32)


def words(seed: int, epoch: Any, slot: Slot, ids: Any, xp: Any = np) -> tuple[Array, Array]:
    """Two random words per sample id, [n] each: the sample keys of a slot. Used for shuffling, too."""
    low, high = _id_words(ids, xp)
    return threefry2x32(*slot_key(seed, epoch, slot, xp), low, high, xp)


@dataclass(frozen=True)
class Slots:
    """Slots, and how many uniforms each is asked for. Made ahead of a compiled step, which only finds numbers here.

    words: of each slot the crc32 of its name, and its index. counts: of each slot its k.
    """

    words: tuple[tuple[int, int], ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, asked: Iterable[tuple[Slot, int]]) -> Slots:
        """Of pairs (slot, k)."""
        pairs = [(zlib.crc32(name.encode()), index, k) for (name, index), k in asked]
        return cls(tuple((word, index) for word, index, _ in pairs), tuple(k for _, _, k in pairs))


@lru_cache(maxsize=256)
def _native_slots(slots: Slots) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """Of `slots`: their words uint32 [s, 2], the k int32 [s], and the rows (start, stop) they take."""
    stops = np.cumsum(slots.counts).tolist()
    return (
        np.array(slots.words, np.uint32),
        np.array(slots.counts, np.int32),
        list(zip([0, *stops], stops, strict=False)),
    )


_FIRST = np.zeros(1, np.uint32)


def uniforms_of(seed: int, epoch: Any, ids: Any, occurrence: Any, slots: Slots, xp: Any = np) -> list[Array]:
    """Uniforms for many slots at once: a list of [n, k] arrays, one for each of `slots`.

    The same numbers as `uniforms` slot by slot. On the host the native generator makes them, elsewhere its twin.
    """
    if not slots.counts:
        return []
    if xp is not np or isinstance(ids, tuple) or not isinstance(epoch, (int, np.integer)):
        return uniforms_by_operations(seed, epoch, ids, occurrence, slots, xp)
    _check_key(seed, epoch)
    slot_words, counts, rows = _native_slots(slots)
    wide = np.asarray(ids).astype(np.uint64)
    times = _FIRST if occurrence is None else np.asarray(occurrence).astype(np.uint32).reshape(-1)
    found = _native.uniforms(int(seed), int(epoch), slot_words, counts, wide, times)
    return [found[start:stop].T for start, stop in rows]


def uniforms_by_operations(seed: int, epoch: Any, ids: Any, occurrence: Any, slots: Slots, xp: Any) -> list[Array]:
    """`uniforms_of` by array operations, in one vectorised pass over all slots."""
    low, high = _id_words(ids, xp)
    names, indices = (_words([pair[i] for pair in slots.words], xp)[:, None] for i in (0, 1))
    key0, key1 = threefry2x32(*_stream_key(seed, epoch, xp), names, indices, xp)  # slot keys [s, 1]
    key0, key1 = threefry2x32(key0, key1, low[None], high[None], xp)  # sample keys [s, n]
    blocks = [(k + 1) // 2 for k in slots.counts]
    rows = [row for row, count in enumerate(blocks) for _ in range(count)]
    block = [number for count in blocks for number in range(count)]
    first = 0 if occurrence is None else occurrence
    first = np.asarray(first).astype(np.uint32) if xp is np else xp.cast(first, "int32")
    places = np.array(rows) if xp is np else _words(rows, xp)
    w0, w1 = threefry2x32(
        xp.take(key0, places, axis=0),
        xp.take(key1, places, axis=0),
        xp.reshape(first, (1, -1)),
        _words(block, xp)[:, None],
        xp,
    )
    pairs01 = unit(xp.stack([w0, w1], axis=1), xp)  # [sum of blocks, 2, n]
    out, start = [], 0
    for k, count in zip(slots.counts, blocks, strict=True):
        part = xp.reshape(pairs01[start : start + count], (2 * count, -1))
        out.append(xp.transpose(part[:k]))
        start += count
    return out


def uniforms(seed: int, epoch: Any, ids: Any, occurrence: Any, slot: Slot, k: int, xp: Any = np) -> Array:
    """Uniform numbers [n, k], multiples of 2**-24 in [0, 1), for `ids` [n] and `occurrence` (None, a number or [n])."""
    return uniforms_of(seed, epoch, ids, occurrence, Slots.of([(slot, k)]), xp)[0]


def integer(u: Array, count: Any, xp: Any = np) -> Array:
    """floor(u * count) for uniforms `u` and integers `count` <= 4096: exact in float32 and float64 alike."""
    high = xp.floor(u * 4096.0)
    low = u * 4096.0 - high
    return xp.floor((high * count + xp.floor(low * count)) / 4096.0)


def integers(values: Array, xp: Any = np) -> Array:
    """Whole numbers as integers, to index with."""
    return values.astype(np.int64) if xp is np else xp.cast(values, "int32")


def first_true(flags: Array, xp: Any = np) -> Array:
    """The place [n] of the first true entry in each row of `flags` [n, m]; any place where there is none."""
    if xp is np:
        return flags.argmax(axis=1)
    order = constant(np.arange(flags.shape[1], 0, -1.0), xp)  # not all backends promise the first of equal ones
    return xp.argmax(xp.where(flags, order, 0.0), axis=1)


@lru_cache(maxsize=16)
def _rows(n: int) -> np.ndarray:
    return np.arange(n)


def pick(values: Array, places: Array, xp: Any = np) -> Array:
    """The entry of each row of `values` [n, m] at `places` [n]."""
    if xp is np:
        return values[_rows(len(values)), places]
    return xp.take_along_axis(values, places[:, None], axis=1)[:, 0]


def single(values: Array, xp: Any = np) -> Array:
    """In float32, where that is precise enough and half the work; elsewhere than on the host all numbers are."""
    return values.astype(np.float32) if xp is np else values


def exp_over(values: Array, xp: Any = np) -> Array:
    """exp(values); on the host in the memory of `values`, because new memory can cost more than the numbers."""
    return np.exp(values, out=values) if xp is np else xp.exp(values)


def within(bounds: tuple[float, float], u: Array) -> Array:
    """Uniform numbers in [0, 1) -> uniform numbers in [low, high)."""
    low, high = bounds
    return low + (high - low) * u


_CENTRAL = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
    -0.0076224613, 0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip


def _polynomial(coefficients: tuple[float, ...], w: Array) -> Array:
    value = coefficients[0]
    for c in coefficients[1:]:
        value = value * w + c
    return value


def normal(u: Array, xp: Any = np) -> Array:
    """Standard normal numbers from uniforms by the inverse CDF (Giles 2010, single precision erfinv)."""
    x = 2.0 * u - (1.0 - 2.0**-24)  # odd multiples of 2**-24: symmetric, exact, never -1 or 1
    w = -xp.log((1.0 - x) * (1.0 + x))
    central = _polynomial(_CENTRAL, w - 2.5)
    tail = _polynomial(_TAIL, xp.sqrt(xp.maximum(w, 5.0)) - 3.0)
    return math.sqrt(2.0) * x * xp.where(w < 5.0, central, tail)


def _incomplete_beta(a: float, x: np.ndarray) -> np.ndarray:
    """The regularised incomplete beta function I_x(a, a) for x in (0, 1/2] by its continued fraction (Lentz)."""
    front = np.exp(a * (np.log(x) + np.log1p(-x)) + math.lgamma(2 * a) - 2 * math.lgamma(a)) / a
    tiny = 1e-300
    c = np.ones_like(x)
    d = 1.0 - 2 * a * x / (a + 1)
    d = 1.0 / np.where(np.abs(d) < tiny, tiny, d)
    value = d
    for m in range(1, 300):
        for numerator in (
            m * (a - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (2 * a + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / (1.0 + numerator * d)
            c = 1.0 + numerator / c
            value = value * d * c
    return np.asarray(front * value)


@lru_cache(maxsize=64)
def beta_table(alpha: float, nodes: int = 4097) -> np.ndarray:
    """Quantiles of Beta(alpha, alpha) at `nodes` evenly spaced probabilities in [0, 1], by bisection."""
    target = np.linspace(0.0, 0.5, nodes // 2 + 1)[1:]
    # Bisect over log x: for a small alpha the quantiles reach far below the smallest float spacing near 1.
    low, high = np.full_like(target, -700.0), np.full_like(target, math.log(0.5))
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = _incomplete_beta(alpha, np.exp(middle)) < target
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    half = np.concatenate([[0.0], np.exp(0.5 * (low + high))])
    half[-1] = 0.5
    return np.concatenate([half, 1.0 - half[-2::-1]])


def lookup(table: np.ndarray, u: Array, xp: Any = np) -> Array:
    """Linear interpolation of `table` [m], whose nodes divide [0, 1] evenly, at `u` in [0, 1)."""
    t = u * (len(table) - 1)
    index = xp.floor(t)
    where = integers(index, xp)
    values = constant(table, xp)
    low, high = xp.take(values, where, axis=0), xp.take(values, where + 1, axis=0)
    return low + (high - low) * (t - index)
