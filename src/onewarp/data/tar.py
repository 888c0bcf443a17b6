"""Images straight from an uncompressed tar file, read by position: nothing is unpacked."""

from __future__ import annotations

import os
import tarfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from onewarp.data.decode import EncodedImage
from onewarp.data.files import EXTENSIONS, KINDS, FileSource
from onewarp.errors import DataError, InputError


class TarSource(FileSource):
    """Images in a tar file; the class of an image is the name of the folder that it lies in.

    One pass over the tar's headers makes an index of positions; images are then read by position (`os.pread`), from
    any number of threads, and a pickled source opens the file anew. Members are taken in the order of their names.

    Args:
        path: an uncompressed tar file; a compressed one has no positions and is refused.
        class_names: which folders are classes, and in which order they are numbered; all of them, sorted, by default.
        labels: "inferred", or None for images without classes.
        channels, dtype, image_size, outputs: as in `FileSource`.

    Raises:
        DataError: the file is missing, no tar, cut short, or holds no image.
        InputError: it is compressed, or class_names has a name that is no folder.
    """

    def __init__(
        self,
        path: str | Path,
        class_names: Sequence[str] | None = None,
        *,
        labels: str | None = "inferred",
        **options: Any,
    ) -> None:
        self.path = os.fspath(path)
        index = _index(self.path)
        if labels not in ("inferred", None):
            raise InputError(f'labels={labels!r} is not known; use "inferred" or None')
        folders = [PurePosixPath(name).parent.name for name in index]
        known = sorted(set(folders))
        if labels is not None:
            class_names = known if class_names is None else class_names
            missing = [name for name in class_names if name not in known]
            if missing:
                raise InputError(f"class_names has {missing[0]!r}, but the images in {path} lie in {', '.join(known)}")
            number = {name: label for label, name in enumerate(class_names)}
            members = [(name, number[folder]) for name, folder in zip(index, folders, strict=True) if folder in number]
            if not members:
                raise InputError(f"class_names is empty; choose among {', '.join(known)}")
            super().__init__(
                [name for name, _ in members], [label for _, label in members], class_names=class_names, **options
            )
        else:
            super().__init__(list(index), **options)
        self._positions = np.array([index[str(name)] for name in self.items], np.int64)  # [n, 2]: offset, size
        self._file: TarFile | None = None

    def name(self, index: int) -> str:
        return f"{self.path}:{self.items[index]}"

    def _file_stamps(self) -> Iterator[bytes]:
        found = os.stat(self.path)
        yield repr((found.st_size, found.st_mtime_ns)).encode()
        yield "\n".join(map(str, self.items)).encode() + self._positions.tobytes()

    def _image(self, index: int) -> EncodedImage:
        if self._file is None:
            self._file = TarFile(self.path)
        data = self._file.read(*map(int, self._positions[index]))
        return EncodedImage(data, self.name(index), self.image_shape[2], self.dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}


class TarFile:
    """An open file that is read by position and closed when nobody needs it any more."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise DataError(
                f"{path}: cannot be opened ({error.strerror}); check the path and its permissions"
            ) from None
        weakref.finalize(self, os.close, self.descriptor)

    def read(self, offset: int, size: int) -> bytes:
        data = os.pread(self.descriptor, size, offset)
        if len(data) != size:
            raise DataError(f"{self.path}: the file ends at byte {offset + len(data)}, inside a member; copy it again")
        return data


def members(path: str) -> Iterator[tuple[str, int, int]]:
    """(name, offset, size) of every file in a tar, in the order in which they lie there, from one pass over headers.

    Hidden files are passed over. Raises DataError for a tar that is missing, damaged or cut short, InputError for a
    compressed one.
    """
    try:
        size = os.stat(path).st_size
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.isreg() or PurePosixPath(member.name).name.startswith("."):
                    continue
                if member.issparse():
                    raise DataError(f"{path}: {member.name} is stored sparsely; write the tar without --sparse")
                if member.offset_data + member.size > size:
                    raise DataError(
                        f"{path}: the file ends inside {member.name} ({size} bytes: cut short); copy it again"
                    )
                yield member.name, member.offset_data, member.size
            # What is cut between or inside headers looks like an end to tarfile; a whole tar ends with blocks of zeros.
            with open(path, "rb") as file:
                file.seek(tar.offset)
                if file.read(512) != bytes(512):
                    raise DataError(
                        f"{path}: the file ends without a tar's last blocks ({size} bytes: cut short); copy it again"
                    )
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except PermissionError:
        raise DataError(f"{path}: no permission to read it; change its permissions (chmod u+r)") from None
    except IsADirectoryError:
        raise DataError(f"{path}: a folder, not a tar file; use FolderSource") from None
    except tarfile.ReadError as error:
        if _compressed(path):
            raise InputError(
                f"{path}: a compressed tar has no positions to read from; decompress it first (gunzip, xz -d)"
            ) from None
        raise DataError(
            f"{path}: not a tar file, or a damaged one ({error}); check the path, or copy it again"
        ) from None


def _index(path: str) -> dict[str, tuple[int, int]]:
    """Name -> (offset, size) of every image in a tar file, sorted by name."""
    found = {name: (start, size) for name, start, size in members(path) if name.lower().endswith(EXTENSIONS)}
    if not found:
        raise DataError(f"{path}: there is no image in this tar file; {KINDS} files are looked for")
    return dict(sorted(found.items()))


def _compressed(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))
