"""The native colour program and erasing against the twin: each op, programs, statistics, fills, noise."""

from __future__ import annotations

import numpy as np
import pytest

import twin
from native_cases import RANGES, assert_same, call, exact, random_images, run, setup, turn

OPS = ("affine", "table", "hue", "autocontrast", "equalize")
SIZES = [(1, 1), (1, 7), (5, 3), (17, 31), (64, 48), (2, 601)]


def on(rng, rows: int) -> np.ndarray:
    """Active flags: mostly on, some off, never all off."""
    active = (rng.random(rows) < 0.7).astype(np.uint8)
    active[-1] = 1
    return exact(active)


def numbers(rng, name: str, rows: int, channels: int, dtype: str) -> np.ndarray | None:
    if name == "affine":
        array = rng.normal(0, 0.3, (rows, channels, 2 * channels + 1))
        array[:, :, :channels] += np.eye(channels)
        array[: rows // 2, :, channels:-1] = 0  # no means for half of the samples
    elif name == "table":
        nodes = 256 if dtype == "uint8" else 4097
        x = np.linspace(0, 1, nodes)[None, :, None]
        bend = rng.uniform(0.5, 2, (rows, 1, rng.choice([1, channels])))
        array = x**bend
        array[:, nodes // 3 :] = 1 - array[:, nodes // 3 :]  # a step, as of solarize
    elif name == "hue":
        array = rng.uniform(-0.5, 0.5, rows)
        array[0] = 0.0
    else:
        return None
    return exact(np.float32(array))


def colour_case(rng, ops, dtype, channels, size, *, warp: bool, start: int = 2, linear=True, **changes):
    n = 4
    s = setup(channels, dtype, ops=list(ops), linear_tables=linear, fill_mode="reflect", **changes)
    images = random_images(rng, (n, *size, channels), dtype)
    images[1] = images[1, :1, :1]  # one frame without contrast
    images[2] = np.float64(images[2]) * 0.4  # and one with little
    params = [(numbers(rng, name, start + n, channels, dtype), on(rng, start + n)) for name in ops]
    c = call(images, size, s, "float32" if dtype == "float32" else None, ops=params, start=start)
    if warp:
        matrix = np.eye(3, dtype=np.float32)
        matrix[:2, :2], matrix[:2, 2] = turn(23) * 0.9, (1.3, 2.7)
        c["matrices"] = exact(np.tile(matrix, (start + n, 1, 1, 1)))
    return s, c


def check(s, c, dtype, ops, warp: bool) -> None:
    got, values, span = run(s, c), twin.run_pass(s, c), s["high"] - s["low"]
    steps = {"table", "equalize"} | ({"autocontrast"} if dtype != "float32" else set())
    if steps & set(ops) and (warp or len(ops) > 1 or dtype == "float32"):
        # One rounding before a step is a step after it: few values; the others a level or 1e-3.
        assert_same(got, values, error=max(1.001e-3 * span, 1.0 if dtype == "uint8" else 0.0), wild=1e-3)
    else:
        assert_same(got, values, error=1e-5 * span)


@pytest.mark.parametrize("warp", [False, True])
@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.parametrize("op", OPS)
def test_one_op_equals_the_twin(rng, op, dtype, warp):
    for size in SIZES:
        for channels in (3, 4) if op == "hue" else (1, 2, 3, 4, 5):
            s, c = colour_case(rng, [op], dtype, channels, size, warp=warp)
            before = c["images"].copy()
            check(s, c, dtype, [op], warp)
            assert np.array_equal(c["images"], before)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("linear", [False, True])
def test_tables_on_a_grid_of_nodes(rng, dtype, linear):
    """Random nodes: a neighbour's value would be far off."""
    low, high = RANGES[dtype]
    values = np.linspace(low, high, 65536 if dtype == "uint16" else 4097).astype(dtype).reshape(1, 1, -1, 1)
    values = exact(values)
    s = setup(1, dtype, ops=["table"], linear_tables=linear)
    nodes = exact(np.float32(rng.random((1, 4097, 1))))
    c = call(values, values.shape[1:3], s, ops=[(nodes, np.ones(1, np.uint8))])
    error = 2e-3 * (high - low) if linear else 1e-6 * (high - low)  # float32 places of t * a slope of one per node
    assert_same(run(s, c), twin.run_pass(s, c), error=error, wild=1e-3)


def test_a_stepped_table_forgives_a_thousandth_of_a_node(rng):
    k = np.array([1, 2, 700, 2048, 4095, 4096])
    nodes = exact(np.float32(rng.random((1, 4097, 1))))
    s = setup(1, "float32", ops=["table"], linear_tables=False)
    for below, node in ((5e-4, k), (2e-3, k - 1), (0, k)):
        values = np.float32((k - below) / 4096).reshape(1, 1, 6, 1)
        got = run(s, call(values, (1, 6), s, ops=[(nodes, np.ones(1, np.uint8))]))
        assert np.array_equal(got[0, 0, :, 0], nodes[0, node, 0])


def test_tables_hit_every_level_of_uint8(rng):
    levels = exact(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3))
    for columns in (1, 3):
        nodes = exact(np.float32(rng.integers(0, 256, (1, 256, columns)) / 255))
        s = setup(3, ops=["table"])
        got = run(s, call(levels, (16, 16), s, ops=[(nodes, np.ones(1, np.uint8))]))
        wanted = np.rint(nodes[0] * 255).astype(np.uint8).reshape(16, 16, columns)
        assert np.array_equal(got[0], np.broadcast_to(wanted, (16, 16, 3)))


def test_float_values_outside_the_range_are_saturated_before_a_table_and_at_the_end():
    image = np.float32([-3.0, -0.1, 0.0, 1.0, 1.5, 1e30]).reshape(1, 1, 6, 1)
    s = setup(1, "float32", ops=["table"])
    ramp = np.linspace(0, 1, 4097, dtype=np.float32)[None, :, None]
    for nodes, wanted in ((ramp, [0, 0, 0, 1, 1, 1]), (1 - ramp, [1, 1, 1, 0, 0, 0])):
        got = run(s, call(image, (1, 6), s, ops=[(exact(nodes), np.ones(1, np.uint8))]))
        assert got[0, 0, :, 0].tolist() == wanted
    s = setup(1, "float32")
    assert run(s, call(image, (1, 6), s))[0, 0, :, 0].tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("dtype", RANGES)
def test_programs_of_many_ops_equal_the_twin(rng, dtype):
    programs = [
        ["affine", "affine"],
        ["affine", "table", "affine"],
        ["hue", "affine", "autocontrast"],
        ["autocontrast", "table", "table", "hue"],
        ["affine", "equalize", "affine", "hue", "autocontrast"],
    ]
    for ops in programs:
        for warp in (False, True):
            s, c = colour_case(rng, ops, dtype, 3, (31, 17), warp=warp)
            check(s, c, dtype, ops, warp)


def test_affine_does_not_saturate_between_ops():
    s = setup(1, ops=["affine", "affine"])
    image = np.full((1, 2, 2, 1), 200, np.uint8)
    double, half = np.float32([[[2, 0, 0]]]), np.float32([[[0.5, 0, 0]]])
    one = np.ones(1, np.uint8)
    assert (run(s, call(image, (2, 2), s, ops=[(double, one), (half, one)])) == 200).all()


def test_the_mean_is_that_of_the_whole_frame_with_its_fill():
    s = setup(1, ops=["affine"], fill_value=[100.0])
    image = np.zeros((1, 4, 4, 1), np.uint8)
    shift = np.float32([[[[1, 0, 2], [0, 1, 0], [0, 0, 1]]]])  # half of the frame becomes fill
    to_mean = np.float32([[[0, 1, 0]]])
    c = call(image, (4, 4), s, matrices=shift, ops=[(to_mean, np.ones(1, np.uint8))])
    assert (run(s, c) == 50).all()


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_a_flat_frame_stays_flat_under_autocontrast(interpolation):
    """Weights that sum to 1 but for rounding must not become contrast."""
    for dtype, value in (("uint8", 201), ("uint16", 40001), ("float32", 0.7)):
        s = setup(1, dtype, ops=["autocontrast"], fill_mode="reflect", interpolation=interpolation)
        matrix = np.float32([[[[0.7, 0.4, 1.3], [-0.4, 0.7, 2.9], [0, 0, 1]]]])
        image = np.full((1, 12, 15, 1), value, dtype)
        c = call(image, (12, 15), s, matrices=matrix, ops=[(None, np.ones(1, np.uint8))])
        assert np.ptp(run(s, c).astype(float)) <= 1e-6, dtype
        np.testing.assert_allclose(c["out"], image, rtol=1e-6)


def test_inactive_ops_and_erases_leave_the_bytes(rng):
    for dtype in RANGES:
        ops = list(OPS)
        s, c = colour_case(rng, ops, dtype, 3, (9, 8), warp=False, erase=[("rects", [1.0] * 3), ("grid", None)])
        rows = len(c["ops"][0][1])
        off = np.zeros(rows, np.uint8)
        c["ops"] = [(array, off) for array, _ in c["ops"]]
        whole = np.int32([[[0, 0, 9, 8]]] * rows)
        grid = np.float32([[2, 2, 2, 2, 0, 0]] * rows)
        c["erase"] = [(whole, off, None), (grid, off, np.zeros((rows, 2), np.uint32))]
        assert np.array_equal(run(s, c), c["images"])


def erase_params(rng, kind: str, rows: int, size) -> np.ndarray:
    if kind == "grid":
        array = np.stack([rng.uniform(2, 9, rows), rng.uniform(2, 9, rows), *rng.uniform(0.5, 4, (4, rows))], axis=1)
        array[-1] = (4, 6, 2, 3, 0, 0)  # whole numbers: the borders count
        return exact(np.float32(array))
    h, w = size
    corners = rng.integers(-3, max(h, w) + 3, (rows, 3, 4))
    corners[:, 0] = 0, 0, h // 2 + 1, w // 2 + 1
    corners[0, 1] = 2, 2, 2, 9  # empty
    corners[-1, 2] = -(2**31), -(2**31), 1, 2**31 - 1  # the whole first row
    return exact(corners.astype(np.int32))


@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize("dtype", RANGES)
def test_erasing_equals_the_twin(rng, dtype, channels_first):
    low, high = RANGES[dtype]
    for channels in (1, 3, 4):
        fill = (low + np.linspace(0.1, 1, channels) * (high - low)).tolist()
        kinds = [
            ("rects", fill),
            ("grid", None),
            ("rects", None),
            ("grid", fill),
            ("rects", [high + 9] * channels),
        ]
        for size in SIZES:
            layout = {"erase": kinds, "channels_first": channels_first}
            s, c = colour_case(rng, ["affine"], dtype, channels, size, warp=True, **layout)
            rows = len(c["ops"][0][1])
            keys = exact(rng.integers(0, 2**32, (rows, 2), np.uint32))
            c["erase"] = [
                (erase_params(rng, kind, rows, size), on(rng, rows), keys if value is None else None)
                for kind, value in kinds
            ]
            assert_same(run(s, c), twin.run_pass(s, c), error=2e-5 * (high - low))


def test_noise_is_threefry_of_the_element_and_the_place_in_the_list(rng):
    s = setup(3, "float32", low=-2.0, high=2.0, erase=[("rects", [0.0] * 3), ("rects", None)])
    image = np.zeros((1, 5, 7, 3), np.float32)
    keys = np.uint32([[7, 0xFFFFFFFF]])
    whole, one = np.int32([[[0, 0, 5, 7]]]), np.ones(1, np.uint8)
    got = run(s, call(image, (5, 7), s, erase=[(whole, one, None), (whole, one, keys)]))
    e = np.arange(105)
    words = np.stack(twin.threefry2x32(7, 0xFFFFFFFF, e // 2, np.full(105, 2)))[e % 2, e]
    assert np.array_equal(got.ravel(), np.float32(-2 + (words >> 8) * 2.0**-24 * 4))


def test_no_rectangles_at_all_is_fine(rng):
    s = setup(3, erase=[("rects", [0.0] * 3)])
    images = random_images(rng, (2, 4, 4, 3), "uint8")
    c = call(images, (4, 4), s, erase=[(np.zeros((2, 0, 4), np.int32), np.ones(2, np.uint8), None)])
    assert np.array_equal(run(s, c), images)


@pytest.mark.parametrize("dtype", RANGES)
def test_threads_and_strides_do_not_change_colours(rng, dtype):
    s, c = colour_case(rng, OPS, dtype, 3, (64, 48), warp=True)
    expected = run(s, c)
    turned = exact(c["images"].transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
    for changes in ({"threads": 2}, {"threads": 8}, {"images": list(c["images"])}, {"images": turned}):
        assert np.array_equal(run(s, c | {"out": np.zeros_like(expected)} | changes), expected)


@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.parametrize("matrix", [None, [[-1, 0, 37], [0, 1, 0], [0, 0, 1]]])
def test_grids_on_pixels_that_are_only_moved(rng, dtype, matrix):
    """No arithmetic but the holes: rows and runs of columns are written over, or nothing where a unit has no holes."""
    grids = np.float32(
        [[8, 6, 3, 4, 2.5, 1], [9, 7, 9, 2, 0, 0], [0, 5, 1, 1, 0, 0], [5, np.nan, 2, 2, 0, 0], [2, 2, 0, 1, 0, 0]]
    )
    fill = [0.25 * RANGES[dtype][1]] * 3
    s = setup(3, dtype, erase=[("grid", fill), ("rects", fill)])
    images = random_images(rng, (len(grids), 21, 37, 3), dtype)
    c = call(images, (21, 37), s, matrices=None if matrix is None else np.float32([[matrix]] * len(grids)))
    rects, ones = np.int32([[[3, -4, 90, 7], [5, 9, 5, 20]]] * len(grids)), np.ones(len(grids), np.uint8)
    c["erase"] = [(grids, ones, None), (rects, ones, None)]
    with np.errstate(invalid="ignore"):  # the twin's remainder by zero
        expected = twin.run_pass(s, c)
    assert_same(run(s, c), expected, error=1e-6)
