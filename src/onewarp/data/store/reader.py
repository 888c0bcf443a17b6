"""StoreSource: a store, read where it lies."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onewarp.data.base import Sample, Source
from onewarp.data.store import layout
from onewarp.data.store.places import open_place
from onewarp.data.store.records import MASK_TYPES, reason, sample_of
from onewarp.errors import DataError

WHOLE = 1 << 28  # bytes of index up to which all of it is checked when the store is opened
NAMES = 8  # shards whose names are kept
SHARDS = 1 << 12  # shards whose arrays are kept
AGAIN = "delete that file and prepare the store again: only what is missing is made"


class StoreSource(Source):
    """Samples in a store that `onewarp prepare` or `Loader(store=)` has written; memory-mapped, nothing is copied.

    Everything that is read is checked: the index as a whole when the store is opened (of an index over 256 MiB each
    shard's part when it is first used), an encoded record each time, a raw one the first time in this process.
    Samples keep the ids of the source that the store was made from, and with them their draws.

    Args:
        path: the folder of the store, or a URL that fsspec knows (http://, s3://, memory://, ...).
        cache: for URLs, the folder in which shards are kept; one below ~/.cache/onewarp by default.
        cache_size: for URLs, how much that may be, for example "10GB" or a number of bytes.
        retries: for URLs, how often a transfer is tried again, after waiting longer each time.
        timeout: for URLs, seconds after which a transfer of at most 8 MiB counts as failed.

    Raises:
        DataError: no store there, one of another version, or one that is damaged; also later, by name, when a damaged
            sample is read.
        MissingDependency: a URL, without fsspec.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        cache: str | Path | None = None,
        cache_size: str | int = "10GB",
        retries: int = 5,
        timeout: float = 60.0,
    ) -> None:
        self.path = os.fspath(path)
        self._options: dict[str, Any] = {
            "cache": cache,
            "cache_size": cache_size,
            "retries": retries,
            "timeout": timeout,
        }
        self._open()

    def _open(self) -> None:
        self._place = open_place(self.path, **self._options)
        self.about = about = self._manifest()
        count, dtype = layout.shard_count(about), layout.row_dtype(about)
        start, size = layout.table_size(about), about["samples"] * dtype.itemsize
        index = self._map(layout.index_name(about), start + size, about["index_crc"])
        # A small index is checked whole; a large one would take seconds, so each shard's part waits for its first use.
        whole = len(index) <= WHOLE
        if zlib.crc32(index if whole else index[:start]) != about["index_crc" if whole else "table_crc"]:
            raise DataError(
                f"{self._place.path(layout.index_name(about))}: the index is damaged (its checksum is another one); "
                "copy it again, or prepare the store again"
            )
        self._shards = np.frombuffer(index, layout.SHARD, count)
        self._rows = np.frombuffer(index, dtype, offset=start)
        self._fields = dtype.names or ()
        self._rows_known = whole  # whether the rows of every shard are checked
        self._files: dict[int, tuple[str, int, int]] = {}  # name, size and checksum of shards whose rows are checked
        raw = about["encoding"] == "raw"
        self._sound = np.zeros(len(self._rows) if raw else 0, bool)  # raw records that are checked
        self._names: dict[int, list[str]] = {}  # of the shards asked for last
        self._kept: dict[int, Sample] = {}  # `_arrays` of shards asked for last
        self._describe(raw)

    def _describe(self, raw: bool) -> None:
        """The attributes of a source, from the manifest."""
        about = self.about
        self.labels = self._rows["label"] if about["labels"] is not None else None
        self.class_names = None if about["class_names"] is None else tuple(about["class_names"])
        self.dtype, self.value_range = about["dtype"], (about["value_range"][0], about["value_range"][1])
        self.image_shape = (*about["image_size"], about["channels"])
        self.roles = tuple(about["roles"])
        self.outputs = tuple(entry if isinstance(entry, str) else tuple(entry) for entry in about["outputs"])
        self.ignore = about["ignore"]
        self.blocks = layout.block_starts(about)
        plain = set(self.roles) <= {"images", "labels", "segmentation_masks"} and len(about["mask_types"]) <= 1
        self._pixels = [role for role in ("images", "segmentation_masks") if role in self.roles]
        self.dense = raw and plain and None not in self.image_shape and not about["unreadable"]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the store was made with, by name."""
        return dict(self.about["settings"])

    @property
    def num_classes(self) -> int | None:
        classes: int | None = self.about["num_classes"]
        return classes

    def __len__(self) -> int:
        return len(self._rows)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_options": self._options, "build": self.about["build"]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        build = state.pop("build")
        self.__dict__.update(state)
        self._open()
        if self.about["build"] != build:
            raise DataError(f"{self.path}: the store was made anew since this source was pickled; open it again")

    def ids(self, indices: np.ndarray) -> np.ndarray:
        if not self.about["ids"]:
            return super().ids(indices)
        chosen: np.ndarray = self._rows["id"][indices]
        return chosen

    def most(self, role: str) -> int:
        return int(self.about["most"].get(role, 0))

    def stamps(self) -> Iterator[bytes]:
        yield json.dumps([self.about["build"], self.about["index_crc"]]).encode()

    def name(self, index: int) -> str:
        """What the source called the sample."""
        shard, k = divmod(int(index), self.about["shard_samples"])
        name: str = self.names(shard)[k]
        return name

    def lazy(self, index: int) -> Sample:
        fields = self._row(index)
        data = self._record(index, fields)
        if not fields["image"]:
            raise DataError(f"{reason(data)} (so it was when the store {self.path} was prepared)")
        if not self._place.lasting:
            data = memoryview(bytes(data))
        sample = sample_of(data, fields, self.about, f"{self.path}: sample {index}")
        if self.labels is not None:
            sample["labels"] = self.labels[index]
        return sample

    def gather(self, indices: np.ndarray) -> Sample:
        if not self.dense:
            return super().gather(indices)
        indices = np.asarray(indices)
        self._check_raw(indices)
        return self._with_labels(self._taken(self._pixels, indices), indices)

    def views(self, indices: np.ndarray) -> Sample:
        if not self.dense or not self._place.lasting:
            return self.gather(indices)
        indices = np.asarray(indices)
        self._check_raw(indices)
        shards, rows = (part.tolist() for part in np.divmod(indices, self.about["shard_samples"]))
        tables = {shard: self._arrays(shard)["images"] for shard in set(shards)}
        images = [tables[shard][row] for shard, row in zip(shards, rows, strict=True)]
        masks = self._taken(self._pixels[1:], indices) if len(self._pixels) > 1 else {}
        return self._with_labels({"images": images, **masks}, indices)

    def _with_labels(self, batch: Sample, indices: np.ndarray) -> Sample:
        return batch if self.labels is None else {**batch, "labels": self.labels[indices]}

    def _taken(self, roles: Sequence[str], indices: np.ndarray) -> Sample:
        """Images or masks of samples of equal sizes, copied."""
        shards, rows = np.divmod(indices, self.about["shard_samples"])
        found: Sample = {}
        for shard in np.unique(shards).tolist() or [0]:  # each shard once, for remote ones
            places, arrays = np.flatnonzero(shards == shard), self._arrays(shard)
            for role in roles:
                values = arrays[role]
                if role not in found:
                    found[role] = np.empty((len(indices), *values.shape[1:]), values.dtype)
                found[role][places] = values[rows[places]]
        return found

    def _arrays(self, shard: int) -> Sample:
        """The images (and masks) of a shard with records of equal sizes, as arrays over its memory."""
        arrays = self._kept.get(shard)
        if arrays is None:
            arrays = self._arrays_of(shard)
            if self._place.lasting:
                if len(self._kept) >= SHARDS:
                    self._kept = {}
                self._kept[shard] = arrays
        return arrays

    def _arrays_of(self, shard: int) -> Sample:
        about, rows = self.about, layout.shard_rows(self.about, shard)
        data, stride = self._data(shard), int(self._rows[0]["size"])
        (height, width, channels), kind = self.image_shape, np.dtype(self.dtype)
        assert height is not None and width is not None
        shape, line = (len(rows), height, width, channels), width * channels * kind.itemsize
        pixel = channels * kind.itemsize
        arrays: Sample = {"images": np.ndarray(shape, kind, data, 0, (stride, line, pixel, kind.itemsize))}
        if "segmentation_masks" in self.roles:
            size = height * line
            own = np.dtype(MASK_TYPES[about["mask_types"][0]])
            steps = (stride, width * own.itemsize, own.itemsize)
            arrays["segmentation_masks"] = np.ndarray(shape[:3], own, data, size + -size % 8, steps)
        return arrays

    def _check_raw(self, indices: np.ndarray) -> None:
        """Check those of the raw records `indices` that have not been checked yet, shard by shard, for remote ones."""
        new = indices[~self._sound[indices]]
        shards = new // self.about["shard_samples"]
        for shard in np.unique(shards).tolist():
            chosen = new[shards == shard]
            data, rows = self._data(shard), self._rows[chosen]
            fields = (rows[name].tolist() for name in ("offset", "size", "crc"))
            for index, offset, size, crc in zip(chosen.tolist(), *fields, strict=True):
                if zlib.crc32(data[offset : offset + size]) != crc:
                    self._record(index, self._row(index))  # says so
            self._sound[chosen] = True

    def _row(self, index: int) -> dict[str, Any]:
        """What the index says of a sample."""
        return dict(zip(self._fields, self._rows[index].item(), strict=True))

    def _record(self, index: int, fields: dict[str, Any]) -> memoryview:
        """The bytes of a record, checked. fields: what `_row` says of it."""
        shard = index // self.about["shard_samples"]
        data, offset = self._data(shard), fields["offset"]
        record = data[offset : offset + fields["size"]]
        raw = len(self._sound) > 0
        if raw and self._sound[index]:
            return record
        if zlib.crc32(record) != fields["crc"]:
            name = layout.shard_name(self.about, shard)
            self._place.forget(name)
            self._kept.pop(shard, None)
            raise DataError(
                f"{self._place.path(name)}: sample {index} is damaged (its checksum is another one); {AGAIN}"
            )
        if raw:
            self._sound[index] = True
        return record

    def _data(self, shard: int) -> memoryview:
        """The bytes of a shard, its part of the index checked."""
        file = self._files.get(shard)
        if file is None:
            rows = self._rows[shard * self.about["shard_samples"] :][: self.about["shard_samples"]]
            if not self._rows_known and zlib.crc32(rows.data) != self._shards[shard]["rows_crc"]:
                raise DataError(
                    f"{self._place.path(layout.index_name(self.about))}: the rows of shard {shard} are damaged "
                    "(their checksum is another one); copy it again, or prepare the store again"
                )
            known = self._shards[shard]
            file = layout.shard_name(self.about, shard), int(known["size"]), int(known["crc"])
            self._files[shard] = file
        return self._map(*file)

    def _map(self, name: str, size: int, crc: int) -> memoryview:
        try:
            return self._place.map(name, size, crc)
        except FileNotFoundError:
            now = self._manifest()
        if now["build"] != self.about["build"]:
            raise DataError(f"{self.path}: the store was made anew since it was opened; open it again")
        raise DataError(f"{self._place.path(name)}: missing; prepare the store again: only what is missing is made")

    def _manifest(self) -> dict[str, Any]:
        try:
            return layout.from_json(self._place.read(layout.MANIFEST), self._place.path(layout.MANIFEST))
        except FileNotFoundError:
            pass
        try:
            self._place.read(layout.BEGUN)
        except FileNotFoundError:
            raise DataError(f"{self.path}: no store here; check the path, or make one with onewarp prepare") from None
        raise DataError(f"{self.path}: this store is not finished; give the onewarp prepare command again: it goes on")

    def names(self, shard: int) -> list[str]:
        """What the source called the samples of a shard."""
        found = self._names.get(shard)
        if found is None:
            data, known = self._data(shard), self._shards[shard]
            content = data[int(known["names"]) :]
            if zlib.crc32(content) != known["names_crc"]:
                file = self._place.path(layout.shard_name(self.about, shard))
                raise DataError(f"{file}: the names in it are damaged (their checksum is another one); {AGAIN}")
            if len(self._names) >= NAMES:
                self._names = {}
            found = self._names[shard] = [str(name) for name in json.loads(bytes(content))]
        return found
