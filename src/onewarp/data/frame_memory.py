"""Where frames lie: two generations of them, in RAM up to a limit and in memory-mapped files beyond it.

A generation is what one round of draws makes of the samples. While one is shown, the next one is made. What is kept
never decides what a batch holds: a frame that is not here is made again by whoever needs it.
"""

from __future__ import annotations

import mmap
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from onewarp.errors import InputError

Columns = dict[str, Any]  # "images", "bounding_boxes.boxes", ... -> one row per sample: an array or a list of arrays

_UNITS = {"": 1, **{f"{p}B": 1000**k for k, p in enumerate(["", "K", "M", "G", "T"])}}
_UNITS |= {f"{p}IB": 1024**k for k, p in enumerate("KMGT", 1)}


def parse_bytes(value: Any, name: str) -> int:
    """A number of bytes from a whole number, or from text such as "4GB", "512 MB" or "1.5GiB".

    kB, MB, GB and TB are powers of 1000; KiB, MiB, GiB and TiB of 1024. `name` is what messages call the argument.
    """
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 0:
        return int(value)
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)\s*", value) if isinstance(value, str) else None
    if match is None or match[2].upper() not in _UNITS:
        raise InputError(f'{name}={value!r} is not an amount of memory; pass bytes, or text such as "4GB" or "512MB"')
    return int(float(match[1]) * _UNITS[match[2].upper()])


