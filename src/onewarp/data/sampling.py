"""Which samples an epoch shows, in which order and how often: a pure function of (epoch, position).

A `Sampling` is asked for the positions of one batch at a time and remembers nothing that an answer depends on, so
batches may be built in any order, by any number of threads and processes, and resumed anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from onewarp.data.base import Source
from onewarp.data.order import feistel, permuted, rounds_for
from onewarp.errors import DataError

T = TypeVar("T")

BLOCK = 1024  # samples of a block of a source that does not say how its samples lie together
EPOCHS_KEPT = 4  # of which tables are kept; batches of two epochs may be under way at a time


@dataclass(frozen=True)
class Chosen:
    """What some positions of an epoch show.

    Attributes:
        rows: indices into the source, int64 [n].
        occurrence: tells the showings of one sample in one epoch apart, int64 [n]; part of the key of its draws.
        plain: booleans [n], true where the sample is shown as the certain part of the policy makes it, with nothing
            that is drawn; None where none is.
    """

    rows: np.ndarray
    occurrence: np.ndarray
    plain: np.ndarray | None = None


class Sampling:
    """Base: every sample once per epoch, in the source's order.

    A sampling of another kind gives `size` (how many samples an epoch shows), `key`, and `rows` or `at`.

    Attributes:
        spans: whether each of several shards takes a piece of its own of the epoch, because neighbours lie together.
        plains: whether any sample may be shown plain.
        counted: whether plain and augmented samples are to be counted by class.
    """

    spans: bool = False
    plains: bool = False
    counted: bool = False

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        """Samples in an epoch."""
        return self.size

    @property
    def key(self) -> str:
        """What must be equal in two samplings of one source for their epochs to be equal, in words."""
        return "sequential"

    def at(self, epoch: int, positions: np.ndarray) -> Chosen:
        """What `epoch` shows at `positions`, int64 [n]; those behind its end wrap around, under draws of their own."""
        return Chosen(self.rows(epoch, positions % self.size), positions // self.size)

    def rows(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        """Indices into the source of `positions`, int64 [n], which lie within the epoch."""
        return positions

    def instead(self, epoch: int, position: int, tries: int) -> int:
        """Index of the sample that stands in for the unreadable one at `position`, at the `tries`-th attempt from 1
        on: half an epoch further, and on from there.
        """
        place = (position + self.size // 2 + tries - 1) % self.size
        return int(self.at(epoch, np.array([place], np.int64)).rows[0])


class Shuffled(Sampling):
    """Every sample once per epoch, in an order drawn from (seed, epoch)."""

    def __init__(self, size: int, seed: int) -> None:
        super().__init__(size)
        self.seed = seed

    @property
    def key(self) -> str:
        return "shuffled"

    def rows(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        return permuted(self.seed, epoch, self.size, positions)


class Windowed(Sampling):
    """Every sample once per epoch: blocks in random order, then within each `window` of them samples in random order.

    Neighbouring positions lie in few blocks, so what was read for one batch serves the next.

    Args:
        size, seed: samples in an epoch, and what the order is drawn from.
        blocks: int64 [m + 1], where the blocks begin, and `size` at the end.
        window: how many blocks are shuffled into each other.
    """

    spans = True

    def __init__(self, size: int, seed: int, blocks: np.ndarray, window: int) -> None:
        super().__init__(size)
        self.seed, self.blocks, self.window = seed, blocks, window
        count = len(blocks) - 1
        self._rounds = rounds_for(size * min(window, count) // count)
        self._tables: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    @property
    def key(self) -> str:
        return f"windowed, {self.window} of {len(self.blocks) - 1} blocks"

    def rows(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        blocks, ends = recent(self._tables, epoch, self._table)
        starts = ends[: -1 : self.window]
        number = np.searchsorted(starts, positions, side="right") - 1
        begin = starts[number]
        length = np.append(starts[1:], self.size)[number] - begin
        place = begin + feistel(
            self.seed, epoch, "onewarp.window", length, positions - begin, number, rounds=self._rounds
        )
        at = np.searchsorted(ends, place, side="right") - 1
        found: np.ndarray = self.blocks[blocks[at]] + place - ends[at]
        return found

    def _table(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The blocks in the epoch's order, int64 [m], and where each begins in it, int64 [m + 1]."""
        count = len(self.blocks) - 1
        blocks = permuted(self.seed, epoch, count, np.arange(count, dtype=np.int64), "onewarp.blocks")
        return blocks, np.concatenate([[0], np.cumsum(np.diff(self.blocks)[blocks])])


def recent(kept: dict[int, T], epoch: int, make: Callable[[int], T]) -> T:
    """make(epoch), kept for the latest few epochs. Several threads may make the same one; the results are equal."""
    found = kept.get(epoch)
    if found is None:
        found = kept[epoch] = make(epoch)
        for old in list(kept)[:-EPOCHS_KEPT]:
            kept.pop(old, None)
    return found


def blocks_of(source: Source) -> np.ndarray:
    """Where the blocks of a source begin, int64 [m + 1]: as it says itself, else every `BLOCK` samples.

    Raises:
        DataError: the source's blocks are no ascending numbers from 0 to its length.
    """
    if source.blocks is None:
        return np.append(np.arange(0, len(source), BLOCK, dtype=np.int64), len(source))
    blocks = np.asarray(source.blocks)
    whole = blocks.ndim == 1 and len(blocks) > 1 and blocks.dtype.kind in "iu"
    if not whole or blocks[0] != 0 or blocks[-1] != len(source) or (np.diff(blocks.astype(np.int64)) < 0).any():
        raise DataError(
            f"{source!r}: its blocks must be whole numbers that ascend from 0 to {len(source)}; mend its `blocks`"
        )
    return blocks.astype(np.int64)
