"""One contestant of `benchmarks.crf`, in a process and perhaps a Python of its own: imports NumPy and the contestant.

    python crf_worker.py onewarp|pydensecrf THREADS FOLDER

Reads tasks, one name per line, whose inputs are FOLDER/NAME.npz; answers {"seconds": of one call} or {"error": ...}.
"memory NAME" answers {"mib": what one call adds to the resident memory at its peak}; "save NAME" writes the marginals.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Call = Callable[[np.ndarray, np.ndarray], np.ndarray]
ITERATIONS = 10


def pydensecrf(threads: int) -> Call:
    import pydensecrf.densecrf as dcrf

    def call(image: np.ndarray, probs: np.ndarray) -> np.ndarray:
        h, w, classes = probs.shape
        crf = dcrf.DenseCRF2D(w, h, classes)
        crf.setUnaryEnergy(np.ascontiguousarray(-np.log(np.clip(probs, 1e-5, 1)).reshape(-1, classes).T))
        crf.addPairwiseGaussian(sxy=3, compat=3)
        crf.addPairwiseBilateral(sxy=80, srgb=13, rgbim=image, compat=10)
        return np.array(crf.inference(ITERATIONS)).T.reshape(h, w, classes)

    return call


def onewarp(threads: int) -> Call:
    from onewarp.segment import DenseCRF

    crf = DenseCRF(dict(sxy=3, compat=3), dict(sxy=80, srgb=13, compat=10), ITERATIONS)
    return lambda image, probs: crf(image, probs, threads=threads)


def peak_mib() -> float:
    """The highest resident memory since the last reset, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def answer(call: Call, folder: Path, task: str) -> dict[str, Any]:
    what, _, name = task.rpartition(" ")
    with np.load(folder / f"{name}.npz") as file:
        image, probs = file["image"], file["probs"]
    if what == "memory":
        Path("/proc/self/clear_refs").write_text("5")
        before = peak_mib()
        call(image, probs)
        return {"mib": peak_mib() - before}
    if what == "save":
        np.save(folder / f"{name}-{sys.argv[1]}.npy", call(image, probs))
        return {}
    begin = time.perf_counter()
    call(image, probs)
    return {"seconds": time.perf_counter() - begin}


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[2])])
    made = {"onewarp": onewarp, "pydensecrf": pydensecrf}[sys.argv[1]](int(sys.argv[2]))
    for line in sys.stdin:
        try:
            print(json.dumps(answer(made, Path(sys.argv[3]), line.strip())), flush=True)
        except Exception as error:
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
