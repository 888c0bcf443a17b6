"""Augmented samples as a COCO file with its images, which any COCO tool can load."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from onewarp.coco.masks import area_of, box_of, encode
from onewarp.errors import InputError

_JPEG_QUALITY = 95


class CocoWriter:
    """Writes images into a folder and, when it is closed, one annotation file; use it in a `with` block.

    The file appears under its name only when it is complete; an exception in the block leaves none.

    Args:
        path: the JSON file to write.
        images: the folder for the images, made if need be.
        category_names: name of each class number.
        category_ids: id of each class number; 1, 2, ... by default. `CocoSource.category_ids` gives the original ones.
        supercategories: of each class number, or None.
        format: "png", exact, or "jpg", quality 95.
    """

    def __init__(
        self,
        path: str | Path,
        images: str | Path,
        category_names: Sequence[str],
        category_ids: Sequence[int] | np.ndarray | None = None,
        supercategories: Sequence[str | None] | None = None,
        format: str = "png",
    ) -> None:
        ids = range(1, len(category_names) + 1) if category_ids is None else [int(number) for number in category_ids]
        if len(ids) != len(category_names) or len(set(ids)) != len(ids):
            raise InputError(f"{len(category_names)} categories have the ids {list(ids)}; give each one id of its own")
        if format not in ("png", "jpg"):
            raise InputError(f'format={format!r} is not known; use "png" or "jpg"')
        self.path, self.folder, self.format = os.fspath(path), Path(images), format
        parents = supercategories or [None] * len(category_names)
        self._categories = [
            {"id": number, "name": name, **({} if parent is None else {"supercategory": parent})}
            for number, name, parent in zip(ids, category_names, parents, strict=True)
        ]
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self.folder.mkdir(parents=True, exist_ok=True)

    def add(
        self,
        image: np.ndarray,
        boxes: np.ndarray,
        labels: np.ndarray,
        masks: np.ndarray | None = None,
        *,
        file_name: str | None = None,
        crowd: np.ndarray | None = None,
    ) -> int:
        """One sample; rows whose label is -1 are padding. Returns the id of the image.

        Args:
            image: uint8 [h, w, 1 or 3].
            boxes: [k, 4] corners (x1, y1, x2, y2) in pixels; not used where there are masks.
            labels: [k] class numbers.
            masks: [h, w, K >= k], channel i that of row i. They give run lengths, area and box; an object of which no
                pixel is left is not written.
            file_name: in the folder; a number with six digits by default.
            crowd: [k] whether each is a crowd.

        Raises:
            InputError: shapes that do not go together, an image that is not uint8, a label without a category.
        """
        image, boxes, labels = np.asarray(image), np.asarray(boxes, np.float64), np.asarray(labels)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
            raise InputError(
                f"the image is {image.dtype} {image.shape}; "
                "give uint8 [height, width, 1 or 3] (a policy without Normalize)"
            )
        if boxes.shape != (len(labels), 4):
            raise InputError(f"there are {len(labels)} labels but boxes of shape {boxes.shape}; give one box a label")
        height, width = image.shape[:2]
        if masks is not None and (masks.shape[:2] != (height, width) or masks.shape[2] < len(labels)):
            raise InputError(
                f"masks are {masks.shape}, the image {height} x {width} with {len(labels)} labels; "
                "give [height, width, one channel per label]"
            )
        if len(labels) and labels.max() >= len(self._categories):
            raise InputError(f"label {labels.max()} has no category; there are {len(self._categories)}")
        number = len(self._images) + 1
        name = file_name or f"{number:06d}.{self.format}"
        self._write_image(self.folder / name, image)
        self._images.append({"id": number, "file_name": name, "height": height, "width": width})
        for row in np.flatnonzero(labels >= 0):
            mask = None if masks is None else masks[..., row]
            shape = described(mask) if mask is not None else _boxed(boxes[row])
            if shape is None:
                continue
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": number,
                    "category_id": self._categories[int(labels[row])]["id"],
                    "iscrowd": int(crowd is not None and bool(crowd[row])),
                    **shape,
                }
            )
        return number

    def close(self) -> None:
        """Write the annotation file."""
        content = content_of("augmented by onewarp", self._images, self._annotations, self._categories)
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        unfinished = f"{self.path}.unfinished"
        with open(unfinished, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, self.path)

    def __enter__(self) -> CocoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()

    def _write_image(self, path: Path, image: np.ndarray) -> None:
        options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if self.format == "jpg" else []
        coded = cv2.imencode(f".{self.format}", image[..., ::-1] if image.shape[2] == 3 else image, options)[1]
        try:
            path.write_bytes(coded.tobytes())
        except OSError as error:
            raise InputError(f"{path}: the image cannot be written ({error.strerror}); choose another folder") from None


def coco_writer(*arguments: Any, **options: Any) -> CocoWriter:
    """`CocoWriter`, for `with ow.coco_writer(path, images=...) as out:`."""
    return CocoWriter(*arguments, **options)


def content_of(description: str, images: list[Any], annotations: list[Any], categories: list[Any]) -> dict[str, Any]:
    """A COCO file of these records, as a dictionary."""
    return {
        "info": {"description": description, "version": "1.0"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


def described(mask: np.ndarray) -> dict[str, Any] | None:
    """The fields segmentation (RLE), area and bbox of a mask [h, w]; None where it is empty."""
    runs = encode(mask)
    area = area_of(runs)
    if not area:
        return None
    return {
        "segmentation": {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode()},
        "area": float(area),
        "bbox": box_of(runs).tolist(),
    }


def _boxed(box: np.ndarray) -> dict[str, Any] | None:
    x1, y1, x2, y2 = box.tolist()
    if x2 <= x1 or y2 <= y1:
        return None
    area = (x2 - x1) * (y2 - y1)
    return {"segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]], "area": area, "bbox": [x1, y1, x2 - x1, y2 - y1]}
