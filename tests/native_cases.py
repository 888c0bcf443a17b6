"""What the native tests share: the module, inputs of exact size, a zoo of matrices, and the comparison.

Imports NumPy, the twin and `onewarp._native` only, so that these tests run under a sanitizer.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import PathFinder
from typing import Any

import numpy as np

import twin

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
FILL_MODES = ("constant", "nearest", "reflect", "wrap")
RANGES = {"uint8": (0.0, 255.0), "uint16": (0.0, 65535.0), "float32": (0.0, 1.0)}


def load_native() -> Any:
    """onewarp._native, without running the package around it where the file can be found without it."""
    name = "onewarp._native"
    if name not in sys.modules:
        package = importlib.util.find_spec("onewarp")
        found = PathFinder.find_spec(name, package.submodule_search_locations if package else None)
        if found is None or found.loader is None:
            return importlib.import_module(name)
        module = importlib.util.module_from_spec(found)
        sys.modules[name] = module
        found.loader.exec_module(module)
    return sys.modules[name]


native = load_native()


# ---------------------------------------------------------------------------------------------- inputs


def exact(array: np.ndarray) -> np.ndarray:
    """A copy in an allocation of exactly its size: a sanitizer sees a read one element past the end."""
    out = np.empty(array.shape, array.dtype)
    out[...] = array
    return out


def random_images(rng: np.random.Generator, shape, dtype: str) -> np.ndarray:
    """Noise over the whole range of the dtype, both ends included."""
    low, high = RANGES[dtype]
    values = rng.random(shape) * 1.1 - 0.05
    values = low + np.clip(values, 0, 1) * (high - low)
    return exact(twin.cast(values, dtype))


def setup(channels: int, dtype: str = "uint8", **changes: Any) -> dict[str, Any]:
    """Arguments of Pass: nothing but a bilinear warp, unless changed."""
    low, high = RANGES[dtype]
    plain = {
        "channels": channels,
        "interpolation": "bilinear",
        "fill_mode": "constant",
        "fill_value": [low] * channels,
        "low": low,
        "high": high,
        "ops": [],
        "linear_tables": True,
        "erase": [],
        "scale": [1.0] * channels,
        "offset": [0.0] * channels,
        "channels_first": False,
    }
    assert set(changes) <= set(plain), changes
    return plain | changes


def call(images, out_size, setup: dict[str, Any], out_dtype=None, **changes: Any) -> dict[str, Any]:
    """Arguments of Pass.run with a poisoned output of exact size: no parameters, unless changed."""
    h, w = out_size
    c, n = setup["channels"], len(images)
    shape = (n, c, h, w) if setup["channels_first"] else (n, h, w, c)
    plain = {
        "images": images,
        "out": poisoned(shape, out_dtype or images[0].dtype),
        "matrices": None,
        "fields": [],
        "frames": None,
        "reduction": None,
        "ops": [],
        "erase": [],
        "start": 0,
        "threads": 1,
        "streamed": False,
    }
    assert set(changes) <= set(plain), changes
    return plain | changes


def poisoned(shape, dtype) -> np.ndarray:
    """An array full of a value that shows when an element was never written."""
    return np.full(shape, 77 if np.dtype(dtype).kind in "iu" else np.nan, dtype)


def run(setup: dict[str, Any], call: dict[str, Any]) -> np.ndarray:
    native.Pass(**setup).run(**call)
    return call["out"]


# ---------------------------------------------------------------------------------------------- matrices


def about(matrix, centre_in, centre_out) -> np.ndarray:
    """Apply a 2x2 or 3x3 matrix about the centres (x, y) of the two frames."""
    m = np.eye(3)
    m[: len(matrix), : len(matrix)] = matrix
    there, back = np.eye(3), np.eye(3)
    there[:2, 2], back[:2, 2] = centre_in, -np.asarray(centre_out)
    return there @ m @ back


def turn(degrees: float) -> np.ndarray:
    a = np.deg2rad(degrees)
    return np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])


def zoo(in_size, out_size, rng: np.random.Generator) -> dict[str, tuple[np.ndarray, int]]:
    """name -> (float32 matrix [3, 3], reduction): everything a policy can produce, and what it should not."""
    (ih, iw), (oh, ow) = in_size, out_size
    centres = ((iw / 2, ih / 2), (ow / 2, oh / 2))
    tilt, horizon = np.eye(3), np.eye(3)
    tilt[2, :2] = 0.3 / ow, -0.2 / oh
    horizon[2, 1], horizon[2, 2] = 2.2 / oh, 0.1  # w = 0 a little above the middle of the frame
    moves = rng.uniform(-0.3, 0.3, 2) * (iw, ih)
    cases = {
        "identity": (np.eye(3), 1),
        "fit": (np.diag([iw / ow, ih / oh, 1.0]), 1),
        "flip_x": (np.array([[-1, 0, ow], [0, 1, 0], [0, 0, 1.0]]), 1),
        "quarter": (np.array([[0, 1, 0], [-1, 0, ow], [0, 0, 1.0]]), 1),
        "shift": (np.array([[1, 0, 3.0], [0, 1, -2.0], [0, 0, 1]]), 1),
        "half_pixel": (np.array([[1, 0, 0.5], [0, 1, 0.25], [0, 0, 1]]), 1),
        "rotation": (about(turn(rng.uniform(-180, 180)), *centres), 1),
        "scale_up": (about(np.diag([0.31, 0.43]), *centres), 1),
        "scale_down": (about(turn(20) * 2.3, *centres), 2),
        "scale_down_4": (about(turn(-50) * 4.9, *centres), 4),
        "scale_down_8": (about(np.diag([8.0, 9.7]), *centres), 8),
        "shear": (
            about([[1, rng.uniform(-0.7, 0.7)], [0.2, 1]], *centres) + np.outer([1, 1, 0], [0, 0, 0.37]),
            1,
        ),
        "perspective": (about(tilt, *centres), 1),
        "horizon": (about(horizon, *centres), 1),
        "outside": (np.array([[1, 0, 3.0 * iw + 0.3], [0, 1, moves[1]], [0, 0, 1]]), 1),
        "huge": (np.array([[1, 0, -3e12], [0, 1, 5e9], [0, 0, 1.0]]), 1),
        "tiny": (about(np.diag([1e-6, 1e-6]), *centres), 1),
    }
    return {name: (np.float32(matrix), r) for name, (matrix, r) in cases.items()}


def chain(matrices: np.ndarray, fields: int, in_size, out_size, rng: np.random.Generator):
    """Split one matrix per image [n, 3, 3] into f + 1 with `fields` displacement grids between them."""
    n, f = len(matrices), fields
    chained = np.tile(np.eye(3, dtype=np.float32), (n, f + 1, 1, 1))
    chained[:, 0] = matrices
    for k in range(1, f + 1):
        chained[:, k, :2, 2] = rng.uniform(-1.5, 1.5, (n, 2))
    shapes = [(2, 2), (5, 3), (4, 9)]
    grids = [exact(np.float32(rng.normal(0, 2, (n, *shapes[(k + n) % 3], 2)))) for k in range(f)]
    frames = np.empty((n, f, 2), np.float32)
    frames[...] = np.asarray(out_size) * rng.uniform(0.7, 1.4, (n, f, 1))
    return exact(chained), grids, frames


# ---------------------------------------------------------------------------------------------- comparison


def assert_same(got, values, *, open_=None, error: float, strict: float | None = None, wild: float = 0.0) -> None:
    """`got` must be a correct rounding of something within `error` (output units) of the exact `values`.

    open_: pixels that the definition leaves undecided; strict: the fraction that must equal the correctly
    rounded float64; wild: the fraction that may miss altogether (where a rounding before a step is a step after).
    """
    dtype = got.dtype
    assert got.shape == values.shape, (got.shape, values.shape)
    keep = np.ones(got.shape, bool) if open_ is None else ~np.broadcast_to(open_, got.shape)
    got, values = got[keep], values[keep]
    wanted = twin.cast(values, dtype)
    if dtype.kind in "iu":
        allowed = 0.5 + error
        values = np.clip(values, np.iinfo(dtype).min, np.iinfo(dtype).max)
    else:
        assert not np.isnan(got).any(), "NaN in the output: an element was not written"
        allowed = error + np.spacing(np.abs(np.where(np.isinf(wanted), 1, wanted))).astype(np.float64)
    difference = np.abs(np.where(np.isinf(got), np.finfo(np.float64).max, got) - values)
    difference[np.isinf(wanted)] = np.where(got == wanted, 0.0, np.inf)[np.isinf(wanted)]
    missed = difference > allowed
    count = int(missed.sum())
    if count > wild * got.size:
        worst = int(np.argmax(difference))
        raise AssertionError(
            f"{count} of {got.size} values differ from the twin; "
            f"the worst is {got[worst]!r} instead of {values[worst]!r}"
        )
    if strict is not None and got.size:
        equal = float((got == wanted).mean())
        assert equal >= strict - 1.5 / got.size, f"only {equal:.4%} equal the correctly rounded float64"
