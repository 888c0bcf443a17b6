"""Orders of epochs and splits: permutations that depend on their numbers alone."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onewarp.data as data
from onewarp.data.order import LONG, feistel, order, permuted, random_keys
from onewarp.errors import InputError


@given(st.integers(0, 2**40), st.integers(0, 10**6), st.integers(0, 300))
def test_an_order_is_a_permutation_and_repeats(seed: int, epoch: int, n: int) -> None:
    first = order(seed, epoch, n)
    assert first.dtype == np.int64 and sorted(first) == list(range(n))
    np.testing.assert_array_equal(first, order(seed, epoch, n))


def test_known_order() -> None:
    """The numbers themselves: a change of the generator or of the key would change everybody's epochs."""
    assert order(0, 0, 8).tolist() == [4, 0, 1, 6, 3, 2, 5, 7]
    assert order(7, 3, 8).tolist() == [1, 2, 4, 6, 0, 3, 5, 7]


def test_epochs_and_seeds_give_unrelated_orders() -> None:
    n = 2000
    reference = order(0, 0, n)
    for other in (order(0, 1, n), order(1, 0, n), order(2**32, 0, n)):
        assert (reference == other).mean() < 0.01
        assert abs(np.corrcoef(reference, other)[0, 1]) < 0.1


def test_every_position_sees_every_sample() -> None:
    """Chi-squared over positions x samples of 1200 orders of 6 samples: uniform."""
    counts = np.zeros((6, 6))
    for epoch in range(1200):
        counts[np.arange(6), order(5, epoch, 6)] += 1
    assert ((counts - 200) ** 2 / 200).sum() < 58  # 25 degrees of freedom, p < 0.0002


def test_a_short_order_is_the_argsort_of_its_keys() -> None:
    for n in (1, 2, 1000, LONG):
        expected = np.argsort(random_keys(3, 9, "onewarp.order", n), kind="stable")
        np.testing.assert_array_equal(order(3, 9, n), expected)
        np.testing.assert_array_equal(permuted(3, 9, n, np.arange(n)[::-7]), expected[::-7])


def test_a_long_order_is_a_permutation_position_by_position() -> None:
    n = LONG + 1
    whole = order(5, 2, n)
    np.testing.assert_array_equal(np.sort(whole), np.arange(n))
    some = np.random.default_rng(0).integers(0, n, 300)
    np.testing.assert_array_equal(permuted(5, 2, n, some), whole[some])
    assert (order(5, 3, n) == whole).mean() < 0.001 and abs(np.corrcoef(whole, np.arange(n))[0, 1]) < 0.01


def test_every_feistel_network_is_a_permutation() -> None:
    """Exhaustively for all small n, each under its own key; many in one call give the same as one by one."""
    for n in range(1, 2500):
        np.testing.assert_array_equal(np.sort(feistel(7, n % 5, "test", n, np.arange(n))), np.arange(n), err_msg=str(n))
    lengths, parts = np.repeat(np.arange(1, 40), np.arange(1, 40)), np.repeat(np.arange(39), np.arange(1, 40))
    x = np.concatenate([np.arange(n) for n in range(1, 40)])
    together = feistel(7, 0, "test", lengths, x, parts)
    alone = [feistel(7, 0, "test", n, np.arange(n), n - 1) for n in range(1, 40)]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def undone(seed: int, epoch: int, name: str, n: int, y: np.ndarray, rounds: int = 8) -> np.ndarray:
    """The inverse of `feistel`, its rounds taken back last first."""
    module = sys.modules["onewarp.data.order"]
    a = module._root(n)
    b, high = -(-n // a), np.zeros((), np.uint64)
    x = y.copy()
    beyond = np.arange(len(x))
    while len(beyond):
        right, left = np.divmod(x[beyond], a)
        for number in reversed(range(0, rounds, 2)):
            right = (right - module._noise(seed, epoch, (name, number + 2), high, left, b)) % b
            left = (left - module._noise(seed, epoch, (name, number + 1), high, right, a)) % a
        x[beyond] = right * a + left
        beyond = beyond[x[beyond] >= n]
    return x


@given(n=st.integers(65, 2**62 - 1), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 2**32 - 1))
def test_a_long_order_can_be_undone(n: int, seed: int, epoch: int) -> None:
    x = np.unique(np.concatenate([np.arange(50) % n, n - 1 - np.arange(50) % n, np.linspace(0, n - 1, 60).astype(int)]))
    y = feistel(seed, epoch, "test", n, x)
    assert y.dtype == np.int64 and (y >= 0).all() and (y < n).all() and len(np.unique(y)) == len(x)
    np.testing.assert_array_equal(undone(seed, epoch, "test", n, y), x)


