"""Checks of what a CRF gets: images, class probabilities, pairwise terms. Every mistake is named before work starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onewarp.errors import InputError

TOLERANCE = 1e-2  # how far the probabilities of a pixel may be from a sum of 1


def read_images(image: Any) -> tuple[np.ndarray, bool]:
    """Images uint8 [n, h, w, 3], contiguous; and whether it was a batch."""
    try:
        images = np.asarray(image)
    except ValueError:  # a list of arrays that do not fit together
        raise InputError("images have different sizes; pass them one by one, or resize them to one size") from None
    if images.ndim not in (3, 4) or images.shape[-1] != 3:
        hint = "repeat the one channel: np.repeat(x, 3, -1)" if images.shape[-1:] == (1,) or images.ndim == 2 else ""
        if images.ndim >= 3 and images.shape[-3] == 3:
            hint = "channels come last: np.moveaxis(image, -3, -1)"
        raise InputError(
            f"image has shape {images.shape}, must be [h, w, 3] or [n, h, w, 3]{'; ' + hint if hint else ''}"
        )
    if images.dtype != np.uint8:
        raise InputError(f"image is {images.dtype}, must be uint8 in [0, 255]; scale it back if it was normalised")
    if 0 in images.shape[-3:]:
        raise InputError(f"image has shape {images.shape}: there are no pixels")
    batched = images.ndim == 4
    return np.ascontiguousarray(images if batched else images[None]), batched


def read_batch(image: Any, probs: Any) -> tuple[np.ndarray, np.ndarray, bool]:
    """Images uint8 [n, h, w, 3], probabilities float32 [n, h, w, classes], contiguous; and whether it was a batch."""
    images, batched = read_images(image)
    probabilities = np.asarray(probs)
    if probabilities.dtype != np.float32:
        raise InputError(f"probs is {probabilities.dtype}, must be float32; use probs.astype('float32')")
    check_order(images.shape[0 if batched else 1 : 3], probabilities.shape)
    return images, np.ascontiguousarray(probabilities if batched else probabilities[None]), batched


def check_order(pixels: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Raise InputError unless `shape` is that of probabilities [..., h, w, classes] of images [..., h, w]."""
    wanted = "[" + ", ".join([*map(str, pixels), "classes"]) + "]"
    if len(shape) == len(pixels) + 1 and shape[:-1] == pixels and shape[-1] > 0:
        return
    fact = f"probs has shape {shape}, must be {wanted}"
    if len(shape) != len(pixels) + 1:
        raise InputError(f"{fact}; one image or a batch, for both")
    if shape[-2:] == pixels[-2:] and shape[:-3] == pixels[:-2]:
        raise InputError(f"{fact}: the classes come first; use np.moveaxis(probs, -3, -1)")
    if shape[-3:-1] == pixels[-2:][::-1] and shape[:-3] == pixels[:-2]:
        raise InputError(f"{fact}: width comes before height; use np.swapaxes(probs, -3, -2)")
    raise InputError(f"{fact}; resize the probabilities or the image")


def complain(probs: np.ndarray, pixel: int) -> InputError:
    """What is wrong with pixel number `pixel` of probabilities [n, h, w, classes]."""
    n, y, x = (int(k) for k in np.unravel_index(pixel, probs.shape[:3]))
    values, where = probs[n, y, x], f"probs at image {n}, row {y}, column {x}"
    if np.isnan(values).any():
        return InputError(f"{where}: {int(np.isnan(values).sum())} of {values.size} classes are NaN; look at the model")
    if values.min() < 0:
        return InputError(f"{where}: a class has {values.min():g}, below 0; give probabilities, not logits")
    return InputError(
        f"{where}: the classes sum to {float(values.sum(dtype=np.float64)):g}, which differs from 1 by more than "
        f"{TOLERANCE:g}; apply softmax to logits, or divide by the sum"
    )


def read_numbers(owner: str, value: Any, count: int) -> tuple[float, ...]:
    """`count` positive numbers from one number or a sequence of them."""
    try:
        numbers = [float(v) for v in value] if isinstance(value, (Sequence, np.ndarray)) else [float(value)] * count
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count or not all(math.isfinite(v) and v > 0 for v in numbers):
        raise InputError(f"{owner}={value!r} must be a number above 0, or {count} of them")
    return tuple(numbers)


def read_compatibility(owner: str, value: Any) -> float | np.ndarray:
    """The weight of a Potts term, or a symmetric matrix float32 [classes, classes]."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = np.full((), np.nan)
    if array.ndim == 0 and np.isfinite(array):
        return float(array)
    if array.ndim == 2 and array.shape[0] == array.shape[1] > 0 and np.isfinite(array).all():
        return np.ascontiguousarray((array + array.T) / 2, np.float32)
    got = repr(value) if array.ndim == 0 else f"an array of shape {array.shape}"
    raise InputError(f"{owner} is {got}, must be a number, or a matrix [classes, classes] of finite numbers")


def read_term(owner: str, term: Any, axes: Mapping[str, int]) -> dict[str, Any] | None:
    """A pairwise term: its standard deviations, as many as `axes` says, and "compat"; None for none."""
    if term is None:
        return None
    if not isinstance(term, Mapping) or set(term) != {*axes, "compat"}:
        example = ", ".join(f"{key}=..." for key in [*axes, "compat"])
        raise InputError(f"{owner}={term!r} must be None or dict({example})")
    read: dict[str, Any] = {name: read_numbers(f"{owner}: {name}", term[name], count) for name, count in axes.items()}
    return {**read, "compat": read_compatibility(f"{owner}: compat", term["compat"])}
