"""Any Albumentations transform before the policy: `source.map(Albumentations([...]), random=True)`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from onewarp.errors import InputError, MissingDependency

_FORMATS = {"xyxy": "pascal_voc", "xywh": "coco"}  # Keras' names, Albumentations'


class Albumentations:
    """Albumentations transforms as a function for `Source.map(..., random=True)`; image, mask, boxes and keypoints
    follow together.

    The random numbers are ours: each call seeds the transforms from the generator that it is given, so that a result
    depends on (seed, epoch, sample, occurrence) alone. Threads and processes use copies of their own. Labels stay.

    Args:
        transforms: an Albumentations transform or composition, or a list of them.
        bounding_box_format: of the source's boxes, "xyxy" or "xywh".
        min_area, min_visibility: boxes below are dropped, as in `albumentations.BboxParams`.

    Raises:
        InputError: something that is no transform of Albumentations, or another box format.
        MissingDependency: Albumentations is not installed.
    """

    def __init__(
        self,
        transforms: Any,
        *,
        bounding_box_format: str = "xyxy",
        min_area: float = 0.0,
        min_visibility: float = 0.0,
    ) -> None:
        try:
            from albumentations import BaseCompose, BasicTransform
        except ImportError:
            raise MissingDependency(
                "Albumentations transforms need albumentations; install it with: pip install onewarp[albumentations]"
            ) from None
        self.transforms = list(transforms) if isinstance(transforms, Sequence) else [transforms]
        for transform in self.transforms:
            if not isinstance(transform, (BaseCompose, BasicTransform)):
                raise InputError(f"{transform!r} is no transform of Albumentations; pass instances such as A.Blur()")
        if bounding_box_format not in _FORMATS:
            raise InputError(f"bounding_box_format={bounding_box_format!r}: Albumentations is given xyxy or xywh")
        self._boxes = {"format": _FORMATS[bounding_box_format], "min_area": min_area, "min_visibility": min_visibility}
        self._own = threading.local()

    def __call__(self, sample: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        given: dict[str, Any] = {"image": sample["images"]}
        if "segmentation_masks" in sample:
            given["mask"] = sample["segmentation_masks"]
        boxes, points = sample.get("bounding_boxes"), sample.get("keypoints")
        if boxes is not None:
            given.update(bboxes=np.asarray(boxes["boxes"], np.float64), rows=np.arange(len(boxes["labels"])))
        if points is not None:
            given["keypoints"] = np.asarray(points[:, :2], np.float64)
        composed = self._composed(boxes is not None, points is not None)
        composed.set_random_seed(int(generator.integers(1 << 31)))
        found = composed(**given)
        result = {**sample, "images": np.ascontiguousarray(found["image"])}
        if "segmentation_masks" in sample:
            result["segmentation_masks"] = np.ascontiguousarray(found["mask"])
        if boxes is not None:
            kept = np.asarray(found["rows"], np.int64)
            corners = np.asarray(found["bboxes"], np.float32).reshape(-1, 4)
            result["bounding_boxes"] = {**boxes, "boxes": corners, "labels": np.asarray(boxes["labels"])[kept]}
        if points is not None:
            result["keypoints"] = _points(points, np.asarray(found["keypoints"]).reshape(-1, 2), result["images"].shape)
        return result

    def _composed(self, boxes: bool, points: bool) -> Any:
        """This thread's own copy: a composition keeps the state of its random numbers."""
        if not hasattr(self._own, "composed"):
            import copy

            from albumentations import BboxParams, Compose, KeypointParams

            self._own.composed = Compose(
                copy.deepcopy(self.transforms),
                bbox_params=BboxParams(**self._boxes, label_fields=["rows"]) if boxes else None,
                keypoint_params=KeypointParams(format="xy", remove_invisible=False) if points else None,
            )
        return self._own.composed

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_own"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _own=threading.local())


def _points(given: np.ndarray, moved: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Keypoints at their new places; those that left the frame are no longer visible."""
    result = np.array(given)
    result[:, :2] = moved
    if given.shape[1] == 3:
        inside = (moved >= 0).all(axis=1) & (moved[:, 0] < shape[1]) & (moved[:, 1] < shape[0])
        result[~inside, 2] = 0
    return result
