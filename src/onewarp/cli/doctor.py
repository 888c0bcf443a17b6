"""`onewarp doctor`: where the time of a training goes, and what to change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from onewarp.cli.cases import CLASSIFIERS, SEGMENTERS, Case, check_masks, mask_classes, of_run, of_source, open_samples
from onewarp.cli.environment import examine
from onewarp.cli.options import BackendOption, PolicyFile, ThreadsOption, choose_backend, read_policy
from onewarp.cli.prepare import MasksOption
from onewarp.errors import InputError

if TYPE_CHECKING:
    from onewarp.data.base import Source
    from onewarp.policy import Policy

AnyModel = Literal["lenet5", "resnet20", "resnet29v2", "unet", "deeplab_v1", "deeplab_v3plus"]


def doctor(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN_OR_SOURCE", help="A run folder; or images: a folder, a tar, a store, a CSV or Parquet file."
        ),
    ] = None,
    env: Annotated[
        bool, typer.Option("--env", help="Look at the machine instead: versions, devices, settings.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="With --env: print JSON.")] = False,
    masks: MasksOption = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            "--annotations", metavar="FILE.json", help="A COCO file; or boxes and points as for onewarp preview."
        ),
    ] = None,
    policy: PolicyFile = None,
    model: Annotated[
        AnyModel | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="lenet5, resnet20, resnet29v2; for masks unet, deeplab_v1, deeplab_v3plus; the run's without it.",
        ),
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
    run = (path / "config.yaml").is_file()
    if run and (masks is not None or annotations is not None):
        raise InputError(f"{path}: a run says itself what its samples are; leave --masks and --annotations out")
    case = of_run(path) if run else of_source(path, masks, annotations)
    if model is not None:
        case = replace(case, model=model, saved=None)
    case = replace(
        case,
        batch_size=batch_size or case.batch_size,
        threads=threads or case.threads,
        backend=backend or case.backend,
    )
    from onewarp.policy import Policy

    source = open_samples(case)
    augmentation = read_policy(policy) if policy is not None else Policy.from_dict(case.policy)
    chosen = choose_backend(case.backend)

    from rich.console import Console

    from onewarp.fit.diagnose import report
    from onewarp.fit.measuring import measure_parts  # imports Keras, so only now

    built, target = model_of(case, source, augmentation)
    console = Console()
    console.print(
        f"{case.name}: {len(source):,} samples, {built.name} on {chosen}, batches of {case.batch_size}",
        highlight=False,
        soft_wrap=True,
    )
    with console.status("measuring") as status:

        def watch(part: str) -> None:
            status.update(f"measuring: {part}")

        size, at_most = min(case.batch_size, len(source)), case.threads
        parts = measure_parts(
            source, augmentation, built, target=target, batch_size=size, threads=at_most, seconds=seconds, watch=watch
        )
    report(parts, console.print)


def model_of(case: Case, source: Source, policy: Policy) -> tuple[Any, str]:
    """The model of a case, and what it learns: "labels" or "segmentation_masks".

    Raises:
        InputError: a model that is not known, cannot be loaded, or does not fit the samples.
    """
    import keras

    from onewarp import models
    from onewarp.data.batches import has_class_numbers
    from onewarp.spec import Spec

    if case.saved is not None and case.model not in CLASSIFIERS:
        try:
            loaded = keras.saving.load_model(case.saved, compile=False)
        except Exception as error:  # whatever Keras comes across: bad zip files, missing keys, unknown layers
            reason = str(error).strip().partition("\n")[0]
            raise InputError(f"{case.saved}: not a Keras model: {reason}; choose one by --model") from None
        if len(loaded.output_shape) != 4:
            return loaded, "labels"
        check_masks(source, str(case.saved))
        return loaded, "segmentation_masks"
    masked = "segmentation_masks" in source.roles and not has_class_numbers(source)
    name = case.model or ("unet" if masked else "lenet5")
    known = (*CLASSIFIERS, *SEGMENTERS)
    if name not in known:
        raise InputError(f"{case.name}: there is no model {name!r}; choose one by --model: {', '.join(known)}")
    shape = policy.plan(Spec(source.image_shape, source.dtype, source.value_range)).output_shape
    if name in SEGMENTERS:
        check_masks(source, name)
        return getattr(models, name)(shape, mask_classes(source)), "segmentation_masks"
    return models.build(name, shape, (source.num_classes if has_class_numbers(source) else 2) or 1), "labels"
