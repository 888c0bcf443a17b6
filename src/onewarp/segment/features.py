"""What a pixel looks like, in numbers: colour, place, and what filters of several widths answer.

The set is the usual one for pixels and forests (ilastik, Trainable Weka Segmentation). Lightness and colour are those
of CIE Lab, where equal distances look about equally large. Beyond the border the edge pixel repeats.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from onewarp.arguments import thread_count
from onewarp.errors import InputError
from onewarp.segment.inputs import read_images

FILTERS = ("gaussian", "gradient", "laplacian", "structure", "orientation")
COLOURS = ("rgb", "lab")
TRUNCATE = 4.0  # standard deviations at which a Gaussian is cut off
_LIGHTNESS = ("L", "a", "b")
_BORDER = 2  # cv2.BORDER_REFLECT; OpenCV is imported where it is used
_AXES = ((1, 0), (0, 1))


@dataclass(frozen=True)
class PixelFeatures:
    """Describes each pixel of an image by float32 numbers: `features(images)`, [n, h, w, 3] -> [n, h, w, count].

    A value of its own: frozen, comparable, without state. Filters look at the image smoothed by a Gaussian of each of
    `scales`; all but "gaussian" look at its lightness alone.

    Args:
        colours: any of "rgb" (red, green and blue, 0 to 255) and "lab" (L, 0 to 100; a and b, about -100 to 100).
        position: whether x and y are features: the pixel's centre, as a fraction of width and height.
        filters: any of
            "gaussian": L, a and b, smoothed (3 per scale);
            "gradient": the length of the gradient of L, per pixel (1);
            "laplacian": the four neighbours' L less four times the pixel's own: above 0 in a dark spot (1);
            "structure": the larger and the smaller eigenvalue of the structure tensor, that is of the products of the
                gradient's parts, averaged by a Gaussian twice as wide: flat (0, 0), edge (large, 0), corner (both) (2);
            "orientation": the gradient's length by its direction, opposite ones taken together: shares of the two
                nearest of `orientations` directions, averaged by a Gaussian twice as wide (1 per direction). Averages
                of it over cells are a histogram of oriented gradients (Dalal and Triggs 2005).
        scales: standard deviations of the Gaussians, in pixels, above 0.
        orientations: directions of "orientation", at least 2; the first is that of a gradient along x.

    Raises:
        InputError: names or numbers that are not as above, or nothing to describe a pixel by.
    """

    colours: tuple[str, ...] = COLOURS
    position: bool = True
    filters: tuple[str, ...] = FILTERS[:4]
    scales: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    orientations: int = 8

    def __post_init__(self) -> None:
        for name, known in (("colours", COLOURS), ("filters", FILTERS)):
            object.__setattr__(self, name, _chosen(name, getattr(self, name), known))
        object.__setattr__(self, "scales", _scales(self.scales))
        if not isinstance(self.position, (bool, np.bool_)):
            raise InputError(f"PixelFeatures(position={self.position!r}): position must be True or False")
        count = self.orientations
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or not 2 <= count <= 180:
            raise InputError(f"PixelFeatures(orientations={count!r}): orientations must be a whole number in [2, 180]")
        if not self.names:
            raise InputError("PixelFeatures() describes a pixel by nothing; give colours=, position= or filters=")

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each feature, in the order of the last axis, such as "L", "y" or "gradient 4"."""
        names: list[str] = []
        names += ["red", "green", "blue"] * ("rgb" in self.colours)
        names += list(_LIGHTNESS) * ("lab" in self.colours)
        names += ["x", "y"] * bool(self.position)
        for scale in self.scales:
            for kind in self.filters:
                names += [f"{kind} {part}{scale:g}" for part in self._parts(kind)]
        return tuple(names)

    def __len__(self) -> int:
        return len(self.names)

    def __call__(self, images: Any, *, threads: int | None = None) -> np.ndarray:
        """The features of every pixel.

        Args:
            images: uint8 [h, w, 3] or [n, h, w, 3], RGB.
            threads: share the images of a batch; all cores by default. Results do not depend on them.

        Returns:
            float32 [h, w, count] or [n, h, w, count], in the order of `names`.

        Raises:
            InputError: an image that is not uint8 of three channels, or has no pixels.
        """
        read, batched = read_images(images)
        out = np.empty((*read.shape[:3], len(self)), np.float32)
        with ThreadPoolExecutor(min(thread_count(threads), max(1, len(read)))) as pool:
            list(pool.map(self._describe, read, out))
        return out if batched else out[0]

    def _parts(self, kind: str) -> Sequence[str]:
        """What the name of each feature of a filter has before the scale."""
        if kind == "gaussian":
            return [f"{channel} " for channel in _LIGHTNESS]
        if kind == "structure":
            return ["large ", "small "]
        if kind == "orientation":
            return [f"{180 * k / self.orientations:g}° " for k in range(self.orientations)]
        return [""]

    def _describe(self, image: np.ndarray, out: np.ndarray) -> None:
        """Write the features of one image [h, w, 3] to `out` [h, w, count]."""
        import cv2

        lab = cv2.cvtColor(_linear()[image], cv2.COLOR_LRGB2Lab)  # COLOR_RGB2Lab is off by up to half a unit
        planes = _Planes(out)
        if "rgb" in self.colours:
            planes.add(image)
        if "lab" in self.colours:
            planes.add(lab)
        if self.position:
            height, width = image.shape[:2]
            planes.add(((np.arange(width) + 0.5) / width)[None, :])
            planes.add(((np.arange(height) + 0.5) / height)[:, None])
        for scale in self.scales if self.filters else ():
            smooth = blur(lab if "gaussian" in self.filters else lab[..., 0], scale)
            light = smooth[..., 0] if smooth.ndim == 3 else smooth
            across, down = (cv2.Sobel(light, -1, *axes, ksize=1, scale=0.5, borderType=_BORDER) for axes in _AXES)
            for kind in self.filters:
                if kind == "gaussian":
                    planes.add(smooth)
                elif kind == "gradient":
                    planes.add(np.hypot(across, down))  # cv2.magnitude depends on where memory lies
                elif kind == "laplacian":
                    planes.add(cv2.Laplacian(light, -1, ksize=1, borderType=_BORDER))
                elif kind == "structure":
                    planes.add(_structure(across, down, 2 * scale))
                else:
                    planes.add(_orientation(across, down, 2 * scale, self.orientations))


