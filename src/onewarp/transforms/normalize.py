"""What happens last: Normalize and Rescale turn the colour stage's values into the numbers that the model takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onewarp.errors import InputError, PolicyError
from onewarp.fields import numbers
from onewarp.matrices import colour_map
from onewarp.random import Array, constant
from onewarp.transform import Color

Numbers = Any  # a user passes a number or one per channel

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_PRESETS: dict[str, tuple[Numbers, Numbers]] = {
    "imagenet": _IMAGENET,
    "torch": _IMAGENET,
    "tf": (0.5, 0.5),
    "caffe": ((103.939 / 255, 116.779 / 255, 123.68 / 255), 1 / 255),
}


def _per_channel(value: Numbers, channels: int, what: str) -> np.ndarray:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim == 1 and len(array) != channels:
        raise PolicyError(
            f"{what} has {len(array)} numbers, the images have {channels} channels; give one for each channel"
        )
    return np.broadcast_to(array, (channels,)).copy()


class _Output(Color):
    """The last scale and offset: nothing but Mix may follow."""

    draws: ClassVar[int] = 0
    steps: ClassVar[tuple[str, ...]] = ("output",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.p != 1.0:
            raise InputError(
                f"{type(self).__name__}(p={self.p}): p must be 1, a model wants all its images alike; leave p out"
            )


@dataclass(frozen=True)
class Normalize(_Output):
    """(x - mean) / std on unit values (a uint8 image is divided by 255 first), as float.

    mean: a preset, or a number, or one per channel, as fractions of the value range. Presets equal
        `keras.applications.imagenet_utils.preprocess_input`: "imagenet" (= "torch"), "tf" (to [-1, 1]), "caffe" (BGR,
        less the mean, not scaled).
    std: likewise; positive. Not given with a preset.
    """

    mean: Numbers = numbers(default="imagenet", words=tuple(_PRESETS))
    std: Numbers = numbers(default=None, optional=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.std is None) != isinstance(self.mean, str):
            raise InputError(
                f"Normalize(mean={self.mean!r}, std={self.std!r}): give a preset alone "
                f"({', '.join(_PRESETS)}), or both mean and std"
            )
        if self.std is not None and np.min(self.std) <= 0:
            raise InputError(f"Normalize(std={self.std!r}): std must be positive; use 1 for a channel without spread")

    def _caffe(self) -> bool:
        return bool(self.mean == "caffe")

    def colour_steps(self) -> tuple[str, ...]:
        return ("affine", "output") if self._caffe() else ("output",)

    def check_channels(self, channels: int) -> None:
        if self._caffe() and channels != 3:
            raise PolicyError(f"Normalize('caffe') needs 3 channels, the images have {channels}; give mean= and std=")

    def uses_mean(self) -> bool:
        return False

    def affine(self, u: Array, channels: int, xp: Any) -> Array:
        return colour_map(constant(np.eye(3)[::-1].copy(), xp)[None], xp=xp)

    def output(self, low: float, high: float, channels: int) -> tuple[np.ndarray, np.ndarray]:
        mean, std = _PRESETS[self.mean] if isinstance(self.mean, str) else (self.mean, self.std)
        means, stds = (
            _per_channel(mean, channels, "Normalize's mean"),
            _per_channel(std, channels, "Normalize's std"),
        )
        scale = 1.0 / ((high - low) * stds)
        return scale, -low * scale - means / stds

    @classmethod
    def fit(cls, source: Iterable[Any], value_range: tuple[float, float] | None = None) -> Normalize:
        """Measure mean and standard deviation per channel over all pixels of `source`, in one pass.

        source: an array [n, h, w, c], or anything indexable with a length whose entries are images or dictionaries with
        "images" (every source of this library). value_range: default 0...255 for uint8, 0...65535 for uint16, 0...1 for
        float.
        """
        count, total, squares, scale = 0, np.zeros(1), np.zeros(1), 1.0
        low, high = (0.0, 0.0)
        for index in range(len(source)):  # type: ignore[arg-type]
            entry = source[index]  # type: ignore[index]
            image = np.asarray(entry["images"] if isinstance(entry, dict) else entry)
            if index == 0:
                integers = np.issubdtype(image.dtype, np.integer)
                low, high = (
                    value_range
                    or getattr(source, "value_range", None)
                    or ((0.0, float(np.iinfo(image.dtype).max)) if integers else (0.0, 1.0))
                )
                scale = 1.0 / (high - low)
            pixels = (image.reshape(-1, image.shape[-1]).astype(np.float64) - low) * scale
            count, total, squares = count + len(pixels), total + pixels.sum(0), squares + (pixels**2).sum(0)
        if count == 0:
            raise InputError("Normalize.fit: the source is empty; give it at least one image")
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
        return cls(mean=tuple(mean.tolist()), std=tuple(np.where(std > 0, std, 1.0).tolist()))


@dataclass(frozen=True)
class Rescale(_Output):
    """value * scale + offset on the raw values (Keras' Rescaling): Rescale(1/255) brings uint8 to [0, 1], as float."""

    scale: Numbers = numbers(default=1 / 255)
    offset: Numbers = numbers(default=0.0)

    def output(self, low: float, high: float, channels: int) -> tuple[np.ndarray, np.ndarray]:
        return (
            _per_channel(self.scale, channels, "Rescale's scale"),
            _per_channel(self.offset, channels, "Rescale's offset"),
        )


__all__ = ["Normalize", "Rescale"]
