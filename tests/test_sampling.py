"""Which samples an epoch shows: windows of blocks, and shards that share an epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import onewarp as ow
import onewarp.data as data
from data_helpers import same
from onewarp.data.batches import Batches
from onewarp.data.sampling import Sampling, Shuffled, Windowed
from onewarp.data.shards import Steps
from onewarp.errors import DataError, InputError

POLICY = ow.Policy([ow.HorizontalFlip(), ow.Brightness(0.3)])


def numbered(n: int, **more: Any) -> data.ArraySource:
    """Images [n, 1, 2, 1] that say their own number."""
    numbers = np.arange(n, dtype=np.uint16)
    return data.ArraySource(np.stack([numbers, numbers], axis=1).reshape(n, 1, 2, 1), np.arange(n) % 3, **more)


def offsets(sizes: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)])


@given(
    sizes=st.lists(st.integers(0, 50), min_size=1, max_size=30),
    window=st.integers(1, 40),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 9),
)
def test_a_windowed_order_is_a_permutation_whose_windows_are_whole_blocks(
    sizes: list[int], window: int, seed: int, epoch: int
) -> None:
    n = sum(sizes)
    assume(n > 0)
    blocks = offsets(sizes)
    sampling = Windowed(n, seed, blocks, window)
    whole = sampling.at(epoch, np.arange(n)).rows
    assert sorted(whole) == list(range(n))
    # Whatever is asked for together gives the same; past the end it wraps around under another occurrence.
    some = np.random.default_rng(0).permutation(2 * n)[:7]
    chosen = Windowed(n, seed, blocks, window).at(epoch, some)
    np.testing.assert_array_equal(chosen.rows, whole[some % n])
    np.testing.assert_array_equal(chosen.occurrence, some // n)
    # The epoch falls into stretches that hold all of `window` blocks and nothing else.
    of, start, seen = np.searchsorted(blocks, whole, side="right") - 1, 0, []
    while start < n:
        here: list[int] = []
        while len(here) < window and len(seen) + len(here) < np.count_nonzero(sizes):
            fresh = [int(block) for block in of[start:] if block not in here]
            here.append(fresh[0])
        stop = start + sum(sizes[block] for block in here)
        if any(size == 0 for size in sizes):  # an empty block takes a place in a window, and cannot be seen
            break
        assert set(of[start:stop].tolist()) == set(here)
        start, seen = stop, seen + here


def test_windows_keep_reads_together_and_still_mix() -> None:
    """100 blocks of 200: a run of 1,000 positions touches few blocks; samples of a block are spread over its window."""
    n, window = 20_000, 10
    sampling = Windowed(n, 3, np.arange(0, n + 1, 200), window)
    whole = sampling.at(5, np.arange(n)).rows
    blocks = whole // 200
    touched = [len(set(blocks[at : at + 1000].tolist())) for at in range(0, n, 1000)]
    assert max(touched) == window  # a shuffle of everything touches all 100
    assert len(set(Shuffled(n, 3).at(5, np.arange(1000)).rows // 200)) > 95
    for start in range(0, n, 2000):  # a window: every stretch of it holds its blocks evenly
        inside = blocks[start : start + 2000]
        assert len(set(inside.tolist())) == window
        half = np.unique(inside[:1000], return_counts=True)[1]
        assert len(half) == window and (abs(half - 100) < 50).all()
    places = [np.argsort(whole[start : start + 2000]) for start in (0, 2000)]
    assert (places[0] == places[1]).mean() < 0.01  # windows are shuffled differently
    other = sampling.at(6, np.arange(n)).rows
    assert (other == whole).mean() < 0.01
    assert set((whole[:2000] // 200).tolist()) != set((other[:2000] // 200).tolist())


def test_blocks_come_from_the_source_and_its_subsets() -> None:
    source = numbered(100)
    source.blocks = np.array([0, 10, 40, 100])
    assert Batches(source, POLICY, 8, shuffle="windowed", window=1).sampling.blocks.tolist() == [0, 10, 40, 100]
    part = source.subset(np.arange(5, 100, 5))
    assert part.blocks is not None and part.blocks.tolist() == [0, 1, 7, 19]
    assert source.subset([3, 2, 1]).blocks is None
    batches = Batches(source, POLICY, 10, shuffle="windowed", window=1)
    rows = np.concatenate([batches.indices(0, index) for index in range(10)])
    assert sorted(rows) == list(range(100))
    switches = np.diff(np.searchsorted([0, 10, 40], rows, side="right")) != 0
    assert switches.sum() == 2  # one block after the other
    assert Windowed(3000, 0, np.array([0, 1024, 2048, 3000]), 16).key == "windowed, 16 of 3 blocks"
    assert Batches(numbered(3000), POLICY, shuffle="windowed").sampling.key == "windowed, 16 of 3 blocks"


@given(
    n=st.integers(1, 200),
    batch_size=st.integers(1, 9),
    count=st.integers(1, 7),
    last_batch=st.sampled_from(["wrap", "drop", "keep"]),
    spans=st.booleans(),
)
def test_shards_are_disjoint_equal_and_complete(
    n: int, batch_size: int, count: int, last_batch: str, spans: bool
) -> None:
    shards = [Steps(n, batch_size, last_batch, index, count, spans) for index in range(count)]
    try:
        shards[0].check()
    except InputError:
        rest = n % (batch_size * count)
        assert (last_batch == "drop" and n < batch_size * count) or (
            last_batch == "keep" and 0 < rest < count and (batch_size == 1 or n < count)
        )
        return
    length, together = len(shards[0]), batch_size * count
    assert all(len(shard) == length for shard in shards)
    assert length == (n // together if last_batch == "drop" else -(-n // together))
    steps = [[shard.positions(step) for shard in shards] for step in range(length)]
    rows = [len(part) for step in steps for part in step]
    assert min(rows) >= 1 and max(rows) <= batch_size
    shown = np.concatenate([part for step in steps for part in step])
    assert len(set(shown.tolist())) == len(shown)  # a wrapped position is one behind the end
    expected = {"keep": n, "drop": length * together, "wrap": length * together}[last_batch]
    assert sorted(shown) == list(range(expected))
    if last_batch != "keep":
        assert set(rows) == {batch_size}
    assert shards[0].full == (set(rows) == {batch_size})
    if not spans and last_batch != "keep":  # a step of all shards is a batch of one loader with all their rows
        whole = Steps(n, together, last_batch)
        for number, step in enumerate(steps):
            np.testing.assert_array_equal(np.concatenate(step), whole.positions(number))
    if spans:  # each shard goes through one piece
        for index in range(count):
            piece = np.concatenate([step[index] for step in steps])
            np.testing.assert_array_equal(piece, np.arange(piece[0], piece[0] + len(piece)))


@pytest.mark.parametrize("shuffle", [True, "windowed"])
@pytest.mark.parametrize("last_batch", ["wrap", "keep", "drop"])
def test_shards_show_what_one_loader_shows(shuffle: bool | str, last_batch: str) -> None:
    source, n, count = numbered(50), 50, 3
    whole = Batches(source, POLICY, n, shuffle=shuffle)
    by_number = dict(zip(whole.indices(2, 0).tolist(), whole.batch(2, 0)["images"], strict=True))
    seen: list[int] = []
    for index in range(count):
        shard = Batches(source, POLICY, 4, shuffle=shuffle, last_batch=last_batch, shard=(index, count))
        assert len(shard) == (4 if last_batch == "drop" else 5)
        for step in reversed(range(len(shard))):
            rows, positions, batch = shard.indices(2, step), shard.positions(step), shard.batch(2, step)
            for at in np.flatnonzero(positions < n):
                np.testing.assert_array_equal(batch["images"][at], by_number[int(rows[at])])
                seen.append(int(rows[at]))
    assert len(seen) == len(set(seen)) == (48 if last_batch == "drop" else 50)


def test_a_source_too_long_to_sort_is_addressed_batch_by_batch() -> None:
    class Long(data.ArraySource):
        def __len__(self) -> int:
            return 10**9

        def gather(self, indices: np.ndarray) -> dict[str, Any]:
            return super().gather(indices % 7)

        views = gather

    source = Long(np.zeros((7, 2, 2, 3), np.uint8))
    batches = Batches(source, POLICY, 64, shard=(5, 256))
    assert len(batches) == -(-(10**9) // (64 * 256))
    rows = [batches.indices(epoch, index) for epoch in (0, 1) for index in (0, 1, len(batches) - 1)]
    assert len(np.unique(np.concatenate(rows))) == 6 * 64
    assert batches.batch(1, 60_000)["images"].shape == (64, 2, 2, 3)


def test_the_replacement_of_an_unreadable_sample_comes_from_the_same_epoch() -> None:
    for sampling in (Sampling(10), Shuffled(10, 0), Windowed(10, 0, np.array([0, 4, 10]), 1)):
        whole = sampling.at(3, np.arange(10)).rows
        assert [sampling.instead(3, 2, tries) for tries in (1, 2, 5)] == [whole[7], whole[8], whole[1]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"shuffle": "window"}, "shuffle='window'"),
        ({"shuffle": "windowed", "window": 0}, "window=0"),
        ({"shuffle": "windowed", "window": 2.0}, "window=2.0"),
        ({"window": 4}, 'needs shuffle="windowed"'),
        ({"shard": (2, 2)}, "index 2 of 2"),
        ({"shard": (-1, 2)}, "index -1 of 2"),
        ({"shard": (0, 0)}, "index 0 of 0"),
        ({"shard": 1}, "shard=1"),
        ({"shard": (0.0, 2)}, "is not .index, count."),
        ({"shard": (True, 2)}, "is not .index, count."),
        ({"shard": (0, 2), "batch_size": 8, "last_batch": "drop"}, "2 x 8"),
        ({"shard": (0, 11), "last_batch": "keep"}, "10 samples cannot be shared by 11"),
        ({"shard": (0, 3), "batch_size": 1, "last_batch": "keep"}, "a last step of 1 samples"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        Batches(numbered(10), POLICY, **{"batch_size": 4, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("blocks", [[0, 5], [1, 10], [0, 7, 3, 10], [0.0, 10.0], [[0, 10]], [0]])
def test_blocks_that_are_none(blocks: list[Any]) -> None:
    source = numbered(10)
    source.blocks = np.array(blocks)
    with pytest.raises(DataError, match="ascend from 0 to 10"):
        Batches(source, POLICY, 4, shuffle="windowed")


def test_one_loader_is_the_only_shard_of_itself() -> None:
    source = numbered(11)
    for index in range(3):
        same(Batches(source, POLICY, 4, shard=(0, 1)).batch(1, index), Batches(source, POLICY, 4).batch(1, index))
