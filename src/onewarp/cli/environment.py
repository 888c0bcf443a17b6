"""`onewarp doctor --env`: the machine as a table, and what does not fit together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from onewarp.fit.environment import Facts


def examine(backend: str | None, as_json: bool) -> None:
    """Print the facts of this machine and their mismatches; exit status 1 where something cannot work."""
    if backend is not None:
        os.environ["KERAS_BACKEND"] = backend
    from rich.console import Console
    from rich.text import Text

    from onewarp.fit.environment import gather
    from onewarp.fit.mismatches import mismatches, to_json

    facts = gather()
    found = mismatches(facts)
    if as_json:
        print(to_json(facts))
    else:
        console = Console(soft_wrap=True, highlight=False)
        console.print(table(facts))
        for one in found:
            label, style = ("wrong", "red") if one.wrong else ("slow", "yellow")
            console.print(Text.assemble((f"{label}: ", style), f"{one.text}; {one.remedy}"))
        if not found:
            console.print("all of it fits together")
    if any(one.wrong for one in found):
        raise typer.Exit(1)


def table(facts: Facts) -> Table:
    """The facts, a line for each kind."""
    from rich.table import Table

    gpus = [f"{gpu.name}, {gpu.memory} MiB, driver {gpu.driver}" for gpu in facts.gpus]
    quota = "" if facts.quota is None else f", the time of {facts.quota:g}"
    rows = {
        "backend": f"{facts.backend}, by {facts.chosen_by}",
        "devices": ", ".join(facts.devices) or facts.trouble or "none",
        "built for": _pairs(facts.built_for) or "CPUs",
        "NVIDIA": "; ".join(gpus) or "no GPU, or no driver",
        "driver's CUDA": facts.driver_cuda or "",
        "memory": _pairs(facts.memory) or "as the backend has it",
        "settings": _pairs(facts.settings) or "none",
        "processor": f"{facts.processor}, {facts.cores} of them{quota}",
        "instructions": f"{' '.join(facts.isa)}; onewarp uses {facts.onewarp_isa}",
        "JPEG": "parts of images, by libjpeg-turbo" if facts.jpeg_parts else "whole images",
        "system": f"{facts.system}, Python {facts.python}",
        "packages": _pairs(facts.packages),
    }
    made = Table(show_header=False, box=None)
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows.items():
        if value:
            made.add_row(name, value)
    return made


def _pairs(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
