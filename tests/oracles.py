"""What others wrote: torchvision, OpenCV, SciPy, Pillow and Albumentations behind one convention.

Images in and out are NumPy [H, W, C]; matrices are 3x3 in this project's sense (output point to input point,
centre of the first pixel at 0.5, 0.5). Each library is imported on first use: importing this file costs nothing.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import numpy as np
import pytest


def torch_module() -> Any:
    return pytest.importorskip("torch", reason="torch is not installed")


@cache
def torchvision_functional() -> Any:
    """torchvision.transforms.functional. CPU wheels lack two operators that torchvision wants to register."""
    torch = torch_module()
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor a, Tensor b, float c) -> Tensor")
    torchvision_functional.keep = library  # type: ignore[attr-defined]  # its definitions live as long as it does
    return pytest.importorskip("torchvision.transforms.functional", reason="torchvision is not installed")


@cache
def albumentations() -> Any:
    """The albumentations module, told not to look for updates on the network."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as module

    return module


def torchvision(name: str, image: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
    """torchvision.transforms.functional.<name> on one image [H, W, C]; interpolation is given by its name."""
    torch = torch_module()
    functional = torchvision_functional()
    if "interpolation" in kwargs:
        kwargs["interpolation"] = functional.InterpolationMode(kwargs["interpolation"])
    tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0)))
    return np.moveaxis(getattr(functional, name)(tensor, *args, **kwargs).numpy(), 0, -1)


def torchvision_affine_matrix(size, angle: float, translate, scale: float, shear) -> np.ndarray:
    """Our matrix of torchvision's affine(angle, translate, scale, shear): about the image centre."""
    six = torchvision_functional()._get_inverse_affine_matrix([0.0, 0.0], angle, translate, scale, shear)
    height, width = size
    there, back = np.eye(3), np.eye(3)
    there[:2, 2], back[:2, 2] = (width / 2, height / 2), (-width / 2, -height / 2)
    return there @ np.array([six[:3], six[3:], [0, 0, 1]]) @ back


def torchvision_perspective_matrix(startpoints, endpoints) -> np.ndarray:
    """Our matrix of torchvision's perspective, which pairs corners in the same continuous coordinates."""
    eight = torchvision_functional()._get_perspective_coeffs(startpoints, endpoints)
    return np.array([*eight, 1.0]).reshape(3, 3)


OPENCV_BORDERS = {
    "constant": "BORDER_CONSTANT",
    "nearest": "BORDER_REPLICATE",
    "reflect": "BORDER_REFLECT",
    "wrap": "BORDER_WRAP",
}


def opencv_remap(image: np.ndarray, x, y, fill_mode: str, fill: float = 0.0) -> np.ndarray:
    """cv2.remap, bilinear, at our points x, y [h, w]. OpenCV rounds coordinates to 1/32 pixel."""
    import cv2

    border = getattr(cv2, OPENCV_BORDERS[fill_mode])
    maps = (np.float32(x - 0.5), np.float32(y - 0.5))
    out = cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=border, borderValue=(fill,) * 4)
    return out.reshape(*x.shape, image.shape[2])


def opencv_blur(image: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """cv2.GaussianBlur, border reflect-101, and the weights it used [size]."""
    import cv2

    out = cv2.GaussianBlur(image, (size, size), sigma, borderType=cv2.BORDER_REFLECT_101)
    return out.reshape(image.shape)


def opencv_gaussian(size: int, sigma: float) -> np.ndarray:
    import cv2

    return cv2.getGaussianKernel(size, sigma, cv2.CV_64F)[:, 0]


SCIPY_MODES = {"constant": "grid-constant", "nearest": "nearest", "reflect": "reflect", "wrap": "grid-wrap"}


def scipy_sample(image: np.ndarray, x, y, order: int, fill_mode: str, fill: float = 0.0) -> np.ndarray:
    """scipy.ndimage.map_coordinates in float64 at our points x, y [h, w]; order 0 or 1."""
    from scipy import ndimage

    planes = [
        ndimage.map_coordinates(
            np.float64(image[..., c]), (y - 0.5, x - 0.5), order=order, mode=SCIPY_MODES[fill_mode], cval=fill
        )
        for c in range(image.shape[2])
    ]
    return np.stack(planes, axis=-1)


def torch_resize(image: np.ndarray, size, mode: str, antialias: bool = False) -> np.ndarray:
    """torch's interpolate in float64, half-pixel centres. Its bicubic has a = -0.5 only with antialias."""
    torch = torch_module()
    tensor = torch.from_numpy(np.float64(np.moveaxis(image, -1, 0))[None])
    corners = None if mode == "area" else False
    out = torch.nn.functional.interpolate(tensor, tuple(size), mode=mode, align_corners=corners, antialias=antialias)
    return np.moveaxis(out[0].numpy(), 0, -1)


def pillow_bicubic(image: np.ndarray, size) -> np.ndarray:
    """Pillow's bicubic resize (a = -0.5) of float planes; borders renormalise the taps that exist."""
    from PIL import Image

    planes = [Image.fromarray(np.float32(image[..., c])) for c in range(image.shape[2])]
    return np.stack([np.asarray(p.resize(size[::-1], Image.Resampling.BICUBIC)) for p in planes], axis=-1)
