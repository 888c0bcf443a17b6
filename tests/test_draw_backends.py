"""Drawing code takes its array namespace: under `keras.ops`, on every backend, it gives what it gives under NumPy."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import draw_child

MUST_BE_EQUAL = ("uniforms", "integer", "partners")


@pytest.fixture(scope="module")
def on_numpy() -> dict[str, np.ndarray]:
    return draw_child.everything(np)


@pytest.mark.parametrize("backend", ["jax", "tensorflow", "torch"])
def test_draws_are_those_of_numpy(backend, on_numpy, tmp_path) -> None:
    """Uniforms to the last bit (64-bit ids included), parameters to 1e-5 of their largest entry."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    program = [sys.executable, str(Path(draw_child.__file__)), str(tmp_path / "draws.npz")]
    done = subprocess.run(program, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "draws.npz") as stored:
        found = dict(stored)
    assert {name.split(":")[0] for name in found} >= {*draw_child.A_FEW, "normal", "integer 4095", "uniforms 2"}
    for name, value in found.items():
        expected = on_numpy[name]
        assert value.shape == expected.shape, name
        if name.startswith(MUST_BE_EQUAL):
            np.testing.assert_array_equal(value, expected, err_msg=name)
            continue
        worst = np.abs(value.astype(float) - expected.astype(float)).max(initial=0)
        assert worst <= 1e-5 * np.abs(expected.astype(float)).max(initial=0), name
        assert value.dtype == expected.dtype or value.dtype.kind in "iu" or name.startswith(("normal", "beta")), name


def test_the_comparison_covers_every_transform(on_numpy) -> None:
    labels = set(draw_child.policies())
    without_draws = {"Normalize", "Rescale"}
    assert {name.split(":")[0] for name in on_numpy} >= labels - without_draws - {"AutoContrast", "Equalize"}


def test_the_keys_of_the_comparison_use_all_their_bits() -> None:
    """Otherwise a wrong high word or a lost sign bit would go unseen."""
    assert draw_child.SEED >> 32 and draw_child.SEED >> 31 & 1
    assert draw_child.EPOCH >> 31
    assert (draw_child.IDS >> 32).any() and (draw_child.IDS >> 31 & 1).any()
