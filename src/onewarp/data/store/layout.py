"""The files of a store, and how they are written and checked.

    store.json                 the manifest: JSON with a checksum of its own; written last, so where it is, all is
    index-BUILD.bin            one row of fixed width per shard (`SHARD`), then one per sample (`row_dtype`)
    shard-BUILD-00000.bin      records of `shard_samples` samples one after the other, then their names as JSON

While a store is being prepared there are also `prepare.json` (what is being made of what) and for each finished shard
`shard-BUILD-00000.rows`, its part of the index. BUILD is a checksum of source and settings, so files of two builds lie
side by side until the manifest of the new one takes the place of the old one.

A file appears under its name only when it is whole: it is written under a temporary name, synchronised and renamed.
Numbers are little-endian.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
import uuid
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from onewarp.errors import DataError, OnewarpError

FORMAT, VERSION = "onewarp store", 1
MANIFEST, BEGUN = "store.json", "prepare.json"
SHARD = np.dtype([("size", "<u8"), ("names", "<u8"), ("crc", "<u4"), ("names_crc", "<u4"), ("rows_crc", "<u4"),
                  ("unused", "<u4")])  # fmt: skip
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
STALE = 86400  # seconds after which a temporary file of another machine is taken for abandoned


def row_dtype(about: dict[str, Any]) -> np.dtype:
    """What the index says of one sample. `image`, `mask`: bytes; `boxes`, `points`: how many; image 0: unreadable."""
    fields: list[Any] = [("offset", "<u8"), ("size", "<u4"), ("crc", "<u4"), ("height", "<u4"), ("width", "<u4")]
    fields.append(("image", "<u4"))
    if "segmentation_masks" in about["roles"]:
        fields += [("mask", "<u4"), ("mask_type", "<u4")]
    if "bounding_boxes" in about["roles"]:
        fields.append(("boxes", "<u4"))
    if "keypoints" in about["roles"]:
        fields += [("points", "<u4"), ("point_size", "<u4")]
    if about["ids"]:
        fields.append(("id", "<i8"))
    if about["labels"] is not None:
        kind, shape = about["labels"]
        fields.append(("label", kind, tuple(shape)))
    return np.dtype(fields, align=True)


def shard_count(about: dict[str, Any]) -> int:
    return -(-int(about["samples"]) // int(about["shard_samples"]))


def shard_rows(about: dict[str, Any], number: int) -> range:
    """The samples of a shard."""
    first = number * about["shard_samples"]
    return range(first, min(first + about["shard_samples"], about["samples"]))


def block_starts(about: dict[str, Any]) -> np.ndarray:
    """Where the shards begin, and the number of samples at the end: what is best read together."""
    return np.append(np.arange(0, about["samples"], about["shard_samples"], dtype=np.int64), about["samples"])


def shard_name(about: dict[str, Any], number: int) -> str:
    return f"shard-{about['build']}-{number:05d}.bin"


def piece_name(about: dict[str, Any], number: int) -> str:
    return f"shard-{about['build']}-{number:05d}.rows"


def index_name(about: dict[str, Any]) -> str:
    return f"index-{about['build']}.bin"


def table_size(about: dict[str, Any]) -> int:
    """Bytes before the rows of samples in the index."""
    return -(-shard_count(about) * SHARD.itemsize // 64) * 64


# --- JSON with a checksum -----------------------------------------------------------------------------------------


def to_json(about: dict[str, Any]) -> bytes:
    whole = {"format": FORMAT, "version": VERSION, **about}
    return (json.dumps({**whole, "checksum": _checksum(whole)}, indent=1, sort_keys=True) + "\n").encode()


def from_json(content: bytes, path: str) -> dict[str, Any]:
    """The manifest in `content`. Raises DataError: damaged, something else, or of another version."""
    try:
        whole = json.loads(content)
    except ValueError:  # also UnicodeDecodeError
        raise DataError(f"{path}: damaged (not JSON); copy it again, or prepare it again with overwrite") from None
    if not isinstance(whole, dict) or whole.get("format") != FORMAT:
        raise DataError(f"{path}: not the manifest of a onewarp store, or a damaged one; check the path")
    if whole.get("version") != VERSION:
        raise DataError(
            f"{path}: a store of version {whole.get('version')}, this onewarp reads version {VERSION}; "
            "prepare it again, or use the onewarp that wrote it"
        )
    if whole.pop("checksum", None) != _checksum(whole):
        raise DataError(
            f"{path}: damaged (its checksum is another one); copy it again, or prepare it again with overwrite"
        )
    return {key: value for key, value in whole.items() if key not in ("format", "version")}


def _checksum(whole: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(whole, sort_keys=True).encode()):08x}"


# --- whole files or none ------------------------------------------------------------------------------------------


def write_whole(path: Path, parts: Iterable[Any]) -> None:
    """Write a file so that it is there completely and for good, or not at all."""
    temporary = temporary_name(path)
    try:
        with open(temporary, "wb") as file:
            for part in parts:
                file.write(part)
            commit(file, temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def commit(file: Any, temporary: Path, path: Path) -> None:
    """Give a file that is written its name, after its content has reached the disk."""
    file.flush()
    os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")


def sweep(folder: Path) -> None:
    """Remove temporary files that a process left which is no more."""
    for path in folder.glob(".*.tmp"):
        host, pid = path.name.rsplit(".", 3)[0], path.name.split(".")[-3]
        with contextlib.suppress(OSError, ValueError):
            if host.endswith("." + socket.gethostname()):
                gone = not _alive(int(pid))
            else:
                gone = time.time() - path.stat().st_mtime > STALE
            if gone:
                path.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def writing_failed(path: Path, error: OSError) -> OnewarpError:
    """What to say when a file of a store cannot be written."""
    if error.errno in FULL:
        return DataError(
            f"{path.parent}: no room is left ({error.strerror}); make some and give the same command: it goes on"
        )
    return DataError(f"{path}: cannot be written ({error.strerror or error}); check the folder and its permissions")
