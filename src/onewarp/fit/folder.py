"""The run folder: configuration, history, pictures, summary and models of one or more trainings, as files."""

from __future__ import annotations

import csv
import itertools
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import yaml

from onewarp.errors import InputError
from onewarp.fit.describe import describe_markdown, markdown
from onewarp.fit.progress import Row
from onewarp.fit.run import Result

RESULT_COLUMNS = ("training", "test accuracy", "validation", "epoch", "compile", "data_wait", "images/s")


def new_folder(out: Path | None, name: str) -> Path:
    """Make the run folder: `out`, which must be new or empty, else the first free one of runs/name, runs/name-2, ...

    Raises:
        InputError: `out` has files in it, or no folder can be made there.
    """
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            if any(out.iterdir()):
                raise InputError(f"{out} is not empty; choose another --out, or remove it first")
            return out
        for number in itertools.count(1):
            folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            return folder
    except OSError as fault:
        raise InputError(f"{out or 'runs'}: no folder can be made: {fault.strerror}; choose another --out") from None
    raise AssertionError("unreachable: count() does not end")


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """config.yaml: everything needed to repeat the run."""
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    (folder / "config.yaml").write_text(text, encoding="utf-8")


def append_history(folder: Path, training: str, row: Row) -> None:
    """One line more in history.csv, written at once: a run that is broken off has its epochs."""
    path = folder / "history.csv"
    line = {"training": training, **row}
    fresh = not path.exists()
    columns = list(line) if fresh else _header(path)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in line.items()})


def _header(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file))


def result_rows(results: Sequence[Result]) -> list[list[str]]:
    """The table of results, one line per training, under `RESULT_COLUMNS`."""
    return [
        [
            result.name,
            f"{result.test_accuracy:.2%}",
            f"{result.rows[-1]['val_accuracy']:.2%}",
            f"{result.typical('seconds'):.2f} s",
            f"{result.compile_seconds:.1f} s",
            f"{result.typical('data_wait'):.1%}",
            f"{result.typical('images_per_second'):,.0f}",
        ]
        for result in results
    ]


def versions(backend: str) -> dict[str, str]:
    """Versions of what a run depends on."""
    return {
        "onewarp": version("onewarp"),
        "keras": keras.__version__,
        backend: str(getattr(sys.modules.get(backend), "__version__", "unknown")),  # torch has a class for it
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def write_summary(folder: Path, title: str, command: str, policy_plan: str, results: Sequence[Result]) -> None:
    """summary.md: the results as a table, what was run, and the history of each training described."""
    parts = [
        markdown(RESULT_COLUMNS, result_rows(results)),
        "Test accuracy: after the last epoch, on samples that neither training nor validation saw. Validation: that "
        "of the last epoch. Epoch (validation included), data_wait (the share of the time in which the step waited for "
        "data) and images/s: medians over the epochs after the first. Compile: what the first step took longer than "
        "the median step.",
        "![history](history.png)",
        "![augmented samples](samples.png)",
        f"## What the policy does\n\n```\n{policy_plan}\n```",
        *(f"## History, {result.name}\n\n{describe_markdown(result.rows)}" for result in results),
    ]
    write_page(folder, title, command, parts)


def write_page(folder: Path, title: str, command: str, parts: Sequence[str]) -> None:
    """summary.md: a title, what was typed, and the parts as paragraphs."""
    text = "\n\n".join([f"# {title}", f"`{command}`", *parts])
    (folder / "summary.md").write_text(text + "\n", encoding="utf-8")


def save_model(path: Path, model: Any) -> Path:
    """NAME.keras: architecture and weights. Plain `keras.models.load_model` reads it: no optimizer, whose learning rate
    would be a class of ours.
    """
    bare = type(model).from_config(model.get_config())  # `clone_model` would compile it, too
    bare.set_weights(model.get_weights())
    bare.save(path)
    return path
