"""The speed of onewarp on the CPU beside other libraries, in one command:

    python -m benchmarks.cpu                      # everything that is installed, less than an hour
    python -m benchmarks.cpu --only photo_jpeg    # one recipe; --only may be repeated
    python -m benchmarks.cpu --quick              # a smoke test of a few minutes: its figures mean nothing
    python -m benchmarks.cpu --tables FILE        # the page from a result that was kept

Photographs: --data, a folder of JPEG files of about 640x480 ($ONEWARP_DATA/coco_tiny by default). The results are
kept as benchmarks/results/cpu-DATE.json, and the tables of docs/benchmarks.md are made from them.

The other libraries, in this order, into a virtual environment of their own; what is not there is left out:

    pip install torch==2.13.0
    pip install jax
    pip install albumentations==2.0.8
    pip install kornia==0.9.0
    pip install --no-deps torchvision==0.28.0
    pip install --pre --no-deps fuse-augmentations
    pip install tensorflow-cpu
    pip install scipy
    pip install --no-deps nvidia-dali-cuda120 nvidia-nvimgcodec-cu12 && pip install gast astunparse dm-tree makefun
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import cores, load, machine, versions
from benchmarks.recipe import Setup
from benchmarks.rounds import ROOT, alternate, reports
from benchmarks.stats import replace_section

RECIPES = ("cifar", "photo_memory", "photo_jpeg", "transforms", "draw", "memory", "quality")
PHOTOGRAPHS = {"photo_memory", "photo_jpeg", "transforms", "draw", "quality"}
SECONDS = {"transforms": 0.3}  # at least, in each round; there are many rows
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"


def main(argv: list[str] | None = None) -> int:
    given = _arguments(argv)
    if given.tables is not None:
        result = json.loads(Path(given.tables).read_text())
        return _publish(result, Path(given.page))
    names = given.only or list(RECIPES)
    if load() > 0.3 * len(cores()):
        _say(f"the machine is not idle (load {load():.1f} on {len(cores())} cores): expect figures that scatter")
    date = datetime.date.today().isoformat()
    path = Path(given.output) / f"{'quick' if given.quick else 'cpu'}-{date}.json"
    result = _earlier(path) | {
        "date": date,
        "quick": given.quick,
        "threads": given.threads,
        "runs": given.runs,
        "machine": machine(),
        "versions": versions(),
    }
    failed = []
    for name in names:
        start = time.perf_counter()
        try:
            result["recipes"][name] = _measure(name, given)
        except Exception as error:  # the others can still be measured
            _say(f"{name} failed: {error}")
            failed.append(name)
            continue
        _say(f"{name}: done in {time.perf_counter() - start:.0f} s\n")
        print(f"## {name}: {importlib.import_module(f'benchmarks.{name}').TITLE}\n\n{show(name, result)}\n", flush=True)
        if not given.quick or given.output != str(RESULTS):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(result, indent=1) + "\n")
            _say(f"kept in {path}")
    if not given.quick:
        _publish(result, Path(given.page))
    return 1 if failed else 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu", description=(__doc__ or "").splitlines()[0])
    default = os.path.join(os.environ["ONEWARP_DATA"], "coco_tiny") if os.environ.get("ONEWARP_DATA") else None
    parser.add_argument("--only", action="append", choices=RECIPES, help="this recipe; may be repeated")
    parser.add_argument("--runs", type=int, default=None, help="alternating rounds (5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of every contestant, and cores it may use (2)")
    parser.add_argument("--data", default=default, help="a folder of photographs ($ONEWARP_DATA/coco_tiny)")
    parser.add_argument("--quick", action="store_true", help="a smoke test: nothing is kept, the figures mean nothing")
    parser.add_argument("--output", default=str(RESULTS), help="folder of the results; with --quick kept only if given")
    parser.add_argument("--page", default=str(PAGE), help="the page whose tables are renewed")
    parser.add_argument("--tables", metavar="FILE", help="measure nothing; renew the page from this result")
    given = parser.parse_args(argv)
    given.runs = given.runs or (2 if given.quick else 5)
    if given.threads < 1 or given.threads > len(cores()):
        parser.error(f"--threads {given.threads}: this process may use {len(cores())} cores")
    if given.data is None and given.tables is None and PHOTOGRAPHS & set(given.only or RECIPES):
        parser.error("no photographs: name a folder of JPEG files by --data, or set ONEWARP_DATA, or take --only cifar")
    return given


def _measure(name: str, given: argparse.Namespace) -> dict[str, Any]:
    recipe = importlib.import_module(f"benchmarks.{name}")
    threads = getattr(recipe, "THREADS", given.threads)
    seconds = 0.05 if given.quick else SECONDS.get(name, 2.0)
    setup = Setup(threads, given.data, given.quick, seconds)
    if hasattr(recipe, "report"):
        return reports(name, recipe, setup, _say)
    return alternate(name, recipe, setup, given.runs, _say)


def show(name: str, result: dict[str, Any]) -> str:
    """The tables of one recipe of a result, as Markdown, and what was left out."""
    recipe, measured = importlib.import_module(f"benchmarks.{name}"), result["recipes"][name]
    text: str = recipe.tables(measured["reports"] if "reports" in measured else measured["rates"])
    skipped = "".join(f"\n- Without {who}: {why}" for who, why in measured.get("skipped", {}).items())
    return text + (f"\n{skipped}" if skipped else "")


def _publish(result: dict[str, Any], path: Path) -> int:
    """Renew the sections of the page."""
    page = path.read_text()
    page = replace_section(page, "machine", describe(result))
    for name in RECIPES:
        if name in result["recipes"]:
            page = replace_section(page, name, show(name, result))
    path.write_text(page)
    _say(f"renewed {path}")
    return 0


def describe(result: dict[str, Any]) -> str:
    """Machine, versions and date of a result, as text."""
    at = result["machine"]
    parts = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return (
        f"{at['cpu']}, {at['cores']} cores ({', '.join(at['isa']) or 'unknown instruction set'}; onewarp used "
        f"{at['onewarp_isa']}), {at['memory_gib']} GiB, {at['system']}, Python {at['python']}; {result['date']}, "
        f"{result['runs']} alternating rounds, {result['threads']} threads.\n\nVersions: {parts}."
    )


def _earlier(path: Path) -> dict[str, Any]:
    """What was kept today, so that recipes may be run one at a time."""
    if path.exists():
        earlier: dict[str, Any] = json.loads(path.read_text())
        return earlier
    return {"recipes": {}}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
