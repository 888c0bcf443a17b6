"""Memory and concurrency: strides, lists, layouts and threads change nothing; senseless numbers do no harm."""

from __future__ import annotations

import threading
import time

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


def warp_call(rng, channels=3, dtype="uint8", size=(17, 31), out_size=(13, 22), **changes):
    s = setup(channels, dtype, fill_mode="reflect", **changes)
    cases = zoo(size, out_size, rng)
    matrices, grids, frames = chain(np.stack([m for m, _ in cases.values()]), 1, size, out_size, rng)
    images = random_images(rng, (len(cases), *size, channels), dtype)
    reduction = np.array([r for _, r in cases.values()], np.int32)
    c = call(images, out_size, s, matrices=matrices, fields=grids, frames=frames, reduction=reduction)
    return s, c


def again(c, **changes):
    return c | {"out": np.zeros_like(c["out"])} | changes


@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_input_strides_change_nothing(rng, dtype, channels):
    s, c = warp_call(rng, channels, dtype)
    images, expected = c["images"], run(s, c)
    n, h, w, _ = images.shape
    big = np.zeros((n, 2 * h + 1, 3 * w, channels + 2), images.dtype)
    spaced = big[:, 1::2, 1::3, 1:-1]
    spaced[...] = images
    padded = np.zeros((n, h, w + 5, channels), images.dtype)[:, :, 2:-3]
    padded[...] = images
    channels_last_in_name_only = exact(images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    turned = exact(images.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
    reversed_ = exact(images[::-1, ::-1, ::-1, ::-1])[::-1, ::-1, ::-1, ::-1]
    one_image = np.broadcast_to(images[:1], images.shape)
    for view in (spaced, padded, channels_last_in_name_only, turned, reversed_):
        assert np.array_equal(view, images)
        assert np.array_equal(run(s, again(c, images=view)), expected)
        assert np.array_equal(run(s, again(c, images=list(view))), expected)
    same = run(s, again(c, images=exact(one_image)))
    assert np.array_equal(run(s, again(c, images=one_image)), same)
    frozen = images.copy()
    frozen.flags.writeable = False
    assert np.array_equal(run(s, again(c, images=frozen)), expected)


@pytest.mark.parametrize("channels_first", [False, True])
def test_output_strides_change_nothing_and_nothing_else_is_written(rng, channels_first):
    s, c = warp_call(rng, channels_first=channels_first)
    expected = run(s, c)
    shape = expected.shape
    big = np.full([2 * side + 3 for side in shape], 99, np.uint8)
    for slices in (
        [slice(1, 1 + side) for side in shape],
        [slice(1, 1 + 2 * side, 2) for side in shape],
        [slice(side, 0, -1) for side in shape],
    ):
        big[...] = 99
        view = big[tuple(slices)]
        assert np.array_equal(run(s, again(c, out=view)), expected)
        view[...] = 99
        assert (big == 99).all(), "written outside the view"


def test_threads_lists_and_start_offsets_give_the_same_bytes(rng):
    s, c = warp_call(rng)
    expected, n = run(s, c), len(c["images"])
    for threads in (1, 2, 8, 100):
        assert np.array_equal(run(s, again(c, threads=threads)), expected)
    assert np.array_equal(run(s, again(c, images=[exact(i) for i in c["images"]], threads=2)), expected)
    for start, stop in ((0, 1), (3, 9), (n - 1, n), (4, 4)):
        part = again(c, images=c["images"][start:stop], out=np.zeros_like(expected[start:stop]), start=start)
        assert np.array_equal(run(s, part), expected[start:stop])


def test_images_of_different_sizes_in_one_list(rng):
    sizes = [(1, 1), (1, 7), (5, 3), (17, 31), (64, 48), (3, 200)]
    s = setup(3, fill_mode="wrap")
    matrices = np.stack([np.diag([w / 9, h / 8, 1]) for h, w in sizes]).astype(np.float32)[:, None]
    images = [random_images(rng, (*size, 3), "uint8") for size in sizes]
    reduction = np.array([1, 1, 1, 2, 4, 8], np.int32)
    c = call(images, (8, 9), s, matrices=matrices, reduction=reduction)
    assert_same(run(s, c), twin.run_pass(s, c), error=2e-3)
    assert np.array_equal(run(s, again(c, threads=8)), c["out"])


@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize("out_dtype", ["uint8", "uint16", "float16", "float32"])
@pytest.mark.parametrize("dtype", RANGES)
def test_scale_offset_dtype_and_layout(rng, dtype, out_dtype, channels_first):
    for channels in (1, 3, 4, 5):
        low, high = RANGES[dtype]
        to = {"uint8": 300.0, "uint16": 70000.0, "float16": 4.0, "float32": 4.0}[out_dtype]
        scale = (np.float32(to / (high - low)) * np.linspace(0.5, 1, channels)).tolist()
        offset = np.linspace(-0.05 * to, 0, channels).tolist()
        s, c = warp_call(rng, channels, dtype, scale=scale, offset=offset, channels_first=channels_first)
        c = call(
            c["images"],
            (13, 22),
            s,
            out_dtype,
            **{k: c[k] for k in ("matrices", "fields", "frames", "reduction")},
        )
        values = twin.run_pass(s, c)
        assert_same(run(s, c), values, open_=twin.unsure_pass(s, c), error=4e-6 * to)


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.4e38, 1e-45])
def test_senseless_matrices_are_survived_deterministically(rng, interpolation, fill_mode, value):
    s = setup(3, interpolation=interpolation, fill_mode=fill_mode)
    images = random_images(rng, (9, 5, 6, 3), "uint8")
    matrices = np.tile(np.eye(3, dtype=np.float32), (9, 1, 1, 1))
    for k in range(9):
        matrices[k, 0].flat[k] = value
    c = call(images, (5, 6), s, matrices=matrices)
    assert np.array_equal(run(s, c), run(s, again(c, threads=2)))


