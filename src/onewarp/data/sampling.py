"""Which samples an epoch shows, in which order and how often: a pure function of (epoch, position).

A `Sampling` is asked for the positions of one batch at a time and remembers nothing that an answer depends on, so
batches may be built in any order, by any number of threads and processes, and resumed anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onewarp.data.order import permuted


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

    A sampling of another kind gives `size` (how many samples an epoch shows), `at` and `key`.
    """

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
