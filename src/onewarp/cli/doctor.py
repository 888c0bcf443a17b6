"""`onewarp doctor`: where the time of a training goes, and what to change."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from onewarp.cli.environment import examine
from onewarp.cli.options import BackendOption, Model, PolicyFile, ThreadsOption, choose_backend, read_policy
from onewarp.cli.policies import PHOTOS
from onewarp.errors import DataError, InputError, OnewarpError

if TYPE_CHECKING:
    from onewarp.data.base import Source
    from onewarp.policy import Policy


@dataclass(frozen=True)
class Case:
    """A training to look at; None stands for a choice that is not made yet.

    data: where its samples are, or the name of what they are.
    """

    name: str
    policy: dict[str, Any]
    data: Path | str
    model: str = "lenet5"
    batch_size: int = 32
    threads: int | None = None
    backend: str | None = None


def doctor(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="RUN_OR_SOURCE", help="A run folder of onewarp train; or a folder or tar of images."),
    ] = None,
    env: Annotated[
        bool, typer.Option("--env", help="Look at the machine instead: versions, devices, settings.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="With --env: print JSON.")] = False,
    policy: PolicyFile = None,
    model: Annotated[
        Model | None,
        typer.Option("--model", metavar="NAME", help="lenet5, resnet20 or resnet29v2; lenet5, or the run's, without."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, metavar="N", help="Samples per step; 32, or the run's, without."),
    ] = None,
    threads: ThreadsOption = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.05, metavar="X", help="What each of a dozen measurements takes.")
    ] = 1.0,
    backend: BackendOption = None,
) -> None:
    """Say where the time of a training goes, what to change, and how many times as fast that should be.

    Reading, decoding, augmenting, copying to the device and the train step are measured one by one, the step on a batch
    that lies where it trains, then a training as it is. Nothing is kept.

    With --env it says what there is to run on, and what of it does not fit together; exit status 1 if something cannot
    work so.

    Example: [cyan]onewarp doctor photos/ --policy policy.yaml --model resnet20[/cyan]

    Example: [cyan]onewarp doctor --env[/cyan]
    """
    if env == (path is not None) or (json and not env):
        raise typer.BadParameter("name a RUN_OR_SOURCE, or give --env (and --json with it), not both")
    if path is None:
        return examine(backend, json)
    case = of_run(path) if (path / "config.yaml").is_file() else of_source(path)
    given = {"model": model, "batch_size": batch_size, "threads": threads, "backend": backend}
    case = replace(case, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    source, augmentation = open_samples(case), read_policy(policy) if policy is not None else policy_of(case)
    chosen = choose_backend(case.backend)

    from rich.console import Console

    from onewarp.fit.diagnose import report
    from onewarp.fit.measuring import measure_parts  # imports Keras, so only now
    from onewarp.models import build
    from onewarp.spec import Spec

    console = Console()
    console.print(
        f"{case.name}: {len(source):,} samples, {case.model} on {chosen}, batches of {case.batch_size}",
        highlight=False,
        soft_wrap=True,
    )
    shape = augmentation.plan(Spec(source.image_shape, source.dtype, source.value_range)).output_shape
    built = build(case.model, shape, source.num_classes or 1)
    with console.status("measuring") as status:

        def watch(part: str) -> None:
            status.update(f"measuring: {part}")

        size, at_most = min(case.batch_size, len(source)), case.threads
        parts = measure_parts(
            source, augmentation, built, batch_size=size, threads=at_most, seconds=seconds, watch=watch
        )
    report(parts, console.print)


def of_run(folder: Path) -> Case:
    """The training that `onewarp train` wrote into a run folder.

    Raises:
        DataError: its config.yaml cannot be read, or is something else.
    """
    path = folder / "config.yaml"
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        name = config["data"]["name"]
        settings = {key: config[key] for key in ("policy", "model", "batch_size", "threads", "backend")}
        words = shlex.split(config["command"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as fault:
        raise DataError(
            f"{path}: not what onewarp train writes ({type(fault).__name__}: {fault}); name a run folder, or images"
        ) from None
    data = next((words[i + 1] for i, word in enumerate(words[:-1]) if word == "--data"), None)
    data = next((word.removeprefix("--data=") for word in words if word.startswith("--data=")), data)
    return Case(name=f"{folder} ({name})", data=name if data is None else Path(data), **settings)


def of_source(path: Path) -> Case:
    """A training on a folder or a tar of images. Raises DataError where there is neither."""
    if not path.is_dir() and path.suffix.lower() != ".tar":
        raise DataError(f"{path}: neither a run folder, nor a folder or tar of images; check the path")
    return Case(name=str(path), policy=PHOTOS, data=path)


def policy_of(case: Case) -> Policy:
    from onewarp.policy import Policy

    return Policy.from_dict(case.policy)


def open_samples(case: Case) -> Source:
    """The training samples of a case, with class numbers."""
    from onewarp.cli.cifar import open_cifar10
    from onewarp.data import DigitsSource, split

    if case.data == "digits":
        return split(split(DigitsSource(), 0.2, seed=0, stratify=True)[0], 0.2, seed=1, stratify=True)[0]
    if "(cifar10)" in case.name:
        path = case.data if isinstance(case.data, Path) else None
        return split(open_cifar10(path, case.threads)[0], 0.1, seed=0, stratify=True)[0]
    if not isinstance(case.data, Path):
        raise InputError(
            f"{case.name}: there is no data of the name {case.data!r} here; name a folder or tar of images"
        )
    return labelled(case.data)


def labelled(path: Path) -> Source:
    """The images of a folder or tar; of two classes in turn where there are no class folders."""
    import numpy as np

    from onewarp.data import FileSource, FolderSource, TarSource
    from onewarp.data.files import images_below

    if path.is_file():
        return TarSource(path)
    try:
        return FolderSource(path)
    except OnewarpError:
        files = images_below(path)
        if not files:
            raise
        return FileSource(files, np.arange(len(files)) % 2)
