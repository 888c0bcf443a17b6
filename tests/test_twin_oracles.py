"""The twin's geometry against SciPy, torch, torchvision, OpenCV, Pillow and Albumentations."""

from __future__ import annotations

import numpy as np
import pytest

import oracles
import twin
from twin_warp import Points, reduced, sample

MODES = ("constant", "nearest", "reflect", "wrap")


def photo(rng, height=33, width=47, channels=3) -> np.ndarray:
    """Smooth plus noise, uint8."""
    y, x = np.mgrid[:height, :width]
    smooth = 127 + 90 * np.sin(x / 7)[..., None] * np.cos(y / 5)[..., None]
    return np.uint8(np.clip(smooth + rng.normal(0, 15, (height, width, channels)), 0, 255))


def warped(image, matrix, out_size, mode="constant", fill=0.0, interpolation="bilinear"):
    settings = {"interpolation": interpolation, "fill_mode": mode, "fill_value": fill}
    return twin.render([image], [[matrix]], out_size=out_size, **settings)[0]


@pytest.mark.parametrize("mode", MODES)
def test_bilinear_taps_agree_with_scipy_far_outside_the_image(rng, mode):
    image = photo(rng)
    x, y = rng.uniform(-150, 200, (2, 40, 50))
    ours = sample(np.float64(image), x, y, "bilinear", mode, [31.0] * 3)
    np.testing.assert_allclose(ours, oracles.scipy_sample(image, x, y, 1, mode, 31.0), atol=1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_nearest_agrees_with_scipy(rng, mode):
    image = photo(rng)
    x, y = rng.uniform(-150, 200, (2, 40, 50))
    ours = sample(np.float64(image), x, y, "nearest", mode, [31.0] * 3)
    assert np.array_equal(ours, oracles.scipy_sample(image, x, y, 0, mode, 31.0))


@pytest.mark.parametrize("mode", MODES)
def test_bilinear_agrees_with_opencv_remap(rng, mode):
    image = photo(rng)
    x, y = rng.uniform(-20, 60, (2, 40, 50))
    x, y = np.round(x * 32) / 32, np.round(y * 32) / 32  # what OpenCV can express
    ours = sample(np.float64(image), x, y, "bilinear", mode, [31.0] * 3)
    assert abs(ours - oracles.opencv_remap(image, x, y, mode, 31.0)).max() <= 1.0


@pytest.mark.parametrize("size", [(66, 94), (40, 50), (17, 13), (33, 1)])
def test_resize_matrix_agrees_with_torch(rng, size):
    image = photo(rng)
    matrix = np.diag([47 / size[1], 33 / size[0], 1.0])
    theirs = oracles.torch_resize(image, size, "bilinear")
    np.testing.assert_allclose(warped(image, matrix, size, "nearest"), theirs, atol=1e-9)
    if size[0] > 33:  # torchvision resizes uint8 in float32 and rounds
        rounded = oracles.torchvision("resize", image, list(size), antialias=False)
        assert abs(warped(image, matrix, size, "nearest") - rounded).max() <= 0.501


def test_bicubic_agrees_with_torch_and_pillow_away_from_the_border(rng):
    image = photo(rng)
    matrix = np.diag([47 / 80, 33 / 71, 1.0])
    ours = warped(image, matrix, (71, 80), "nearest", interpolation="bicubic")
    inner = (slice(6, -6), slice(6, -6))
    np.testing.assert_allclose(
        ours[inner], oracles.torch_resize(image, (71, 80), "bicubic", antialias=True)[inner], atol=1e-9
    )
    np.testing.assert_allclose(ours[inner], oracles.pillow_bicubic(image, (71, 80))[inner], atol=1e-3)


@pytest.mark.parametrize("r", [2, 4, 8])
def test_reduction_is_average_pooling(rng, r):
    image = photo(rng, 64, 48)
    theirs = oracles.torch_resize(image, (64 // r, 48 // r), "area")
    np.testing.assert_allclose(reduced(np.float64(image), r), theirs, atol=1e-9)
    ours = twin.render([image], [[np.diag([r, r, 1.0])]], reduction=[r], out_size=(64 // r, 48 // r))[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("r", [2, 4, 8])
def test_partial_blocks_repeat_the_edge_pixel(rng, r):
    image = np.float64(photo(rng, 13, 11))
    padded = np.pad(image, ((0, -13 % r), (0, -11 % r), (0, 0)), mode="edge")
    blocks = [[padded[i : i + r, j : j + r].mean(axis=(0, 1)) for j in range(0, 11, r)] for i in range(0, 13, r)]
    np.testing.assert_allclose(reduced(image, r), np.array(blocks), atol=1e-9)


@pytest.mark.parametrize(
    ("angle", "translate", "scale", "shear"),
    [
        (30, (0, 0), 1, (0, 0)),
        (-75, (5, -3), 1.3, (0, 0)),
        (10, (2, 7), 0.6, (15, -8)),
        (180, (0, 0), 1, (0, 0)),
    ],
)
def test_affine_agrees_with_torchvision(rng, angle, translate, scale, shear):
    image = np.float32(photo(rng))
    theirs = oracles.torchvision("affine", image, angle, list(translate), scale, list(shear), interpolation="bilinear")
    matrix = oracles.torchvision_affine_matrix((33, 47), angle, translate, scale, shear)
    np.testing.assert_allclose(warped(image, matrix, (33, 47)), theirs, atol=0.02)


def test_perspective_agrees_with_torchvision(rng):
    image = np.float32(photo(rng))
    start, end = [[0, 0], [47, 0], [47, 33], [0, 33]], [[4, 2], [40, 5], [45, 30], [1, 28]]
    theirs = oracles.torchvision("perspective", image, start, end, interpolation="bilinear")
    matrix = oracles.torchvision_perspective_matrix(start, end)
    np.testing.assert_allclose(warped(image, matrix, (33, 47)), theirs, atol=0.02)


def test_flips_and_transposes_agree_with_albumentations(rng):
    album, image = oracles.albumentations(), photo(rng)
    cases = {
        album.HorizontalFlip: ([[-1, 0, 47], [0, 1, 0], [0, 0, 1]], (33, 47)),
        album.VerticalFlip: ([[1, 0, 0], [0, -1, 33], [0, 0, 1]], (33, 47)),
        album.Transpose: ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], (47, 33)),
    }
    for transform, (matrix, size) in cases.items():
        for interpolation in ("nearest", "bilinear", "bicubic"):
            ours = warped(image, np.array(matrix), size, interpolation=interpolation)
            assert np.array_equal(ours, transform(p=1)(image=image)["image"]), transform


def test_displacement_field_agrees_with_scipy_between_nodes(rng):
    field, frame = rng.normal(0, 5, (4, 6, 2)), (33.0, 47.0)
    points = Points(60, 70)
    points.transform([[1, 0, -10], [0, 1, -12], [0, 0, 1]])  # partly outside the frame
    x, y = points.x, points.y
    points.displace(field, frame)
    # Nodes sit at multiples of frame/(nodes - 1); scipy's index 0 is our coordinate 0.5.
    move = oracles.scipy_sample(field, x * 5 / 47 + 0.5, y * 3 / 33 + 0.5, 1, "nearest")
    np.testing.assert_allclose(points.x - x, move[..., 0], atol=1e-9)
    np.testing.assert_allclose(points.y - y, move[..., 1], atol=1e-9)


def test_two_matrices_around_a_field_are_applied_in_the_stated_order(rng):
    first, second = np.diag([2.0, 2.0, 1.0]), np.array([[1, 0, 3.0], [0, 1, -1.0], [0, 0, 1]])
    field = np.full((2, 2, 2), 0.25)
    points = twin.source_points(2, 3, [first, second], [field], [(10.0, 10.0)])
    expected = [2 * (0.5 + 3 + 0.25), 2 * max(0.5 - 1 + 0.25, -0.25)]  # M0 (M1 p + F)
    assert [points.x[0, 0], points.y[0, 0]] == expected


def test_denominators_at_or_below_the_horizon_are_filled():
    matrix = [[1, 0, 0], [0, 1, 0], [0.0, 1.0, -1.5]]  # w = y - 1.5: rows 0 and 1 are behind
    image = np.ones((4, 4, 1), np.uint8)
    out = warped(image, matrix, (4, 4), "constant", 9.0)
    assert (out[:2] == 9).all()
    assert not (out[2] == 9).all()
    assert twin.unsure([[matrix]], [], None, "bilinear", "wrap", (4, 4), 1)[0, :2].all()
