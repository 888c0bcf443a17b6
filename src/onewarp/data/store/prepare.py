"""Making a store: which shards are still missing, writing them one by one, and the manifest at the end.

Each shard is a task of its own: it is written whole or not at all, and always with the same bytes, so tasks may be done
in any order, by any process, and more than once.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from onewarp.data.base import Source
from onewarp.data.memory import processors
from onewarp.data.store import layout
from onewarp.data.store.records import Record, record_of
from onewarp.data.store.settings import StoreSettings, describe, stored_size
from onewarp.errors import DataError, InputError

SHARD_SIZE = 1 << 26  # bytes that a shard is to have, about
Progress = Callable[[int, int], None]
Reader = Callable[[int], Record]


@dataclass(frozen=True)
class Job:
    """A store that is being made.

    Attributes:
        source: the samples.
        folder: where.
        about: the manifest, as far as it is known from the start.
        on_error: "raise", or "skip": samples that cannot be read are kept as such.
    """

    source: Source
    folder: Path
    about: dict[str, Any]
    on_error: str = "raise"

    @property
    def settings(self) -> StoreSettings:
        return StoreSettings(**self.about["settings"])

    @property
    def finished(self) -> bool:
        """Whether the store is there as a whole, or was and lacks only some of its shards."""
        try:
            there = read_manifest(self.folder / layout.MANIFEST)
        except DataError:
            return False
        return there is not None and there["build"] == self.about["build"]

    def record(self, index: int) -> Record:
        return record_of(self.source, index, self.settings, self.about["encoding"], self.on_error)

    def missing(self) -> list[int]:
        """Numbers of the shards that are still to be written."""
        finished, numbers = self.finished, range(layout.shard_count(self.about))
        shards = self.finished_shards() if finished else [self.piece(number)[0] for number in numbers]
        paths = (self.folder / layout.shard_name(self.about, number) for number in numbers)
        wanted = (None if shard is None else int(shard["size"]) for shard in shards)
        return [number for number, size, path in zip(numbers, wanted, paths, strict=True) if size != _size(path)]

    def finished_shards(self) -> np.ndarray:
        """The rows of the shards in the index of a finished store."""
        return np.fromfile(self.folder / layout.index_name(self.about), layout.SHARD, layout.shard_count(self.about))

    def piece(self, number: int) -> tuple[Any, np.ndarray | None]:
        """(row of the shard, rows of its samples) of a shard that was written; (None, None) where it was not."""
        try:
            content = (self.folder / layout.piece_name(self.about, number)).read_bytes()
        except FileNotFoundError:
            return None, None
        if zlib.crc32(content[:-4]).to_bytes(4, "little") != content[-4:]:
            return None, None
        shard = np.frombuffer(content, layout.SHARD, 1)[0]
        rows = np.frombuffer(content[:-4], layout.row_dtype(self.about), offset=layout.SHARD.itemsize)
        return shard, rows


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


def begin(
    source: Source,
    out: str | Path,
    settings: StoreSettings,
    on_error: str = "raise",
    shard_size: int | None = None,
    overwrite: bool = False,
) -> Job:
    """The job of making this store, after a look at what `out` holds already."""
    if on_error not in ("raise", "skip"):
        raise InputError(f"on_error={on_error!r} is not known; use 'raise' or 'skip'")
    if not len(source):
        raise DataError("the source has no samples; check how it was made")
    folder = Path(os.path.abspath(out))  # a process may change its folder while a thread writes
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise layout.writing_failed(folder / layout.BEGUN, error) from None
    there, begun = (_known(folder / name, overwrite) for name in (layout.MANIFEST, layout.BEGUN))
    known = begun or there
    if known is not None and shard_size is None and not overwrite:
        samples = known["shard_samples"]
    else:
        samples = samples_per_shard(source, settings, SHARD_SIZE if shard_size is None else shard_size)
    job = Job(source, folder, describe(source, settings, samples), on_error)
    ours = any((folder / name).exists() for name in (layout.MANIFEST, layout.BEGUN))
    if not ours and any(path for path in folder.iterdir() if path.suffix != ".tmp"):
        raise InputError(f"{folder}: not empty, and no store; name a new folder")
    for other in (begun, there):
        if other is not None and other["build"] != job.about["build"] and not overwrite:
            raise InputError(
                f"{folder}: {difference(other, job.about)}; name another folder, or pass overwrite=True (--overwrite)"
            )
    layout.sweep(folder)
    if there is not None and there["build"] == job.about["build"] and not _index_is_sound(folder, there):
        (folder / layout.MANIFEST).unlink()  # nothing can be read by that index: all is made again
    if not job.finished and (begun is None or begun["build"] != job.about["build"]):
        _write(folder / layout.BEGUN, [layout.to_json(job.about)])
    return job


def samples_per_shard(source: Source, settings: StoreSettings, shard_size: int) -> int:
    """How many samples go into a shard of about `shard_size` bytes, judged by up to 16 of them."""
    if shard_size < 1:
        raise InputError(f"shard_size={shard_size!r} must be positive; pass bytes, e.g. {SHARD_SIZE}")
    n, sizes = len(source), []
    for index in np.unique(np.linspace(0, n - 1, min(n, 16)).astype(np.int64)):
        try:
            height, width, channels = source.lazy(int(index))["images"].shape
        except DataError:
            continue
        height, width = stored_size(height, width, settings.short_side)
        depth = np.dtype(source.dtype).itemsize
        sizes.append(height * width * (channels * depth if settings.encoding(source) == "raw" else 0.35 * depth))
    return int(min(max(shard_size // max(np.mean(sizes) if sizes else 1, 1), 1), 1 << 20))


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

    _write(folder / layout.index_name(about), parts())
    ends = {"table_crc": crcs[0], "index_crc": crcs[-1], "row_size": dtype.itemsize, **seen.known()}
    _write(folder / layout.MANIFEST, [layout.to_json({**about, **ends})])
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


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest at `path`, or None where there is none."""
    try:
        return layout.from_json(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None


def _known(path: Path, overwrite: bool) -> dict[str, Any] | None:
    """The manifest at `path`; None where there is none, or a damaged one that may be overwritten."""
    try:
        return read_manifest(path)
    except DataError:
        if overwrite:
            return None
        raise


def _index_is_sound(folder: Path, about: dict[str, Any]) -> bool:
    try:
        with open(folder / layout.index_name(about), "rb") as file:
            crc = 0
            while block := file.read(1 << 24):
                crc = zlib.crc32(block, crc)
    except FileNotFoundError:
        return False
    return bool(crc == about["index_crc"])


def difference(there: dict[str, Any], wanted: dict[str, Any]) -> str:
    """In words: how the store in a folder differs from the one that is to be made."""
    for name, value in there["settings"].items():
        if wanted["settings"][name] != value:
            return f"holds a store of {name}={value!r}, not {wanted['settings'][name]!r}"
    if there["samples"] != wanted["samples"]:
        return f"the source has changed: {there['samples']} samples when the store was made, now {wanted['samples']}"
    if there["shard_samples"] != wanted["shard_samples"]:
        return f"holds a store of {there['shard_samples']} samples in a shard, not {wanted['shard_samples']}"
    if there["fingerprint"] != wanted["fingerprint"]:
        return "the source has changed since the store was made (names, sizes or times of files, labels or content)"
    return "holds a store of another source (its classes, roles or ids differ)"


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


def _write(path: Path, parts: Iterable[Any]) -> None:
    try:
        layout.write_whole(path, parts)
    except OSError as error:
        raise layout.writing_failed(path, error) from None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _ahead(pool: ThreadPoolExecutor, function: Reader, items: Iterable[int], depth: int) -> Iterator[Record]:
    """function(item) of each item, in order, at most `depth` of them under way or waiting."""
    waiting: deque[Future[Record]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
