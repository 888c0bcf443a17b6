"""`onewarp plan`: what a policy will do, without doing it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from onewarp.cli.options import parse_size, read_policy


def plan(
    policy: Annotated[Path, typer.Option("--policy", metavar="FILE.yaml", help="The policy.")],
    size: Annotated[
        str, typer.Option("--size", metavar="HxW", help="Height and width of the images; any: left open.")
    ] = "any",
    channels: Annotated[int, typer.Option("--channels", min=1, help="Of the images.")] = 3,
    dtype: Annotated[Literal["uint8", "uint16", "float32"], typer.Option("--dtype", help="Of the images.")] = "uint8",
) -> None:
    """Print what a policy will run on images of a size: its stages, and what was fused into each.

    Example: [cyan]onewarp plan --policy policy.yaml --size 480x640[/cyan]
    """
    from onewarp.spec import Spec

    height, width = (None, None) if size == "any" else parse_size(size)
    loaded = read_policy(policy).plan(Spec((height, width, channels), dtype))
    print(loaded)
    shape = " x ".join("?" if side is None else str(side) for side in loaded.output_shape)
    print(f"result: {shape}, {loaded.output_dtype}")