def deviation(counts: np.ndarray, expected: float) -> float:
    """Chi-squared of counts that should be equal, in standard deviations from what chance gives."""
    freedom = counts.size - 1
    return float((((counts - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom))


def many(n: int, count: int) -> np.ndarray:
    """`count` permutations [count, n] of one length."""
    x, part = np.tile(np.arange(n), count), np.repeat(np.arange(count), n)
    return feistel(0, 0, "test", np.full(n * count, n), x, part).reshape(count, n)


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_all_permutations_of_a_few_are_equally_likely(n: int) -> None:
    count = 100 * math.factorial(n)
    codes = np.unique(many(n, count) @ n ** np.arange(n), return_counts=True)[1]
    assert len(codes) == math.factorial(n) and abs(deviation(codes, 100)) < 5


@pytest.mark.parametrize("n", [10, 30, 64, 100])
def test_positions_and_pairs_are_uniform(n: int) -> None:
    count = 1_000_000 // n
    found = many(n, count)
    where = np.stack([np.bincount(found[:, i], minlength=n) for i in range(n)])
    assert deviation(where, count / n) < 5
    for j in (1, 2, n // 2, n - 1):
        pairs = np.bincount(found[:, 0] * n + found[:, j], minlength=n * n).reshape(n, n)
        assert not pairs.diagonal().any()
        assert deviation(pairs[~np.eye(n, dtype=bool)], count / (n * (n - 1))) < 5


@pytest.mark.parametrize("n", [LONG + 1, 10**6 + 3, 10**9, 2**40 + 1])
def test_long_orders_are_uniform(n: int) -> None:
    """Where samples go, where neighbours go and how far apart: evenly, over positions and over epochs."""
    for positions in (np.arange(100_000), np.arange(100_000) + n // 2, np.arange(100_000) * (n // 100_000)):
        found = permuted(1, 4, n, positions)
        assert len(np.unique(found)) == len(found)
        cells = found * 64 // n if n < 2**56 else found // (n // 64)
        share = len(found) / 64
        assert deviation(np.bincount(cells, minlength=64), share) < 5
        pairs = np.bincount(cells[:-1:2] * 64 + cells[1::2], minlength=64 * 64)
        assert deviation(pairs, len(found) / 2 / 64**2) < 5
        steps = np.bincount((np.diff(found)[::2] % n) * 64 // n, minlength=64)
        assert deviation(steps, len(found) / 2 / 64) < 5
    over_epochs = np.array([permuted(1, epoch, n, np.array([17]))[0] for epoch in range(3000)])
    assert deviation(np.bincount(over_epochs * 32 // n, minlength=32), 3000 / 32) < 5


def source(labels: list[int]) -> data.ArraySource:
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return data.ArraySource(images, labels)


@pytest.mark.parametrize("method", ["random", "head"])
@pytest.mark.parametrize("stratify", [True, False, None])
@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=60), fraction=st.floats(0.05, 0.95), seed=st.integers(0, 99)
)
def test_splits_are_disjoint_and_complete(
    method: str, stratify: bool | None, labels: list[int], fraction: float, seed: int
) -> None:
    whole = source(labels)
    train, val = data.split(whole, fraction, seed=seed, stratify=stratify, method=method)
    ids = [part.ids(np.arange(len(part))) for part in (train, val)]
    assert sorted(np.concatenate(ids)) == list(range(len(labels)))
    assert all((np.diff(part) > 0).all() for part in ids)
    assert len(val) == min(max(round(len(labels) * fraction), 1), len(labels) - 1)
    if stratify is not False:
        for label in set(labels):
            share = labels.count(label) * len(val) / len(labels)
            assert abs((val.labels == label).sum() - share) < 1


def test_split_methods() -> None:
    labels = [0, 1] * 50
    whole = source(labels)
    again, other = data.split(whole, 0.2, seed=1)[1], data.split(whole, 0.2, seed=2)[1]
    np.testing.assert_array_equal(again.ids(np.arange(20)), data.split(whole, 0.2, seed=1)[1].ids(np.arange(20)))
    assert set(again.ids(np.arange(20))) != set(other.ids(np.arange(20)))
    assert data.split(whole, 0.2, method="head")[1].ids(np.arange(20)).tolist() == list(range(80, 100))
    lopsided = source([0] * 80 + [1] * 20)
    assert data.split(lopsided, 0.25, method="head")[1].ids(np.arange(25)).tolist() == [*range(60, 80), *range(95, 100)]
    assert data.split(lopsided, 0.25, method="head", stratify=False)[1].ids(np.arange(25)).tolist() == list(
        range(75, 100)
    )


def test_a_split_of_a_split_keeps_the_first_ids() -> None:
    train, _ = data.split(source(list(range(5)) * 8), 0.5, seed=3)
    inner, val = data.split(train, 0.5, seed=3)
    ids = train.ids(np.arange(len(train)))
    assert sorted([*inner.ids(np.arange(len(inner))), *val.ids(np.arange(len(val)))]) == ids.tolist()
    assert [inner[i]["images"][0, 0, 0] for i in range(len(inner))] == inner.ids(np.arange(len(inner))).tolist()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"fraction": 0.0}, "fraction=0.0"),
        ({"fraction": 1.5}, "fraction=1.5"),
        ({"method": "tail"}, "'tail'"),
    ],
)
def test_bad_splits(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        data.split(source([0, 1, 2]), **arguments)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least two"):
        data.split(source([0]))
    with pytest.raises(InputError, match="stratify=False"):
        data.split(data.ArraySource(np.zeros((4, 2, 2, 3), np.uint8)), stratify=True)
