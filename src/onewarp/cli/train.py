"""`onewarp train`: small models on small data, with and without augmentation, into a run folder to look at."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onewarp.cli.options import (
    BackendOption,
    BatchSizeOption,
    CompareOption,
    EpochsOption,
    LearningRateOption,
    Model,
    OutOption,
    PolicyFile,
    ScheduleOption,
    SeedOption,
    TensorboardOption,
    ThreadsOption,
    WarmupOption,
    choose_backend,
    read_policy,
)
from onewarp.cli.policies import CIFAR10, DIGITS

if TYPE_CHECKING:
    from onewarp.fit.run import Data, Settings
    from onewarp.policy import Policy

train = typer.Typer(no_args_is_help=True, help="Train a small model with and without augmentation.")


@train.command()
def digits(
    policy: PolicyFile = None,
    epochs: EpochsOption = 30,
    batch_size: BatchSizeOption = 32,
    learning_rate: LearningRateOption = 1e-3,
    schedule: ScheduleOption = "cosine",
    warmup: WarmupOption = 0,
    seed: SeedOption = 0,
    backend: BackendOption = None,
    threads: ThreadsOption = None,
    compare: CompareOption = True,
    tensorboard: TensorboardOption = False,
    out: OutOption = None,
) -> None:
    """LeNet-5 on scikit-learn's 1,797 scanned digits (8x8, warped to 32x32). Nothing is downloaded.

    Of every class a fifth is kept for the test and a fifth of the rest for validation; both stay the same for any seed.

    Example: [cyan]onewarp train digits --schedule cosine --warmup 2 --tensorboard[/cyan]
    """
    from onewarp.data import DigitsSource, split
    from onewarp.policy import Policy

    chosen = choose_backend(backend)
    augmented = read_policy(policy) if policy is not None else Policy.from_dict(DIGITS)
    from onewarp.fit.run import Data, Settings  # imports Keras, so only now

    settings = Settings("lenet5", epochs, batch_size, learning_rate, schedule, warmup, seed, threads)
    rest, test = split(DigitsSource(), 0.2, seed=0, stratify=True)
    data = Data("digits", *split(rest, 0.2, seed=1, stratify=True), test)
    _run(data, augmented, settings, chosen, compare, tensorboard, out)


@train.command()
def cifar10(
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="PATH", help="Folder or tar with CIFAR-10; keras.datasets without it."),
    ] = None,
    model: Annotated[
        Model,
        typer.Option(
            "--model", metavar="NAME", help="lenet5, resnet20 or resnet29v2: 63, 274 or 849 thousand parameters."
        ),
    ] = "lenet5",
    policy: PolicyFile = None,
    epochs: EpochsOption = 20,
    batch_size: BatchSizeOption = 64,
    learning_rate: LearningRateOption = 1e-3,
    schedule: ScheduleOption = "constant",
    warmup: WarmupOption = 0,
    seed: SeedOption = 0,
    backend: BackendOption = None,
    threads: ThreadsOption = None,
    compare: CompareOption = True,
    tensorboard: TensorboardOption = False,
    out: OutOption = None,
) -> None:
    """A small model on CIFAR-10: 45,000 images to train, 5,000 to validate, 10,000 to test.

    PATH is a folder with the original batches, with train/ and test/, or with cifar10-train.tar and cifar10-test.tar;
    or the training tar itself, with the test tar beside it.

    Example: [cyan]onewarp train cifar10 --data ~/cifar10 --model resnet20 --epochs 60 --schedule step[/cyan]
    """
    from onewarp.data import split
    from onewarp.policy import Policy

    chosen = choose_backend(backend)
    augmented = read_policy(policy) if policy is not None else Policy.from_dict(CIFAR10)
    from onewarp.cli.cifar import open_cifar10
    from onewarp.fit.run import Data, Settings  # imports Keras, so only now

    settings = Settings(model, epochs, batch_size, learning_rate, schedule, warmup, seed, threads)
    whole, test = open_cifar10(data, threads)
    sources = Data("cifar10", *split(whole, 0.1, seed=0, stratify=True), test)
    _run(sources, augmented, settings, chosen, compare, tensorboard, out)


def _run(
    data: Data, policy: Policy, settings: Settings, backend: str, compare: bool, tensorboard: bool, out: Path | None
) -> None:
    """Train, write the run folder, and say where it is and what came out."""
    from rich.console import Console

    from onewarp.fit import board
    from onewarp.fit.experiment import run_experiment

    if tensorboard:
        board.require_tensorboard()
    policies = {"plain": policy.deterministic()} if compare else {}
    command = shlex.join(["onewarp", *sys.argv[1:]])
    run_experiment(
        data, {**policies, "augmented": policy}, settings, backend, command, Console(), tensorboard=tensorboard, out=out
    )
