"""The dense CRF against pydensecrf: time, memory, and whether the marginals agree. One command:

    python -m benchmarks.crf                          # with pydensecrf where this Python has it
    python -m benchmarks.crf --pydensecrf PYTHON      # with the pydensecrf of another Python
    python -m benchmarks.crf --tables FILE            # renew the table of docs/segmentation.md from a kept result

pydensecrf has no wheels and needs an old Cython; it goes into an environment of its own:

    python -m venv /tmp/peer && /tmp/peer/bin/pip install cython==0.29.36 'setuptools<81' wheel numpy
    /tmp/peer/bin/pip install --no-build-isolation git+https://github.com/lucasb-eyer/pydensecrf

A call goes from probabilities [h, w, classes] to marginals [h, w, classes], with 10 iterations of the kernels of
pydensecrf's README (positions: sxy 3, compat 3; colours: sxy 80, srgb 13, compat 10), on scikit-learn's photographs.
Contestants take turns (A B C, A B C ...), each in a process of its own, pinned to as many cores as it has threads.
Memory is the peak of the resident memory of a first call, above what was there before it, in a fresh process.

The result is kept as benchmarks/results/crf-DATE.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine, versions
from benchmarks.rounds import ROOT
from benchmarks.stats import number, ratios, replace_section, summary, table

TASKS = {"480x360, 11 classes": ("china.jpg", 360, 480, 11), "500x375, 21 classes": ("flower.jpg", 375, 500, 21)}
CONTESTANTS = {"pydensecrf": 1, "onewarp, 1 thread": 1, "onewarp, 2 threads": 2}
PEER = "pydensecrf"
WORKER = Path(__file__).with_name("crf_worker.py")


class Worker:
    """A contestant's process."""

    def __init__(self, name: str, python: str, folder: str) -> None:
        kind = PEER if name == PEER else "onewarp"
        self.process = subprocess.Popen(
            [python, str(WORKER), kind, str(CONTESTANTS[name]), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, task: str) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(task + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        found: dict[str, Any] = json.loads(line) if line else {"error": "its process ended"}
        if "error" in found:
            raise RuntimeError(f"{task}: {found['error']}")
        return found

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def inputs(photo: str, h: int, w: int, classes: int) -> dict[str, np.ndarray]:
    """A photograph, and probabilities that follow its colours badly: with smooth noise, and noise of every pixel."""
    import cv2
    from sklearn.datasets import load_sample_image

    rng = np.random.default_rng(0)
    image = cv2.resize(load_sample_image(photo), (w, h), interpolation=cv2.INTER_AREA)
    centres = image.reshape(-1, 3)[rng.integers(0, h * w, classes)].astype(np.float32)
    away = np.sqrt(((image[:, :, None].astype(np.float32) - centres) ** 2).sum(-1))
    smooth = cv2.resize(rng.normal(size=(h // 16, w // 16, classes)).astype(np.float32), (w, h)).reshape(h, w, classes)
    logits = -away / 40 + smooth + 0.5 * rng.normal(size=(h, w, classes))
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return {"image": image, "probs": (e / e.sum(-1, keepdims=True)).astype(np.float32)}


def measure(pythons: dict[str, str], runs: int, calls: int) -> dict[str, Any]:
    """{task: {"seconds": {contestant: [...]}, "mib": {...}, "difference": ..., "labels": ...}}."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, given in TASKS.items():
            np.savez(Path(folder) / f"{name.split(',')[0]}.npz", **inputs(*given))
        for name in TASKS:
            short = name.split(",")[0]
            mib = {}
            for contestant, python in pythons.items():
                worker = Worker(contestant, python, folder)
                mib[contestant] = worker.ask(f"memory {short}")["mib"]
                worker.close()
            seconds: dict[str, list[float]] = {contestant: [] for contestant in pythons}
            with ExitStack() as stack:
                workers = {contestant: Worker(contestant, python, folder) for contestant, python in pythons.items()}
                for worker in workers.values():
                    stack.callback(worker.close)
                    for _ in range(2):
                        worker.ask(f"save {short}")
                for run in range(runs):
                    for contestant, worker in workers.items():
                        seconds[contestant].append(min(worker.ask(short)["seconds"] for _ in range(calls)))
                        print(
                            f"{name} {run + 1}/{runs}: {contestant}: {1e3 * seconds[contestant][-1]:.0f} ms", flush=True
                        )
            found[name] = {"seconds": seconds, "mib": mib}
            if PEER in pythons:
                ours, theirs = (np.load(Path(folder) / f"{short}-{kind}.npy") for kind in ("onewarp", PEER))
                found[name]["difference"] = float(abs(ours - theirs).mean())
                found[name]["labels"] = float((ours.argmax(-1) == theirs.argmax(-1)).mean())
    return found


def section(result: dict[str, Any]) -> str:
    """The table of docs/segmentation.md."""
    rows, agreement = [], []
    for name, task in result["tasks"].items():
        peer = task["seconds"].get(PEER)
        for contestant, seconds in task["seconds"].items():
            faster = summary(ratios(peer, seconds)).show(1) if peer and contestant != PEER else ""
            share = f"{task['mib'][contestant] / task['mib'][PEER]:.2f}" if peer and contestant != PEER else ""
            shown = contestant if contestant == PEER else f"**{contestant}**"
            milliseconds = number(1e3 * summary(seconds).median)
            rows.append([f"{name}: {shown}", milliseconds, faster, f"{task['mib'][contestant]:.0f}", share])
        if peer:
            equal = f"{task['difference']:.1e}, {100 * task['labels']:.2f} % equal labels"
            agreement.append(f"{name}: mean difference of the marginals {equal}")
    head = ["", "ms, median", "times faster: low / median / high", "memory, MiB", "of pydensecrf's"]
    here = result["machine"]
    lines = [table(head, rows), "", *(f"- {line}" for line in agreement), ""]
    lines.append(f"{here['cpu']}, {here['cores']} cores, {here['onewarp_isa']}; {result['date']}.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pydensecrf", metavar="PYTHON", default=sys.executable, help="a Python that has pydensecrf")
    parser.add_argument("--runs", type=int, default=7, help="rounds")
    parser.add_argument("--calls", type=int, default=3, help="calls of a round; the fastest counts")
    parser.add_argument("--tables", type=Path, metavar="FILE", help="renew the page from this result, measure nothing")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "segmentation.md")
    given = parser.parse_args()
    if given.tables:
        result = json.loads(given.tables.read_text())
    else:
        there = (
            subprocess.run([given.pydensecrf, "-c", "import pydensecrf.densecrf"], capture_output=True).returncode == 0
        )
        if not there:
            print(f"without pydensecrf: {given.pydensecrf} does not have it; see the head of benchmarks/crf.py")
        pythons = {name: given.pydensecrf if name == PEER else sys.executable for name in CONTESTANTS}
        if not there:
            del pythons[PEER]
        result = {
            "date": datetime.date.today().isoformat(),
            "machine": machine(),
            "versions": versions(),
            "tasks": measure(pythons, given.runs, given.calls),
        }
        kept = ROOT / "benchmarks" / "results" / f"crf-{result['date']}.json"
        kept.write_text(json.dumps(result, indent=1) + "\n")
        print(f"kept as {kept}")
    text = section(result)
    print(text)
    given.page.write_text(replace_section(given.page.read_text(encoding="utf-8"), "crf", text), encoding="utf-8")


if __name__ == "__main__":
    main()
