"""COCO annotation files, read into columns: the text stays where it is, memory-mapped, and is parsed again on demand.

A file of a million annotations is one line of hundreds of megabytes. Its records are checked one after the other; what
is kept of each are its numbers and the place of its text, so that a polygon, an RLE or a field that nobody knows is
read when somebody asks for it.
"""

from __future__ import annotations

import math
import mmap
import os
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from onewarp.errors import DataError, InputError

FEWEST = 6  # numbers of a polygon: three points; pycocotools takes a list of four for a box


class Rle(msgspec.Struct, gc=False):
    """Run lengths by columns, compressed (text) or not (a list), of a mask of `size` (height, width)."""

    counts: str | list[int]
    size: tuple[int, int]


Segmentation = list[list[float]] | Rle


class _Image(msgspec.Struct, gc=False):
    id: int
    file_name: str
    height: int
    width: int


class _Category(msgspec.Struct):
    id: int
    name: str
    supercategory: str | None = None


class _Annotation(msgspec.Struct, gc=False):
    id: int
    image_id: int
    category_id: int
    bbox: list[float] | None = None
    area: float | None = None
    iscrowd: int | bool = 0
    segmentation: Segmentation | None = None
    keypoints: list[float] | None = None


class _File(msgspec.Struct):
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw] = []
    categories: list[msgspec.Raw] = []
    info: Any = None
    licenses: Any = None


class _Shape(msgspec.Struct):
    segmentation: Segmentation | None = None
    keypoints: list[float] | None = None


@dataclass(frozen=True)
class Problem:
    """A record that is malformed or doubtful: its name ("annotation 17") and what is wrong with it."""

    record: str
    what: str

    def __str__(self) -> str:
        return f"{self.record}: {self.what}"