@functools.lru_cache(maxsize=1)
def _linear() -> np.ndarray:
    """Of each level of sRGB its share of light, float32 [256]."""
    levels = np.arange(256) / 255
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4).astype(np.float32)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """A float32 image [h, w] or [h, w, c] under a Gaussian of `sigma` pixels, cut off at four of them."""
    import cv2

    side = 2 * int(TRUNCATE * sigma + 0.5) + 1
    return cv2.GaussianBlur(image, (side, side), sigma, borderType=_BORDER)


def _structure(across: np.ndarray, down: np.ndarray, window: float) -> np.ndarray:
    """Eigenvalues [h, w, 2] of the structure tensor, the larger one first."""
    xx, yy, xy = np.moveaxis(blur(np.stack([across * across, down * down, across * down], -1), window), -1, 0)
    mean = (xx + yy) / 2
    apart = np.hypot((xx - yy) / 2, xy)
    return np.stack([mean + apart, np.maximum(mean - apart, 0)], -1)


def _orientation(across: np.ndarray, down: np.ndarray, window: float, count: int) -> np.ndarray:
    """The gradient's length by its direction, [h, w, count]."""
    length = np.hypot(across, down)
    place = np.mod(np.arctan2(down, across) * np.float32(count / math.pi), count)  # in steps of pi / count
    far = np.abs(place[..., None] - np.arange(count, dtype=np.float32))
    share = np.maximum(0, 1 - np.minimum(far, count - far))
    parts = share * length[..., None]
    return np.stack([blur(np.ascontiguousarray(parts[..., k]), window) for k in range(count)], -1)


class _Planes:
    """Fills the last axis of an array from its beginning."""

    def __init__(self, out: np.ndarray) -> None:
        self._out, self._next = out, 0

    def add(self, values: np.ndarray) -> None:
        """One plane [h, w] (or what becomes one), or several [h, w, k]."""
        count = values.shape[-1] if values.ndim == 3 else 1
        self._out[..., self._next : self._next + count] = values if values.ndim == 3 else values[..., None]
        self._next += count


def _chosen(name: str, value: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    """Names out of `known`, each once, in its order."""
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, (tuple, list, set)) else None
    if names is None or any(entry not in known for entry in names):
        raise InputError(f"PixelFeatures({name}={value!r}): {name} must be some of {', '.join(map(repr, known))}")
    return tuple(entry for entry in known if entry in names)


def _scales(value: Any) -> tuple[float, ...]:
    try:
        scales = tuple(float(scale) for scale in value)
    except (TypeError, ValueError):
        scales = (math.nan,)
    if not all(0 < scale <= 1000 for scale in scales):
        raise InputError(f"PixelFeatures(scales={value!r}): scales must be numbers of pixels in (0, 1000]")
    return scales
