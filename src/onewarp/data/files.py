"""Samples in image files: a list of paths, or a folder per class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onewarp.data.base import Outputs, Sample, Source, checked_labels, checked_outputs
from onewarp.data.decode import REMEDY, EncodedImage, EncodedMask, LazyMask, read_file
from onewarp.data.header import Encoded
from onewarp.errors import DataError, InputError
from onewarp.spec import default_range

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
KINDS = "JPEG, PNG, WebP, BMP or TIFF"


class FileSource(Source):
    """Images in files, decoded when they are read.

    Args:
        paths: image files; or a mapping {class name: its files}, which gives labels and class names by itself.
            Arrays [h, w, c] may stand among the files.
        labels: [n] class numbers, or [n, ...] other numbers; not with a mapping.
        class_names: name of each class number.
        masks: one mask file (or array [h, w] of whole numbers) per image.
        bounding_boxes: {"boxes": n arrays [k, 4], "labels": n arrays [k]}, in the frame after the EXIF orientation.
        keypoints: n arrays [k, 2 or 3], in the same frame.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA): what every image is converted to.
        dtype: "uint8", or "uint16" to keep 16-bit samples.
        image_size: (height, width) where all images have that size (checked as they are read), so that a policy need
            not resize.
        outputs: which entries become (x, y, sample_weight), e.g. ("images", "labels").

    Files are opened when they are read, not before; an unreadable one raises a `DataError` that names it.
    """

    def __init__(
        self,
        paths: Sequence[Any] | Mapping[str, Sequence[Any]],
        labels: Any = None,
        *,
        class_names: Sequence[str] | None = None,
        masks: Sequence[Any] | None = None,
        bounding_boxes: Mapping[str, Sequence[Any]] | None = None,
        keypoints: Sequence[Any] | None = None,
        channels: int = 3,
        dtype: str = "uint8",
        image_size: tuple[int, int] | None = None,
        outputs: Outputs | None = None,
    ) -> None:
        if isinstance(paths, (str, Path)):
            raise InputError(
                f"paths is one path, {str(paths)!r}; pass a list of files, or FolderSource for a folder per class"
            )
        if isinstance(paths, Mapping):
            if labels is not None or class_names is not None:
                raise InputError(
                    "a mapping {class: files} brings its labels and class names; leave labels and class_names out"
                )
            class_names = [str(name) for name in paths]
            labels = [number for number, files in enumerate(paths.values()) for _ in files]
            paths = [file for files in paths.values() for file in files]
        self.items = [item if isinstance(item, np.ndarray) else os.fspath(item) for item in paths]
        if not self.items:
            raise DataError("there are no images: the list of files is empty; pass at least one")
        EncodedImage(b"", "", channels, dtype)  # checks both
        self.class_names = None if class_names is None else tuple(class_names)
        self.labels = None if labels is None else checked_labels(labels, len(self.items), self.class_names)
        self.dtype, self.value_range = dtype, default_range(dtype)
        self.image_shape = (*(image_size or (None, None)), channels)
        self._targets = {"segmentation_masks": masks, "keypoints": keypoints}
        self._boxes = None if bounding_boxes is None else (bounding_boxes["boxes"], bounding_boxes["labels"])
        for role, rows in [*self._targets.items(), *(("bounding_boxes", rows) for rows in self._boxes or ())]:
            if rows is not None and len(rows) != len(self.items):
                raise InputError(
                    f"there are {len(self.items)} images but {len(rows)} rows of {role}; give each image one"
                )
        targets = {"labels": labels, **self._targets, "bounding_boxes": bounding_boxes}
        self.roles = ("images", *(role for role, rows in targets.items() if rows is not None))
        self.outputs = checked_outputs(outputs, self.roles)

    def __len__(self) -> int:
        return len(self.items)

    def name(self, index: int) -> str:
        item = self.items[index]
        return f"array {index}" if isinstance(item, np.ndarray) else str(item)

    def lazy(self, index: int) -> Sample:
        sample: Sample = {"images": self._image(index)}
        self._check_size(index, sample["images"].shape)
        if self.labels is not None:
            sample["labels"] = self.labels[index]
        for role, rows in self._targets.items():
            if rows is not None:
                sample[role] = self._target(role, rows[index])
        if self._boxes is not None:
            boxes, labels = (np.asarray(rows[index]) for rows in self._boxes)
            sample["bounding_boxes"] = {"boxes": boxes.reshape(-1, 4), "labels": labels.reshape(-1)}
        return sample

    def mask(self, index: int) -> np.ndarray:
        """The mask of sample `index` alone; its image is not read."""
        rows = self._targets["segmentation_masks"]
        if rows is None:
            return super().mask(index)
        value = self._target("segmentation_masks", rows[self._checked(index)])
        mask: np.ndarray = value.decode() if isinstance(value, LazyMask) else value
        return mask

    def most(self, role: str) -> int:
        rows = self._boxes[1] if role == "bounding_boxes" and self._boxes is not None else self._targets.get(role)
        return max((len(row) for row in rows or ()), default=0)

    def stamps(self) -> Iterator[bytes]:
        """Names, sizes and times of the files, labels and other targets; no file is opened."""
        targets = (self.roles, self.image_shape, self.dtype, self.class_names, self.ignore)
        yield repr((len(self), *targets)).encode()
        if self.labels is not None:
            yield np.ascontiguousarray(self.labels).tobytes()
        yield from self._file_stamps()
        masks, points, (boxes, box_labels) = *self._targets.values(), self._boxes or ((), ())
        for row in (*(points or ()), *boxes, *box_labels):
            yield np.ascontiguousarray(row).tobytes()
        yield from _stamps_of([mask for mask in masks or ()])

    def _file_stamps(self) -> Iterator[bytes]:
        yield from _stamps_of(self.items)

    def _image(self, index: int) -> EncodedImage | np.ndarray:
        item, channels = self.items[index], self.image_shape[2]
        if not isinstance(item, np.ndarray):
            return EncodedImage(self._read(item), self.name(index), channels, self.dtype)
        image = item[..., None] if item.ndim == 2 else item
        if image.ndim != 3 or image.shape[2] != channels or image.dtype != self.dtype:
            raise DataError(
                f"array {index} is {item.dtype} {item.shape}; expected {self.dtype} [height, width, {channels}]"
            )
        return image

    def _target(self, role: str, value: Any) -> Any:
        if role == "segmentation_masks" and not isinstance(value, np.ndarray):
            return EncodedMask(self._read(os.fspath(value)), str(value))
        return np.asarray(value)

    def _read(self, item: str) -> Encoded:
        return read_file(item)

    def _check_size(self, index: int, shape: tuple[int, ...]) -> None:
        height, width, _ = self.image_shape
        if height is not None and shape[:2] != (height, width):
            raise DataError(
                f"{self.name(index)}: the image is {shape[0]} x {shape[1]} pixels, image_size {height} x {width}; "
                "leave image_size out, or resize the image"
            )


class FolderSource(FileSource):
    """A folder with one sub-folder of images per class; files are taken in sorted order, sub-folders of classes
    included.

    Args:
        path: the folder.
        class_names: which sub-folders are classes, and in which order they are numbered; all of them, sorted, by
            default.
        labels: "inferred", or None for images without classes, anywhere below the folder.
        channels, dtype, image_size, outputs: as in `FileSource`.

    Hidden files and files that are not JPEG, PNG, WebP, BMP or TIFF by their extension are passed over.

    Raises:
        DataError: the folder is missing, unreadable, empty or has a class without images.
        InputError: a name in class_names that is no sub-folder.
    """

    def __init__(
        self,
        path: str | Path,
        class_names: Sequence[str] | None = None,
        *,
        labels: str | None = "inferred",
        **options: Any,
    ) -> None:
        folders, files = list_folder(path)
        if labels not in ("inferred", None):
            raise InputError(f'labels={labels!r} is not known; use "inferred" or None, or FileSource(paths, labels)')
        if labels is None:
            found = images_below(path)
            if not found:
                raise DataError(f"{path}: there is no image in this folder; put {KINDS} files into it")
            super().__init__(found, **options)
            return
        if class_names is None:
            class_names = folders
        missing = [name for name in class_names if name not in folders]
        if missing:
            known = ", ".join(folders) or "(none)"
            raise InputError(f"class_names has {missing[0]!r}, but {path} has the sub-folders {known}")
        if not class_names:
            loose = sum(file.lower().endswith(EXTENSIONS) for file in files)
            raise DataError(
                f"{path}: there is no sub-folder with a class"
                + (
                    f" ({loose} images lie in the folder itself; labels=None reads them without classes)"
                    if loose
                    else "; it is empty"
                )
            )
        by_class = {name: images_below(Path(path) / name) for name in class_names}
        for name, found in by_class.items():
            if not found:
                raise DataError(
                    f"{Path(path) / name}: a class without images; add {KINDS} files, or choose class_names"
                )
        super().__init__(by_class, **options)


def _stamps_of(items: Sequence[Any]) -> Iterator[bytes]:
    """Content of arrays; name, size and time of files, named from the folder that holds all of them."""
    files = [os.fspath(item) for item in items if not isinstance(item, np.ndarray)]
    root = len(os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])) if files else 0
    for item in items:
        if isinstance(item, np.ndarray):
            yield np.ascontiguousarray(item).tobytes()
            continue
        try:
            found = os.stat(item)
        except OSError as error:
            raise DataError(f"{item}: cannot be read ({error.strerror}); {REMEDY}") from None
        yield f"{os.path.abspath(item)[root:]}\0{found.st_size}\0{found.st_mtime_ns}".encode()


def list_folder(path: str | Path) -> tuple[list[str], list[str]]:
    """The names of the sub-folders and of the files of a folder, each sorted, hidden ones left out."""
    try:
        with os.scandir(path) as entries:
            seen = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
    except FileNotFoundError:
        raise DataError(f"{path}: no such folder; check the path") from None
    except NotADirectoryError:
        raise DataError(f"{path}: not a folder; pass a folder, or FileSource for single files") from None
    except PermissionError:
        raise DataError(f"{path}: no permission to read this folder; change its permissions (chmod u+rx)") from None
    return sorted(name for name, folder in seen if folder), sorted(name for name, folder in seen if not folder)


def images_below(path: str | Path) -> list[str]:
    """Paths of the image files in a folder and its sub-folders, sorted folder by folder."""
    folders, files = list_folder(path)
    found = [os.path.join(path, name) for name in files if name.lower().endswith(EXTENSIONS)]
    return found + [file for folder in folders for file in images_below(os.path.join(path, folder))]
