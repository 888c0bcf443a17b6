"""Where the files of a store are: a folder, memory-mapped; or anywhere that fsspec reaches, by way of a local cache."""

from __future__ import annotations

import mmap
import os
import re
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from onewarp.errors import DataError, InputError

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
MAPPED = 1 << 15  # files mapped at a time; Linux allows 65,530 mappings


class Place:
    """A folder with a store. Files are mapped when they are first used. Safe to use from several threads.

    Attributes:
        name: what messages call it.
        lasting: whether views of files may be kept; if not they keep room occupied that has to be given back.
    """

    lasting = True

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self._mapped: OrderedDict[str, memoryview] = OrderedDict()
        self._lock = threading.Lock()

    def path(self, name: str) -> str:
        """What messages call a file."""
        return f"{self.name.rstrip('/')}/{name}"

    def read(self, name: str) -> bytes:
        """A small file. Raises FileNotFoundError where there is none."""
        try:
            return (self.folder / name).read_bytes()
        except NotADirectoryError:
            raise FileNotFoundError from None
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DataError(f"{self.path(name)}: cannot be read ({error.strerror}); check its permissions") from None

    def map(self, name: str, size: int, crc: int) -> memoryview:
        """The bytes of a file that must have `size` of them. (crc: its checksum, for places that copy files.)

        Raises:
            FileNotFoundError: there is none.
            DataError: it has another size, or cannot be read.
        """
        view = self._mapped.get(name)
        if view is None:
            view = self._map(name, size)
            with self._lock:
                self._mapped[name] = view
                while len(self._mapped) > MAPPED:
                    self._mapped.popitem(last=False)  # goes when nobody holds a view of it any more
        return view

    def forget(self, name: str) -> None:
        """Keep no mapping, and no copy, of a file that has turned out damaged."""
        with self._lock:
            self._mapped.pop(name, None)

    def _map(self, name: str, size: int) -> memoryview:
        path = self.folder / name
        try:
            with open(path, "rb") as file:
                found = os.fstat(file.fileno()).st_size
                if found != size:
                    kind = "truncated" if found < size else "too long"
                    raise DataError(
                        f"{self.path(name)}: {found} bytes, the index says {size} ({kind}); "
                        "delete it and prepare the store again: only what is missing is made"
                    )
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DataError(f"{self.path(name)}: cannot be read ({error.strerror}); check its permissions") from None


def open_place(path: str | os.PathLike[str], **options: Any) -> Place:
    """The place that a path or URL names; options are those of `RemotePlace`."""
    text = os.fspath(path)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    if "://" not in text:
        return Place(text, Path(os.path.abspath(text)))
    from onewarp.data.store.remote import RemotePlace

    return RemotePlace(text, **options)


def parse_bytes(text: str | int) -> int:
    """ "10GB", "500 MB" or a number as bytes. Raises InputError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B?\s*", str(text), re.I)
    if match is None or (size := int(float(match[1]) * _UNITS[match[2].upper()])) < 1:
        raise InputError(f'{text!r} is not a size; write for example "10GB" or 500000000')
    return size
