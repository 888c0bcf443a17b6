"""The comparison itself can fail: half a pixel, mirrored taps, wrong fill, one level, an unwritten element."""

from __future__ import annotations

import numpy as np
import pytest

import twin
import twin_warp
from native_cases import about, assert_same, call, random_images, setup, turn

MATRIX = np.float32([[about(turn(25), (10, 8), (10, 8))]])


def compare(got, values, **kwargs):
    assert_same(got, values, **({"error": 2e-3, "strict": 0.999} | kwargs))


@pytest.fixture
def case(rng):
    s = setup(3, fill_value=[10.0, 20.0, 30.0])
    return s, call(random_images(rng, (1, 16, 20, 3), "uint8"), (16, 20), s, matrices=MATRIX)


def test_the_right_result_passes(case):
    values = twin.run_pass(*case)
    compare(twin.cast(values, np.uint8), values)


@pytest.mark.parametrize("move", [0.5, 0.05, 1.0])
def test_a_shift_of_a_fraction_of_a_pixel_fails(case, move):
    s, c = case
    shifted = MATRIX.copy()
    shifted[..., 0, 2] += move
    wrong = twin.cast(twin.run_pass(s, c | {"matrices": shifted}), np.uint8)
    with pytest.raises(AssertionError, match="differ from the twin"):
        compare(wrong, twin.run_pass(s, c))


def test_mirrored_taps_fail(case, monkeypatch):
    values = twin.run_pass(*case)
    monkeypatch.setitem(twin_warp.KERNELS, "bilinear", (lambda t: np.minimum(abs(t), 1.0), range(2)))
    with pytest.raises(AssertionError, match="differ from the twin"):
        compare(twin.cast(twin.run_pass(*case), np.uint8), values)


def test_a_wrong_fill_fails(case):
    s, c = case
    for change in (
        {"fill_value": [10.0, 20.0, 31.0]},
        {"fill_value": [30.0, 20.0, 10.0]},
        {"fill_mode": "reflect"},
    ):
        with pytest.raises(AssertionError, match="differ from the twin"):
            compare(twin.cast(twin.run_pass(s | change, c), np.uint8), twin.run_pass(s, c))


def test_one_wrong_value_fails(case):
    values = twin.run_pass(*case)
    for dtype, step in (("uint8", 1), ("uint16", 1), ("float32", 0.01), ("float16", 0.5)):
        wrong = twin.cast(values, dtype)
        wrong[0, 3, 4, 1] += step if wrong[0, 3, 4, 1] < 200 else -step
        with pytest.raises(AssertionError, match="1 of 960 values differ"):
            compare(wrong, values)


def test_truncation_instead_of_rounding_fails(case):
    values = twin.run_pass(*case)
    with pytest.raises(AssertionError, match="differ from the twin"):
        compare(values.astype(np.uint8), values)


def test_ties_may_round_either_way_but_not_too_often():
    values = np.full((1, 10, 10, 1), 2.5)
    wrong = np.full(values.shape, 3, np.uint8)
    compare(wrong, values, strict=None)
    with pytest.raises(AssertionError, match="correctly rounded"):
        compare(wrong, values)


def test_an_unwritten_element_fails(case):
    values = twin.run_pass(*case)
    for dtype in ("float32", "float16"):
        wrong = twin.cast(values, dtype)
        wrong[0, -1, -1, -1] = np.nan
        with pytest.raises(AssertionError, match="not written"):
            compare(wrong, values)


def test_a_wrong_shape_and_an_overflow_fail():
    values = np.full((1, 2, 2, 1), 1e9)
    compare(np.full(values.shape, np.inf, np.float16), values)
    with pytest.raises(AssertionError):
        compare(np.full(values.shape, 65504, np.float16), values)
    with pytest.raises(AssertionError):
        compare(np.full((1, 2, 2), np.inf, np.float16), values)


def test_undecided_pixels_are_left_out_and_no_others(case):
    values = twin.run_pass(*case)
    wrong = twin.cast(values, np.uint8)
    wrong[0, 3] ^= 255
    open_ = np.zeros((1, 16, 20, 1), bool)
    open_[0, 3] = True
    compare(wrong, values, open_=open_)
    with pytest.raises(AssertionError):
        compare(wrong, values, open_=~open_)


def test_few_pixels_of_the_usual_warps_are_undecided(rng):
    from native_cases import chain, zoo

    cases = zoo((17, 31), (17, 31), rng)
    matrices, grids, frames = chain(np.stack([m for m, _ in cases.values()]), 2, (17, 31), (17, 31), rng)
    for mode in ("constant", "nearest", "wrap"):
        open_ = twin.unsure(matrices, grids, frames, "bilinear", mode, (17, 31), len(cases))
        for name, share in zip(cases, open_.mean(axis=(1, 2)), strict=True):
            assert share == 0 or name in ("horizon", "huge"), (name, share)
