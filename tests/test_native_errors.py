"""Wrong shapes, dtypes, lengths and names raise ValueError or TypeError that names the argument."""

from __future__ import annotations

import numpy as np
import pytest

from native_cases import call, chain, native, random_images, run, setup

N = 3


@pytest.fixture
def case(rng):
    """A correct call that uses every argument."""
    s = setup(3, ops=["affine", "table", "hue"], erase=[("rects", None), ("grid", [1.0] * 3)])
    images = random_images(rng, (N, 6, 8, 3), "uint8")
    matrices, grids, frames = chain(np.tile(np.eye(3, dtype=np.float32), (N, 1, 1)), 1, (6, 8), (4, 5), rng)
    on = np.ones(N, np.uint8)
    ops = [
        (np.zeros((N, 3, 7), np.float32), on),
        (np.zeros((N, 256, 3), np.float32), on),
        (np.zeros(N, np.float32), on),
    ]
    erase = [
        (np.zeros((N, 2, 4), np.int32), on, np.zeros((N, 2), np.uint32)),
        (np.ones((N, 6), np.float32), on, None),
    ]
    c = call(images, (4, 5), s, matrices=matrices, fields=grids, frames=frames, ops=ops, erase=erase)
    return s, c | {"reduction": np.ones(N, np.int32)}


def test_the_correct_call_runs(case):
    run(*case)


def zeros(shape, dtype):
    return np.zeros(shape, dtype)


f32, f64, i32, u8, u32 = np.float32, np.float64, np.int32, np.uint8, np.uint32
IMAGE = (6, 8, 3)
REPLACED = [  # argument, replacement
    ("images", zeros((N, 6, 8), u8)),
    ("images", zeros((N, 6, 8, 4), u8)),
    ("images", zeros((N, 0, 8, 3), u8)),
    ("images", zeros((N, 6, 0, 3), u8)),
    ("images", zeros((N, *IMAGE), f64)),
    ("images", zeros((N, *IMAGE), i32)),
    ("images", zeros((N, *IMAGE), np.float16)),
    ("images", zeros((N, *IMAGE), ">u2")),
    ("images", [zeros(IMAGE, u8)] * 2 + [zeros((6, 8), u8)]),
    ("images", [zeros(IMAGE, u8)] * 2 + [zeros((6, 8, 1), u8)]),
    ("images", [zeros(IMAGE, u8)] * 2 + [zeros(IMAGE, f32)]),
    ("images", [zeros(IMAGE, u8)] * 2 + [zeros((0, 8, 3), u8)]),
    ("images", [zeros(IMAGE, u8)] * 2 + [None]),
    ("images", None),
    ("images", "photo.jpg"),
    ("out", zeros((N - 1, 4, 5, 3), u8)),
    ("out", zeros((N, 4, 5, 4), u8)),
    ("out", zeros((N, 4, 5), u8)),
    ("out", zeros((N, 3, 4, 5), u8)),
    ("out", zeros((N, 4, 5, 3), f64)),
    ("out", zeros((N, 4, 5, 3), np.int16)),
    ("out", None),
    ("matrices", zeros((N, 2, 3, 3), f64)),
    ("matrices", zeros((N, 2, 2, 3), f32)),
    ("matrices", zeros((N, 1, 3, 3), f32)),
    ("matrices", zeros((N, 3, 3, 3), f32)),
    ("matrices", zeros((N, 3, 3), f32)),
    ("matrices", zeros((N - 1, 2, 3, 3), f32)),
    ("fields", [zeros((N - 1, 4, 4, 2), f32)]),
    ("fields", [zeros((N, 4, 4, 3), f32)]),
    ("fields", [zeros((N, 4, 4), f32)]),
    ("fields", [zeros((N, 0, 4, 2), f32)]),
    ("fields", [zeros((N, 4, 4, 2), f64)]),
    ("fields|matrices", []),
    ("fields|matrices", [zeros((N, 4, 4, 2), f32)] * 2),
    ("frames", None),
    ("frames", zeros((N - 1, 1, 2), f32)),
    ("frames", zeros((N, 2, 2), f32)),
    ("frames", zeros((N, 1, 3), f32)),
    ("frames", zeros((N, 1, 2), f64)),
    ("reduction", zeros(N, i32)),
    ("reduction", np.full(N, 3, i32)),
    ("reduction", np.full(N, 16, i32)),
    ("reduction", np.full(N, -2, i32)),
    ("reduction", np.ones(N - 1, i32)),
    ("reduction", np.ones(N, np.int64)),
    ("reduction", np.ones((N, 1), i32)),
    ("start", 1),
    ("start", -1),
    ("start", 2**40),
    ("ops", []),
    ("erase", []),
]


