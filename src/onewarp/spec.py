"""What a batch holds: shape, dtype and value range of its images, and the formats of bounding boxes.

A batch is an array of images, or a dictionary with Keras' names:
    images              [n, h, w, c], or a list of [h, w, c] of different sizes; uint8, uint16 or float32
    labels              [n] class numbers, or [n, classes]
    segmentation_masks  [n, h, w] or [n, h, w, c]
    bounding_boxes      {"boxes": [n, k, 4], "labels": [n, k]}; padding is boxes 0, labels -1
    keypoints           [n, k, 2] (x, y) or [n, k, 3] (x, y, visibility)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onewarp.errors import InputError

ROLES = ("images", "labels", "segmentation_masks", "bounding_boxes", "keypoints", "sample_weight")
IMAGE_DTYPES = ("uint8", "uint16", "float32")
OUTPUT_DTYPES = ("uint8", "uint16", "float16", "bfloat16", "float32")

BOX_FORMATS = (
    "xyxy", "yxyx", "xywh", "center_xywh", "center_yxhw", "rel_xyxy", "rel_yxyx", "rel_xywh", "rel_center_xywh",
)  # fmt: skip


def default_range(dtype: str) -> tuple[float, float]:
    """The value range that a dtype has unless one is stated: the whole range of an integer, [0, 1] for float."""
    return {"uint8": (0.0, 255.0), "uint16": (0.0, 65535.0)}.get(dtype, (0.0, 1.0))


@dataclass(frozen=True)
class Spec:
    """Shape, dtype and value range of a batch's images.

    images: (height, width, channels); None for a height or width that differs from image to image.
    dtype: "uint8", "uint16" or "float32".
    value_range: (low, high) of the values; by default 0...255, 0...65535 and 0...1.
    """

    images: tuple[int | None, int | None, int]
    dtype: str = "uint8"
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.images) if isinstance(self.images, (tuple, list)) else ()
        whole = [side is None or (isinstance(side, (int, np.integer)) and side >= 1) for side in shape]
        if len(shape) != 3 or not all(whole) or shape[2] is None:
            raise InputError(
                f"Spec(images={self.images!r}): images must be (height, width, channels); height and width must be "
                "positive, or None where they differ"
            )
        if self.dtype not in IMAGE_DTYPES:
            raise InputError(
                f"Spec(dtype={self.dtype!r}): dtype must be one of {', '.join(IMAGE_DTYPES)}; convert the images"
            )
        wanted = default_range(self.dtype) if self.value_range is None else self.value_range
        try:
            low, high = (float(end) for end in wanted)
        except (TypeError, ValueError):
            low = high = 0.0
        if not -np.inf < low < high < np.inf:
            raise InputError(
                f"Spec(value_range={self.value_range!r}): value_range must be (low, high) with low < high, "
                "such as (0, 255)"
            )
        sides = (None if side is None else int(side) for side in shape[:2])
        object.__setattr__(self, "images", (*sides, int(shape[2])))
        object.__setattr__(self, "value_range", (low, high))

    @property
    def range(self) -> tuple[float, float]:
        """(low, high), stated or by default."""
        assert self.value_range is not None
        return self.value_range

    @property
    def channels(self) -> int:
        return self.images[2]

    @staticmethod
    def of(images: Any, value_range: tuple[float, float] | None = None) -> Spec:
        """The spec of an array [n, h, w, c] or of a list of arrays [h, w, c]."""
        if (isinstance(images, (list, tuple)) and not images) or getattr(images, "shape", (1,))[:1] == (0,):
            raise InputError("images is empty; images must be an array or list of at least one image")
        if isinstance(images, np.ndarray) and images.ndim == 4:
            first, shape = images, images.shape[1:]
        elif isinstance(images, (list, tuple)) and images and all(getattr(i, "ndim", 0) == 3 for i in images):
            first = images[0]
            for position, image in enumerate(images):
                if 0 in image.shape:
                    raise InputError(f"image {position} has no pixels: shape {image.shape}; leave empty images out")
                if image.shape[2] != first.shape[2] or image.dtype != first.dtype:
                    raise InputError(
                        f"image {position} has {image.shape[2]} channels of {image.dtype}, image 0 {first.shape[2]} of "
                        f"{first.dtype}; convert them to one kind"
                    )
            sides = {image.shape[:2] for image in images}
            shape = (*(sides.pop() if len(sides) == 1 else (None, None)), first.shape[2])
        else:
            found = f"an array of shape {images.shape}" if hasattr(images, "shape") else f"{type(images).__name__}"
            raise InputError(
                "images must be an array [n, height, width, channels] or a list of [height, width, "
                f"channels], got {found}; "
                f"add the missing axis, x[None] for one image or x[..., None] for one channel"
            )
        if 0 in first.shape[1:]:
            raise InputError(f"images have no pixels: shape {first.shape}; leave empty images out")
        if str(first.dtype) not in IMAGE_DTYPES:
            raise InputError(
                f"images have dtype {first.dtype}, not {', '.join(IMAGE_DTYPES)}; convert them, for example "
                "x.astype('float32')"
            )
        return Spec(shape, str(first.dtype), value_range)
