"""Shortcuts of the host engine: what uint8 images take in one go, and results written past the caches. Same bits."""

from __future__ import annotations

import numpy as np
import pytest

from native_cases import call, exact, random_images, run, setup, turn

SIZES = [(1, 1), (3, 5), (2, 15), (4, 16), (3, 17), (2, 64), (5, 67), (3, 300)]


def spread_out(images: np.ndarray) -> np.ndarray:
    """The same images with a gap behind each pixel: no shortcut takes them."""
    room = np.full((*images.shape[:3], images.shape[3] + 1), 99, images.dtype)
    room[..., :-1] = images
    return room[..., :-1]


def flipped(size: tuple[int, int]) -> np.ndarray:
    """Upside down."""
    return np.float32([[1, 0, 0], [0, -1, size[0]], [0, 0, 1]]).reshape(1, 1, 3, 3)


def both(rng, images, size, s, dtype, **changes) -> tuple[np.ndarray, np.ndarray]:
    """The result by the shortcut and without it."""
    found = run(s, call(exact(images), size, s, dtype, **changes))
    return found, run(s, call(spread_out(images), size, s, dtype, **changes))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("streamed", [False, True])
def test_scaled_bytes_are_those_of_the_pass(rng, size, channels, streamed) -> None:
    images = random_images(rng, (2, *size, channels), "uint8")
    scale, offset = rng.uniform(0.001, 2, (2, channels)).tolist()
    s = setup(channels, scale=scale, offset=offset)
    for matrices in (None, np.repeat(flipped(size), 2, axis=0)):
        found, expected = both(rng, images, size, s, "float32", matrices=matrices, streamed=streamed)
        np.testing.assert_array_equal(found, expected)
    lifted = setup(channels, scale=scale, offset=offset, low=10.0, high=200.0)  # a range that saturates
    found, expected = both(rng, images, size, lifted, "float32", streamed=streamed)
    np.testing.assert_array_equal(found, expected)


def test_scaled_windows_are_those_of_the_pass(rng) -> None:
    """Windows inside, across each edge, and far outside of the image."""
    images = random_images(rng, (1, 20, 30, 3), "uint8")
    s = setup(3, scale=[0.5, 0.25, 0.125], fill_value=[9.0, 8.0, 7.0])
    for x, y in [
        (0, 0),
        (3, 4),
        (-2, 3),
        (5, -1),
        (12, 2),
        (2, 9),
        (14, 4),
        (15, 4),
        (4, 8),
        (4, 9),
        (500, 0),
        (0, -500),
    ]:
        for rows in (1, -1):
            matrix = np.float32([[1, 0, x], [0, rows, y if rows > 0 else y + 12], [0, 0, 1]]).reshape(1, 1, 3, 3)
            found, expected = both(rng, images, (12, 16), s, "float32", matrices=matrix)
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["grey", "any", "mean", "out of range"])
def test_colour_maps_of_bytes_are_those_of_the_pass(rng, size, kind) -> None:
    images = random_images(rng, (2, *size, 3), "uint8")
    maps = rng.normal(0, 0.4, (2, 3, 7))
    maps[:, :, 3:6] *= kind == "mean"
    if kind == "grey":
        maps[:] = [0.299, 0.587, 0.114, 0, 0, 0, 0]
    if kind == "out of range":
        maps *= 1e6
    changes = {"ops": [(exact(np.float32(maps)), np.array([1, 1], np.uint8))]}
    found, expected = both(rng, images, size, setup(3, ops=["affine"]), "uint8", **changes)
    np.testing.assert_array_equal(found, expected)
    assert kind != "grey" or (found[..., :1] == found).all()


def test_a_map_is_followed_by_rectangles_and_only_where_it_is_active(rng) -> None:
    images, size = random_images(rng, (3, 9, 40, 3), "uint8"), (9, 40)
    maps, active = np.float32(rng.normal(0, 0.4, (3, 3, 7))), np.array([1, 0, 1], np.uint8)
    s = setup(3, ops=["affine"], erase=[("rects", [5.0, 6.0, 7.0])])
    rects = np.int32([[[2, 3, 5, 30]]]).repeat(3, axis=0)
    changes = {"ops": [(maps, active)], "erase": [(rects, np.ones(3, np.uint8), None)]}
    found, expected = both(rng, images, size, s, "uint8", **changes)
    np.testing.assert_array_equal(found, expected)
    assert (found[:, 2:5, 3:30] == [5, 6, 7]).all() and (found[1, 6:] == images[1, 6:]).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float16"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("width", [16, 53, 64, 224])
def test_results_past_the_caches_are_the_same(rng, dtype, channels, width) -> None:
    """Copies, flips and warps, at addresses that suit a vector and at others."""
    size = (6, width)
    images = random_images(rng, (2, *size, channels), "uint8")
    rotated = np.float32(np.eye(3))
    rotated[:2, :2] = turn(11)
    mirror = np.float32([[-1, 0, width], [0, 1, 0], [0, 0, 1]])
    s = setup(channels, scale=[0.7] * channels if dtype != "uint8" else [1.0] * channels, fill_mode="reflect")
    for matrix in (None, flipped(size), mirror, rotated):
        matrices = None if matrix is None else np.tile(matrix.reshape(1, 1, 3, 3), (2, 1, 1, 1))
        plain = run(s, call(images, size, s, dtype, matrices=matrices))
        for shift in (0, 4, 16, 32):
            room = np.zeros(plain.nbytes + 64 + shift, np.uint8)
            start = -room.ctypes.data % 64 + shift
            c = call(images, size, s, dtype, matrices=matrices, streamed=True)
            c["out"] = room[start : start + plain.nbytes].view(dtype).reshape(plain.shape)
            np.testing.assert_array_equal(run(s, c), plain)
            assert not room[:start].any() and not room[start + plain.nbytes :].any()
