"""Samples of a Hugging Face `datasets.Dataset`, read as the encoded bytes that it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onewarp.data.decode import EncodedImage, EncodedMask, read_file
from onewarp.data.files import FileSource
from onewarp.data.labels import missing, numbered
from onewarp.errors import DataError, InputError, MissingDependency


class HuggingFaceSource(FileSource):
    """A map-style `datasets.Dataset` with an image column, as a source; shuffled and selected ones as they stand.

    Images are taken as encoded bytes and decoded here, once, exactly as files are. Labels and boxes are read at the
    beginning, images when they are needed.

    Args:
        dataset: one split, e.g. `datasets.load_dataset(name, split="train")`; not a streamed one.
        image: the column of images.
        label: the column of class numbers (a ClassLabel brings its names), class names, or other numbers; or None.
        mask: the column of segmentation masks, images of class numbers.
        boxes: the columns of boxes [k, 4] and of their classes [k], with dots for what is nested, e.g.
            ("objects.bbox", "objects.category"). Their format is the Loader's `bounding_box_format`.
        class_names: name of each class number, where the dataset has none.
        channels, dtype, image_size, outputs: as in `FileSource`.

    Raises:
        InputError: a streamed dataset, a dictionary of splits, or a column that is not there.
        DataError: while reading, a row without an image, by number.
        MissingDependency: `datasets` is not installed.
    """

    def __init__(
        self,
        dataset: Any,
        image: str = "image",
        label: str | None = "label",
        *,
        mask: str | None = None,
        boxes: tuple[str, str] | None = None,
        class_names: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        _check(dataset)
        n = len(dataset)
        encoded: dict[str, list[np.ndarray]] | None = None
        for column in (image, mask):
            if column is not None:
                _known(dataset, column)
        self._images = _encoded(dataset, image)
        self._masks = None if mask is None else _encoded(dataset, mask)
        labels = None
        if label is not None:
            labels, class_names = _labels(dataset, label, class_names)
        if boxes is not None:
            found, classes = (_nested(dataset, column) for column in boxes)
            encoded = {
                "boxes": [np.asarray(rows, np.float32).reshape(-1, 4) for rows in found],
                "labels": [np.asarray(rows, np.int64).reshape(-1) for rows in classes],
            }
            if label is None and class_names is None:
                class_names = _names(dataset, boxes[1])
        self._columns = (image, mask)
        super().__init__(
            [f"row {row}" for row in range(n)],
            labels,
            class_names=class_names,
            masks=None if mask is None else range(n),
            bounding_boxes=encoded,
            **options,
        )

    def name(self, index: int) -> str:
        return f"row {index} of the Hugging Face dataset"

    def _image(self, index: int) -> EncodedImage:
        data = _bytes(self._images[index][self._columns[0]], self.name(index))
        return EncodedImage(data, self.name(index), self.image_shape[2], self.dtype)

    def _target(self, role: str, value: Any) -> Any:
        if role != "segmentation_masks" or self._masks is None:
            return super()._target(role, value)
        name = f"the mask in {self.name(value)}"
        return EncodedMask(_bytes(self._masks[value][self._columns[1]], name), name)


def _check(dataset: Any) -> None:
    if isinstance(dataset, dict):
        raise InputError(f"dataset has the splits {', '.join(map(str, dataset))}; pass one of them, dataset[split]")
    if not all(hasattr(dataset, name) for name in ("features", "cast_column", "__getitem__", "__len__")):
        raise InputError(
            f"dataset is {type(dataset).__name__}, which has no random access; pass a datasets.Dataset (load it "
            "without streaming=True)"
        )


def _known(dataset: Any, column: str) -> None:
    if column not in dataset.features:
        raise InputError(f"there is no column {column!r}; the dataset has {', '.join(dataset.features)}")


def _encoded(dataset: Any, column: str) -> Any:
    """The column of images alone, undecoded."""
    try:
        from datasets import Image
    except ImportError:
        raise MissingDependency(
            "HuggingFaceSource needs datasets; install it with: pip install onewarp[huggingface]"
        ) from None
    if not isinstance(dataset.features[column], Image):
        raise InputError(
            f"the column {column!r} holds {dataset.features[column]}, no images; cast it: "
            f"dataset.cast_column({column!r}, datasets.Image())"
        )
    return dataset.with_format(None).select_columns([column]).cast_column(column, Image(decode=False))


def _bytes(value: Any, name: str) -> bytes | memoryview:
    if value is None or (value["bytes"] is None and value["path"] is None):
        raise DataError(f'{name}: there is no image; leave the row out (dataset.filter), or on_error="skip"')
    if value["bytes"] is None:
        return read_file(value["path"])
    found: bytes = value["bytes"]
    return found


def _labels(dataset: Any, column: str, names: Sequence[str] | None) -> tuple[np.ndarray, Sequence[str] | None]:
    """Labels and class names, from one reading of the column."""
    if column not in dataset.features:
        raise InputError(
            f"there is no column {column!r} for labels; the dataset has {', '.join(dataset.features)}; pass label=None "
            "for none"
        )
    values = _nested(dataset, column)
    lacking = next((row for row, value in enumerate(values) if not isinstance(value, list) and missing(value)), None)
    if lacking is not None:
        raise DataError(
            f"row {lacking} of the Hugging Face dataset: {column} is empty; leave the row out (dataset.filter)"
        )
    own = _names(dataset, column)
    if own is not None:
        return np.asarray(values, np.int64), own if names is None else names
    if any(isinstance(value, list) for value in values):
        return np.asarray(values), names
    labels, found, bad = numbered(values, names, column)
    if bad:
        row = min(bad)
        raise DataError(f"row {row} of the Hugging Face dataset: {bad[row]}; correct it (dataset.map)")
    return labels, found


def _nested(dataset: Any, path: str) -> list[Any]:
    """All values of a column; a dot leads into a structure, and through a list of structures."""
    first, *rest = path.split(".")
    _known(dataset, first)
    values: list[Any] = dataset.with_format(None).select_columns([first])[:][first]

    def step(value: Any, name: str) -> Any:
        if isinstance(value, list):
            return [step(item, name) for item in value]
        if not isinstance(value, dict) or name not in value:
            have = ", ".join(value) if isinstance(value, dict) else type(value).__name__
            raise InputError(f"there is no {path!r} in the dataset: {first!r} holds {have}")
        return value[name]

    for name in rest:
        values = [step(value, name) for value in values]
    return values


def _names(dataset: Any, path: str) -> Sequence[str] | None:
    """The class names that the dataset itself gives to a column of class numbers."""
    feature: Any = dataset.features
    for name in path.split("."):
        feature = getattr(feature, "feature", feature)  # what a list holds
        feature = feature[0] if isinstance(feature, list) else feature
        if name not in feature:
            return None
        feature = feature[name]
    feature = getattr(feature, "feature", feature)
    names: Sequence[str] | None = getattr(feature, "names", None)
    return names
