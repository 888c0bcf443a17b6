"""A Loader's batches as a `grain.MapDataset`."""

from __future__ import annotations

from typing import Any

import grain

from onewarp.fit.export import Stream


class LoaderMapDataset(grain.MapDataset):
    """Batch after batch with random access: element i is batch i of the first epoch, and beyond its end those of the
    next ones, as in every MapDataset. Picklable.
    """

    def __init__(self, stream: Stream, epochs: int) -> None:
        super().__init__()
        self._stream, self._epochs = stream, epochs

    def __len__(self) -> int:
        return self._epochs * self._stream.length - self._stream.start

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        index = int(index) % len(self) if index < 0 else int(index)
        epoch, place = divmod(self._stream.start + index, self._stream.length)
        return self._stream.build(self._stream.epoch + epoch, place)

    def __str__(self) -> str:
        return f"LoaderMapDataset({self._stream.length} batches per epoch)"
