"""`onewarp coco`: look into COCO annotation files, which are one line of hundreds of megabytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onewarp.cli.options import PolicyFile, read_policy
from onewarp.errors import InputError

if TYPE_CHECKING:
    from onewarp.coco import CocoFile

coco = typer.Typer(no_args_is_help=True, help="Look into COCO annotation files: summary, records, pictures.")
FileArgument = Annotated[Path, typer.Argument(metavar="FILE.json", help="A COCO annotation file.")]


@coco.command()
def summary(
    file: FileArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.png", help="Also write the counts as a picture.")
    ] = None,
    problems: Annotated[
        int, typer.Option("--problems", min=0, metavar="N", help="How many problems to print; all are counted.")
    ] = 20,
) -> None:
    """Print what is in a file: counts, classes by size, and records that are malformed or doubtful.

    Example: [cyan]onewarp coco summary instances_val2017.json --out summary.png[/cyan]
    """
    from rich.console import Console
    from rich.table import Table

    from onewarp.coco.summary import class_rows, doubtful, picture, totals

    console, found = Console(), _open(file, strict=False)
    for name, count in totals(found).items():
        console.print(f"{count:>12,} {name}")
    heads = ("category", "id", "objects", "images", "crowds", "small", "medium", "large", "median side")
    table = Table(*heads, box=None, header_style="bold")
    for head in table.columns[1:]:
        head.justify = "right"
    for row in sorted(class_rows(found), key=lambda row: -row.objects):
        counts = (row.category_id, row.objects, row.images, row.crowds, row.small, row.medium, row.large)
        side = "" if row.median_side != row.median_side else f"{row.median_side:.0f}"
        table.add_row(row.name, *(f"{count:,}" for count in counts), side)
    console.print(table)
    doubts = doubtful(found)
    console.print(f"{len(doubts):,} problems" + (":" if doubts and problems else ""))
    for doubt in doubts[:problems]:
        console.print(f"  {doubt}", highlight=False)
    if len(doubts) > problems > 0:
        console.print(f"  ... and {len(doubts) - problems:,} more (--problems N)")
    if out is not None:
        picture(found, out, title=f"{file.name}: {len(found.image_ids):,} images, {len(found):,} annotations")
        console.print(f"{out}: the counts as a picture")


@coco.command()
def show(
    file: FileArgument,
    image: Annotated[
        int | None, typer.Option("--image", metavar="ID", help="An image with all its annotations.")
    ] = None,
    annotation: Annotated[int | None, typer.Option("--annotation", metavar="ID", help="One annotation.")] = None,
) -> None:
    """Print the records of an image, or one annotation, indented, with every field of the file.

    Example: [cyan]onewarp coco show instances_val2017.json --image 139[/cyan]
    """
    import numpy as np

    if (image is None) == (annotation is None):
        raise InputError("give either --image ID or --annotation ID")
    found = _open(file, strict=False)
    content: dict[str, Any]
    if image is not None:
        row = found.image_row(image)
        content = {
            "image": found.image_record(row),
            "annotations": [found.record(int(at)) for at in found.of_image(row)],
        }
    else:
        rows = np.flatnonzero(found.ids == annotation)
        if not len(rows):
            raise InputError(f"{file}: there is no annotation {annotation}; onewarp coco summary lists what is there")
        content = found.record(int(rows[0]))
    print(indented(content))


@coco.command()
def preview(
    file: FileArgument,
    images: Annotated[Path, typer.Option("--images", metavar="DIR", help="The folder of the images.")],
    policy: PolicyFile = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.png", help="The picture to write.")] = Path("coco.png"),
    samples: Annotated[int, typer.Option("--samples", min=1, max=100, metavar="N", help="Rows.")] = 4,
    draws: Annotated[int, typer.Option("--draws", min=1, max=50, metavar="N", help="Columns, with --policy.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Another seed draws other numbers.")] = 0,
    side: Annotated[
        int, typer.Option("--side", min=16, max=2000, metavar="N", help="Pixels of each picture's longer side.")
    ] = 256,
) -> None:
    """Write a picture of images with their boxes and masks, and of what a policy makes of them.

    Example: [cyan]onewarp coco preview instances_val2017.json --images val2017 --policy policy.yaml[/cyan]
    """
    import numpy as np

    from onewarp.coco import CocoSource
    from onewarp.picture import render, sheet, write_png
    from onewarp.samples import sample_sheet

    source = CocoSource(images, _open(file), masks="semantic", empty=False)
    spread = np.unique(np.rint(np.linspace(0, len(source) - 1, min(samples, len(source)))).astype(int))
    indices = [int(index) for index in spread]
    names = [str(source.image_ids[index]) for index in indices]
    if policy is not None:
        chosen = read_policy(policy)
        title = f"{file.name}, {policy.name}, seed {seed}"
        page = sample_sheet(source, chosen, indices, draws, names=names, seed=seed, side=side, title=title)
    else:
        tiles = [render(source[index], side) for index in indices]
        columns = max(1, round(len(tiles) ** 0.5 + 0.3))
        rows = [tiles[at : at + columns] for at in range(0, len(tiles), columns)]
        page = sheet(rows, title=f"{file.name}: images {', '.join(names)}")
    write_png(out, page)
    print(f"{out}: {len(indices)} images" + (f" x {draws} draws" if policy is not None else ""))


def indented(content: Any) -> str:
    """JSON with two spaces a level, lists of numbers on one line."""
    return "\n".join(_lines(content, ""))


def _lines(value: Any, indent: str) -> list[str]:
    flat = isinstance(value, list) and not any(isinstance(entry, (dict, list)) for entry in value)
    if not isinstance(value, (dict, list)) or flat or not value:
        return [json.dumps(value, ensure_ascii=False)]
    entries = value.items() if isinstance(value, dict) else ((None, entry) for entry in value)
    result = ["{" if isinstance(value, dict) else "["]
    for number, (key, entry) in enumerate(entries):
        first, *rest = _lines(entry, indent + "  ")
        head = "" if key is None else f"{json.dumps(key, ensure_ascii=False)}: "
        block = [f"{indent}  {head}{first}", *rest]
        block[-1] += "," if number < len(value) - 1 else ""
        result += block
    return [*result, indent + ("}" if isinstance(value, dict) else "]")]


def _open(file: Path, strict: bool = True) -> CocoFile:
    """The file, read under a progress bar where it is large."""
    from onewarp.coco import CocoFile

    if not file.is_file() or file.stat().st_size < 50_000_000:
        return CocoFile(file, strict=strict)
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"reading {file.name}", total=None)
        return CocoFile(file, strict=strict, progress=lambda done, total: bar.update(task, completed=done, total=total))
