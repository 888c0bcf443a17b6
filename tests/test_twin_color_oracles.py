"""The twin's colours, blur, noise and random numbers against torchvision, OpenCV, SciPy and Random123."""

from __future__ import annotations

import math

import numpy as np
import pytest

import oracles
import twin

# torchvision's adjust_saturation and adjust_contrast use the weights 0.2989, 0.587, 0.114
GREY_TV = np.array([0.2989, 0.587, 0.114])


@pytest.fixture
def image(rng) -> np.ndarray:
    """uint8 [24, 31, 3] with dark, bright, grey and saturated pixels, and a range short of 0..255."""
    image = rng.integers(9, 240, (24, 31, 3))
    image[:4] = image[:4, :, :1]
    image[4:6, :, 1:] = 9
    return image.astype(np.uint8)


def one(frame, name, numbers=None, dtype=np.uint8, low=0.0, high=255.0, linear=True):
    """One active op on one frame -> float64 [h, w, C], saturated."""
    array = None if numbers is None else np.asarray(numbers)[None]
    out = twin.colour(np.float64(frame)[None], [name], [(array, np.ones(1, np.uint8))], low, high, dtype, linear)[0]
    return np.clip(out, low, high)


def affine(a, k=None, d=0.0) -> np.ndarray:
    a = np.asarray(a) * np.eye(3) if np.ndim(a) == 0 else np.asarray(a)
    k = np.zeros((3, 3)) if k is None else k
    return np.concatenate([a, k, np.full((3, 1), d)], axis=1)


def unit(image) -> np.ndarray:
    return np.float32(image) / np.float32(255)


def test_affine_expresses_brightness_contrast_and_saturation(image):
    x = unit(image)
    rows = np.ones((3, 1))
    cases = {
        "adjust_brightness": (1.7, affine(1.7)),
        "adjust_contrast": (1.6, affine(1.6, k=(1 - 1.6) * rows * GREY_TV)),
        "adjust_saturation": (0.4, affine(0.4 * np.eye(3) + (1 - 0.4) * rows * GREY_TV)),
    }
    for name, (amount, numbers) in cases.items():
        ours = one(x, "affine", numbers, np.float32, 0.0, 1.0)
        np.testing.assert_allclose(ours, oracles.torchvision(name, x, amount), atol=2e-6, err_msg=name)


def test_affine_means_are_taken_before_saturation_and_at_their_place(image):
    x = np.float64(image)[None]
    bright, to_mean = affine(3.0)[None], affine(0.0, k=np.eye(3))[None]
    active = np.ones(1, np.uint8)
    out = twin.colour(x, ["affine", "affine"], [(bright, active), (to_mean, active)], 0.0, 255.0, np.uint8)
    np.testing.assert_allclose(out[0, 0, 0], 3.0 * x[0].mean(axis=(0, 1)), rtol=1e-12)


@pytest.mark.parametrize("shift", [-0.5, -0.13, 0.0, 0.2, 0.5])
def test_hue_agrees_with_torchvision(image, shift):
    theirs = oracles.torchvision("adjust_hue", unit(image), shift)
    np.testing.assert_allclose(one(unit(image), "hue", shift, np.float32, 0.0, 1.0), theirs, atol=2e-6)


def test_hue_leaves_a_fourth_channel_alone(image):
    four = np.concatenate([image, image[..., :1]], axis=-1)
    out = one(four, "hue", 0.3)
    assert np.array_equal(out[..., 3], four[..., 3])
    np.testing.assert_allclose(out[..., :3], one(image, "hue", 0.3))


@pytest.mark.parametrize(
    ("name", "arguments", "function"),
    [
        ("posterize", (3,), lambda i: i & 0xE0),
        ("solarize", (100,), lambda i: np.where(i >= 100, 255 - i, i)),
        ("invert", (), lambda i: 255 - i),
    ],
)
def test_tables_express_level_functions(image, name, arguments, function):
    numbers = function(np.arange(256))[:, None] / 255
    theirs = oracles.torchvision(name, image, *arguments)
    assert np.array_equal(twin.cast(one(image, "table", np.float32(numbers)), np.uint8), theirs)


def test_linear_table_expresses_gamma_on_floats(image):
    nodes = np.linspace(0, 1, 4097)[:, None] ** 1.8
    theirs = oracles.torchvision("adjust_gamma", unit(image), 1.8)
    np.testing.assert_allclose(one(unit(image), "table", nodes, np.float32, 0.0, 1.0), theirs, atol=1e-6)


def test_stepped_table_expresses_solarize_on_floats_at_nodes():
    x = (np.arange(4097) / 4096).reshape(1, -1, 1)
    nodes = np.where(np.arange(4097) >= 1000, 1 - np.arange(4097) / 4096, np.arange(4097) / 4096)[:, None]
    ours = one(x, "table", nodes, np.float32, 0.0, 1.0, linear=False)
    theirs = oracles.torchvision("solarize", np.repeat(np.float32(x), 3, axis=2), 1000 / 4096)
    np.testing.assert_allclose(ours[..., 0], theirs[..., 0], atol=1e-7)
    between = np.array([998.9, 999.0, 999.9, 999.9985, 999.9995, 1000.5]).reshape(1, -1, 1) / 4096
    wanted = nodes[[998, 999, 999, 999, 1000, 1000], 0]  # the node below, but for a hair's breadth
    assert np.array_equal(one(between, "table", nodes, np.float32, 0.0, 1.0, linear=False)[0, :, 0], wanted)


