"""The command line: `onewarp train`, `preview`, `plan`, `prepare`, `verify`, `segment`, `doctor`, `bench`, `coco`.

One function per command, its signature is the interface.

Nothing here imports Keras, a backend or OpenCV before a command needs them, so that `--help` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import onewarp
from onewarp.cli.bench import bench
from onewarp.cli.coco import coco
from onewarp.cli.doctor import doctor
from onewarp.cli.plan import plan
from onewarp.cli.prepare import prepare, verify
from onewarp.cli.preview import preview
from onewarp.cli.segment import segment
from onewarp.cli.train import train
from onewarp.errors import OnewarpError

app = typer.Typer(
    name="onewarp",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(preview)
app.command()(plan)
app.command()(doctor)
app.command()(prepare)
app.command()(verify)
app.command()(segment)
app.add_typer(train, name="train")
app.add_typer(bench, name="bench")
app.add_typer(coco, name="coco")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"onewarp {onewarp.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Image augmentation for Keras 3: write a policy once, resample every image once, get the same pixels everywhere.

    [bold]onewarp train digits[/bold] trains a small model with and without augmentation in under two minutes.

    Set ONEWARP_DEBUG=1 to see the traceback behind an error.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0, or 2 with one red line on stderr for anything that the user can mend.

    arguments: those after the program's name; of this process by default.
    """
    try:
        app(args=None if arguments is None else list(arguments), prog_name="onewarp")
    except OnewarpError as error:
        if os.environ.get("ONEWARP_DEBUG"):
            raise
        _print_error(str(error))
        sys.exit(2)


def _print_error(message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, soft_wrap=True).print(Text(f"error: {message}", style="red"))
