"""Rounds: A B C, A B C ... so that what the machine does meanwhile meets all contestants alike.

Each contestant has a process of its own for the whole recipe, so that threads, OpenCV's settings and environment of one
do not touch another; while one measures, the others wait for their next line of input.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.peers import keras_backend, missing
from benchmarks.recipe import Contestant, Setup
from benchmarks.stats import number

ROOT = Path(__file__).resolve().parents[1]
Say = Callable[[str], None]


class WorkerError(Exception):
    """A contestant that cannot go on; the message holds the end of what its process printed."""


class Worker:
    """A contestant's process."""

    def __init__(self, recipe: str, name: str, setup: Setup, env: dict[str, str]) -> None:
        threads = str(setup.threads)
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", recipe, name, json.dumps(asdict(setup))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd=ROOT,
            env={
                **os.environ,
                "OMP_NUM_THREADS": threads,
                "MKL_NUM_THREADS": threads,
                "OPENBLAS_NUM_THREADS": threads,
                "NUMEXPR_NUM_THREADS": threads,
                "TF_NUM_INTRAOP_THREADS": threads,
                "TF_NUM_INTEROP_THREADS": threads,
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "NO_ALBUMENTATIONS_UPDATE": "1",
                "KERAS_BACKEND": keras_backend(),
                **env,
            },
        )

    def ask(self, task: str) -> dict[str, Any]:
        """Let it work on a task, and wait for the answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        line = ""
        try:
            self.process.stdin.write(json.dumps({"task": task}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            pass
        if not line:
            raise WorkerError(f"its process ended; it printed: {self.printed()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def printed(self) -> str:
        self.log.seek(0)
        return self.log.read()[-2000:].strip()

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def alternate(name: str, recipe: Any, setup: Setup, runs: int, say: Say) -> dict[str, Any]:
    """All rounds of a rate recipe: {"rates": {task: {contestant: [rate, ...]}}, "skipped": {contestant: why}}.

    A contestant that fails is left out from then on, and said to be.
    """
    rates: dict[str, dict[str, list[float]]] = {task: {} for task in recipe.TASKS}
    skipped: dict[str, str] = {}
    with ExitStack() as stack:
        workers = {c.name: _start(name, c, setup, stack, skipped, say) for c in recipe.CONTESTANTS}
        idle: set[tuple[str, str]] = set()  # those without an equivalent
        for run in range(runs):
            for task in recipe.TASKS:
                for contestant, worker in workers.items():
                    if worker is None or contestant in skipped or (task, contestant) in idle:
                        continue
                    try:
                        rate = worker.ask(task)["rate"]
                    except WorkerError as error:
                        skipped[contestant] = f"failed{f' at {task}' if task else ''}: {error}"
                        say(f"{name}: {contestant} {skipped[contestant]}")
                        continue
                    if rate is None:
                        idle.add((task, contestant))
                        continue
                    rates[task].setdefault(contestant, []).append(rate)
                    say(f"{name} {run + 1}/{runs}: {f'{task}, ' if task else ''}{contestant}: {number(rate)}/s")
    complete = {
        task: {contestant: values for contestant, values in measured.items() if len(values) == runs}
        for task, measured in rates.items()
    }
    return {"rates": complete, "skipped": skipped}


def reports(name: str, recipe: Any, setup: Setup, say: Say) -> dict[str, Any]:
    """The reports of a recipe, each from a process of its own: {"reports": {task: ...}}."""
    found = {}
    for task in recipe.TASKS:
        say(f"{name}: {task or 'running'} ...")
        worker = Worker(name, "", setup, {})
        try:
            found[task] = worker.ask(task)["report"]
        finally:
            worker.close()
    return {"reports": found}


def _start(
    recipe: str, contestant: Contestant, setup: Setup, stack: ExitStack, skipped: dict[str, str], say: Say
) -> Worker | None:
    lacking = missing(contestant.needs)
    if lacking is not None:
        skipped[contestant.name] = lacking
        say(f"{recipe}: without {contestant.name}: {lacking}")
        return None
    worker = Worker(recipe, contestant.name, setup, dict(contestant.env))
    stack.callback(worker.close)
    return worker