def test_autocontrast_and_equalize_agree_with_torchvision(image):
    flat = image.copy()
    flat[..., 1] = 77
    two = flat.copy()
    two[..., 0] = np.where(flat[..., 0] > 100, 200, 3)
    for frame in (image, flat, two):
        theirs = oracles.torchvision("autocontrast", unit(frame))
        np.testing.assert_allclose(one(unit(frame), "autocontrast", None, np.float32, 0, 1.0), theirs, atol=1e-6)
        theirs = oracles.torchvision("equalize", frame)
        assert np.array_equal(twin.cast(one(frame, "equalize"), np.uint8), theirs)


def test_erase_agrees_with_torchvision_and_later_ops_lie_on_top(image):
    torch = oracles.torch_module()
    theirs = oracles.torchvision("erase", image, 3, 5, 10, 8, torch.full((3, 1, 1), 17, dtype=torch.uint8))
    rects = np.array([[[3, 5, 13, 13], [30, 2, 40, 9]]], np.int32)  # the second one lies outside
    active = np.ones(1, np.uint8)
    one_op = twin.erase([image], [("rects", [17] * 3)], [(rects, active, None)], 0, 255)
    assert np.array_equal(one_op[0], theirs)
    grid = np.array([[8, 8, 4, 4, 0, 0]], np.float32)
    kinds = [("rects", [17] * 3), ("grid", [5] * 3)]
    both = twin.erase([image], kinds, [(rects, active, None), (grid, active, None)], 0, 255)
    assert (both[0, :4, :4] == 5).all()
    assert (both[0, 8:12, 8:12] == 5).all()
    assert (both[0, 4, 5] == 17).all()
    assert np.array_equal(both[0, 4:8, :5], image[4:8, :5])


def test_noise_fill_is_uniform_over_the_range_and_independent_per_op(image):
    whole = np.array([[[0, 0, 999, 999]]], np.int32)
    keys, active = np.array([[3, 4]], np.uint32), np.ones(1, np.uint8)
    big = np.zeros((1, 100, 100, 3))
    first = twin.erase(big, [("rects", None)], [(whole, active, keys)], -1, 3)
    idle = (np.ones((1, 6)), np.zeros(1), None)
    second = twin.erase(big, [("grid", [0.0] * 3), ("rects", None)], [idle, (whole, active, keys)], -1, 3)
    e = np.arange(30000)
    words = [np.stack(twin.threefry2x32(3, 4, e // 2, 0 * e + place))[e % 2, e] for place in (1, 2)]
    assert np.array_equal(first.ravel(), -1 + (words[0] >> 8) * 2.0**-24 * 4)
    assert np.array_equal(second.ravel(), -1 + (words[1] >> 8) * 2.0**-24 * 4)
    for noise in (first, second):
        assert (noise >= -1).all() and (noise < 3).all()
        assert abs(noise.mean() - 1) < 0.03
        assert abs(noise.std() - 4 / math.sqrt(12)) < 0.02
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.03


@pytest.mark.parametrize(("size", "sigma"), [(3, 0.8), (7, 2.0), (23, 5.0)])
def test_blur_agrees_with_opencv_and_torchvision(image, size, sigma):
    weights = oracles.opencv_gaussian(size, sigma)
    ours = twin.gaussian_blur([image], [weights], [1])[0]
    np.testing.assert_allclose(ours, oracles.opencv_blur(np.float64(image), size, sigma), atol=1e-9)
    theirs = oracles.torchvision("gaussian_blur", np.float32(image), [size, size], [sigma, sigma])
    np.testing.assert_allclose(ours, theirs, atol=1e-2)


def test_blur_of_sides_shorter_than_the_radius(rng):
    weights = oracles.opencv_gaussian(11, 3.0)
    for shape in ((1, 1, 1), (1, 6, 2), (2, 3, 1)):
        image = rng.uniform(0, 255, shape)
        theirs = oracles.opencv_blur(image, 11, 3.0)
        np.testing.assert_allclose(twin.gaussian_blur([image], [weights], [1])[0], theirs, atol=1e-9)


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [  # Random123's known answers for threefry2x32 with 20 rounds
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_known_answers(key, counter, expected):
    assert tuple(int(w) for w in twin.threefry2x32(*key, *counter)) == expected


def test_gaussian_noise_is_standard_normal():
    from scipy import stats

    grey = np.full((1, 120, 120, 3), 0.5)
    noise = twin.gaussian_noise(grey, [0.1], np.array([[7, 9]], np.uint32), [1], -2.0, 3.0)
    z = (noise - 0.5) / (0.1 * 5)
    e = np.arange(z.size)
    words = np.stack(twin.threefry2x32(7, 9, e // 2, 0 * e))[e % 2, e]
    middle_of_bin = ((words >> 8) + 0.5) / 2**24
    np.testing.assert_allclose(z.ravel(), stats.norm.ppf(middle_of_bin), atol=1e-9)
    assert stats.kstest(z.ravel(), "norm").pvalue > 0.01
    assert abs(np.corrcoef(z.ravel()[:-1], z.ravel()[1:])[0, 1]) < 0.02


def test_cast_rounds_half_to_even_and_clips():
    values = np.array([-3.0, 0.5, 1.5, 2.5, 254.5, 255.5, 999.0])
    assert twin.cast(values, np.uint8).tolist() == [0, 0, 2, 2, 254, 255, 255]
    assert twin.cast(np.array([1e9, 0.1]), np.float16).tolist() == [np.inf, np.float16(0.1)]
