"""`onewarp bench`: what the input costs a training step on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onewarp.cli.options import BackendOption, BatchSizeOption, PolicyFile, ThreadsOption, choose_backend, read_policy

if TYPE_CHECKING:
    from onewarp.data.base import Source
    from onewarp.policy import Policy

bench = typer.Typer(no_args_is_help=True, help="Measure what the input costs a training step.")


@bench.command()
def placement(
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="Photographs for a U-Net, with --masks."),
    ] = None,
    masks: Annotated[
        Path | None, typer.Option("--masks", metavar="DIR", help="Their masks, of the same names.")
    ] = None,
    classes: Annotated[int, typer.Option("--classes", min=1, metavar="N", help="In the masks; others are void.")] = 11,
    size: Annotated[tuple[int, int], typer.Option("--size", metavar="H W", help="What the U-Net sees.")] = (96, 128),
    filters: Annotated[int, typer.Option("--filters", min=1, metavar="N", help="Of the U-Net's first level.")] = 16,
    policy: PolicyFile = None,
    batch_size: BatchSizeOption = 16,
    steps: Annotated[int, typer.Option("--steps", min=1, metavar="N", help="Measured, after two to warm up.")] = 20,
    threads: ThreadsOption = None,
    backend: BackendOption = None,
) -> None:
    """Train some steps with the policy on the host and on the device, and some on one resident batch, side by side.

    Without --images it is LeNet-5 on scikit-learn's digits; the weights are thrown away.

    Example: [cyan]onewarp bench placement --images camvid/train --masks camvid/trainannot[/cyan]
    """
    if (images is None) != (masks is None):
        raise typer.BadParameter("give both --images and --masks, or neither")
    chosen = choose_backend(backend)
    augmented = read_policy(policy) if policy is not None else _policy(size, classes, segment=images is not None)
    from rich.console import Console

    from onewarp.data import DigitsSource, PairSource
    from onewarp.fit.bench import compare_placements  # imports Keras, so only now

    console = Console()
    source: Source = DigitsSource()
    if images is not None and masks is not None:
        source = PairSource(images, masks, ignore=classes)
        sizes = {source.lazy(k)["images"].shape[:2] for k in range(len(source))}
        if len(sizes) == 1:  # then all of the policy can run on the device
            source = PairSource(images, masks, ignore=classes, image_size=sizes.pop())
    console.print(f"{chosen}, batches of {batch_size}, {steps} steps each ...")
    rows = compare_placements(
        source, augmented, classes=classes, filters=filters, batch_size=batch_size, steps=steps, threads=threads
    )
    console.print(rows.table())
    console.print(rows.summary())


def _policy(size: tuple[int, int], classes: int, segment: bool) -> Policy:
    import onewarp as ow
    from onewarp.cli.policies import DIGITS

    if not segment:
        return ow.Policy.from_dict(DIGITS)
    return ow.Policy(
        [
            ow.RandomResizedCrop(size, scale=(0.4, 1.0), ratio=(1.2, 1.5)),
            ow.HorizontalFlip(),
            ow.Rotate(5),
            ow.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.02),
            ow.Normalize("imagenet"),
        ],
        mask_fill_value=classes,
    )
