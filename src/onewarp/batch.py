"""Checks of what a caller hands in: one line that names the entry, what is wrong with it and what to do."""

from __future__ import annotations

from typing import Any

import numpy as np

from onewarp.errors import InputError
from onewarp.spec import ROLES, Spec


def check_batch(batch: dict[str, Any], spec: Spec, corners: np.ndarray | None) -> int:
    """Raise InputError unless the entries of a batch fit together; returns the number of samples.

    corners: the batch's boxes as corners in pixels [n, k, 4], where it has any.
    """
    unknown = [key for key in batch if key not in ROLES]
    if unknown:
        raise InputError(f"a batch has no entry {unknown[0]!r}; the entries are {', '.join(ROLES)}")
    images = batch["images"]
    n = len(images)
    check_values(images, spec)
    for role in ("labels", "segmentation_masks", "keypoints", "sample_weight"):
        if role not in batch:
            continue
        if np.ndim(batch[role]) == 0 if isinstance(batch[role], np.ndarray) else not hasattr(batch[role], "__len__"):
            raise InputError(f"{role} is {batch[role]!r}; give one for each image, or leave {role} out")
        if len(batch[role]) != n:
            raise InputError(f"{role} has {len(batch[role])} entries, images has {n}; give one for each image")
    if "segmentation_masks" in batch:
        _check_masks(images, batch["segmentation_masks"])
    if "keypoints" in batch:
        shape = np.shape(batch["keypoints"])
        if len(shape) != 3 or shape[2] not in (2, 3):
            raise InputError(
                f"keypoints has shape {shape}; it must be [n, k, 2] (x, y) or [n, k, 3] (x, y, visibility)"
            )
    if corners is not None:
        _check_boxes(corners, batch["bounding_boxes"], n)
    return n


def check_values(images: Any, spec: Spec) -> None:
    """Refuse NaN and values outside the stated range in float images."""
    if spec.dtype != "float32":
        return
    low, high = spec.range
    slack = 1e-3 * (high - low)
    for position, image in enumerate([images] if isinstance(images, np.ndarray) else images):
        least, most = float(image.min()), float(image.max())
        if np.isnan(least) or np.isnan(most):
            if image.ndim == 4:
                position = int(np.argmax(np.isnan(image).any(axis=(1, 2, 3))))
            raise InputError(
                f"image {position} contains NaN; find out where it comes from, or replace it by np.nan_to_num"
            )
        if least < low - slack or most > high + slack:
            raise InputError(
                f"float images lie in [{least:g}, {most:g}], outside the value range [{low:g}, {high:g}]; "
                f"pass value_range=(low, high), for example (0, 255), or rescale them"
            )


def _check_masks(images: Any, masks: Any) -> None:
    if masks[0].ndim not in (2, 3):
        raise InputError(f"a segmentation mask has shape {masks[0].shape}; it must be [h, w] or [h, w, c]")
    if masks[0].dtype.kind not in "biuf" or masks[0].dtype.itemsize > 8:
        raise InputError(f"segmentation_masks has dtype {masks[0].dtype}; use an integer dtype such as uint8")
    for position, mask in enumerate([] if isinstance(masks, np.ndarray) else masks):
        if mask.dtype != masks[0].dtype or mask.shape[2:] != masks[0].shape[2:] or mask.ndim != masks[0].ndim:
            raise InputError(
                f"segmentation mask {position} is {mask.dtype} of shape {mask.shape}, mask 0 {masks[0].dtype} of shape "
                f"{masks[0].shape}; convert them to one kind"
            )
    if isinstance(images, np.ndarray) and isinstance(masks, np.ndarray):
        pairs = [(images[0], masks[0])]
    else:
        pairs = list(zip(images, masks, strict=True))
    for position, (image, mask) in enumerate(pairs):
        if image.shape[:2] != mask.shape[:2]:
            raise InputError(
                f"image {position} has {image.shape[0]}x{image.shape[1]} pixels, its segmentation mask "
                f"{mask.shape[0]}x{mask.shape[1]}; "
                f"a mask must have the size of its image"
            )


def _check_boxes(corners: np.ndarray, given: dict[str, Any], n: int) -> None:
    labels = given["labels"]
    if corners.shape[0] != n or labels.shape != corners.shape[:2]:
        raise InputError(
            f"bounding_boxes has boxes {tuple(corners.shape)} and labels {tuple(labels.shape)} for {n} images; "
            f"they must be [n, k, 4] and [n, k], padded with box 0 and label -1"
        )
    real = labels != -1
    bad = real & ~((corners[..., 2] >= corners[..., 0]) & (corners[..., 3] >= corners[..., 1]))
    if bad.any():
        i, j = (int(v) for v in np.argwhere(bad)[0])
        raise InputError(
            f"box {j} of image {i} is {[round(float(v), 3) for v in given['boxes'][i, j]]}, which ends before "
            "it begins; "
            f"check bounding_box_format=, or give it label -1 if it is padding"
        )
