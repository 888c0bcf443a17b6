"""Checking a whole store: every byte of it against its checksums."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from onewarp.data.base import Source
from onewarp.data.store import layout
from onewarp.data.store.reader import StoreSource
from onewarp.data.store.settings import fingerprint
from onewarp.errors import DataError

BLOCK = 1 << 24


def verify(
    path: str | Path,
    source: Source | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Iterator[str]:
    """What is wrong with a store: one line for each damaged or missing part, nothing where all is well.

    Args:
        path: as in `StoreSource`, and so are options.
        source: the source that the store should have been made from.
        progress: called as progress(bytes checked, bytes in all).

    Raises:
        DataError: no store there, or one whose manifest or index is damaged, so that no more can be said.
    """
    store = StoreSource(path, **options)
    if source is not None and fingerprint(source) != store.about["fingerprint"]:
        yield f"{path}: the source has changed since the store was made; prepare it again with overwrite"
    total, done = int(store._shards["size"].sum()), 0
    for shard in range(len(store._shards)):
        size = int(store._shards[shard]["size"])
        try:
            data = store._data(shard)
            crc = 0
            for start in range(0, size, BLOCK):
                crc = zlib.crc32(data[start : start + BLOCK], crc)
                if progress is not None:
                    progress(done + min(start + BLOCK, size), total)
            if crc != store._shards[shard]["crc"]:
                yield from _damaged(store, shard)
        except DataError as error:
            yield str(error)
        done += size
        if progress is not None:
            progress(done, total)


def _damaged(store: StoreSource, shard: int) -> Iterator[str]:
    """Which samples of a damaged shard are damaged."""
    found = 0
    for index in layout.shard_rows(store.about, shard):
        try:
            store._record(index, store._row(index))
        except DataError as error:
            found += 1
            yield str(error)
    try:
        store.names(shard)
    except DataError as error:
        found += 1
        yield str(error)
    if not found:
        name = store._place.path(layout.shard_name(store.about, shard))
        yield f"{name}: its checksum is another one; delete it and prepare the store again"
