"""Exact cases (flips, turns and shifts are bytes), borders, and matrices that no policy would make."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import twin
from native_cases import (
    FILL_MODES,
    INTERPOLATIONS,
    RANGES,
    assert_same,
    call,
    chain,
    random_images,
    run,
    setup,
    zoo,
)

SIZES = [(1, 1), (1, 7), (5, 3), (17, 31), (64, 48), (2, 601)]


def exact_cases(height: int, width: int):
    """name -> (matrix, output size, what NumPy does)."""
    h, w = height, width
    y, x = h // 3, w // 2
    return {
        "identity": (np.eye(3), (h, w), lambda a: a),
        "flip_x": ([[-1, 0, w], [0, 1, 0], [0, 0, 1]], (h, w), lambda a: a[:, ::-1]),
        "flip_y": ([[1, 0, 0], [0, -1, h], [0, 0, 1]], (h, w), lambda a: a[::-1]),
        "half_turn": ([[-1, 0, w], [0, -1, h], [0, 0, 1]], (h, w), lambda a: a[::-1, ::-1]),
        "transpose": ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], (w, h), lambda a: a.swapaxes(0, 1)),
        "quarter_left": ([[0, -1, w], [1, 0, 0], [0, 0, 1]], (w, h), lambda a: np.rot90(a)),
        "quarter_right": ([[0, 1, 0], [-1, 0, h], [0, 0, 1]], (w, h), lambda a: np.rot90(a, -1)),
        "crop": ([[1, 0, x], [0, 1, y], [0, 0, 1]], (h - y, w - x), lambda a: a[y:, x:]),
        "scaled_homogeneous": (np.eye(3) * 4, (h, w), lambda a: a),
    }  # fmt: skip


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_flips_turns_and_crops_are_bytes(rng, dtype, interpolation, channels):
    for size in SIZES:
        for name, (matrix, out_size, expected) in exact_cases(*size).items():
            for fill_mode in FILL_MODES:
                s = setup(channels, dtype, interpolation=interpolation, fill_mode=fill_mode)
                images = random_images(rng, (1, *size, channels), dtype)
                got = run(s, call(images, out_size, s, matrices=np.float32([[matrix]])))
                assert np.array_equal(got[0], expected(images[0])), (name, size, fill_mode)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_integer_shifts_follow_numpys_padding(rng, interpolation):
    modes = {"constant": "constant", "nearest": "edge", "reflect": "symmetric", "wrap": "wrap"}
    image = random_images(rng, (1, 6, 9, 3), "uint8")
    for fill_mode, numpy_mode in modes.items():
        extra = {"constant_values": 200} if fill_mode == "constant" else {}
        padded = np.pad(image[0], ((40, 40), (40, 40), (0, 0)), mode=numpy_mode, **extra)
        s = setup(3, interpolation=interpolation, fill_mode=fill_mode, fill_value=[200.0] * 3)
        for dy, dx in ((0, 0), (3, -4), (-33, 30), (38, -36)):
            matrix = np.float32([[[[1, 0, dx], [0, 1, dy], [0, 0, 1]]]])
            got = run(s, call(image, (6, 9), s, matrices=matrix))
            assert np.array_equal(got[0], padded[40 + dy : 46 + dy, 40 + dx : 49 + dx]), (fill_mode, dy, dx)


@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_without_matrices_the_pixels_are_copied(rng, dtype, channels):
    for size in SIZES:
        s = setup(channels, dtype)
        images = random_images(rng, (3, *size, channels), dtype)
        assert np.array_equal(run(s, call(images, size, s)), images)


@pytest.mark.parametrize("out_dtype", ["uint8", "uint16"])
def test_rounding_is_half_to_even_and_saturates(out_dtype):
    image = np.float32([-3e9, -5, 0.5, 1.5, 2.5, 3.5, 253.5, 254.5, 255.5, 300, 70000, 3e9]).reshape(1, 1, 12, 1)
    s = setup(1, "float32", low=-4e9, high=4e9)
    got = run(s, call(image, (1, 12), s, out_dtype))[0, 0, :, 0].tolist()
    assert got[:8] == [0, 0, 0, 2, 2, 4, 254, 254]
    assert got[8:] == ([255] * 4 if out_dtype == "uint8" else [256, 300, 65535, 65535])


matrix_entries = st.lists(st.floats(-3, 3, width=32), min_size=4, max_size=4)


@settings(max_examples=150)
@given(
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    out_size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    channels=st.integers(1, 6),
    linear=matrix_entries,
    shift=st.tuples(st.floats(-40, 40, width=32), st.floats(-40, 40, width=32)),
    tilt=st.tuples(st.floats(-0.0625, 0.0625, width=32), st.floats(-0.0625, 0.0625, width=32)),
    interpolation=st.sampled_from(INTERPOLATIONS),
    fill_mode=st.sampled_from(FILL_MODES),
    reduction=st.sampled_from([1, 2, 4, 8]),
)
def test_any_matrix_agrees_with_the_twin(
    size, out_size, channels, linear, shift, tilt, interpolation, fill_mode, reduction
):
    matrix = np.float32([[linear[0], linear[1], shift[0]], [linear[2], linear[3], shift[1]], [*tilt, 1]])
    s = setup(channels, interpolation=interpolation, fill_mode=fill_mode, fill_value=[50.0] * channels)
    images = random_images(np.random.default_rng(0), (1, *size, channels), "uint8")
    c = call(images, out_size, s, matrices=matrix[None, None])
    c["reduction"] = np.array([1 if interpolation == "nearest" else reduction], np.int32)
    error = 0 if interpolation == "nearest" else 2e-3
    assert_same(run(s, c), twin.run_pass(s, c), open_=twin.unsure_pass(s, c), error=error)


@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_vectors_at_borders_have_the_bits_of_single_pixels(rng, interpolation, fill_mode, dtype) -> None:
    """Channels that do not lie side by side are read pixel by pixel: what vectors do at a border is the same."""
    for size in ((1, 1), (2, 3), (3, 2), (5, 4), (9, 17), (30, 40)):
        for channels in (1, 3, 4):
            s = setup(channels, dtype, interpolation=interpolation, fill_mode=fill_mode, fill_value=[0.3] * channels)
            cases = zoo(size, (12, 33), rng)
            matrices, grids, frames = chain(np.stack([m for m, _ in cases.values()]), 1, size, (12, 33), rng)
            images = random_images(rng, (len(cases), *size, channels), dtype)
            apart = np.zeros((len(cases), *size, channels + 1), dtype)[..., :channels]
            apart[...] = images
            options = {"matrices": matrices, "fields": grids, "frames": frames}
            found, single = (run(s, call(one, (12, 33), s, **options)) for one in (images, apart))
            np.testing.assert_array_equal(found, single)
