"""Targets of varying length, padded to one number of rows so that every batch has the same shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onewarp.errors import DataError


def padded_boxes(samples: Sequence[dict[str, Any]], rows: int, name: Callable[[int], str]) -> dict[str, np.ndarray]:
    """Boxes of several samples as {"boxes" float32 [n, rows, 4], "labels" int [n, rows]}; padding is box 0, label -1,
    as in Keras.

    `name(i)` is what messages call sample i. Raises DataError where a sample has more boxes than `rows`.
    """
    boxes = np.zeros((len(samples), rows, 4), np.float32)
    labels = np.full((len(samples), rows), -1, np.int64)
    for i, sample in enumerate(samples):
        count = len(sample["labels"])
        _check(count, rows, "boxes", name(i))
        boxes[i, :count], labels[i, :count] = sample["boxes"], sample["labels"]
    return {"boxes": boxes, "labels": labels}


def padded_points(samples: Sequence[np.ndarray], rows: int, name: Callable[[int], str]) -> np.ndarray:
    """Keypoints [k, 2 or 3] of several samples as float32 [n, rows, 2 or 3]; padding is (0, 0, visibility 0).

    Points without a visibility cannot be padded: all samples must then have `rows` of them.
    """
    points = np.zeros((len(samples), rows, samples[0].shape[-1]), np.float32)
    for i, sample in enumerate(samples):
        _check(len(sample), rows, "keypoints", name(i))
        if len(sample) < rows and sample.shape[-1] != 3:
            raise DataError(
                f"{name(i)}: {len(sample)} keypoints where others have {rows}; "
                "give keypoints as [k, 3] with their visibility, so that missing ones can be marked"
            )
        points[i, : len(sample)] = sample
    return points


def _check(count: int, rows: int, what: str, name: str) -> None:
    if count > rows:
        raise DataError(f"{name}: {count} {what}, but max_boxes is {rows}; raise max_boxes")


def copied(entries: dict[str, Any]) -> dict[str, Any]:
    """A copy of a batch that the caller may write to."""
    return {key: copied(value) if isinstance(value, dict) else value.copy() for key, value in entries.items()}
