"""What a caller hands to a policy: a batch in any of its forms, the key of a draw, parameters to replay."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np

from onewarp.engine.tensors import like, to_numpy
from onewarp.errors import InputError
from onewarp.params import Params, fingerprint
from onewarp.plan import Plan
from onewarp.spec import Spec


def same_sizes(spec: Spec, n: int) -> np.ndarray:
    """(height, width), n times."""
    sizes = np.empty((n, 2), np.int32)
    sizes[:, 0], sizes[:, 1] = spec.images[:2]  # type: ignore[assignment]  # the sides are known here
    return sizes


def sizes_of(spec: Spec, images: Any) -> np.ndarray:
    """(height, width) of each image, [n, 2]."""
    if None in spec.images:
        return np.array([image.shape[:2] for image in images])
    return same_sizes(spec, len(images))


def draw_keys(seed: int | None, epoch: int, ids: Any, n: int) -> tuple[int, np.ndarray]:
    """(seed, ids [n]) of a draw, checked; without a seed a fresh one."""
    if seed is None:
        if epoch != 0 or ids is not None:
            raise InputError(
                "epoch= and ids= key a draw only together with seed=; pass seed=, or neither for a fresh draw"
            )
        seed = secrets.randbits(64)
    for name, value in (("seed", seed), ("epoch", epoch)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise InputError(f"{name}={value!r} must be an integer >= 0")
    keys = np.arange(n) if ids is None else np.asarray(ids)
    if keys.shape != (n,) or keys.dtype.kind not in "iu":
        raise InputError(f"ids has shape {keys.shape} and dtype {keys.dtype} for {n} images; it must be [n] integers")
    return int(seed), keys


def checked_occurrence(occurrence: Any, n: int) -> Any:
    """None, a number or [n] integers >= 0."""
    if occurrence is None:
        return None
    numbers = np.asarray(occurrence)
    if numbers.shape not in ((), (n,)) or numbers.dtype.kind not in "iu" or (numbers < 0).any():
        raise InputError(f"occurrence has shape {numbers.shape} for {n} images; it must be [n] integers >= 0, or one")
    return numbers


def checked_following(boxes_follow: Any, entries: Mapping[str, Any]) -> bool:
    """Whether boxes follow the masks of a batch, which then must have one channel for each box."""
    if boxes_follow not in ("corners", "masks"):
        raise InputError(f"boxes_follow={boxes_follow!r} is not known; use 'corners' or 'masks'")
    if boxes_follow == "corners":
        return False
    if "bounding_boxes" not in entries or "segmentation_masks" not in entries:
        raise InputError("boxes_follow='masks' needs bounding_boxes and segmentation_masks in the batch; add them")
    boxes, mask = entries["bounding_boxes"]["boxes"], entries["segmentation_masks"][0]
    channels = mask.shape[2] if mask.ndim == 3 else 0
    if channels < boxes.shape[1]:
        raise InputError(
            f"boxes_follow='masks': there are {boxes.shape[1]} boxes for each image, but masks of shape {mask.shape}; "
            "give masks [h, w, k], with a channel for each box"
        )
    return True


def thread_count(threads: Any) -> int:
    """How many threads to use: all cores for None."""
    if threads is None:
        return os.cpu_count() or 1
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
        raise InputError(f"threads={threads!r} must be a whole number >= 1; leave it out for all cores")
    return int(threads)


def check_replay(plan: Plan, params: Any, sizes: np.ndarray) -> None:
    """Raise InputError unless `params` were drawn for this plan and for images of these sizes."""
    if not isinstance(params, Params):
        raise InputError(f"params={params!r} must be what policy.draw returned, or Params.load(path)")
    if params.plan != fingerprint(plan):
        raise InputError(
            "params were drawn by another policy or for another kind of image; draw them again with this policy"
        )
    if params.n != len(sizes):
        raise InputError(
            f"params hold {params.n} samples, the batch {len(sizes)}; take the matching ones with params.take(indices)"
        )
    if not np.array_equal(params.sizes, sizes):
        raise InputError("params were drawn for images of other sizes; draw them again for this batch")


def as_dictionary(batch: Any) -> tuple[dict[str, Any], Any]:
    """A batch in any of its forms -> (a dictionary of NumPy arrays, what brings a result back to the form)."""
    if isinstance(batch, Mapping):
        given, shape = dict(batch), "dictionary"
    elif isinstance(batch, tuple) and len(batch) in (2, 3):
        given, shape = dict(zip(("images", "labels", "sample_weight"), batch, strict=False)), "tuple"
    else:
        given, shape = {"images": batch}, "images"
    if "images" not in given:
        raise InputError(f"the batch has no entry 'images', only {', '.join(map(repr, given))}; add it")
    images = given["images"]
    back = like(images[0] if isinstance(images, (list, tuple)) and len(images) else images)
    entries: dict[str, Any] = {}
    for role, value in given.items():
        if role == "bounding_boxes":
            entries[role] = _boxes_entry(value)
        elif (
            isinstance(value, (list, tuple))
            and role in ("images", "segmentation_masks")
            and len(value)
            and hasattr(value[0], "shape")
        ):
            entries[role] = [to_numpy(v) for v in value]
        else:
            entries[role] = to_numpy(value)

    def rebuild(result: dict[str, Any]) -> Any:
        result = {
            role: {k: back(v) for k, v in value.items()} if isinstance(value, dict) else back(value)
            for role, value in result.items()
        }
        if shape == "dictionary":
            return result
        return tuple(result.values()) if shape == "tuple" else result["images"]

    return entries, rebuild


def _boxes_entry(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or "boxes" not in value or not ({"labels", "classes"} & set(value)):
        raise InputError('bounding_boxes must be {"boxes": [n, k, 4], "labels": [n, k]}; pad with box 0 and label -1')
    unknown = set(value) - {"boxes", "labels", "classes"}
    if unknown:
        raise InputError(f"bounding_boxes has no entry {sorted(unknown)[0]!r}; it has boxes and labels")
    try:
        boxes = to_numpy(value["boxes"])
        labels = to_numpy(value["labels"] if "labels" in value else value["classes"])  # keras-cv wrote "classes"
    except ValueError:
        raise InputError(
            "bounding_boxes has a different number of boxes from image to image; pad to [n, k, 4] with box 0, label -1"
        ) from None
    if labels.dtype.kind == "u":  # a dropped box has label -1
        labels = labels.astype(np.int64)
    return {"boxes": boxes, "labels": labels}
