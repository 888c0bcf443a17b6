"""Random numbers: the generator against its published answers, the key chain, the inverse CDFs."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import twin_random
from onewarp.errors import InputError
from onewarp.random import (
    Slots,
    beta_table,
    integer,
    lookup,
    normal,
    slot_key,
    threefry2x32,
    uniforms,
    uniforms_of,
    unit,
    within,
    words,
)

SLOT = ("Rotate", 0)
GRID = 2.0**-24

KNOWN_ANSWERS = [  # Random123's kat_vectors, threefry2x32 with 20 rounds: key, counter, result
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


def u32(*values: int) -> list[np.ndarray]:
    return [np.array([value], dtype=np.uint32) for value in values]


@pytest.mark.parametrize(("key", "counter", "expected"), KNOWN_ANSWERS)
def test_threefry_gives_the_published_answers(key, counter, expected) -> None:
    found = threefry2x32(*u32(*key), *u32(*counter))
    assert [int(word[0]) for word in found] == list(expected)
    assert all(word.dtype == np.uint32 for word in found)


def test_threefry_is_its_twin_on_many_keys(rng) -> None:
    k0, k1, c0, c1 = (rng.integers(0, 2**32, 5000, dtype=np.uint32) for _ in range(4))
    for fast, slow in zip(threefry2x32(k0, k1, c0, c1), twin_random.threefry2x32(k0, k1, c0, c1), strict=True):
        np.testing.assert_array_equal(fast, slow)


def test_same_key_and_counter_give_the_bits_of_jax(rng) -> None:
    jax_random = pytest.importorskip("jax.extend.random")
    key = rng.integers(0, 2**32, 2, dtype=np.uint32)
    c0, c1 = rng.integers(0, 2**32, (2, 500), dtype=np.uint32)
    theirs = np.asarray(jax_random.threefry_2x32(key, np.concatenate([c0, c1])))  # its counter words are two halves
    np.testing.assert_array_equal(np.concatenate(threefry2x32(key[:1], key[1:], c0, c1)), theirs)


def test_jax_random_bits_are_ours(rng) -> None:
    jax = pytest.importorskip("jax")
    if not jax.config.jax_threefry_partitionable:
        pytest.skip("this jax counts in another way")
    key = rng.integers(0, 2**32, 2, dtype=np.uint32)
    theirs = np.asarray(jax.random.bits(jax.random.wrap_key_data(key, impl="threefry2x32"), (300,), "uint32"))
    index = np.arange(300, dtype=np.uint32)  # element i: the words of counter (0, i), xor-ed
    word0, word1 = threefry2x32(key[:1], key[1:], np.zeros_like(index), index)
    np.testing.assert_array_equal(word0 ^ word1, theirs)


def test_the_key_chain_is_the_documented_one() -> None:
    """Seed and epoch, slot, id, occurrence and k, one after the other, by the twin."""
    twin = twin_random.threefry2x32
    seed, epoch, sample, occurrence, k = (7 << 32) + 5, 3, (9 << 32) + 11, 2, 4
    stream = twin(seed & 0xFFFFFFFF, seed >> 32, epoch, 0)
    slot = twin(*stream, zlib.crc32(b"Rotate"), 1)
    key = twin(*slot, sample & 0xFFFFFFFF, sample >> 32)
    word = twin(*key, occurrence, k // 2)[k % 2]
    found = uniforms(seed, epoch, np.array([sample]), occurrence, ("Rotate", 1), k + 1)
    assert found[0, k] == (int(word) >> 8) * GRID


# --- uniforms -----------------------------------------------------------------------------------------------------


def test_uniforms_have_shape_and_range_and_are_multiples_of_2_to_the_minus_24() -> None:
    u = uniforms(0, 0, np.arange(1000), None, SLOT, 7)
    assert u.shape == (1000, 7)
    assert u.min() >= 0 and u.max() < 1
    np.testing.assert_array_equal(u / GRID, np.rint(u / GRID))
    np.testing.assert_array_equal(u.astype(np.float32).astype(np.float64), u)


def test_unit_reaches_both_ends_of_its_range() -> None:
    np.testing.assert_array_equal(unit(u32(0)[0]), 0.0)
    np.testing.assert_array_equal(unit(u32(0xFFFFFFFF)[0]), 1 - GRID)


BASE = {"seed": 3, "epoch": 5, "ids": np.array([8]), "occurrence": 1, "slot": SLOT, "k": 4}


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"seed": 3 + (1 << 32)},
        {"seed": 2**64 - 1},
        {"epoch": 6},
        {"epoch": 2**32 - 1},
        {"ids": np.array([9])},
        {"ids": np.array([8 + (1 << 32)])},
        {"ids": np.array([8 + (1 << 62)])},
        {"occurrence": 0},
        {"slot": ("Rotate", 1)},
        {"slot": ("Shear", 0)},
    ],
    ids=str,
)
def test_every_part_of_the_key_matters(change) -> None:
    assert not np.intersect1d(uniforms(**BASE), uniforms(**{**BASE, **change})).size


def test_seed_and_epoch_are_not_added_up() -> None:
    a, b = uniforms(**{**BASE, "seed": 1, "epoch": 0}), uniforms(**{**BASE, "seed": 0, "epoch": 1})
    assert not np.intersect1d(a, b).size


def test_a_sample_gets_its_numbers_in_any_company_and_any_order(rng) -> None:
    ids = rng.integers(0, 2**63, 64)
    all_at_once = uniforms(1, 2, ids, None, SLOT, 5)
    order = rng.permutation(64)
    np.testing.assert_array_equal(uniforms(1, 2, ids[order], None, SLOT, 5), all_at_once[order])
    one_by_one = np.concatenate([uniforms(1, 2, ids[i : i + 1], None, SLOT, 5) for i in range(64)])
    np.testing.assert_array_equal(one_by_one, all_at_once)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "uint64"])
def test_the_dtype_of_the_ids_does_not_matter(dtype) -> None:
    ids = np.arange(20)
    np.testing.assert_array_equal(uniforms(0, 0, ids.astype(dtype), None, SLOT, 3), uniforms(0, 0, ids, None, SLOT, 3))


def test_occurrence_is_none_a_number_or_one_per_sample() -> None:
    ids, times = np.array([4, 4, 4, 9]), np.array([0, 1, 2, 1])
    each = uniforms(0, 0, ids, times, SLOT, 3)
    assert len(np.unique(each)) == each.size
    for row, (sample, occurrence) in enumerate(zip(ids, times, strict=True)):
        alone = uniforms(0, 0, np.array([sample]), int(occurrence), SLOT, 3)
        np.testing.assert_array_equal(alone[0], each[row])
    np.testing.assert_array_equal(uniforms(0, 0, ids, None, SLOT, 3), uniforms(0, 0, ids, 0, SLOT, 3))


def test_fewer_numbers_are_the_first_of_more() -> None:
    many = uniforms(0, 0, np.arange(9), None, SLOT, 11)
    for k in range(1, 11):
        np.testing.assert_array_equal(uniforms(0, 0, np.arange(9), None, SLOT, k), many[:, :k])


def test_many_slots_at_once_are_the_slots_one_by_one() -> None:
    ids, slots = np.arange(13), [(("Rotate", 0), 1), (("Rotate", 1), 4), (("Shear", 0), 3), (("name:mine", 0), 2)]
    together = uniforms_of(5, 6, ids, 1, Slots.of(slots))
    assert [u.shape for u in together] == [(13, k) for _, k in slots]
    for (slot, k), found in zip(slots, together, strict=True):
        np.testing.assert_array_equal(found, uniforms(5, 6, ids, 1, slot, k))
    assert uniforms_of(5, 6, ids, None, Slots.of([])) == []


def test_no_samples_give_no_numbers() -> None:
    assert uniforms(0, 0, np.zeros(0, np.int64), None, SLOT, 3).shape == (0, 3)


def chi_square_is_ordinary(u: np.ndarray, bins: int = 64) -> bool:
    """Whether the counts in equal bins deviate as chance would have it: within five standard deviations."""
    counts = np.bincount((u.ravel() * bins).astype(int), minlength=bins)
    expected = u.size / bins
    statistic = ((counts - expected) ** 2 / expected).sum()
    return abs(statistic - (bins - 1)) < 5 * np.sqrt(2 * (bins - 1))


def test_uniforms_are_uniform_over_ids_epochs_seeds_and_slots() -> None:
    n = 20_000
    one = np.zeros(1, np.int64)
    assert chi_square_is_ordinary(uniforms(0, 0, np.arange(n), None, SLOT, 2))
    assert chi_square_is_ordinary(np.stack([uniforms(0, epoch, one, None, SLOT, 1) for epoch in range(1500)]))
    assert chi_square_is_ordinary(np.stack([uniforms(seed, 0, one, None, SLOT, 1) for seed in range(1500)]))
    assert chi_square_is_ordinary(uniforms(0, 0, one.repeat(n), np.arange(n), SLOT, 2))
    assert not chi_square_is_ordinary(uniforms(0, 0, np.arange(n), None, SLOT, 1) ** 1.1)  # the test can fail


def test_neighbours_in_any_direction_are_not_correlated() -> None:
    n = 20_000
    ids = np.arange(n)
    u = uniforms(0, 0, ids, None, SLOT, 3)
    columns = [
        *u.T,
        np.roll(u[:, 0], 1),  # the next id
        uniforms(1, 0, ids, None, SLOT, 1)[:, 0],
        uniforms(0, 1, ids, None, SLOT, 1)[:, 0],
        uniforms(0, 0, ids, 1, SLOT, 1)[:, 0],
        uniforms(0, 0, ids, None, ("Rotate", 1), 1)[:, 0],
        uniforms(0, 0, ids, None, ("Shear", 0), 1)[:, 0],
    ]
    correlation = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(correlation).max() < 5 / np.sqrt(n)


def test_sample_keys_do_not_collide() -> None:
    low, high = words(0, 0, SLOT, np.arange(100_000))
    assert len(np.unique(low.astype(np.uint64) << np.uint64(32) | high)) == 100_000


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [-1, 2**64, 2**70])
def test_a_seed_out_of_range_is_refused(seed) -> None:
    with pytest.raises(InputError, match=rf"seed must lie in \[0, 2\*\*64\), got {seed}; pass"):
        slot_key(seed, 0, SLOT)


@pytest.mark.parametrize("epoch", [-1, 2**32, np.int64(-3)])
def test_an_epoch_out_of_range_is_refused(epoch) -> None:
    with pytest.raises(InputError, match=rf"epoch must lie in \[0, 2\*\*32\), got {epoch}; pass"):
        slot_key(0, epoch, SLOT)


# --- what becomes of uniforms -------------------------------------------------------------------------------------


def edges_of(count: int) -> np.ndarray:
    """Uniforms at and beside each place where floor(u * count) steps, as whole multiples of 2**-24."""
    steps = -(-(np.arange(count, dtype=np.int64) << 24) // count)
    return np.unique(np.clip(np.concatenate([steps - 1, steps, steps + 1]), 0, (1 << 24) - 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_integer_is_exact_for_every_count_up_to_4096(dtype, rng) -> None:
    some = rng.integers(0, 1 << 24, 200)
    for count in [*range(1, 300), *range(300, 4097, 37), 4093, 4095, 4096]:
        tops = np.concatenate([edges_of(count), some])
        found = integer((tops * GRID).astype(dtype), dtype(count))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.astype(np.int64), tops * count >> 24, err_msg=f"count {count}")


@given(st.integers(0, (1 << 24) - 1), st.integers(1, 4096))
def test_integer_is_what_python_computes(top, count) -> None:
    assert int(integer(np.array([top * GRID], np.float32), np.float32(count))[0]) == top * count // (1 << 24)


def test_within_stays_within() -> None:
    u = np.array([0.0, 0.5, 1 - GRID])
    np.testing.assert_allclose(within((-3, 5), u), [-3, 1, 5], atol=1e-6)
    assert (within((2.0, 2.0), u) == 2).all()


def test_normal_is_the_inverse_normal_distribution(rng) -> None:
    stats = pytest.importorskip("scipy.stats")
    tops = np.concatenate([rng.integers(0, 1 << 24, 100_000), np.arange(200), (1 << 24) - 1 - np.arange(200)])
    middle = (tops + 0.5) * GRID  # each uniform stands for a bin of this width
    np.testing.assert_allclose(normal(tops * GRID), stats.norm.ppf(middle), rtol=2e-6, atol=1e-9)
    single = normal((tops * GRID).astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, stats.norm.ppf(middle), rtol=2e-4, atol=1e-6)


def test_normal_is_finite_and_symmetric_to_the_last_bit() -> None:
    tops = np.concatenate([np.arange(1000), np.arange(1 << 23, (1 << 23) + 1000)])
    upper = normal(((1 << 24) - 1 - tops) * GRID)
    np.testing.assert_array_equal(normal(tops * GRID), -upper)
    assert np.isfinite(upper).all()


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.4, 1.0, 2.0, 8.0])
def test_beta_quantiles_are_those_of_scipy(alpha) -> None:
    stats = pytest.importorskip("scipy.stats")
    table = beta_table(alpha)
    p = np.linspace(0, 1, len(table))
    np.testing.assert_allclose(table, stats.beta.ppf(p, alpha, alpha), atol=1e-9)
    assert table[0] == 0 and table[-1] == 1 and table[len(table) // 2] == 0.5
    assert (np.diff(table) >= 0).all()
    np.testing.assert_allclose(table + table[::-1], 1, atol=1e-12)
    between = (np.arange(20_000) + 0.37) / 20_000
    found = lookup(table, between)
    lower = between < 0.5  # close to 1 a float has no room for the tail of a small alpha; it is this one, mirrored
    np.testing.assert_allclose(stats.beta.cdf(found[lower], alpha, alpha), between[lower], atol=1 / (len(table) - 1))
    inner = (between > p[1]) & (between < p[-2])  # the tails beyond the outer nodes are straight lines
    np.testing.assert_allclose(found[inner], stats.beta.ppf(between[inner], alpha, alpha), atol=2e-3)


def test_lookup_interpolates_between_nodes() -> None:
    table = np.array([0.0, 10.0, 40.0])
    np.testing.assert_allclose(lookup(table, np.array([0, 0.25, 0.5, 0.75])), [0, 5, 10, 25])
    assert lookup(table, np.array([1 - GRID]))[0] == pytest.approx(40, abs=1e-4)
