"""Loader(store=): a source that is written into a store while it is read.

Sample i is always the stored sample: reduced and encoded when it is needed first, and then decoded from those very
bytes, in the first epoch as in the tenth. So a batch is the same function of (seed, epoch, index) whether the store is
still to be written, half there or complete.

A shuffled epoch asks for samples in no order that a shard could be written in. So they go into a journal first, as they
come; when it has all of them, a thread of its own writes the shards from it, with the bytes that `onewarp prepare`
would have written, and from then on they are read there. What a killed run leaves in its journal is used by the next.
"""

from __future__ import annotations

import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onewarp.data.base import Sample, Source
from onewarp.data.store import layout
from onewarp.data.store.job import Job, begin
from onewarp.data.store.prepare import finish, write_shard
from onewarp.data.store.reader import StoreSource
from onewarp.data.store.records import Record, reason, sample_of
from onewarp.data.store.settings import StoreSettings
from onewarp.errors import DataError, InputError, OnewarpError

# An entry of a journal: these numbers, the fields of the sample's row, the record.
_ENTRY = struct.Struct("<4sIQII")  # mark, checksum of the rest and the fields, index, bytes of record, its checksum
_MARK = b"OWJ1"
LOOK = 256  # new samples after which the folder is looked at again


def storing(source: Source, store: Any, bounding_box_format: str = "xyxy", on_error: str = "raise") -> StoringSource:
    """The source behind `Loader(store=)`.

    Args:
        source: the samples.
        store: a folder; or a mapping {"path": folder, "short_side": ..., "quality": ..., "raw": ..., "size": ...}.
        bounding_box_format, on_error: those of the Loader.
    """
    given: dict[str, Any] = dict(store) if isinstance(store, Mapping) else {"path": store}
    path = given.pop("path", None)
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f'store={store!r} names no folder; pass a path, or {{"path": ..., "short_side": 256}}')
    known = ("short_side", "quality", "raw", "size")
    if unknown := sorted(set(given) - set(known)):
        raise InputError(f"store has {unknown[0]!r}; it takes path, {', '.join(known)}")
    settings = StoreSettings(**given, bounding_box_format=bounding_box_format)
    return StoringSource(source, Path(path), settings, on_error)


class StoringSource(Source):
    """The samples of `source` as a store keeps them, written into the store in `folder` as they are first needed.

    Its attributes do not depend on how much of the store is there, but for `dense`: until it is written, samples are
    read one by one.

    Raises:
        InputError: the folder holds something else: another source, other settings.
    """

    def __init__(
        self, source: Source, folder: Path, settings: StoreSettings | None = None, on_error: str = "raise"
    ) -> None:
        self.source = source
        self._job = begin(source, folder, settings or StoreSettings(), on_error)
        self.labels, self.class_names, self.ignore = source.labels, source.class_names, source.ignore
        self.dtype, self.value_range = source.dtype, source.value_range
        self.roles, self.outputs = source.roles, source.outputs
        self.blocks = layout.block_starts(self._job.about)
        settings, (height, width, channels) = self._job.settings, source.image_shape
        known = settings.size is not None or (height is not None and width is not None)
        self.image_shape = (*(settings.stored_size(height or 0, width or 0) if known else (None, None)), channels)
        self._start()

    def _start(self) -> None:
        self._store: StoreSource | None = None
        self._journal: Journal | None = None
        self._lock = threading.Lock()
        self._writer: threading.Thread | None = None
        if self._job.finished and not self._job.missing():
            self._read_store()
        else:
            self._journal = Journal(self._job)
            self._write_if_all_is_there()

    def _read_store(self) -> None:
        self._store = StoreSource(self._job.folder)
        self.dense = self._store.dense

    @property
    def complete(self) -> bool:
        """Whether the store is written, so that samples are read from it."""
        return self._store is not None

    @property
    def num_classes(self) -> int | None:
        return self.source.num_classes

    def __len__(self) -> int:
        return len(self.source)

    def __getstate__(self) -> dict[str, Any]:
        mine = ("_store", "_journal", "_lock", "_writer", "dense")
        return {name: value for name, value in self.__dict__.items() if name not in mine}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def ids(self, indices: np.ndarray) -> np.ndarray:
        return self.source.ids(indices)

    def name(self, index: int) -> str:
        return self.source.name(index)

    def most(self, role: str) -> int:
        return self.source.most(role)

    def stamps(self) -> Iterator[bytes]:
        yield self._job.about["build"].encode()

    def lazy(self, index: int) -> Sample:
        journal, store = self._journal, self._store  # in this order: the journal goes when the store has come
        if store is not None:
            return store.lazy(index)
        assert journal is not None
        record = journal.get(index)
        if record is None:
            record = self._job.record(index)
            journal.add(index, record)
            self._write_if_all_is_there()
        if not record.fields["image"]:
            raise DataError(reason(memoryview(record.data)))
        sample = sample_of(memoryview(record.data), record.fields, self._job.about, self.name(index))
        if self.labels is not None:
            sample["labels"] = self.labels[index]
        return sample

    def gather(self, indices: np.ndarray) -> Sample:
        return super().gather(indices) if self._store is None else self._store.gather(indices)

    def views(self, indices: np.ndarray) -> Sample:
        return super().views(indices) if self._store is None else self._store.views(indices)

    def wait(self) -> None:
        """Wait until shards that are being written are there."""
        if self._writer is not None:
            self._writer.join()

    def _write_if_all_is_there(self) -> None:
        journal = self._journal
        if journal is None or self._writer is not None:
            return
        # Now and then a look at whether another process has finished it.
        if len(journal) < len(self) and (len(journal) % LOOK or not self._job.finished):
            return
        with self._lock:
            if self._writer is None:
                # No daemon: a run that has ended has its store, too.
                self._writer = threading.Thread(target=self._write, args=(journal,), name="onewarp-store")
                self._writer.start()

    def _write(self, journal: Journal) -> None:
        """Write the shards from the journal, and read them from then on."""
        try:
            for number in self._job.missing():
                write_shard(self._job, number, lambda index: journal.get(index) or self._job.record(index))
            finish(self._job)
            self._read_store()
            self._journal = None
            journal.remove()
        except (OnewarpError, OSError) as error:
            warnings.warn(f"the store is not written: {error}; training goes on without it", stacklevel=2)