def test_senseless_fields_frames_and_colours_are_survived(rng):
    """No parameter may become an index out of range: what comes out is unspecified, that it comes out is not."""
    ops = ["affine", "hue", "table", "autocontrast", "equalize"]
    on = np.ones(2, np.uint8)
    for value in (np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 0.0):
        for dtype in RANGES:
            s = setup(
                3, dtype, ops=ops, erase=[("grid", None)], fill_mode="wrap", scale=[float(np.nan_to_num(value))] * 3
            )
            nodes = 256 if dtype == "uint8" else 4097
            arrays = [np.full(shape, value, np.float32) for shape in ((2, 3, 7), (2,), (2, nodes, 3))]
            params = [(array, on) for array in (*arrays, None, None)]
            grid = (np.full((2, 6), value, np.float32), on, np.zeros((2, 2), np.uint32))
            c = call(random_images(rng, (2, 5, 6, 3), dtype), (7, 8), s, "uint8", ops=params, erase=[grid])
            c["matrices"] = np.tile(np.eye(3, dtype=np.float32), (2, 2, 1, 1))
            for field, frame in ((value, 6.0), (1.0, value), (value, value)):
                c["fields"] = [np.full((2, 3, 4, 2), field, np.float32)]
                c["frames"] = np.full((2, 1, 2), frame, np.float32)
                run(s, c)
        images = random_images(rng, (2, 5, 6, 3), "uint8")
        full = np.full(2, value, np.float32)
        native.gaussian_noise(images, np.empty_like(images), full, np.zeros((2, 2), np.uint32), on, 0.0, 255.0)
        native.gaussian_blur(images, np.empty_like(images), np.full((2, 5), value, np.float32), on)


def test_float_pixels_beyond_the_range_are_survived(rng):
    """Finite pixels may be huge; infinite ones are refused before, but must not crash the process."""
    on = np.ones(1, np.uint8)
    ops = [
        (np.float32([np.eye(3, 7)]), on),
        (np.float32([0.2]), on),
        (np.zeros((1, 4097, 1), np.float32), on),
        (None, on),
        (None, on),
    ]
    for value in (3.4e38, -3.4e38, np.inf, np.nan):
        s = setup(3, "float32", ops=["affine", "hue", "table", "autocontrast", "equalize"])
        image = random_images(rng, (1, 6, 6, 3), "float32")
        image[0, 2, 2:4] = value
        run(s, call(image, (6, 6), s, "uint8", ops=ops))


def test_an_output_that_overlaps_an_input_is_refused_or_harmless(rng):
    s = setup(3, fill_mode="wrap")
    images = random_images(rng, (2, 8, 8, 3), "uint8")
    matrices = np.tile(np.float32([[[0, 1, 0], [-1, 0, 8], [0, 0, 1]]]), (2, 1, 1, 1))
    before = images.copy()
    c = call(images, (8, 8), s, matrices=matrices) | {"out": images}
    try:
        run(s, c)
    except ValueError as error:
        assert "out" in str(error)
        assert np.array_equal(images, before)
    else:
        assert np.array_equal(images, before.swapaxes(1, 2)[:, :, ::-1].swapaxes(1, 2)), "half-written input was read"


def test_one_pass_serves_any_size_and_dtype_in_any_order(rng):
    s = setup(3, ops=["autocontrast"])
    shared = native.Pass(**s)
    for dtype, size in (
        ("uint8", (30, 40)),
        ("uint16", (5, 6)),
        ("uint8", (1, 1)),
        ("float32", (64, 3)),
        ("uint8", (30, 40)),
    ):
        c = call(random_images(rng, (2, *size, 3), dtype), size, s, "uint8", ops=[(None, np.ones(2, np.uint8))])
        shared.run(**c)
        assert np.array_equal(c["out"], run(s, c | {"out": np.zeros_like(c["out"])}))


def test_one_pass_may_be_used_by_many_threads_at_once(rng):
    s, c = warp_call(rng, ops=["affine", "autocontrast"])
    rows = len(c["images"])
    mix = np.float32(rng.normal(0.3, 0.1, (rows, 3, 7)))
    c["ops"] = [(mix, np.ones(rows, np.uint8)), (None, np.ones(rows, np.uint8))]
    expected, shared = run(s, c), native.Pass(**s)
    outs = [np.zeros_like(expected) for _ in range(8)]

    def work(out):
        for threads in (1, 2, 1):
            shared.run(**c | {"out": out, "threads": threads})

    workers = [threading.Thread(target=work, args=(out,)) for out in outs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(np.array_equal(out, expected) for out in outs)


def test_the_interpreter_runs_while_the_kernel_works(rng):
    s = setup(3, interpolation="bicubic", fill_mode="reflect")
    matrix = np.float32([[[[0.7, 0.7, 0], [-0.7, 0.7, 500], [0, 0, 1]]]])
    c = call(random_images(rng, (1, 900, 900, 3), "uint8"), (1500, 1500), s, matrices=matrix)
    span: list[float] = []

    def work():
        span.append(time.perf_counter())
        run(s, c)
        span.append(time.perf_counter())

    worker = threading.Thread(target=work)
    worker.start()
    ticks = []
    while worker.is_alive():
        ticks.append(time.perf_counter())
        time.sleep(0.001)
    inside = [t for t in ticks if span[0] < t < span[1]]
    assert len(inside) >= 5, f"{len(inside)} ticks in {span[1] - span[0]:.3f} s: the GIL was held"
