"""Memory that is used again.

A page that comes fresh from the system costs a fault and is cleared first; for a batch of photographs that adds up to a
good part of what warping them costs. So results and files are put where earlier ones lay that nobody holds any more.
"""

from __future__ import annotations

import mmap
import threading
import weakref
from collections import defaultdict
from typing import Any

import numpy as np

_SMALL = 1 << 16  # bytes; below it the allocator of the C library is as good
_HUGE = 1 << 21


class Blocks:
    """Arrays in blocks of memory that go back to a store when nobody holds them, or a view of them, any more.

    limit: bytes that the store keeps for later; what comes back beyond that is given to the system. Safe to use from
    several threads.
    """

    def __init__(self, limit: int = 1 << 28) -> None:
        self.limit = limit
        self.kept = 0  # bytes in the store
        self._store: dict[int, list[mmap.mmap]] = defaultdict(list)
        self._lock = threading.RLock()  # a finalizer may run in the thread that holds it

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array whose content is undefined, as by `np.empty`; it begins at a page, so backends can share it."""
        dtype = np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if size < _SMALL:
            return np.empty(shape, dtype)
        room = _room(size)
        with self._lock:
            store = self._store[room]
            block = store.pop() if store else None
            self.kept -= room if block is not None else 0
        if block is None:
            block = mmap.mmap(-1, room, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            if room >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
                block.madvise(mmap.MADV_HUGEPAGE)
        root = np.frombuffer(block, np.uint8, size)
        weakref.finalize(root, self._give_back, room, block).atexit = False
        array: np.ndarray = root.view(dtype).reshape(shape)  # holds `root`, as does every view of it
        return array

    def _give_back(self, room: int, block: mmap.mmap) -> None:
        with self._lock:
            if self.kept + room <= self.limit:
                self._store[room].append(block)
                self.kept += room


def _room(size: int) -> int:
    """`size` rounded up to one of eight sizes per octave, so that nearly equal sizes share blocks."""
    step = max(1 << (size.bit_length() - 4), mmap.PAGESIZE)
    return -(-size // step) * step


BLOCKS = Blocks()
