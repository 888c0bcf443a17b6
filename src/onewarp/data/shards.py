"""Which positions of an epoch a batch shows, for one reader of it or for several that share it.

Several shards take as many steps as one, never a sample twice, and together exactly what `last_batch` says of the
epoch. Step k of all shards is batch k of one loader with all their rows, so training on four hosts repeats training on
one. Where neighbours should be read together (`spans`), each shard takes a piece of the epoch instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onewarp.errors import InputError


@dataclass(frozen=True)
class Steps:
    """The batches of one epoch for one shard.

    Attributes:
        samples: in the epoch, of all shards.
        batch_size: rows of a batch of one shard.
        last_batch: "wrap", "drop" or "keep".
        index, count: which of how many shards.
        spans: whether a shard takes a piece of the epoch, rather than a share of every step.
    """

    samples: int
    batch_size: int
    last_batch: str
    index: int = 0
    count: int = 1
    spans: bool = False

    def __len__(self) -> int:
        whole, rest = divmod(self.samples, self.batch_size * self.count)
        return whole + (rest > 0 and self.last_batch != "drop")

    @property
    def full(self) -> bool:
        """Whether every batch has `batch_size` rows."""
        return self.last_batch != "keep" or self.samples % (self.batch_size * self.count) == 0

    def check(self) -> None:
        """Raise InputError where a shard would have no samples for a step."""
        together = self.batch_size * self.count
        if self.last_batch == "drop" and self.samples < together:
            all_of = f"{self.batch_size}" if self.count == 1 else f"{self.count} x {self.batch_size}"
            raise InputError(
                f'last_batch="drop" leaves no batch of {all_of} from {self.samples} samples; lower batch_size'
            )
        if self.full or self.samples % together >= self.count:
            return
        if self.samples < self.count:
            raise InputError(f"{self.samples} samples cannot be shared by {self.count} shards; take fewer shards")
        if self.batch_size == 1:
            raise InputError(
                f'last_batch="keep" leaves a last step of {self.samples % self.count} samples for {self.count} shards; '
                "use a batch_size above 1 or another last_batch"
            )

    def positions(self, step: int) -> np.ndarray:
        """Places in the epoch that batch `step` shows, int64 [rows]; those behind the end are to wrap around."""
        if self.last_batch == "keep":
            start, stop = self._piece(step) if self.spans else self._share(step)
        else:
            number = self.index * len(self) + step if self.spans else step * self.count + self.index
            start, stop = number * self.batch_size, (number + 1) * self.batch_size
        return np.arange(start, stop, dtype=np.int64)

    def _share(self, step: int) -> tuple[int, int]:
        """The even share in what step `step` of all shards shows."""
        together = self.batch_size * self.count
        begin, end = (min(self._leaving(edge * together), self.samples) for edge in (step, step + 1))
        rows = end - begin
        return begin + rows * self.index // self.count, begin + rows * (self.index + 1) // self.count

    def _leaving(self, edge: int) -> int:
        """`edge`, moved so that the last step has a sample for each shard."""
        short = self.samples - edge
        return edge - (self.count - short) if 0 < short < self.count else edge

    def _piece(self, step: int) -> tuple[int, int]:
        """Step `step` within an even piece of the epoch."""
        begin = self.samples * self.index // self.count
        rows = self.samples * (self.index + 1) // self.count - begin

        def edge(number: int) -> int:
            at_most = rows - 1 if number == len(self) - 1 else rows  # a sample is left for the last step
            return begin + min(number * self.batch_size, at_most)

        return edge(step), edge(step + 1)


def checked_shard(shard: object) -> tuple[int, int]:
    """`shard` as (index, count). Raises InputError unless 0 <= index < count."""
    numbers = tuple(shard) if isinstance(shard, (tuple, list)) else ()
    if len(numbers) != 2 or not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in numbers):
        raise InputError(f"shard={shard!r} is not (index, count); pass e.g. (0, 2) for the first of two")
    index, count = int(numbers[0]), int(numbers[1])
    if not 0 <= index < count:
        raise InputError(f"shard={shard!r} has index {index} of {count} shards; indices run from 0 to count - 1")
    return index, count
