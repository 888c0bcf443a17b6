"""Photographs with their COCO annotations as a source: boxes, masks and keypoints from one file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onewarp.coco.annotations import CocoFile
from onewarp.coco.shapes import Shape, Shapes, outline_of
from onewarp.data.base import OutlinedBoxes, Outputs, Sample, checked_outputs
from onewarp.data.decode import EncodedImage
from onewarp.data.files import FileSource
from onewarp.engine.outlines import Outline
from onewarp.errors import DataError, InputError

IGNORE = {"uint8": 255, "uint16": 65535}


class CocoSource(FileSource):
    """Images of a folder with the annotations of a COCO file.

    Class numbers are the categories in ascending order of their ids, which may have gaps: `category_ids[number]` is the
    id. Masks are drawn from polygons that followed the geometry, at the size of the result (`onewarp.coco.shapes`).

    Args:
        images: the folder of the images.
        annotations: the JSON file, or a `CocoFile`.
        boxes: whether samples have `bounding_boxes`.
        masks: None, "semantic" (class number + 1; 0 is background; small objects lie over large ones), or "instance"
            ([h, w, K]: channel i is the mask of the object in row i of the boxes; K is the most that any image has).
        keypoints: whether samples have `keypoints` [objects * k, 3].
        crowd: "ignore" leaves crowds out of boxes, instances and points and gives their pixels the value `ignore` in
            semantic masks; "drop" leaves them out there too; "keep" treats them as any object.
        categories: names of the categories to keep, in the order of their class numbers; all by default.
        empty: whether images without an object are kept.
        bounding_box_format: "xyxy" or "xywh", in pixels; give the Loader the same.
        boxes_follow: "outlines": the box of a warped object is that of its warped polygons or RLE; "corners": of the
            corners of its box, which is larger after a turn, and also right where boxes hold what no outline shows.
        channels, dtype, outputs: as in `FileSource`.

    Attributes:
        file: the `CocoFile`.
        image_ids: int64 [n]; category_ids: int64 [classes].
        ignore: what pixels without a class are worth in semantic masks: 255, or 65535 from 255 classes on.

    The size that the file gives an image says in which frame it was annotated: where only the stored size fits, the
    EXIF orientation is not applied; where both or only the turned one fit, it is.

    Raises:
        DataError: a malformed annotation or image record, by its id; while reading, an image of another size.
        InputError: categories that the file has not, or an argument that is not known.
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path | CocoFile,
        *,
        boxes: bool = True,
        masks: str | None = None,
        keypoints: bool = False,
        crowd: str = "ignore",
        categories: Sequence[str] | None = None,
        empty: bool = True,
        bounding_box_format: str = "xyxy",
        boxes_follow: str = "outlines",
        channels: int = 3,
        dtype: str = "uint8",
        outputs: Outputs | None = None,
    ) -> None:
        for name, value, known in (
            ("masks", masks, (None, "semantic", "instance")),
            ("crowd", crowd, ("ignore", "drop", "keep")),
            ("bounding_box_format", bounding_box_format, ("xyxy", "xywh")),
            ("boxes_follow", boxes_follow, ("outlines", "corners")),
        ):
            if value not in known:
                raise InputError(f"{name}={value!r} is not known; use {' or '.join(map(repr, known))}")
        self.file = file = annotations if isinstance(annotations, CocoFile) else CocoFile(annotations)
        self._number = _class_numbers(file, categories)  # of each class number of the file, -1: left out
        names = file.category_names if categories is None else tuple(categories)
        self.category_ids = np.array([file.category_ids[self._number == i][0] for i in range(len(names))], np.int64)
        chosen = self._number[file.labels] >= 0
        self._objects = chosen & ~file.crowd if crowd != "keep" else chosen  # rows that are boxes and instances
        self._painted = chosen if crowd == "ignore" else self._objects
        counts = np.bincount(file.image_rows[self._objects], minlength=len(file.image_ids))
        rows = np.arange(len(file.image_ids)) if empty else np.flatnonzero(counts)
        if not len(rows):
            raise DataError(f"{file.path}: no image has an object of the categories chosen; check the file")
        if keypoints and not file.most_keypoints:
            raise InputError(f"{file.path}: no annotation has keypoints; leave keypoints out")
        paths = [os.path.join(images, file.file_names[row]) for row in rows]
        sizes = set(zip(file.heights[rows].tolist(), file.widths[rows].tolist(), strict=True))
        one_size = sizes.pop() if len(sizes) == 1 else None
        super().__init__(paths, channels=channels, dtype=dtype, image_size=one_size)
        self.class_names, self._rows, self._most = names, rows, int(counts[rows].max(initial=0))
        self._masks, self._has_boxes, self._points, self._format = masks, boxes, keypoints, bounding_box_format
        self._outlined = boxes_follow == "outlines"
        self.mask_dtype = "uint8" if len(names) < IGNORE["uint8"] else "uint16"
        self.ignore: int = IGNORE[self.mask_dtype]
        wanted = {"segmentation_masks": masks, "bounding_boxes": boxes, "keypoints": keypoints}
        self.roles = ("images", *(role for role, value in wanted.items() if value))
        self.outputs = checked_outputs(outputs, self.roles)

    @property
    def image_ids(self) -> np.ndarray:
        ids: np.ndarray = self.file.image_ids[self._rows]
        return ids

    def name(self, index: int) -> str:
        return f"{self.items[index]} (image {self.file.image_ids[self._rows[index]]})"

    def annotations(self, index: int) -> np.ndarray:
        """Rows in `file` of the objects of sample `index`, in the order of its boxes, int64."""
        rows = self.file.of_image(self._rows[index])
        objects: np.ndarray = rows[self._objects[rows]]
        return objects

    def most(self, role: str) -> int:
        return self._most * self.file.most_keypoints if role == "keypoints" else self._most

    def lazy(self, index: int) -> Sample:
        sample: Sample = {"images": self._photograph(index)}
        rows = self.annotations(index)
        if self._masks:
            sample["segmentation_masks"] = self._mask(index, rows)
        if self._has_boxes:
            boxes, labels = self._boxes_of(rows), self._number[self.file.labels[rows]]
            if self._outlined:
                sample["bounding_boxes"] = OutlinedBoxes(boxes, labels, lambda: self._outlines_of(index, rows))
            else:
                sample["bounding_boxes"] = {"boxes": boxes, "labels": labels}
        if self._points:
            each = [np.zeros((0, 3)), *(self._points_of(int(row)) for row in rows)]
            sample["keypoints"] = np.concatenate(each)
        return sample

    def _photograph(self, index: int) -> EncodedImage:
        row = self._rows[index]
        size = int(self.file.heights[row]), int(self.file.widths[row])
        image = self._image(index)
        assert isinstance(image, EncodedImage)
        header = image.header
        if size == header.turned_size:
            return image
        if size == (header.height, header.width):
            return EncodedImage(image.data, image.name, image.channels, image.dtype, exif=False)
        raise DataError(
            f"{self.name(index)}: the image is {header.height} x {header.width} pixels, the annotations say "
            f"{size[0]} x {size[1]}; use the images that were annotated"
        )

    def _mask(self, index: int, objects: np.ndarray) -> Shapes:
        file, row = self.file, self._rows[index]
        size = int(file.heights[row]), int(file.widths[row])
        if self._masks == "instance":
            found = [(number, file.shape(int(at))) for number, at in enumerate(objects)]
            return Shapes(
                [Shape(shape, number) for number, shape in found if shape], *size, channels=max(self._most, 1)
            )
        rows = file.of_image(row)
        rows = rows[self._painted[rows]]
        large_first = np.argsort(-np.nan_to_num(file.areas[rows]), kind="stable")
        shapes = []
        for at in (*rows[file.crowd[rows]], *(at for at in rows[large_first] if not file.crowd[at])):
            shape = file.shape(int(at))
            void = file.crowd[at] and not self._objects[at]
            if shape:
                shapes.append(Shape(shape, self.ignore if void else int(self._number[file.labels[at]]) + 1))
        return Shapes(shapes, *size, dtype=self.mask_dtype)

    def _boxes_of(self, rows: np.ndarray) -> np.ndarray:
        boxes = np.array([self.file.box(int(row)) for row in rows], np.float64).reshape(-1, 4)
        if self._format == "xyxy":
            boxes[:, 2:] += boxes[:, :2]
        return boxes

    def _outlines_of(self, index: int, rows: np.ndarray) -> list[Outline | None]:
        image = self._rows[index]
        size = int(self.file.heights[image]), int(self.file.widths[image])
        found = [self.file.shape(int(row)) for row in rows]
        return [outline_of(segmentation, *size) if segmentation else None for segmentation in found]

    def _points_of(self, row: int) -> np.ndarray:
        points = np.zeros((self.file.most_keypoints, 3))
        found = self.file.keypoints(row)
        points[: len(found)] = found
        return points


def _class_numbers(file: CocoFile, categories: Sequence[str] | None) -> np.ndarray:
    """The class number of each class number of the file under a choice of categories by name; -1: not chosen."""
    if categories is None:
        return np.arange(len(file.category_ids))
    numbers = np.full(len(file.category_ids), -1)
    for number, name in enumerate(categories):
        if name not in file.category_names:
            raise InputError(f"{file.path}: there is no category {name!r}; it has {', '.join(file.category_names)}")
        numbers[file.category_names.index(name)] = number
    return numbers
