"""Pixel features: equal to a slow twin and to SciPy, known values on simple images, and every kind of bad input."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import twin_features as twin
from data_helpers import picture
from onewarp.errors import InputError
from onewarp.segment import PixelFeatures
from onewarp.segment.features import FILTERS

ALL = PixelFeatures(filters=FILTERS, scales=(1, 1.7), orientations=5)
IMAGE = picture(9, 13)


def named(image: np.ndarray, which: PixelFeatures) -> dict[str, np.ndarray]:
    return dict(zip(which.names, np.moveaxis(which(image), -1, 0), strict=True))


def grey(levels: np.ndarray) -> np.ndarray:
    return np.repeat(levels.astype(np.uint8)[..., None], 3, -1)


def test_the_features_are_those_of_the_twin() -> None:
    found, expected = ALL(IMAGE), twin.features(IMAGE, ALL)
    assert found.shape == expected.shape == (9, 13, len(ALL)) and found.dtype == np.float32
    for k, name in enumerate(ALL.names):
        scale = max(1.0, abs(expected[..., k]).max())
        assert abs(found[..., k] - expected[..., k]).max() / scale < 2e-3, name
    other = twin.features(IMAGE, dataclasses.replace(ALL, scales=(1, 1.9)))  # the check can fail
    assert abs(found - other).max() > 0.1


@pytest.mark.parametrize("scale", [0.5, 1, 3, 8])
def test_gaussians_and_laplacians_are_scipys(scale: float) -> None:
    image = picture(30, 40)
    found = named(image, PixelFeatures(scales=(scale,)))
    for channel in "Lab":
        smooth = ndimage.gaussian_filter(found[channel].astype(np.float64), scale, mode="reflect")
        np.testing.assert_allclose(found[f"gaussian {channel} {scale:g}"], smooth, atol=1e-3)
        if channel == "L":
            np.testing.assert_allclose(
                found[f"laplacian {scale:g}"], ndimage.laplace(smooth, mode="reflect"), atol=1e-3
            )


def test_a_flat_image_has_no_edges() -> None:
    for name, values in named(np.full((12, 15, 3), (10, 200, 90), np.uint8), ALL).items():
        if name.split()[0] in ("gradient", "laplacian", "structure", "orientation"):
            np.testing.assert_allclose(values, 0, atol=1e-4, err_msg=name)
        elif name not in ("x", "y"):
            np.testing.assert_allclose(values, values[0, 0], atol=1e-4, err_msg=name)


def test_white_black_and_grey_have_the_known_lightness() -> None:
    found = named(grey(np.array([[0, 119, 255]])), PixelFeatures(filters=()))
    np.testing.assert_allclose(found["L"], [[0, 50.03, 100]], atol=0.05)
    np.testing.assert_allclose([found["a"], found["b"]], np.zeros((2, 1, 3)), atol=0.05)
    np.testing.assert_array_equal(found["red"], [[0, 119, 255]])


def test_places_are_centres_of_pixels() -> None:
    found = named(IMAGE[:2, :4], PixelFeatures(colours=(), filters=()))
    np.testing.assert_array_equal(found["x"], [[0.125, 0.375, 0.625, 0.875]] * 2)
    np.testing.assert_array_equal(found["y"], [[0.25] * 4, [0.75] * 4])


@pytest.mark.parametrize("axis", [0, 1])
def test_an_edge_has_one_direction_and_a_corner_two(axis: int) -> None:
    step = np.where(np.arange(40) < 20, 60, 200)
    edge = grey(np.broadcast_to(step[:, None] if axis == 0 else step, (40, 40)))
    corner = grey(np.where((step[:, None] > 100) & (step > 100), 200, 60))
    which = PixelFeatures(colours=(), position=False, filters=FILTERS, scales=(1,), orientations=4)
    at_edge, at_corner = named(edge, which), named(corner, which)
    assert at_edge["structure large 1"][20, 20] > 1 > 1e-3 > at_edge["structure small 1"][20, 20]
    assert at_corner["structure small 1"][20, 20] > 1
    by_direction = [at_edge[f"orientation {angle}° 1"][20, 20] for angle in (0, 45, 90, 135)]
    along, *others = (by_direction[2], *by_direction[:2], by_direction[3]) if axis == 0 else by_direction
    assert along > 1 and max(others) < 1e-3
    gradient = at_edge["gradient 1"][20] if axis else at_edge["gradient 1"][:, 20]
    assert gradient.argmax() in (19, 20) and gradient[5] < 1e-3


def test_the_laplacian_is_high_in_a_dark_spot() -> None:
    levels = np.full((21, 21), 200)
    levels[10, 10] = 0
    assert named(grey(levels), PixelFeatures())["laplacian 1"][10, 10] > 1
    assert named(grey(255 - levels), PixelFeatures())["laplacian 1"][10, 10] < -1


def test_batches_threads_and_strides_make_no_difference() -> None:
    images = np.stack([picture(20, 25, seed) for seed in range(5)])
    expected = np.stack([ALL(image, threads=1) for image in images])
    for threads in (None, 1, 3):
        np.testing.assert_array_equal(ALL(images, threads=threads), expected)
    np.testing.assert_array_equal(ALL(np.asfortranarray(images)), expected)
    frozen = images.copy()
    frozen.flags.writeable = False
    ALL(frozen)
    np.testing.assert_array_equal(frozen, images)
    assert ALL(images[:0]).shape == (0, 20, 25, len(ALL))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 1), (2, 3)])
def test_small_images_work(size: tuple[int, int]) -> None:
    found = ALL(IMAGE[: size[0], : size[1]])
    assert found.shape == (*size, len(ALL)) and np.isfinite(found).all()
    np.testing.assert_allclose(found, twin.features(IMAGE[: size[0], : size[1]], ALL), atol=0.05)


def test_features_have_names_and_can_be_compared() -> None:
    assert len(PixelFeatures()) == len(PixelFeatures().names) == 36 == len(set(PixelFeatures().names))
    assert PixelFeatures(colours="lab", filters=(), position=False).names == ("L", "a", "b")
    assert PixelFeatures(filters=("gradient", "gaussian")) == PixelFeatures(filters=["gaussian", "gradient"])
    assert hash(ALL) == hash(dataclasses.replace(ALL)) != hash(PixelFeatures())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colours": "hsv"}, "colours must be some of 'rgb', 'lab'"),
        ({"colours": 3}, "colours must be some of"),
        ({"filters": ("gabor",)}, "filters must be some of 'gaussian', 'gradient'"),
        ({"scales": (0,)}, "scales must be numbers of pixels in"),
        ({"scales": (1, float("nan"))}, "scales must be"),
        ({"scales": 2}, "scales must be"),
        ({"scales": "ab"}, "scales must be"),
        ({"position": 1}, "position must be True or False"),
        ({"orientations": 1}, "orientations must be a whole number in"),
        ({"orientations": 2.5}, "orientations must be a whole number in"),
        ({"colours": (), "position": False, "filters": ()}, "by nothing"),
        ({"colours": (), "position": False, "scales": ()}, "by nothing"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PixelFeatures(**options)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (IMAGE.astype(np.float32), "image is float32, must be uint8"),
        (IMAGE[..., 0], "repeat the one channel"),
        (IMAGE[..., :1], "repeat the one channel"),
        (np.moveaxis(IMAGE, -1, 0), "channels come last"),
        (IMAGE[:0], "there are no pixels"),
        ([IMAGE, IMAGE[:5]], "images have different sizes; pass them one by one"),
        (None, "must be"),
    ],
)
def test_bad_images_are_refused(image: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ALL(image)


@pytest.mark.parametrize("threads", [0, 1.5, True])
def test_bad_threads_are_refused(threads: Any) -> None:
    with pytest.raises(InputError, match="threads="):
        ALL(IMAGE, threads=threads)
