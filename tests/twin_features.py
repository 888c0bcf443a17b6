"""Slow, obvious twins of the pixel features: CIE Lab by its definition, and filters pixel by pixel, in float64."""

from __future__ import annotations

import numpy as np

from onewarp.segment import PixelFeatures


def lab(image: np.ndarray) -> np.ndarray:
    """uint8 sRGB [h, w, 3] -> CIE Lab with the white point D65."""
    srgb = image / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
    x, y, z = np.moveaxis(linear @ np.array(to_xyz).T / (0.950456, 1, 1.088754), -1, 0)
    f = [np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116) for t in (x, y, z)]
    return np.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])], -1)


def at(plane: np.ndarray, y: int, x: int) -> float:
    """The value of a plane [h, w], mirrored at its borders so that the edge pixel repeats."""
    places = []
    for place, side in ((y, plane.shape[0]), (x, plane.shape[1])):
        place %= 2 * side
        places.append(min(place, 2 * side - 1 - place))
    return plane[places[0], places[1]]


def blur(plane: np.ndarray, sigma: float) -> np.ndarray:
    radius = int(4 * sigma + 0.5)
    steps = np.arange(-radius, radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    for axis in (0, 1):
        moved = [
            np.array([[at(plane, y + s * (axis == 0), x + s * (axis == 1)) for x in range(plane.shape[1])]
                      for y in range(plane.shape[0])])
            for s in steps
        ]  # fmt: skip
        plane = sum(w * m for w, m in zip(weights, moved, strict=True))
    return plane


def features(image: np.ndarray, which: PixelFeatures) -> np.ndarray:
    """What `which(image)` has to be, [h, w, count]."""
    h, w = image.shape[:2]
    colour = lab(image)
    planes = [image[..., k] for k in range(3)] if "rgb" in which.colours else []
    planes += [colour[..., k] for k in range(3)] if "lab" in which.colours else []
    if which.position:
        planes += [np.array([[(x + 0.5) / w for x in range(w)]] * h), np.array([[(y + 0.5) / h] * w for y in range(h)])]
    for scale in which.scales:
        smooth = [blur(colour[..., k], scale) for k in range(3)]
        near = {
            (dy, dx): np.array([[at(smooth[0], y + dy, x + dx) for x in range(w)] for y in range(h)])
            for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0))
        }
        gx, gy = (near[0, 1] - near[0, -1]) / 2, (near[1, 0] - near[-1, 0]) / 2
        for kind in which.filters:
            if kind == "gaussian":
                planes += smooth
            elif kind == "gradient":
                planes.append(np.sqrt(gx**2 + gy**2))
            elif kind == "laplacian":
                planes.append(sum(near.values()) - 4 * smooth[0])
            elif kind == "structure":
                xx, xy, yy = (blur(product, 2 * scale) for product in (gx * gx, gx * gy, gy * gy))
                values = np.linalg.eigvalsh(np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -1))
                planes += [values[..., 1], values[..., 0]]
            elif kind == "orientation":
                parts = np.zeros((which.orientations, h, w))
                for y in range(h):
                    for x in range(w):
                        place = np.degrees(np.arctan2(gy[y, x], gx[y, x])) % 180 / (180 / which.orientations)
                        first, rest = int(place), place - int(place)
                        length = np.hypot(gx[y, x], gy[y, x])
                        parts[first % which.orientations, y, x] += (1 - rest) * length
                        parts[(first + 1) % which.orientations, y, x] += rest * length
                planes += [blur(part, 2 * scale) for part in parts]
    return np.stack(planes, -1)
