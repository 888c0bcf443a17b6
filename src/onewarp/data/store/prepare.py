"""Making a store: which shards are still missing, writing them one by one, and the manifest at the end.

Each shard is a task of its own: it is written whole or not at all, and always with the same bytes, so tasks may be done
in any order, by any process, and more than once.
"""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from onewarp.data.base import Source
from onewarp.data.memory import processors
from onewarp.data.store import layout
from onewarp.data.store.job import Job, begin, write
from onewarp.data.store.records import Record
from onewarp.data.store.settings import StoreSettings
from onewarp.errors import DataError

Progress = Callable[[int, int], None]
Reader = Callable[[int], Record]


def prepare(
    source: Source,
    out: str | Path,
    settings: StoreSettings | None = None,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    on_error: str = "raise",
    shard_size: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write a store of `source` into the folder `out`, or what is missing of one that was begun.

    Args:
        source: where samples come from.
        out: a folder, new or empty, or with the same store, finished or not.
        settings: what becomes of the samples; `StoreSettings()` by default.
        threads: that read, decode and encode; the processors at hand by default. The bytes do not depend on it.
        progress: called as progress(done, total) after each sample; done begins with what was there already.
        on_error: "raise", or "skip": a sample that cannot be read stays in its place as one that cannot be read.
        shard_size: bytes that a shard is to have, about; 64 MiB by default.
        overwrite: whether a store of other settings, or of a source that has changed, may be replaced. It stays
            whole and readable until the new one is.

    Raises:
        DataError: a sample that cannot be read, no room, a damaged store; what was written before is kept.
        InputError: `out` holds something else; the message says what differs.
    """
    job = begin(source, out, settings or StoreSettings(), on_error, shard_size, overwrite)
    missing = job.missing()
    total = len(source)
    before = total - sum(len(layout.shard_rows(job.about, number)) for number in missing)
    if progress is not None:
        progress(before, total)
    workers = threads or processors()
    pool = ThreadPoolExecutor(workers, "onewarp-store", initializer=cv2.setNumThreads, initargs=(0,))
    try:
        write_shards(
            job, missing, pool, 4 * workers, None if progress is None else lambda k: progress(before + k, total)
        )
    finally:
        pool.shutdown(cancel_futures=True)
    finish(job)


def write_shards(
    job: Job, numbers: Iterable[int], pool: ThreadPoolExecutor, depth: int, progress: Callable[[int], None] | None
) -> None:
    """Write shards one after the other, their samples read by the pool; progress(samples done by this call)."""
    numbers = list(numbers)
    records = _ahead(pool, job.record, (k for number in numbers for k in layout.shard_rows(job.about, number)), depth)
    done = 0
    for number in numbers:

        def counted(index: int) -> Record:
            nonlocal done
            record = next(records)
            done += 1
            if progress is not None:
                progress(done)
            return record

        write_shard(job, number, counted)


def write_shard(job: Job, number: int, read: Reader | None = None) -> None:
    """Write one shard and its part of the index; `read` gives the records, in order."""
    about, folder = job.about, job.folder
    samples, read = layout.shard_rows(about, number), read or job.record
    rows = np.zeros(len(samples), layout.row_dtype(about))
    indices = np.arange(samples.start, samples.stop)
    if about["labels"] is not None and job.source.labels is not None:
        rows["label"] = job.source.labels[indices]
    if about["ids"]:
        rows["id"] = job.source.ids(indices)
    path = folder / layout.shard_name(about, number)
    temporary = layout.temporary_name(path)
    shard = np.zeros((), layout.SHARD)
    at = crc = 0
    try:
        with open(temporary, "wb") as file:
            for k, index in enumerate(samples):
                record = read(index)
                rows[k]["offset"], rows[k]["size"], rows[k]["crc"] = at, len(record.data), zlib.crc32(record.data)
                for field, value in record.fields.items():
                    rows[k][field] = value
                file.write(record.data)
                at, crc = at + len(record.data), zlib.crc32(record.data, crc)
            names = json.dumps([job.source.name(index) for index in samples]).encode()
            file.write(names)
            shard["size"], shard["names"] = at + len(names), at
            shard["crc"], shard["names_crc"] = zlib.crc32(names, crc), zlib.crc32(names)
            shard["rows_crc"] = zlib.crc32(rows.tobytes())
            if job.finished:
                _check_same(job, number, shard, path)
            layout.commit(file, temporary, path)
        if not job.finished:
            content = shard.tobytes() + rows.tobytes()
            piece = folder / layout.piece_name(about, number)
            layout.write_whole(piece, [content, zlib.crc32(content).to_bytes(4, "little")])
    except OSError as error:
        raise layout.writing_failed(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def finish(job: Job) -> None:
    """Put the index together and write the manifest; then remove what is of no use any more."""
    about, folder = job.about, job.folder
    if job.finished:
        return
    count, dtype = layout.shard_count(about), layout.row_dtype(about)
    table = np.zeros(layout.table_size(about), np.uint8)
    shards = table[: count * layout.SHARD.itemsize].view(layout.SHARD)
    seen = _Seen(about)
    for number in range(count):
        shard, rows = job.piece(number)
        if rows is None:
            if job.finished:  # by another process, just now
                return
            raise DataError(f"{folder}: shard {number} has gone while the store was made; give the command again")
        shards[number] = shard
        seen.add(rows)
    crcs = [zlib.crc32(table.tobytes())]

    def parts() -> Iterator[bytes]:
        yield table.tobytes()
        for number in range(count):
            content = np.asarray(job.piece(number)[1]).tobytes()
            crcs.append(zlib.crc32(content, crcs[-1]))
            yield content

    write(folder / layout.index_name(about), parts())
    ends = {"table_crc": crcs[0], "index_crc": crcs[-1], "row_size": dtype.itemsize, **seen.known()}
    write(folder / layout.MANIFEST, [layout.to_json({**about, **ends})])
    clean(folder, about)


def clean(folder: Path, about: dict[str, Any]) -> None:
    """Remove parts of the index, and files of other builds, from a folder with a finished store."""
    keep = {layout.MANIFEST, layout.index_name(about)}
    for path in folder.iterdir():
        part = path.suffix in (".rows", ".journal") or path.name == layout.BEGUN
        other = path.suffix == ".bin" and f"-{about['build']}" not in path.name
        if (part or other) and path.name not in keep:
            path.unlink(missing_ok=True)
    layout.sweep(folder)  # of workers that died while the store was made
    layout.sync_folder(folder)


class _Seen:
    """What the manifest says of all samples together: their size where it is one, and the most boxes and points."""

    def __init__(self, about: dict[str, Any]) -> None:
        self._sides: dict[str, set[int]] = {"height": set(), "width": set()}
        self._kinds: set[int] = set()
        self._most = {role: most or 0 for role, most in about["most"].items()}
        self._unreadable = 0

    def add(self, rows: np.ndarray) -> None:
        good = rows[rows["image"] > 0]
        self._unreadable += len(rows) - len(good)
        for side, values in self._sides.items():
            if len(values) < 2:
                values |= set(np.unique(good[side]).tolist())
        if "mask_type" in (rows.dtype.names or ()):
            self._kinds |= set(np.unique(good["mask_type"]).tolist())
        for role, field in (("bounding_boxes", "boxes"), ("keypoints", "points")):
            if role in self._most and len(good):
                self._most[role] = max(self._most[role], int(good[field].max()))

    def known(self) -> dict[str, Any]:
        one = [next(iter(values)) if len(values) == 1 else None for values in self._sides.values()]
        return {
            "image_size": one,
            "mask_types": sorted(self._kinds),
            "most": self._most,
            "unreadable": self._unreadable,
        }


def _check_same(job: Job, number: int, shard: np.ndarray, path: Path) -> None:
    """A shard that is written again must be the one that the index describes."""
    if job.finished_shards()[number].tobytes() != shard.tobytes():
        raise DataError(
            f"{path}: made anew it comes out different; the source has changed: pass overwrite=True (--overwrite)"
        )


def _ahead(pool: ThreadPoolExecutor, function: Reader, items: Iterable[int], depth: int) -> Iterator[Record]:
    """function(item) of each item, in order, at most `depth` of them under way or waiting."""
    waiting: deque[Future[Record]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