@pytest.mark.parametrize(("name", "value"), REPLACED, ids=[f"{i}-{name}" for i, (name, _) in enumerate(REPLACED)])
def test_a_wrong_argument_is_named(case, name, value):
    s, c = case
    with pytest.raises((ValueError, TypeError), match=name if name != "start" else "start|matrices"):
        run(s, c | {name.split("|")[0]: value})


ON = np.ones(N, u8)
WRONG_OPS = [
    (0, (None, ON)),
    (0, (zeros((N, 3, 6), f32), ON)),
    (0, (zeros((N, 3, 7), f64), ON)),
    (0, (zeros((N - 1, 3, 7), f32), ON)),
    (0, (zeros((N, 4, 9), f32), ON)),
    (0, (zeros((N, 3, 7), f32), ON[1:])),
    (0, (zeros((N, 3, 7), f32), np.ones(N, np.int64))),
    (0, (zeros((N, 3, 7), f32), None)),
    (1, (None, ON)),
    (1, (zeros((N, 255, 3), f32), ON)),
    (1, (zeros((N, 4097, 3), f32), ON)),
    (1, (zeros((N, 0, 3), f32), ON)),
    (1, (zeros((N, 256, 2), f32), ON)),
    (1, (zeros((N - 1, 256, 3), f32), ON)),
    (2, (None, ON)),
    (2, (zeros((N, 1), f32), ON)),
    (2, (zeros(N - 1, f32), ON)),
]


@pytest.mark.parametrize(("index", "pair"), WRONG_OPS, ids=range(len(WRONG_OPS)))
def test_a_wrong_op_parameter_is_named(case, index, pair):
    s, c = case
    ops = list(c["ops"])
    ops[index] = pair
    with pytest.raises((ValueError, TypeError), match="ops"):
        run(s, c | {"ops": ops})


KEYS = zeros((N, 2), u32)
WRONG_ERASES = [
    (0, (None, ON, KEYS)),
    (0, (zeros((N, 2, 3), i32), ON, KEYS)),
    (0, (zeros((N, 4), i32), ON, KEYS)),
    (0, (zeros((N - 1, 2, 4), i32), ON, KEYS)),
    (0, (zeros((N, 2, 4), np.int64), ON, KEYS)),
    (0, (zeros((N, 2, 4), i32), ON, None)),
    (0, (zeros((N, 2, 4), i32), ON, KEYS[1:])),
    (0, (zeros((N, 2, 4), i32), ON, zeros((N, 3), u32))),
    (0, (zeros((N, 2, 4), i32), ON, zeros((N, 2), np.int64))),
    (0, (zeros((N, 2, 4), i32), ON[1:], KEYS)),
    (1, (zeros((N, 5), f32), ON, None)),
    (1, (zeros((N - 1, 6), f32), ON, None)),
    (1, (zeros((N, 6), f64), ON, None)),
]


@pytest.mark.parametrize(("index", "triple"), WRONG_ERASES, ids=range(len(WRONG_ERASES)))
def test_a_wrong_erase_parameter_is_named(case, index, triple):
    s, c = case
    erase = list(c["erase"])
    erase[index] = triple
    with pytest.raises((ValueError, TypeError), match="erase"):
        run(s, c | {"erase": erase})


WRONG_SETUPS = [
    ({"interpolation": "cubic"}, "interpolation"),
    ({"fill_mode": "mirror"}, "fill_mode"),
    ({"fill_value": [0.0] * 2}, "fill_value"),
    ({"scale": [1.0] * 4}, "scale"),
    ({"offset": []}, "offset"),
    ({"ops": ["gamma"]}, "ops|op|gamma"),
    ({"erase": [("circles", None)]}, "erase|circles"),
    ({"erase": [("rects", [0.0])]}, "erase"),
    ({"low": 3.0, "high": 3.0}, "low|high"),
    ({"channels": 0, "fill_value": [], "scale": [], "offset": []}, "channels"),
    ({"channels": -1}, "channels"),
    (
        {"channels": 2, "fill_value": [0.0] * 2, "scale": [1.0] * 2, "offset": [0.0] * 2, "ops": ["hue"]},
        "hue",
    ),
]


