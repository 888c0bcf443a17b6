"""Several processes or replicas share a batch: draws in the step are those of the place in the whole batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from loader_helpers import BACKEND

HERE = Path(__file__).parent


def run(program: str, folder: Path, *jobs: tuple[object, ...]) -> None:
    """Processes beside each other: program arguments... folder."""
    started = [
        subprocess.Popen(
            [sys.executable, str(HERE / program), *map(str, job), str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for job in jobs
    ]
    try:
        for process in started:
            told, _ = process.communicate(timeout=300)
            assert process.returncode == 0, told
    finally:
        for process in started:
            process.kill()


@pytest.mark.skipif(BACKEND != "torch", reason="torch.distributed")
def test_processes_of_torch_draw_as_one_would(tmp_path: Path) -> None:
    """Two processes with half of each batch train as one process with all of it, and no two places are drawn alike."""
    run("ddp_child.py", tmp_path, (0, 2), (1, 2), (0, 1))
    halves = [dict(np.load(tmp_path / f"2-{rank}.npz")) for rank in (0, 1)]
    whole = dict(np.load(tmp_path / "1-0.npz"))
    for name, value in whole.items():
        axis = {"seen": 1, "augmented": 0}.get(name)
        found = halves[0][name] if axis is None else np.concatenate([half[name] for half in halves], axis=axis)
        np.testing.assert_allclose(found, value, atol=1e-5, err_msg=name)
        if axis is None:
            np.testing.assert_allclose(halves[1][name], value, atol=1e-5, err_msg=name)
    for name in ("seen", "augmented"):
        first, second = halves[0][name].reshape(-1, 8 * 8 * 3), halves[1][name].reshape(-1, 8 * 8 * 3)
        assert all(np.abs(a - b).max() > 0.01 for a, b in zip(first, second, strict=True)), name


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.distribute")
def test_replicas_of_tensorflow_draw_as_one_would(tmp_path: Path) -> None:
    run("replicas_child.py", tmp_path, (2,), (1,))
    mirrored, alone = (dict(np.load(tmp_path / f"{count}.npz")) for count in (2, 1))
    for name, value in alone.items():
        np.testing.assert_allclose(mirrored[name], value, atol=1e-5, err_msg=name)
