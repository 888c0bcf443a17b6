"""Recipe: what onewarp does once per batch, and how it scales. Drawing and lowering a policy of ten transforms, the
prefetcher around a function that does nothing, and a loader of JPEG files with one thread and with two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks import photo_jpeg
from benchmarks.recipe import Contestant, Pass, Rates, Setup
from benchmarks.stats import number, ratios, summary, table

THREADS = 2
TITLE = "per batch: drawing, lowering, prefetching; scaling from one thread to two"
SAMPLES = 128
CALLS = {
    "draw": f"draw {SAMPLES} samples of a policy of ten transforms",
    "lower, cached": "lower it to a plan that is cached",
    "lower": "lower it anew",
    "prefetch": "hand over an item that takes no time, 2 threads",
}
SCALING = {"load": "JPEG loader", "decode": "decoding alone"}
TASKS = (*CALLS, *(f"{kind} {threads}" for kind in SCALING for threads in (1, 2)))


def policy() -> Any:
    """Ten transforms of all kinds."""
    import onewarp as ow

    return ow.Policy(
        [
            ow.RandomResizedCrop(224, scale=(0.35, 1.0)),
            ow.HorizontalFlip(),
            ow.Rotate(15),
            ow.Shear(10),
            ow.Scale((0.8, 1.2)),
            ow.Translate(0.1),
            ow.ColorJitter(0.2, 0.2, 0.2, 0.1),
            ow.Gamma(),
            ow.RandomErasing(),
            ow.Normalize("imagenet"),
        ]
    )


def _spec() -> Any:
    import onewarp as ow

    return ow.Spec(images=(480, 640, 3))


def _repeat(call: Callable[[int], object], times: int) -> Pass:
    """`times` calls, each with a number that has not been before."""
    begun = 0

    def work() -> int:
        nonlocal begun
        for number_ in range(begun, begun + times):
            call(number_)
        begun += times
        return times

    return work


def _draw() -> Pass:
    ten, spec, ids = policy(), _spec(), np.arange(SAMPLES)
    return _repeat(lambda epoch: ten.draw(spec, seed=0, epoch=epoch, ids=ids), 20)


def _lower() -> Pass:
    ten, spec = policy(), _spec()
    return _repeat(lambda _: ten.plan(spec), 1000)


def _lower_anew() -> Pass:
    from onewarp.lower import lower

    ten, spec = policy(), _spec()
    fresh = getattr(lower, "__wrapped__", lower)  # behind the cache
    return _repeat(lambda _: fresh(ten.transforms, ten.settings, spec), 10)


def _prefetch(setup: Setup) -> Pass:
    from onewarp.data.prefetch import Prefetcher

    count = 1000 if setup.quick else 10000

    def work() -> int:
        prefetcher = Prefetcher(lambda item: item, count, 2, 4)
        for _ in range(count):
            prefetcher.get()
        return count

    return work


def _make(setup: Setup, task: str) -> Pass | None:
    kind, _, threads = task.rpartition(" ")
    if kind in SCALING:
        told = replace(setup, threads=int(threads))
        contestant = "onewarp, linear hue" if kind == "load" else photo_jpeg.DECODE
        return next(c for c in photo_jpeg.CONTESTANTS if c.name == contestant).make(told, "")
    made = {"draw": _draw, "lower, cached": _lower, "lower": _lower_anew, "prefetch": lambda: _prefetch(setup)}
    return made[task]()


CONTESTANTS = (Contestant("onewarp", _make, ours=True),)


def tables(rates: Rates) -> str:
    measured = {task: list(of["onewarp"]) for task, of in rates.items() if "onewarp" in of}
    rows = []
    for task, text in CALLS.items():
        if task in measured:
            low, median, high = summary([1e6 / rate for rate in measured[task]])
            rows.append([text, number(median), f"{number(low)} – {number(high)}"])
    scaling = []
    for kind, text in SCALING.items():
        one, two = measured.get(f"{kind} 1"), measured.get(f"{kind} 2")
        if one and two:
            shown = [number(summary(values).median) for values in (one, two)]
            scaling.append([text, *shown, summary(ratios(two, one)).show()])
    return "\n\n".join(
        [
            table(["", "µs, median", "low – high"], rows),
            table(["", "images/s, 1 thread", "2 threads", "ratio: low / median / high"], scaling),
        ]
    )