@pytest.mark.parametrize(("changes", "name"), WRONG_SETUPS, ids=[name for _, name in WRONG_SETUPS])
def test_a_wrong_setting_is_named(changes, name):
    with pytest.raises((ValueError, TypeError), match=name):
        native.Pass(**setup(3) | changes)


def test_without_matrices_the_sizes_must_agree(rng):
    s = setup(3)
    with pytest.raises(ValueError, match=r"matrices|out|size"):
        run(s, call(random_images(rng, (2, 6, 8, 3), "uint8"), (8, 6), s))


def test_a_read_only_output_is_refused_and_stays(case):
    s, c = case
    c["out"].flags.writeable = False
    with pytest.raises((ValueError, TypeError), match="out"):
        run(s, c)
    assert (c["out"] == 77).all()


def test_a_foolish_number_of_threads_is_refused_or_harmless(case):
    s, c = case
    expected = run(s, c).copy()
    for threads in (0, -1, 10_000):
        try:
            assert np.array_equal(run(s, c | {"threads": threads}), expected)
        except (ValueError, TypeError) as error:
            assert "threads" in str(error)


SAME = {"images": zeros((N, *IMAGE), u8), "out": zeros((N, *IMAGE), u8), "active": ON}
SMALL = {"images": zeros((N, *IMAGE), u8), "out": zeros((N, 4, 5, 3), u8)}
WARP = {"matrices": zeros((N, 1, 3, 3), f32), "fields": [], "frames": None, "fill_mode": "wrap", "fill": b"0"}
FILTERS = {
    "gaussian_blur": {**SAME, "weights": np.ones((N, 3), f32)},
    "gaussian_noise": {**SAME, "std": np.ones(N, f32), "keys": KEYS, "low": 0.0, "high": 255.0},
    "nearest": {**SMALL, **WARP},
}
WRONG_FILTERS = [
    ("gaussian_blur", "out", zeros((N, 6, 8, 4), u8)),
    ("gaussian_blur", "out", zeros((N, *IMAGE), f32)),
    ("gaussian_blur", "weights", np.ones((N, 4), f32)),
    ("gaussian_blur", "weights", np.ones((N - 1, 3), f32)),
    ("gaussian_blur", "weights", np.ones((N, 3), f64)),
    ("gaussian_blur", "active", ON[1:]),
    ("gaussian_blur", "images", zeros((N, 6, 8), u8)),
    ("gaussian_noise", "out", zeros((N, 6, 7, 3), u8)),
    ("gaussian_noise", "std", np.ones(N - 1, f32)),
    ("gaussian_noise", "keys", zeros((N, 3), u32)),
    ("gaussian_noise", "keys", zeros((N - 1, 2), u32)),
    ("gaussian_noise", "active", ON[1:]),
    ("nearest", "out", zeros((N, 4, 5, 1), u8)),
    ("nearest", "out", zeros((N, 4, 5, 3), np.uint16)),
    ("nearest", "matrices", zeros((N, 2, 3, 3), f32)),
    ("nearest", "matrices", zeros((N - 1, 1, 3, 3), f32)),
    ("nearest", "fill", b"00"),
    ("nearest", "fill", b""),
    ("nearest", "fill_mode", "mirror"),
    ("nearest", "images", zeros((N, 6, 8), u8)),
]


WRONG_FILTER_IDS = [f"{f}-{name}-{i}" for i, (f, name, _) in enumerate(WRONG_FILTERS)]


@pytest.mark.parametrize(("function", "name", "value"), WRONG_FILTERS, ids=WRONG_FILTER_IDS)
def test_a_wrong_filter_argument_is_named(function, name, value):
    getattr(native, function)(**FILTERS[function])
    with pytest.raises((ValueError, TypeError), match=name if name != "matrices" else "matrices|fields"):
        getattr(native, function)(**FILTERS[function] | {name: value})


@pytest.mark.parametrize("function", ["gaussian_blur", "gaussian_noise"])
def test_filters_refuse_to_write_over_their_input(function):
    shared = zeros((N, *IMAGE), u8)
    with pytest.raises(ValueError, match="out"):
        getattr(native, function)(**FILTERS[function] | {"images": shared, "out": shared})
