"""Orders of epochs and splits: permutations that depend on their numbers alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onewarp.data as data
from onewarp.data.order import order
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
