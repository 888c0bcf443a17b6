"""The native warp against its slow twin: interpolations, fill modes, dtypes, channels, matrices, fields."""

from __future__ import annotations

import numpy as np
import pytest

import twin
from native_cases import (
    FILL_MODES,
    INTERPOLATIONS,
    RANGES,
    assert_same,
    call,
    chain,
    exact,
    native,
    random_images,
    run,
    setup,
    zoo,
)

# (input size, output size, displacement fields)
SIZES = [
    ((1, 1), (1, 1), 0),
    ((1, 7), (5, 3), 1),
    ((5, 3), (1, 7), 2),
    ((17, 31), (17, 31), 0),
    ((17, 31), (9, 12), 2),
    ((64, 48), (33, 40), 1),
    ((3, 700), (2, 601), 1),  # wider than any block in which a kernel may work
]
ERROR = {"uint8": 2e-3, "uint16": 2e-3, "float32": 4e-6}  # of float32 arithmetic, in output units


def warp_case(rng, dtype, channels, interpolation, fill_mode, in_size, out_size, fields):
    """One image per matrix of the zoo -> (setup, call)."""
    cases = zoo(in_size, out_size, rng)
    if in_size == out_size == (64, 48):
        cases = {k: v for k, v in cases.items() if k != "tiny"}
    low, high = RANGES[dtype]
    fill = twin.cast(low + rng.random(channels) * (high - low), dtype).astype(float).tolist()
    s = setup(channels, dtype, interpolation=interpolation, fill_mode=fill_mode, fill_value=fill)
    matrices, grids, frames = chain(np.stack([m for m, _ in cases.values()]), fields, in_size, out_size, rng)
    reduction = np.array([1 if interpolation == "nearest" else r for _, r in cases.values()], np.int32)
    images = random_images(rng, (len(cases), *in_size, channels), dtype)
    c = call(images, out_size, s, matrices=matrices, fields=grids, frames=frames, reduction=exact(reduction))
    return s, c


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("dtype", RANGES)
def test_warp_equals_the_twin(rng, dtype, interpolation, fill_mode):
    for index, (in_size, out_size, fields) in enumerate(SIZES):
        for channels in (1, 2, 3, 4, 5) if index < 4 else {3, 1 + index % 5}:
            s, c = warp_case(rng, dtype, channels, interpolation, fill_mode, in_size, out_size, fields)
            before = c["images"].copy()
            got = run(s, c)
            open_ = twin.unsure_pass(s, c)
            if interpolation == "nearest":
                assert_same(got, twin.run_pass(s, c), open_=open_, error=0 if dtype != "float32" else 1e-9)
            else:
                assert_same(got, twin.run_pass(s, c), open_=open_, error=ERROR[dtype])
            assert np.array_equal(c["images"], before), "the input was written to"


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_999_of_1000_are_correctly_rounded_and_none_is_a_level_off(rng, fill_mode, dtype):
    equal = total = 0
    for degrees, scale in ((7, 0.8), (33, 1.1), (-81, 1.9), (140, 0.51)):
        a = np.deg2rad(degrees)
        m = [
            [np.cos(a) * scale, -np.sin(a) * scale, 11.3],
            [np.sin(a) * scale, np.cos(a) * scale, 4.7],
            [0, 0, 1],
        ]
        s = setup(3, dtype, fill_mode=fill_mode, fill_value=[9.0, 100.0, 255.0])
        c = call(random_images(rng, (1, 90, 110, 3), dtype), (120, 130), s, matrices=np.float32([[m]]))
        values = twin.run_pass(s, c)
        difference = np.abs(run(s, c).astype(int) - twin.cast(values, dtype).astype(int))
        assert difference.max() <= 1
        equal, total = equal + (difference == 0).sum(), total + difference.size
    assert equal >= 0.999 * total, f"{equal / total:.5%}"


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (8, 16), (17, 31)])
def test_reduction_of_every_size(rng, size, reduction):
    for dtype in RANGES:
        for interpolation in ("bilinear", "bicubic"):
            for fill_mode in FILL_MODES:
                s = setup(3, dtype, interpolation=interpolation, fill_mode=fill_mode)
                m = np.float32([[[[reduction, 0.1, -2.3], [0.2, reduction, -1.1], [0, 0, 1]]]])
                c = call(random_images(rng, (1, *size, 3), dtype), (7, 6), s, matrices=m)
                c["reduction"] = np.array([reduction], np.int32)
                assert_same(run(s, c), twin.run_pass(s, c), error=ERROR[dtype])


def test_reduction_means_are_not_rounded():
    s = setup(1, low=0.0, high=255.0)
    image = np.array([[0, 1], [0, 0]], np.uint8).reshape(1, 2, 2, 1)
    c = call(image, (1, 1), s, "float32", matrices=np.float32([[np.diag([2, 2, 1])]]))
    c["reduction"] = np.array([2], np.int32)
    assert run(s, c)[0, 0, 0, 0] == 0.25


def test_fields_move_points_between_their_matrices(rng):
    """M0 = scale by 2, then a constant field, then a shift: order and units by hand."""
    image = np.arange(400, dtype=np.float32).reshape(1, 20, 20, 1)
    s = setup(1, "float32", high=400.0, interpolation="nearest")
    matrices = np.float32([[np.diag([2, 2, 1]), [[1, 0, 3], [0, 1, 1], [0, 0, 1]]]])
    field = np.full((1, 2, 2, 2), 0.25, np.float32)
    frames = np.float32([[[50, 50]]])
    c = call(image, (2, 2), s, matrices=matrices, fields=[field], frames=frames)
    # p = (0.5, 0.5) -> (3.5, 1.5) -> (3.75, 1.75) -> (7.5, 3.5): column 7, row 3
    assert run(s, c)[0, :, :, 0].tolist() == [[67, 69], [107, 109]]


def test_a_single_node_field_is_a_shift_or_refused(rng):
    s = setup(1)
    identities = np.tile(np.eye(3, dtype=np.float32), (1, 2, 1, 1))
    c = call(random_images(rng, (1, 6, 6, 1), "uint8"), (6, 6), s, matrices=identities)
    c |= {"fields": [np.full((1, 1, 1, 2), 0.5, np.float32)], "frames": np.float32([[[6, 6]]])}
    try:
        got = run(s, c)
    except ValueError as error:
        assert "fields" in str(error)
    else:
        assert_same(got, twin.run_pass(s, c), error=2e-3)


@pytest.mark.parametrize("dtype", RANGES)
def test_fields_of_every_shape(rng, dtype):
    """One node, one row or column of nodes, cells smaller than a pixel and larger than the frame."""
    for shape in ((1, 1), (1, 2), (2, 1), (1, 6), (9, 1), (2, 2), (40, 3), (3, 150)):
        for size in ((1, 1), (3, 70), (21, 19)):
            for interpolation in ("nearest", "bilinear"):
                s = setup(3, dtype, interpolation=interpolation, fill_mode="nearest")
                matrices = np.tile(np.eye(3, dtype=np.float32), (2, 2, 1, 1))
                c = call(random_images(rng, (2, *size, 3), dtype), size, s, matrices=matrices)
                c["fields"] = [exact(np.float32(rng.normal(0, 3, (2, *shape, 2))))]
                c["frames"] = np.float32([[size], [[2.5, 1000.0]]])
                assert_same(run(s, c), twin.run_pass(s, c), open_=twin.unsure_pass(s, c), error=2 * ERROR[dtype])


def test_the_module_offers_what_it_should():
    for name in ("Pass", "nearest", "gaussian_blur", "gaussian_noise", "mix", "threefry2x32"):
        assert hasattr(native, name), name
