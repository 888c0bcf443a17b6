"""`onewarp prepare` and `onewarp verify`: a store of a source, and whether it is as it was written."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from onewarp.cli.options import parse_size
from onewarp.cli.preview import open_source
from onewarp.errors import InputError

if TYPE_CHECKING:
    from onewarp.data.base import Source

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="A folder of class folders, a folder of images, a tar file, or the word digits."
    ),
]
MasksOption = Annotated[
    Path | None, typer.Option("--masks", metavar="DIR", help="Masks, named as the images: class numbers as PNG.")
]
AnnotationsOption = Annotated[
    Path | None,
    typer.Option("--annotations", metavar="FILE.json", help="Boxes and points by image, as for onewarp preview."),
]
LabelsOption = Annotated[
    bool | None,
    typer.Option(
        "--labels/--no-labels", help="Whether folders are classes; by default where every image lies in a sub-folder."
    ),
]
ChannelsOption = Annotated[int, typer.Option("--channels", metavar="N", help="1 (grey), 3 (RGB) or 4 (RGBA).")]


def prepare(
    source: SourceArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder of the store: new, or begun before.")],
    short_side: Annotated[
        int | None,
        typer.Option("--short-side", min=1, metavar="N", help="Reduce larger images to it; sizes are kept without it."),
    ] = None,
    quality: Annotated[int, typer.Option("--quality", min=1, max=100, metavar="N", help="Of the JPEGs.")] = 90,
    raw: Annotated[
        bool, typer.Option("--raw", help="Keep pixels undecoded in 5 to 15 times the room: nothing to decode later.")
    ] = False,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="HEIGHTxWIDTH", help="Make every image that size, whatever its proportions."),
    ] = None,
    masks: MasksOption = None,
    annotations: AnnotationsOption = None,
    labels: LabelsOption = None,
    channels: ChannelsOption = 3,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, metavar="N", help="The bytes do not depend on it.")
    ] = None,
    skip: Annotated[
        bool, typer.Option("--skip-unreadable", help="Note images that cannot be read, instead of stopping at them.")
    ] = False,
    shard_size: Annotated[
        str | None, typer.Option("--shard-size", metavar="SIZE", help="Bytes of a file, about; 64MB without it.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a store of other settings or of a source that has changed.")
    ] = False,
    engine: Annotated[
        Literal["local", "ray"], typer.Option("--engine", help="This machine's threads, or a cluster by Ray Data.")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="HOST:PORT", help="Of the Ray cluster (or auto); a local one without it."),
    ] = None,
) -> None:
    """Decode, turn, reduce and re-encode images once, into memory-mapped files that training reads quickly.

    Interrupted, the same command goes on where it stopped. Read the store with ow.StoreSource("OUT").

    Example: [cyan]onewarp prepare photos/ photos-store --short-side 256 --quality 90[/cyan]
    """
    from onewarp.data.store import StoreSettings, StoreSource
    from onewarp.data.store import prepare as make
    from onewarp.data.store.places import parse_bytes

    if address is not None and engine != "ray":
        raise InputError(f"--address {address} goes with --engine ray; add it")
    settings = StoreSettings(short_side, quality, raw, size=None if size is None else parse_size(size))
    opened = find_source(source, masks, annotations, labels, channels)
    options: dict[str, Any] = {
        "on_error": "skip" if skip else "raise",
        "shard_size": None if shard_size is None else parse_bytes(shard_size),
        "overwrite": overwrite,
    }
    began = time.perf_counter()
    with bar("preparing", "images/s") as progress:
        if engine == "ray":
            from onewarp.data.store.cluster import prepare_on_ray

            prepare_on_ray(opened, out, settings, address=address, progress=progress, **options)
        else:
            make(opened, out, settings, threads=threads, progress=progress, **options)
    store = StoreSource(out)
    room = sum(path.stat().st_size for path in out.glob("*.bin"))
    unreadable = store.about["unreadable"]
    print(
        f"{out}: {len(store)} images in {room / 1e6:,.1f} MB, {time.perf_counter() - began:.1f} s"
        + (f"; {unreadable} could not be read" if unreadable else "")
    )


def verify(
    store: Annotated[str, typer.Argument(metavar="STORE", help="The folder of a store, or its URL.")],
    source: Annotated[
        str | None, typer.Option("--source", metavar="SOURCE", help="Also check that this is what it was made from.")
    ] = None,
    masks: MasksOption = None,
    annotations: AnnotationsOption = None,
    labels: LabelsOption = None,
    channels: ChannelsOption = 3,
) -> None:
    """Check every byte of a store against its checksums; exit with 1 where something is damaged or missing.

    Example: [cyan]onewarp verify photos-store[/cyan]
    """
    from onewarp.data.store import verify as check

    opened = None if source is None else find_source(source, masks, annotations, labels, channels)
    with bar("checking", "MB/s", 1e6) as progress:
        found = list(check(store, opened, progress))
    for line in found:
        print(line)
    if found:
        print(f"{store}: {len(found)} faults")
        raise typer.Exit(1)
    print(f"{store}: all is well")


def find_source(
    path: str, masks: Path | None, annotations: Path | None, labels: bool | None, channels: int = 3
) -> Source:
    """The source that the arguments of a command name. Raises DataError, InputError."""
    if path == "digits":
        from onewarp.data import DigitsSource

        return DigitsSource()
    return open_source(Path(path), masks, annotations, labels, channels)


@contextmanager
def bar(what: str, unit: str, scale: float = 1.0) -> Iterator[Callable[[int, int], None]]:
    """Shows progress(done, total) with rate and time left on stderr; where that is no terminal, at every tenth part."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    began, first, shown = time.perf_counter(), -1, 0

    def rate(done: int) -> str:
        seconds = time.perf_counter() - began
        return f"{(done - max(first, 0)) / scale / seconds:,.0f} {unit}" if seconds > 0 else ""

    if not console.is_terminal:

        def lines(done: int, total: int) -> None:
            nonlocal first, shown
            first = done if first < 0 else first
            if done * 10 // max(total, 1) > shown:
                shown = done * 10 // max(total, 1)
                left = (time.perf_counter() - began) / max(done - first, 1) * (total - done)
                print(f"{what}: {10 * shown} %, {rate(done)}, {left:,.0f} s left", file=sys.stderr)

        yield lines
        return
    columns = (BarColumn(bar_width=30), TaskProgressColumn(), TextColumn("{task.fields[rate]}", style="cyan"))
    with Progress(TextColumn(what), *columns, TimeRemainingColumn(compact=True), console=console) as shown_bar:
        task = shown_bar.add_task(what, total=None, rate="")

        def update(done: int, total: int) -> None:
            nonlocal first
            first = done if first < 0 else first
            shown_bar.update(task, completed=done, total=total, rate=rate(done))

        yield update
