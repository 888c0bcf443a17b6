"""What a recipe is made of, and the clock. Nothing heavy is imported here: the parent process reads recipes, too.

A rate recipe is a module with

    TITLE          one line
    TASKS          names of its variants, ("",) where there is one
    CONTESTANTS    who takes part
    tables(rates)  the measured rates as Markdown

A report recipe has `report(setup, task)`, which returns JSON values, in place of CONTESTANTS, and `tables(reports)`.
Both run in processes of their own, see `rounds.py`.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

# rates[task][contestant] = images (or calls) per second, one number for each round
Rates = Mapping[str, Mapping[str, Sequence[float]]]

Pass = Callable[[], int]
"""Does the work once and returns how many images (or calls) that was."""


@dataclass(frozen=True)
class Setup:
    """What every process is told.

    threads: how many the contestants may use. data: a folder of photos. quick: a smoke test, not a measurement.
    seconds: how long a round measures at least.
    """

    threads: int
    data: str | None
    quick: bool
    seconds: float

    @property
    def photos(self) -> Path:
        if self.data is None:
            raise FileNotFoundError("no photographs: name a folder of JPEG files by --data, or set ONEWARP_DATA")
        return Path(self.data)


@dataclass(frozen=True)
class Contestant:
    """One way to do the work.

    make(setup, task) prepares it and returns a Pass, or None where it has no equivalent of this task.
    needs: modules that have to be installed. env: environment of its process. ours: whether it is this library.
    """

    name: str
    make: Callable[[Setup, str], Pass | None]
    needs: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ours: bool = False


def measure(work: Pass, seconds: float) -> float:
    """Images per second of repeated passes that take at least `seconds` together, after one pass to warm up.

    The garbage collector is off while the clock runs.
    """
    work()
    gc.collect()
    gc.disable()
    try:
        done, start = 0, time.perf_counter()
        while True:
            done += work()
            elapsed = time.perf_counter() - start
            if elapsed >= seconds:
                return done / elapsed
    finally:
        gc.enable()


def spread(pool: ThreadPoolExecutor, function: Callable[[int], object], numbers: Iterable[int], step: int = 1) -> None:
    """function(number) for all numbers, `step` neighbours to a thread at a time; the first error is raised."""
    every = list(numbers)

    def some(start: int) -> None:
        for number in every[start : start + step]:
            function(number)

    for _ in pool.map(some, range(0, len(every), step)):
        pass
