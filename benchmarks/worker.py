"""One contestant in a process of its own, started by `rounds.py`: python -m benchmarks.worker RECIPE NAME SETUP.

It reads a task per line from standard input and answers with a line of JSON. Libraries may print what they like:
standard output is theirs no longer, it goes where their errors go.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from typing import Any

from benchmarks.machine import cores
from benchmarks.recipe import Pass, Setup, measure


def serve(recipe: Any, name: str, setup: Setup, answer: Any) -> None:
    passes: dict[str, Pass | None] = {}
    for line in sys.stdin:
        request = json.loads(line)
        task = request["task"]
        try:
            if hasattr(recipe, "report"):
                result = {"report": recipe.report(setup, task)}
            else:
                if task not in passes:
                    contestant = next(c for c in recipe.CONTESTANTS if c.name == name)
                    passes[task] = contestant.make(setup, task)
                work = passes[task]
                result = {"rate": None if work is None else measure(work, setup.seconds)}
        except Exception as error:
            traceback.print_exc()
            result = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(result), file=answer, flush=True)


def main() -> None:
    recipe, name, given = sys.argv[1:]
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    setup = Setup(**json.loads(given))
    if hasattr(os, "sched_setaffinity"):  # a library that cannot be told how many threads to use has no more cores
        os.sched_setaffinity(0, cores()[: setup.threads])
    serve(importlib.import_module(f"benchmarks.{recipe}"), name, setup, answer)


if __name__ == "__main__":
    main()
