"""Samples of WebDataset tars, `key.jpg key.cls key.json key.seg.png`, with random access and without unpacking."""

from __future__ import annotations

import json
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from onewarp.data.decode import EncodedImage, EncodedMask
from onewarp.data.files import EXTENSIONS, KINDS, FileSource
from onewarp.data.labels import missing, numbered
from onewarp.data.tar import TarFile, members
from onewarp.errors import DataError, InputError

Place = tuple[int, int, int]  # number of the tar, offset, size
OPEN = 128  # tars that are kept open


class WebDatasetSource(FileSource):
    """Images in the tars of a WebDataset: files that share a name up to the first dot are one sample.

    One pass over the headers of all tars makes an index of positions and reads labels and boxes; images and masks are
    then read by position, from any number of threads. Samples are taken in the order of the tars. The package
    webdataset is not needed.

    Args:
        tars: path of an uncompressed tar, or several; braces expand: "train-{000..146}.tar", "{a,b}.tar".
        label: the extension that holds a sample's label as text ("cls"), a value in its JSON ("json.label"), or None.
            Class numbers, class names (numbered in the order of class_names, else sorted) or other numbers.
        image: the extension of the image, where a sample has several, e.g. "left.jpg".
        mask: the extension of the segmentation mask, e.g. "seg.png".
        boxes: where its JSON has boxes [k, 4] and their classes [k], e.g. ("json.boxes", "json.labels"). Their format
            is the Loader's `bounding_box_format`.
        class_names: name of each class number.
        channels, dtype, image_size, outputs: as in `FileSource`.

    Raises:
        DataError: a tar that is missing, damaged or cut short, or a sample without image, label or mask, by name.
        InputError: a compressed tar, or an address that is no local file.
    """

    def __init__(
        self,
        tars: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        label: str | None = "cls",
        *,
        image: str | None = None,
        mask: str | None = None,
        boxes: tuple[str, str] | None = None,
        class_names: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        self.paths = _local(tars)
        samples = _samples(self.paths)
        if not samples:
            raise DataError(
                f"{self.paths[0]}: there is no sample in {len(self.paths)} tars; {KINDS} files are looked for"
            )
        self._open: OrderedDict[int, TarFile] = OrderedDict()
        self._lock = threading.Lock()
        chosen = {name: _image_of(name, parts, image) for name, parts in samples.items()}
        self._positions = np.array([samples[name][chosen[name]] for name in samples], np.int64)  # [n, 3], see Place
        labels = None
        if label is not None:
            values = [self._value(name, parts, label) for name, parts in samples.items()]
            labels, class_names = _labels(list(samples), values, class_names, label)
        found: dict[str, list[np.ndarray]] | None = None
        if boxes is not None:
            rows = [[self._value(name, parts, at) for name, parts in samples.items()] for at in boxes]
            found = {
                "boxes": [np.asarray(row, np.float32).reshape(-1, 4) for row in rows[0]],
                "labels": [np.asarray(row, np.int64).reshape(-1) for row in rows[1]],
            }
        masks = None if mask is None else [_part(name, parts, mask) for name, parts in samples.items()]
        super().__init__(
            [f"{name}.{extension}" for name, extension in chosen.items()],
            labels,
            class_names=class_names,
            masks=masks,
            bounding_boxes=found,
            **options,
        )
        self._mask = mask

    def _image(self, index: int) -> EncodedImage:
        return EncodedImage(self._bytes(self._positions[index]), self.name(index), self.image_shape[2], self.dtype)

    def _target(self, role: str, value: Any) -> Any:
        if role != "segmentation_masks":
            return super()._target(role, value)
        tar, offset, _ = value
        return EncodedMask(self._bytes(value), f"{self.paths[tar]}: the {self._mask} at byte {offset}")

    def _bytes(self, place: Any) -> bytes:
        tar, offset, size = map(int, place)
        with self._lock:
            file = self._open.pop(tar, None) or TarFile(self.paths[tar])
            self._open[tar] = file
            if len(self._open) > OPEN:
                self._open.popitem(last=False)  # closes when the last thread that reads it is done
        return file.read(offset, size)

    def _value(self, name: str, parts: dict[str, Place], at: str) -> Any:
        """What a sample has in the file of extension `at`, or in its JSON under a name."""
        extension, *keys = at.split(".") if at.startswith("json.") else [at]
        data = self._bytes(_part(name, parts, extension))
        try:
            if not keys:
                return data.decode().strip()
            value = json.loads(data)
            for key in keys:
                value = value[key]
            return value
        except (ValueError, KeyError, TypeError) as error:
            what = f"has no {error}" if isinstance(error, KeyError) else f"cannot be read ({error})"
            raise DataError(f"{name}.{extension} {what}, where {at} is looked for; write the tar again") from None

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_open", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _open=OrderedDict(), _lock=threading.Lock())


def expand(pattern: str) -> list[str]:
    """Braces as in a shell: "{000..003}" counts with leading zeros, "{a,b}" lists."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if found is None:
        return [pattern]
    head, inside, tail = pattern[: found.start()], found[1], pattern[found.end() :]
    counted = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if counted is not None:
        low, high = int(counted[1]), int(counted[2])
        width = len(counted[1]) if counted[1].startswith("0") else 0
        choices = [str(n).zfill(width) for n in range(low, high + 1)]
    elif "," in inside:
        choices = inside.split(",")
    else:
        raise InputError(f"{pattern}: {{{inside}}} neither counts nor lists; write {{000..009}} or {{a,b}}")
    return list(dict.fromkeys(path for choice in choices for path in expand(head + choice + tail)))


def _local(tars: Any) -> list[str]:
    given = [tars] if isinstance(tars, (str, os.PathLike)) else list(tars)
    paths = [path.removeprefix("file://") for item in given for path in expand(os.fspath(item))]
    for path in paths:
        if "://" in path or path.startswith("pipe:"):
            raise InputError(f"{path}: not a local file, so it cannot be read by position; copy the tars here first")
    if not paths:
        raise InputError("there are no tars: the list is empty, or {a..b} counts downwards; pass at least one path")
    return paths


def _samples(paths: list[str]) -> dict[str, dict[str, Place]]:
    """ "tar:key" -> extension -> place, in the order of the tars."""
    samples: dict[str, dict[str, Place]] = {}
    for number, path in enumerate(paths):
        for member, offset, size in members(path):
            at = PurePosixPath(member)
            stem, _, extension = at.name.partition(".")
            parts = samples.setdefault(f"{path}:{at.with_name(stem)}", {})
            extension = extension.lower()
            if extension in parts:
                raise DataError(f"{path}: {member} is there twice; give every sample a key of its own")
            parts[extension] = (number, offset, size)
    return samples


def _image_of(name: str, parts: dict[str, Place], image: str | None) -> str:
    """The extension of a sample's image."""
    if image is not None:
        _part(name, parts, image)
        return image
    found = [extension for extension in parts if f".{extension}" in EXTENSIONS]
    if not found:
        raise DataError(f"{name} has no image among {', '.join(parts)}; name its extension with image=")
    if len(found) > 1:
        raise InputError(f"{name} has the images {' and '.join(found)}; choose one with image=")
    return found[0]


def _part(name: str, parts: dict[str, Place], extension: str) -> Place:
    if extension not in parts:
        raise DataError(f"{name} has no {extension} among {', '.join(parts)}; give every sample one, or do without it")
    return parts[extension]


def _labels(
    names: list[str], values: list[Any], class_names: Sequence[str] | None, label: str
) -> tuple[np.ndarray, Sequence[str] | None]:
    if any(isinstance(value, list) for value in values):
        return np.asarray(values), class_names
    labels, found, bad = numbered(values, class_names, label)
    bad.update((row, f"{label} is empty") for row, value in enumerate(values) if missing(value))
    if bad:
        raise DataError(f"{names[min(bad)]}: {bad[min(bad)]}; write the tar again, or choose another label=")
    return labels, found
