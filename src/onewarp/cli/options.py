"""What several commands share: their options, the choice of the backend, sizes and policies as text."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from onewarp.errors import InputError, MissingDependency

if TYPE_CHECKING:
    from onewarp.policy import Policy

Backend = Literal["jax", "tensorflow", "torch"]
Schedule = Literal["constant", "step", "cosine", "poly"]
Model = Literal["lenet5", "resnet20", "resnet29v2"]

PolicyFile = Annotated[
    Path | None, typer.Option("--policy", metavar="FILE.yaml", help="The augmentation; a good default without it.")
]
EpochsOption = Annotated[int, typer.Option("--epochs", min=1, metavar="N", help="Passes over the training samples.")]
BatchSizeOption = Annotated[int, typer.Option("--batch-size", min=1, metavar="N", help="Samples per step.")]
LearningRateOption = Annotated[float, typer.Option("--learning-rate", metavar="X", help="Adam's, at its highest.")]
ScheduleOption = Annotated[
    Schedule,
    typer.Option("--schedule", metavar="NAME", help="constant; step: x 0.1 at 1/2 and 3/4 of the run; cosine; poly."),
]
WarmupOption = Annotated[int, typer.Option("--warmup", min=0, metavar="N", help="Epochs of linear warm-up.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Of weights, order and draws.")]
BackendOption = Annotated[
    Backend | None,
    typer.Option("--backend", metavar="NAME", help="jax, tensorflow or torch; KERAS_BACKEND, or jax, without it."),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, metavar="N", help="Of the loader; results do not depend on it.")
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="The run folder, new or empty; runs/NAME without it."),
]
TensorboardOption = Annotated[
    bool, typer.Option("--tensorboard", help="Also log numbers and augmented samples for TensorBoard.")
]
CompareOption = Annotated[
    bool, typer.Option("--compare/--no-compare", help="Also train without augmentation, for comparison.")
]


def choose_backend(backend: str | None) -> str:
    """Set KERAS_BACKEND before Keras is imported: to what was asked for, else what it is already, else jax.

    Returns:
        The name of the backend.

    Raises:
        MissingDependency: it is not installed.
        InputError: Keras runs on another one already, or KERAS_BACKEND names one that cannot be trained here.
    """
    chosen = backend or os.environ.get("KERAS_BACKEND") or "jax"
    if chosen not in ("jax", "tensorflow", "torch"):
        raise InputError(f"KERAS_BACKEND is {chosen!r}; set it to jax, tensorflow or torch, or use --backend")
    if importlib.util.find_spec(chosen) is None:
        raise MissingDependency(f"{chosen} is not installed; install it with: pip install 'onewarp[{chosen}]'")
    if "keras" in sys.modules and sys.modules["keras"].config.backend() != chosen:
        running = sys.modules["keras"].config.backend()
        raise InputError(f"Keras runs on {running} in this process; choose {chosen} in a new one")
    os.environ["KERAS_BACKEND"] = chosen
    # On a busy machine torch's OpenMP threads, which spin while they wait, keep those from running that they wait for:
    # a step of LeNet-5 on two busy cores took 461 ms so, and 46 ms with passive waiting.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its log of what the processor could do helps nobody here
    return chosen


def read_policy(path: Path) -> Policy:
    """The policy in a YAML or JSON file. Raises PolicyError naming what is wrong in it."""
    from onewarp.policy import Policy

    return Policy.from_json(path) if path.suffix.lower() == ".json" else Policy.from_yaml(path)


def parse_size(text: str) -> tuple[int, int]:
    """ "480x640" as (height, width). Raises InputError."""
    match = re.fullmatch(r"\s*(\d+)\s*[xX×]\s*(\d+)\s*", text)
    if match is None or not all(int(side) for side in match.groups()):
        raise InputError(f"{text!r} is not a size; write HEIGHTxWIDTH in pixels, for example 480x640")
    return int(match[1]), int(match[2])