class CocoFile:
    """A COCO file: images, categories and annotations as columns, in the order of the file.

    Args:
        path: a JSON file with `images`, and mostly `annotations` and `categories`; `info`, `licenses` and `iscrowd`
            may be missing, unknown fields are kept (`record`).
        strict: whether a malformed record is an error; else it is left out and listed in `malformed`.
        progress: called as progress(done, total) now and then while annotations are checked.

    Attributes:
        image_ids, heights, widths: int64 [images]; file_names: a list.
        category_ids: int64 [categories], ascending; class numbers are places in it. category_names, supercategories.
        ids, image_rows, labels: int64 [annotations]: id, row of its image, class number.
        crowd: bool [annotations]; boxes: float64 [annotations, 4] (x, y, width, height), NaN where there is none;
        areas: float64, NaN where there is none.
        kinds: uint8 [annotations]: 0 no segmentation, 1 polygons, 2 RLE.
        most_keypoints: numbers of keypoints that an annotation has at most.
        info, licenses: as they stand in the file; {} and [] where they are missing.

    Raises:
        DataError: the file is missing, no COCO file, or has a malformed record, which is named by its id.
    """

    def __init__(
        self, path: str | Path, *, strict: bool = True, progress: Callable[[int, int], None] | None = None
    ) -> None:
        self.path, self.malformed = os.fspath(path), list[Problem]()
        self._strict = strict
        self._text = _mapped(self.path)
        whole = self._whole = self._parsed()
        self.info, self.licenses = whole.info or {}, whole.licenses or []
        self._read_images(whole.images)
        self._read_categories(whole.categories)
        self._read_annotations(whole.annotations, progress)
        order = np.argsort(self.image_rows, kind="stable")
        self._by_image = order, np.searchsorted(self.image_rows[order], np.arange(len(self.image_ids) + 1))

    def __len__(self) -> int:
        """Number of annotations."""
        return len(self.ids)

    def __repr__(self) -> str:
        return (
            f"CocoFile({self.path!r}, {len(self.image_ids)} images, {len(self)} annotations, "
            f"{len(self.category_ids)} categories)"
        )

    def of_image(self, row: int) -> np.ndarray:
        """Rows of the annotations of image number `row`, int64, in the order of the file."""
        order, first = self._by_image
        rows: np.ndarray = order[first[row] : first[row + 1]]
        return rows

    def image_row(self, image_id: int) -> int:
        """The row of the image with this id."""
        row = self._image_row.get(image_id)
        if row is None:
            raise InputError(f"{self.path}: there is no image {image_id}; the ids reach from {self._id_range()}")
        return row

    def record(self, row: int) -> dict[str, Any]:
        """Annotation number `row` with all its fields, also those that are not known here."""
        found: dict[str, Any] = msgspec.json.decode(self._whole.annotations[self._rows[row]])
        return found

    def image_record(self, row: int) -> dict[str, Any]:
        """Image number `row` with all its fields."""
        found: dict[str, Any] = msgspec.json.decode(self._whole.images[self._image_list[row]])
        return found

    def shape(self, row: int) -> Segmentation | None:
        """Polygons [[x, y, x, y, ...], ...] or the RLE of annotation number `row`; None where it has neither."""
        return _SHAPE.decode(self._whole.annotations[self._rows[row]]).segmentation

    def keypoints(self, row: int) -> np.ndarray:
        """Keypoints of annotation number `row`, float64 [k, 3] (x, y, visibility 0, 1 or 2)."""
        found = _SHAPE.decode(self._whole.annotations[self._rows[row]]).keypoints
        return np.array(found or [], np.float64).reshape(-1, 3)

    def box(self, row: int) -> np.ndarray:
        """(x, y, width, height) of annotation number `row`: as it stands in the file, else that of its segmentation."""
        from onewarp.coco.masks import box_of, run_lengths

        if not np.isnan(self.boxes[row, 0]):
            return np.asarray(self.boxes[row])
        shape, image = self.shape(row), self.image_rows[row]
        if shape is None:
            return np.zeros(4)
        return box_of(run_lengths(shape, int(self.heights[image]), int(self.widths[image])))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_text": None, "_whole": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._text = _mapped(self.path)
        self._whole = self._parsed()

    def _id_range(self) -> str:
        return f"{self.image_ids.min()} to {self.image_ids.max()}" if len(self.image_ids) else "none to none"

    def _parsed(self) -> _File:
        try:
            return msgspec.json.decode(self._text, type=_File)
        except msgspec.ValidationError as error:
            raise DataError(
                f"{self.path}: not a COCO annotation file ({error}); it needs lists of images, annotations, categories"
            ) from None
        except msgspec.DecodeError as error:
            raise DataError(f"{self.path}: not JSON, or cut short ({error}); copy it again") from None

    def _refuse(self, record: str, what: str) -> None:
        problem = Problem(record, what)
        if self._strict:
            raise DataError(f"{self.path}: {problem}; mend the record, or look at all with: onewarp coco summary FILE")
        self.malformed.append(problem)

    def _records(self, raws: list[msgspec.Raw], kind: type[Any], name: str) -> Iterator[tuple[int, Any]]:
        """(row in the list, record) of the records that have the right types; the others are refused by id."""
        decoder = msgspec.json.Decoder(kind)
        for row, raw in enumerate(raws):
            try:
                yield row, decoder.decode(raw)
            except msgspec.ValidationError as error:
                found = msgspec.json.decode(raw)
                number = found.get("id") if isinstance(found, dict) else None
                which = f"{name} {number}" if number is not None else f"{name} without id (number {row} of the list)"
                self._refuse(which, str(error).replace("`", "").replace(" - at $", " at "))

    def _read_images(self, raws: list[msgspec.Raw]) -> None:
        kept: list[tuple[int, _Image]] = []
        self._image_row: dict[int, int] = {}
        for row, image in self._records(raws, _Image, "image"):
            if image.height < 1 or image.width < 1:
                self._refuse(f"image {image.id}", f"its size is {image.height} x {image.width}")
            elif image.id in self._image_row:
                self._refuse(f"image {image.id}", "the id stands twice")
            else:
                self._image_row[image.id] = len(kept)
                kept.append((row, image))
        self.image_ids = np.array([image.id for _, image in kept], np.int64)
        self.heights = np.array([image.height for _, image in kept], np.int64)
        self.widths = np.array([image.width for _, image in kept], np.int64)
        self.file_names = [image.file_name for _, image in kept]
        self._image_list = [row for row, _ in kept]

    def _read_categories(self, raws: list[msgspec.Raw]) -> None:
        kept: dict[int, _Category] = {}
        for _, category in self._records(raws, _Category, "category"):
            if category.id in kept:
                self._refuse(f"category {category.id}", "the id stands twice")
            else:
                kept[category.id] = category
        ordered = [kept[number] for number in sorted(kept)]
        self.category_ids = np.array([category.id for category in ordered], np.int64)
        self.category_names = tuple(category.name for category in ordered)
        self.supercategories = tuple(category.supercategory for category in ordered)

    def _read_annotations(self, raws: list[msgspec.Raw], progress: Callable[[int, int], None] | None) -> None:
        classes = {int(number): label for label, number in enumerate(self.category_ids)}
        images, sizes = self._image_row, list(zip(self.heights.tolist(), self.widths.tolist(), strict=True))
        numbers, boxes, areas = array("q"), array("d"), array("d")  # lists would hold an object for each number
        crowd, kinds, rows = array("b"), array("b"), array("q")
        self.most_keypoints = 0
        for row, one in self._records(raws, _Annotation, "annotation"):
            if progress is not None and row % 10000 == 0:
                progress(row, len(raws))
            image, label = images.get(one.image_id), classes.get(one.category_id)
            if image is None or label is None:
                missing = f"category {one.category_id}" if label is None else f"image {one.image_id}"
                self._refuse(f"annotation {one.id}", f"there is no {missing}")
                continue
            fault = _fault(one, sizes[image])
            if fault:
                self._refuse(f"annotation {one.id}", fault)
                continue
            rows.append(row)
            numbers.extend((one.id, image, label))
            boxes.extend(one.bbox or _NOWHERE)
            areas.append(math.nan if one.area is None else one.area)
            crowd.append(one.iscrowd)
            kinds.append(0 if not one.segmentation else 2 if isinstance(one.segmentation, Rle) else 1)
            if one.keypoints:
                self.most_keypoints = max(self.most_keypoints, len(one.keypoints) // 3)
        self._rows = np.array(rows, np.int64)
        self.ids, self.image_rows, self.labels = np.array(numbers, np.int64).reshape(-1, 3).T.copy()
        self.boxes, self.areas = np.array(boxes, np.float64).reshape(-1, 4), np.array(areas, np.float64)
        self.crowd, self.kinds = np.array(crowd, bool), np.array(kinds, np.uint8)
        if progress is not None:
            progress(len(raws), len(raws))


_SHAPE = msgspec.json.Decoder(_Shape)
_NOWHERE = (math.nan,) * 4


def _fault(one: _Annotation, size: tuple[int, int]) -> str:
    """What makes an annotation of an image of `size` (height, width) unusable; "" for nothing."""
    box, shape = one.bbox, one.segmentation
    if box:
        if len(box) != 4 or not all(map(math.isfinite, box)):
            return f"its bbox {box} is not x, y, width, height"
        if box[2] < 0 or box[3] < 0:
            return f"its bbox {box} has a negative width or height"
    if one.area is not None and not 0 <= one.area < math.inf:
        return f"its area is {one.area}"
    if one.iscrowd not in (0, 1):
        return f"its iscrowd is {one.iscrowd}; it must be 0 or 1"
    if one.keypoints and len(one.keypoints) % 3:
        return f"its keypoints are {len(one.keypoints)} numbers; they come in threes (x, y, visibility)"
    if isinstance(shape, Rle):
        return _rle_fault(shape, size)
    for part in shape or ():
        if len(part) < FEWEST or len(part) % 2:
            return f"a polygon of {len(part)} numbers; it needs x, y of three points at least"
    return ""


def _rle_fault(shape: Rle, size: tuple[int, int]) -> str:
    if tuple(shape.size) != size:
        return f"its RLE is for {shape.size[0]} x {shape.size[1]} pixels, the image has {size[0]} x {size[1]}"
    if isinstance(shape.counts, list):
        if min(shape.counts, default=0) < 0:
            return "its RLE has a negative run"
        if sum(shape.counts) != size[0] * size[1]:
            return f"the runs of its RLE sum to {sum(shape.counts)}, the image has {size[0] * size[1]} pixels"
        return ""
    total = _compressed_length(shape.counts)
    if total != size[0] * size[1]:
        return f"the runs of its compressed RLE sum to {total}, the image has {size[0] * size[1]} pixels"
    return ""


def _compressed_length(counts: str) -> int:
    """Sum of the runs of a compressed RLE, -1 where it is damaged: five bits a character, differences from the third
    run on to the one two before (pycocotools' maskApi.c, rleFrString, which checks nothing).
    """
    runs: list[int] = []
    value = shift = 0
    for code in counts.encode("utf-8", "replace"):
        bits = code - 48
        if not 0 <= bits < 64:
            return -1
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        if runs[-1] < 0:
            return -1
        value = shift = 0
    return sum(runs) if shift == 0 else -1


def _mapped(path: str) -> Any:
    try:
        with open(path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except ValueError:
        raise DataError(f"{path}: the file is empty; copy it again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
