"""A store that is being made: of what it is made, what of it is there already, and whether it may be made there."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onewarp.data.base import Source, checked_source
from onewarp.data.store import layout
from onewarp.data.store.records import Record, record_of
from onewarp.data.store.settings import StoreSettings, describe
from onewarp.errors import DataError, InputError

SHARD_SIZE = 1 << 26  # bytes that a shard is to have, about


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
    if not len(checked_source(source)):
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
        write(folder / layout.BEGUN, [layout.to_json(job.about)])
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
        height, width = settings.stored_size(height, width)
        depth = np.dtype(source.dtype).itemsize
        sizes.append(height * width * (channels * depth if settings.encoding(source) == "raw" else 0.35 * depth))
    return int(min(max(shard_size // max(np.mean(sizes) if sizes else 1, 1), 1), 1 << 20))


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
    old, new = there["settings"], wanted["settings"]
    for name in {**old, **new}:
        if old.get(name) != new.get(name):
            return f"holds a store of {name}={old.get(name)!r}, not {new.get(name)!r}"
    if there["samples"] != wanted["samples"]:
        return f"the source has changed: {there['samples']} samples when the store was made, now {wanted['samples']}"
    if there["shard_samples"] != wanted["shard_samples"]:
        return f"holds a store of {there['shard_samples']} samples in a shard, not {wanted['shard_samples']}"
    if there["fingerprint"] != wanted["fingerprint"]:
        return "the source has changed since the store was made (names, sizes or times of files, labels or content)"
    return "holds a store of another source (its classes, roles or ids differ)"


def write(path: Path, parts: Iterable[Any]) -> None:
    try:
        layout.write_whole(path, parts)
    except OSError as error:
        raise layout.writing_failed(path, error) from None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
