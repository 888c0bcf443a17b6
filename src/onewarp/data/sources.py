"""Samples in arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from onewarp.data.base import Outputs, Sample, Source, checked_labels, checked_outputs, small
from onewarp.errors import DataError, InputError
from onewarp.spec import IMAGE_DTYPES, default_range

HASHED = 1 << 28  # bytes of images up to which all of them go into a source's stamps


class ArraySource(Source):
    """Samples in arrays (or memory maps, which are read as they are needed, never copied whole).

    Args:
        images: [n, h, w, c] or [n, h, w] (grey), or a list of [h, w, c] of different sizes;
            uint8, uint16 or float32. Floating-point images of another width are converted to float32.
        labels: [n] class numbers, or [n, classes] one-hot rows, or [n, ...] numbers.
        segmentation_masks: whole numbers, [n, h, w] or [n, h, w, 1], or a list of [h, w].
        bounding_boxes: {"boxes": [n, k, 4], "labels": [n, k]} (padded with label -1), or lists of n arrays [k, 4] and
            [k].
        keypoints: [n, k, 2 or 3] as (x, y[, visibility]) in pixels, or a list of n arrays.
        class_names: name of each class number.
        outputs: which entries become (x, y, sample_weight), e.g. ("images", "labels").
        value_range: (low, high) of the values; (0, 255) for uint8, (0, 65535) for uint16, (0, 1) for float32 by
            default.

    Raises:
        InputError: lengths, ranks or sizes that do not fit together, other dtypes, labels without a name.
    """

    def __init__(
        self,
        images: Any,
        labels: Any = None,
        *,
        segmentation_masks: Any = None,
        bounding_boxes: Mapping[str, Any] | None = None,
        keypoints: Any = None,
        class_names: Sequence[str] | None = None,
        outputs: Outputs | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self.images = _images(images)
        self._entries: dict[str, Any] = {}
        shapes = {image.shape for image in self.images} if isinstance(self.images, list) else {self.images.shape[1:]}
        heights, widths, channels = (sorted({shape[axis] for shape in shapes}) for axis in range(3))
        if len(channels) > 1:
            raise InputError(
                f"images have {' and '.join(map(str, channels))} channels; give all of them the same number"
            )
        one = [sides[0] if len(sides) == 1 else None for sides in (heights, widths)]
        self.image_shape = (one[0], one[1], channels[0])
        self.dtype = str(self.images[0].dtype if isinstance(self.images, list) else self.images.dtype)
        self.value_range = (
            default_range(self.dtype) if value_range is None else (float(value_range[0]), float(value_range[1]))
        )
        self.class_names = None if class_names is None else tuple(class_names)
        if labels is not None:
            self.labels = self._entries["labels"] = checked_labels(labels, len(self), self.class_names)
        if segmentation_masks is not None:
            self._entries["segmentation_masks"] = self._masks(segmentation_masks)
        if bounding_boxes is not None:
            self._entries["bounding_boxes"] = self._boxes(bounding_boxes)
        if keypoints is not None:
            self._entries["keypoints"] = self._rows("keypoints", keypoints, rank=2, last=(2, 3))
        self.dense = not any(isinstance(value, list) for value in [self.images, *_leaves(self._entries)])
        self.roles = ("images", *self._entries)
        self.outputs = checked_outputs(outputs, self.roles)

    def __len__(self) -> int:
        return len(self.images)

    def lazy(self, index: int) -> Sample:
        return _map({"images": self.images, **self._entries}, lambda value: value[index])

    def gather(self, indices: np.ndarray) -> Sample:
        if not self.dense:
            return super().gather(indices)
        return {"images": np.asarray(self.images[indices]), **self._targets(indices)}

    def views(self, indices: np.ndarray) -> Sample:
        if not self.dense or small(self):
            return self.gather(indices)
        return {"images": [self.images[index] for index in indices], **self._targets(indices)}

    def _targets(self, indices: np.ndarray) -> Sample:
        return _map(self._entries, lambda value: np.asarray(value[indices]))

    def name(self, index: int) -> str:
        return f"image {index} of the array"

    def stamps(self) -> Iterator[bytes]:
        """All content; of more than 256 MiB of images that of about 4,096 of them, spread evenly."""
        yield from super().stamps()
        size = sum(image.nbytes for image in self.images) if isinstance(self.images, list) else self.images.nbytes
        n = len(self)
        yield from self._content(np.arange(0, n, 1 if size <= HASHED else -(-n // 4096)))

    def most(self, role: str) -> int:
        entry = self._entries[role]
        return max(len(row) for row in (entry["labels"] if role == "bounding_boxes" else entry))

    def _rows(self, role: str, value: Any, rank: int, last: tuple[int, ...] = ()) -> Any:
        """Check a target with one row per sample: an array of rank + 1, or a list of arrays of `rank`."""
        if len(value) != len(self):
            raise InputError(f"{role} has {len(value)} rows, but there are {len(self)} images; give each image one row")
        if isinstance(value, np.ndarray) and value.dtype != object:
            if value.ndim != rank + 1 or (last and value.shape[-1] not in last):
                raise InputError(
                    f"{role} has shape {value.shape}; expected [n, {'k, ' * (rank - len(last[:1]))}{last or ''}]"
                )
            return value
        rows = [
            np.asarray(row).reshape(-1, *last[:1]) if np.size(row) == 0 and last else np.asarray(row) for row in value
        ]
        for index, row in enumerate(rows):
            if row.ndim != rank or (last and row.shape[-1] not in last):
                raise InputError(
                    f"{role}[{index}] has shape {row.shape}; it must have {rank} dimensions"
                    + (f", the last of {' or '.join(map(str, last))}" if last else "")
                )
        return rows

    def _boxes(self, value: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(value, Mapping) or set(value) != {"boxes", "labels"}:
            got = sorted(value) if isinstance(value, Mapping) else type(value).__name__
            raise InputError(f'bounding_boxes must be {{"boxes": ..., "labels": ...}}, got {got}')
        boxes = self._rows("boxes", value["boxes"], rank=2, last=(4,))
        labels = self._rows("box labels", value["labels"], rank=1)
        for index, (row, names) in enumerate(zip(boxes, labels, strict=True)):
            if len(row) != len(names):
                raise InputError(
                    f"image {index} has {len(row)} boxes but {len(names)} box labels; give each box one label"
                )
        return {"boxes": boxes, "labels": labels}

    def _masks(self, value: Any) -> Any:
        dense = isinstance(value, np.ndarray) and value.dtype != object
        masks = value if dense else [np.asarray(mask) for mask in value]
        if len(masks) != len(self):
            raise InputError(
                f"segmentation_masks has {len(masks)} masks, but there are {len(self)} images; give each image one"
            )
        for index, (image, mask) in enumerate(zip(self.images, masks, strict=True)):
            if mask.ndim not in (2, 3) or mask.shape[:2] != image.shape[:2] or mask.shape[2:] not in ((), (1,)):
                raise InputError(
                    f"mask {index} has shape {mask.shape}, its image {image.shape}; give it the size of the image"
                )
            if mask.dtype.kind not in "uib":
                raise InputError(
                    f"segmentation_masks are {mask.dtype}; a class is a whole number: pass an integer dtype"
                )
            if dense:
                break  # an array has one shape and one dtype
        return masks


def _images(images: Any) -> Any:
    if isinstance(images, np.ndarray) and images.dtype != object:
        if images.ndim == 3:
            images = images[..., None]
        if images.ndim != 4:
            raise InputError(f"images have shape {images.shape}; expected [n, height, width, channels]")
        found = [images]
    elif isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.dtype == object):
        found = [image[..., None] if image.ndim == 2 else image for image in map(np.asarray, images)]
        for index, image in enumerate(found):
            if image.ndim != 3:
                raise InputError(f"image {index} has shape {image.shape}; expected [height, width, channels]")
    else:
        raise InputError(
            f"images are {type(images).__name__}; pass an array [n, h, w, c] or a list of arrays [h, w, c]"
        )
    if not len(found) or not len(found[0]):
        raise DataError("there are no images; pass at least one")
    kinds = {image.dtype for image in found}
    if len(kinds) > 1:
        raise InputError(f"images have the dtypes {', '.join(sorted(map(str, kinds)))}; convert them to one")
    kind = kinds.pop()
    if kind in (np.float16, np.float64):
        found = [image.astype(np.float32) for image in found]
    elif str(kind) not in IMAGE_DTYPES:
        raise InputError(f"images are {kind}; convert them to uint8, uint16 or float32")
    return found[0] if isinstance(images, np.ndarray) and images.dtype != object else found


def _leaves(tree: Mapping[str, Any]) -> list[Any]:
    return [leaf for value in tree.values() for leaf in (_leaves(value) if isinstance(value, Mapping) else [value])]


def _map(tree: Mapping[str, Any], function: Any) -> Sample:
    return {
        name: _map(value, function) if isinstance(value, Mapping) else function(value) for name, value in tree.items()
    }