class Journal:
    """Records in the order in which they came, in files beside the shards to be. Safe to use from several threads.

    Each process writes a file of its own and reads, when it begins, what earlier ones have left. A torn end is passed
    over. A disk without room is reported once; records are then made anew each time.
    """

    def __init__(self, job: Job) -> None:
        self._fields = struct.Struct(f"<{len(_fields(job))}I")
        self._names = _fields(job)
        self._where: dict[int, tuple[int, int]] = {}  # index -> (descriptor, where its entry begins)
        self._lock = threading.Lock()
        self._descriptors: list[int] = []
        self._paths = sorted(job.folder.glob(f"{job.about['build']}-*.journal"))
        for path in self._paths:
            self._read(path)
        self._path = job.folder / f"{job.about['build']}-{layout.temporary_name(Path('x')).name[3:-4]}.journal"
        self._own = -1
        self._end = 0
        self._full = False

    def __len__(self) -> int:
        return len(self._where)

    def get(self, index: int) -> Record | None:
        """The record of a sample, or None where it is not there, or damaged."""
        where = self._where.get(index)
        if where is None:
            return None
        descriptor, at = where
        length = _ENTRY.size + self._fields.size
        head = os.pread(descriptor, length, at)
        _, _, _, size, crc = _ENTRY.unpack_from(head)
        data = os.pread(descriptor, size, at + length)
        if len(data) != size or zlib.crc32(data) != crc:
            return None
        values = self._fields.unpack_from(head, _ENTRY.size)
        return Record(data, dict(zip(self._names, values, strict=True)))

    def add(self, index: int, record: Record) -> None:
        if index in self._where or self._full:
            return
        fields = self._fields.pack(*(record.fields.get(name, 0) for name in self._names))
        rest = struct.pack("<QII", index, len(record.data), zlib.crc32(record.data))
        entry = _MARK + zlib.crc32(fields, zlib.crc32(rest)).to_bytes(4, "little") + rest + fields + record.data
        with self._lock:
            try:
                if self._own < 0:
                    self._own = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                    self._descriptors.append(self._own)
                    self._paths.append(self._path)
                if os.pwrite(self._own, entry, self._end) != len(entry):
                    raise OSError(layout.FULL[0], "no room is left")
            except OSError as error:
                self._full = True
                warnings.warn(
                    f"{layout.writing_failed(self._path, error)} (samples are read from their source)", stacklevel=2
                )
                return
            self._where[index] = (self._own, self._end)
            self._end += len(entry)

    def remove(self) -> None:
        """The files are of no use any more. Who is reading them just now still can."""
        for path in self._paths:
            path.unlink(missing_ok=True)

    def __del__(self) -> None:
        for descriptor in getattr(self, "_descriptors", ()):
            os.close(descriptor)

    def _read(self, path: Path) -> None:
        """Note where the entries of a journal begin."""
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:  # its store was finished just now
            return
        self._descriptors.append(descriptor)
        at, end, length = 0, os.fstat(descriptor).st_size, _ENTRY.size + self._fields.size
        while at + length <= end:
            head = os.pread(descriptor, length, at)
            mark, crc, index, size, _ = _ENTRY.unpack_from(head)
            if mark != _MARK or zlib.crc32(head[8:]) != crc or at + length + size > end:
                return  # torn here: what lies behind was never reported as written
            self._where.setdefault(index, (descriptor, at))
            at += length + size


def _fields(job: Job) -> list[str]:
    """The fields of a row that a record brings itself."""
    mine = ("height", "width", "image", "mask", "mask_type", "boxes", "points", "point_size")
    return [name for name in layout.row_dtype(job.about).names or () if name in mine]