class FrameMemory:
    """Arrays that fit under a limit in RAM; the others in files without a name, which end with the process.

    Args:
        limit: bytes of all arrays in RAM together.
        folder: where files are made; the system's folder for temporary files by default.

    Attributes:
        in_ram, in_files: bytes given out so far.
    """

    def __init__(self, limit: int, folder: str | Path | None = None) -> None:
        self.limit, self.folder = limit, folder
        self.in_ram = self.in_files = 0
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array whose content is undefined. Raises InputError where there is no room for its file."""
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        with self._lock:
            fits = self.in_ram + size <= self.limit
            self.in_ram += size if fits else 0
            self.in_files += 0 if fits else size
        if fits:
            return np.empty(shape, dtype)
        found: np.ndarray = np.frombuffer(self._file(size), np.uint8, size).view(dtype).reshape(shape)
        return found

    def _file(self, size: int) -> mmap.mmap:
        try:
            # It has no name, or loses it at once: nothing is left behind, however the process ends.
            with tempfile.TemporaryFile(prefix="onewarp-frames-", dir=self.folder) as file:
                if hasattr(os, "posix_fallocate"):  # a page without a block behind it would end the process when used
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
                return mmap.mmap(file.fileno(), size)
        except OSError as fault:
            where = self.folder or tempfile.gettempdir()
            raise InputError(
                f"frames need a file of {size / 1e9:.2g} GB in {where}: {fault.strerror}; pass frames_dir= with a "
                "folder that has the room, raise frames_memory, or use smaller images"
            ) from None


class Generation:
    """The frames of one generation: per entry an array [slots, ...] (one more for each other dtype that turns up).

    Attributes:
        number: the epoch whose draws made them; None before it is used.
        readers: how many hold views of it; it is not given to another generation meanwhile.
    """

    def __init__(self, slots: int, memory: FrameMemory) -> None:
        self.number: int | None = None
        self.readers = 0
        self._memory = memory
        self._full = np.zeros(slots, bool)
        self._rows, self._occurrence = np.zeros(slots, np.int64), np.zeros(slots, np.int64)  # what lies in each slot
        self._arrays: dict[str, list[np.ndarray]] = {}
        self._kinds: dict[str, np.ndarray] = {}  # which of an entry's arrays holds a slot, uint8 [slots]
        self._claimed = 0
        self._lock = threading.Lock()

    def renumber(self, number: int) -> None:
        """Begin another generation in the same memory."""
        self.number, self._claimed = number, 0
        self._full[:] = False

    def claim(self, left: int) -> np.ndarray:
        """The next slots to see to in advance, int64: as many as come to each of the `left` callers to be."""
        with self._lock:
            start = self._claimed
            self._claimed += (2 * (len(self._full) - start) + left) // (2 * left)  # rounded
            return np.arange(start, self._claimed, dtype=np.int64)

    def has(self, slots: np.ndarray, rows: np.ndarray, occurrence: np.ndarray) -> np.ndarray:
        """Whether each slot holds the frame of that (row, occurrence), bool [n]."""
        found: np.ndarray = self._full[slots] & (self._rows[slots] == rows) & (self._occurrence[slots] == occurrence)
        return found

    def put(self, slots: np.ndarray, rows: np.ndarray, occurrence: np.ndarray, columns: Columns) -> None:
        """Keep frames: row i of each column in slots[i]. Slots that are full are left as they are."""
        free = np.flatnonzero(~self._full[slots])
        slots = slots[free]
        for path, values in columns.items():
            for slot, i in zip(slots.tolist(), free.tolist(), strict=True):
                kind = self._kind(path, np.asarray(values[i]))
                self._arrays[path][kind][slot] = values[i]
                self._kinds[path][slot] = kind
        with self._lock:
            self._rows[slots], self._occurrence[slots] = rows[free], occurrence[free]
            self._full[slots] = True

    def view(self, path: str, slot: int) -> np.ndarray:
        """Entry `path` of a frame that is here, where it lies."""
        row: np.ndarray = self._arrays[path][self._kinds[path][slot]][slot]
        return row

    def whole(self, path: str) -> np.ndarray | None:
        """The array [slots, ...] of an entry, where all its rows have one dtype and shape."""
        arrays = self._arrays[path]
        return arrays[0] if len(arrays) == 1 else None

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self._arrays)

    def _kind(self, path: str, row: np.ndarray) -> int:
        with self._lock:
            for kind, array in enumerate(self._arrays.get(path, [])):
                if array.dtype == row.dtype and array.shape[1:] == row.shape:
                    return kind
            fresh = self._memory.empty((len(self._full), *row.shape), row.dtype)
            self._kinds.setdefault(path, np.zeros(len(self._full), np.uint8))
            self._arrays.setdefault(path, []).append(fresh)
            return len(self._arrays[path]) - 1


class Generations:
    """The two generations that a run needs at a time: the one on show and the next.

    Args:
        slots: frames of a generation; 0 to keep none.
        reuse: epochs for which a generation is shown.
        memory: where frames lie.
    """

    def __init__(self, slots: int, reuse: int, memory: FrameMemory) -> None:
        self.slots, self.reuse, self.memory = slots, reuse, memory
        self._kept = [Generation(slots, memory) for _ in range(2)]
        self._wanted: tuple[int, ...] = ()
        self._told = False  # whether passes say when they begin
        self._lock = threading.Lock()
        self._made: dict[int, int] = {}

    def __reduce__(self) -> Any:  # another process has frames of its own
        return _fresh, (self.slots, self.reuse, self.memory.limit, self.memory.folder)

    def of(self, epoch: int) -> int:
        """The number of the generation that `epoch` shows: the epoch at which it is drawn."""
        return epoch - epoch % self.reuse

    def show(self, epoch: int, begins: bool = False) -> None:
        """A batch of `epoch` is asked for, or a pass over it begins: its generation and the next are the ones to keep.

        Once passes say that they begin, a look at another epoch does not disturb what the run has.
        """
        with self._lock:
            if begins or not self._told:
                self._told = begins
                self._wanted = (self.of(epoch), self.of(epoch) + self.reuse)

    @contextmanager
    def open(self, number: int) -> Iterator[Generation | None]:
        """The generation, which stays what it is inside the `with`; None for one that is not kept now."""
        generation = self._take(number)
        try:
            yield generation
        finally:
            if generation is not None:
                with self._lock:
                    generation.readers -= 1

    def count(self, epoch: int, frames: int) -> None:
        """Add to the number of frames that were made while `epoch` was shown."""
        with self._lock:
            self._made[epoch] = self._made.get(epoch, 0) + frames

    def made(self, epoch: int) -> int:
        """Frames that were made while `epoch` was shown, for it or in advance."""
        return self._made.get(epoch, 0)

    def _take(self, number: int) -> Generation | None:
        with self._lock:
            if not self.slots or number not in self._wanted:
                return None
            found = next((kept for kept in self._kept if kept.number == number), None)
            if found is None:
                free = [kept for kept in self._kept if kept.number not in self._wanted and not kept.readers]
                if not free:  # somebody still reads what was there before; it will be free in a moment
                    return None
                found = free[0]
                found.renumber(number)
            found.readers += 1
            return found


def _fresh(slots: int, reuse: int, limit: int, folder: Any) -> Generations:
    return Generations(slots, reuse, FrameMemory(limit, folder))


def columns_of(entries: Mapping[str, Any], prefix: str = "") -> Columns:
    """The entries of a batch, nested ones under dotted names."""
    found: Columns = {}
    for name, value in entries.items():
        found.update(columns_of(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value})
    return found


def entries_of(columns: Columns, stack: Callable[[Any], Any]) -> dict[str, Any]:
    """The reverse of `columns_of`, each column through `stack`."""
    found: dict[str, Any] = {}
    for path, rows in columns.items():
        *outer, name = path.split(".")
        place = found
        for part in outer:
            place = place.setdefault(part, {})
        place[name] = stack(rows)
    return found
