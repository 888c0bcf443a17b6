"""A Loader's batches as a `torch.utils.data.IterableDataset`."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from onewarp.data.prefetch import prefetch_batches
from onewarp.errors import InputError
from onewarp.fit.export import Stream

_WORKERS = 255


class LoaderIterableDataset(IterableDataset):
    """The batches of one epoch in each pass, as torch tensors; for `DataLoader(dataset, batch_size=None)`.

    With workers, worker w of W gives batches w, w + W, ...; the DataLoader takes them in turn, so that they come in the
    order of the loader, each one once. Every pass is the next epoch, also after one that was broken off; `set_epoch`
    says which one the coming pass is.

    Which epoch it is must be known to workers that start anew in each pass and to those that persist, and no one tells
    them. So each writes into a tensor in shared memory, in a place of its own, which pass it has begun and how many
    came before: whoever begins a pass takes the number that another worker has for it, or one more than the highest.
    """

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._stream = stream
        self._turn = 0  # passes begun in this process
        # [epoch of pass 0, one number per worker: passes before the one it has begun + 1, and what identifies that]
        self._shared = torch.zeros(1 + _WORKERS, dtype=torch.int64).share_memory_()
        self._shared[0] = stream.epoch

    def __len__(self) -> int:
        """Batches in the coming pass."""
        return self._stream.length - self._stream.first(self.epoch)

    @property
    def epoch(self) -> int:
        """Number of the epoch that the coming pass gives."""
        return int(self._shared[0]) + self._passes()

    def set_epoch(self, epoch: int) -> None:
        """Let the coming pass give this epoch; workers that persist learn it, too."""
        if not isinstance(epoch, int) or epoch < 0:
            raise InputError(f"set_epoch({epoch!r}): pass the number of an epoch, 0 or more")
        self._shared[0] = epoch - self._passes()

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        if workers > _WORKERS:
            raise InputError(f"num_workers={workers} is more than {_WORKERS}; use fewer")
        epoch = self._begin(worker, "" if info is None else str(info.seed - info.id))
        start = self._stream.first(epoch)
        if info is None:
            return self._ahead(epoch, start)
        return (_tensors(self._stream.build(epoch, i)) for i in range(start + worker, self._stream.length, workers))

    def _ahead(self, epoch: int, start: int) -> Iterator[Any]:
        stream = self._stream
        count = stream.length - start
        prefetcher = prefetch_batches(stream.batches, epoch, start, count, stream.threads, stream.prefetch)
        try:
            for index in range(start, stream.length):
                yield _tensors(stream.hand_over(prefetcher.get(), epoch, index))
        finally:
            prefetcher.close()

    def _passes(self) -> int:
        """How many passes have begun."""
        return int(self._shared[1:].max()) >> 32

    def _begin(self, worker: int, seed: str) -> int:
        """Begin a pass, which all its workers know by the DataLoader's seed and their turn; gives its epoch."""
        name = zlib.crc32(f"{seed}/{self._turn}".encode())
        self._turn += 1
        seen = self._shared[1:].tolist()  # read once: another worker may write meanwhile
        number = next((entry >> 32 for entry in seen if entry and entry & 0xFFFFFFFF == name), (max(seen) >> 32) + 1)
        self._shared[1 + worker] = number << 32 | name
        return int(self._shared[0]) + number - 1


def _tensors(batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return {name: _tensors(value) for name, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_tensors(part) for part in batch)
    return torch.from_numpy(batch if batch.flags.writeable else batch.copy())
