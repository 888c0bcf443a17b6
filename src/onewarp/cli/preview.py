"""`onewarp preview`: samples x draws as a picture, before any time is spent on training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from onewarp.cli.options import read_policy
from onewarp.errors import DataError, InputError

if TYPE_CHECKING:
    from onewarp.data.base import Source


def preview(
    path: Annotated[str, typer.Argument(metavar="PATH", help="An image, a folder, a tar file, a store, or digits.")],
    policy: Annotated[Path, typer.Option("--policy", metavar="FILE.yaml", help="The policy to look at.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.png", help="The picture to write.")] = Path("preview.png"),
    samples: Annotated[
        int, typer.Option("--samples", min=1, max=100, metavar="N", help="Rows, spread over the source.")
    ] = 6,
    draws: Annotated[
        int, typer.Option("--draws", min=1, max=50, metavar="N", help="Columns, beside the original.")
    ] = 5,
    masks: Annotated[
        Path | None,
        typer.Option("--masks", metavar="DIR", help="Masks, named as the images (or one file for one)."),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            "--annotations",
            metavar="FILE.json",
            help="Boxes and points by image: boxes (x1, y1, x2, y2), labels, keypoints (x, y).",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Another seed draws other numbers.")] = 0,
    side: Annotated[
        int, typer.Option("--side", min=16, max=2000, metavar="N", help="Pixels of each picture's longer side.")
    ] = 192,
) -> None:
    """Write a picture of samples and what a policy makes of them, with masks, boxes and points drawn in.

    Annotations look like this: {"a.jpg": {"boxes": \\[\\[x1, y1, x2, y2]], "labels": \\[3], "keypoints": \\[\\[x, y]]}}

    Example: [cyan]onewarp preview photos/ --policy policy.yaml --masks photos-masks/[/cyan]
    """
    from onewarp.picture import write_png
    from onewarp.samples import one_per_class, sample_sheet

    loaded = read_policy(policy)
    if path == "digits":
        from onewarp.data import DigitsSource

        if masks is not None or annotations is not None:
            raise InputError("the digits have no masks or annotations; leave --masks and --annotations out")
        source: Source = DigitsSource()
        indices = one_per_class(source)[:samples]
        names = [f"digit {index}" for index in range(len(indices))]
    else:
        source = open_source(Path(path), masks, annotations)
        spread = np.linspace(0, len(source) - 1, min(samples, len(source)))
        indices = [int(index) for index in np.unique(np.rint(spread))]
        names = [_short_name(source.name(index), path) for index in indices]
    title = f"{path}, {policy.name}, seed {seed}"
    write_png(out, sample_sheet(source, loaded, indices, draws, names=names, seed=seed, side=side, title=title))
    print(f"{out}: {len(indices)} samples x {draws} draws of {policy}")


def open_source(
    path: Path, masks: Path | None, annotations: Path | None, labels: bool | None = False, channels: int = 3
) -> Source:
    """The images at `path` (a file, a folder with or without class folders, a tar file), with what targets are given.

    labels: whether folders are classes; None: where every image lies in a sub-folder (and has no mask).

    Raises:
        DataError: nothing can be read there; the message names it.
        InputError: masks or annotations that do not fit.
    """
    from onewarp.data import FileSource, FolderSource, PairSource, StoreSource, TarSource
    from onewarp.data.files import EXTENSIONS, images_below, list_folder

    if (path / "store.json").is_file():
        if masks is not None or annotations is not None:
            raise InputError(f"{path}: a store has its masks and boxes in it; leave --masks and --annotations out")
        return StoreSource(path)
    if path.is_file() and path.suffix.lower() == ".tar":
        if masks is not None or annotations is not None:
            raise InputError(f"{path}: masks and annotations go with folders, not with a tar file; unpack it")
        plain = TarSource(path, labels=None, channels=channels)
        inside = all("/" in str(item) for item in plain.items)
        classes = inside if labels is None else labels
        return TarSource(path, channels=channels) if classes else plain
    if path.is_file() and path.suffix.lower() not in EXTENSIONS:
        raise DataError(f"{path}: not an image by its extension; pass an image, a folder of images or a tar file")
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; check the path")
    files = [str(path)] if path.is_file() else images_below(path)
    classes = bool(labels)
    if path.is_dir() and masks is None and labels is None:
        folders, loose = list_folder(path)
        classes = bool(folders) and not any(name.lower().endswith(EXTENSIONS) for name in loose)
    if classes and path.is_dir():  # in the order of the classes
        files = [str(file) for file in FolderSource(path).items]
    options = {"channels": channels, **({} if annotations is None else read_annotations(annotations, files))}
    if path.is_file():
        if masks is not None and masks.is_dir():
            raise InputError(f"{masks}: a folder of masks goes with a folder of images; name the mask of {path.name}")
        return FileSource(files, masks=None if masks is None else [masks], **options)
    if masks is not None:
        return PairSource(path, masks, **options)
    return FolderSource(path, labels="inferred" if classes else None, **options)


def read_annotations(path: Path, files: Sequence[str]) -> dict[str, Any]:
    """Boxes and keypoints of `files` for a `FileSource`, from a JSON file {name: {"boxes", "labels", "keypoints"}}.

    A file that is not named has none; a name may be the end of a path. Labels default to 0, visibility to 2.

    Raises:
        DataError: the file cannot be read, or is something else.
        InputError: it names a file that is not among `files`, or has rows of another length.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise DataError(f"{path}: the annotations cannot be read: {fault.strerror}; check the path") from None
    except ValueError as fault:
        raise DataError(f"{path}: not JSON: {fault}") from None
    if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
        raise DataError(f'{path}: expected {{"a.jpg": {{"boxes": [[x1, y1, x2, y2]], "keypoints": [[x, y]]}}}}')
    entries: list[dict[str, Any]] = [{} for _ in files]
    for name, entry in found.items():
        ends = PurePosixPath(name).parts
        matching = [i for i, file in enumerate(files) if Path(file).parts[-len(ends) :] == ends]
        if not matching:
            raise InputError(f"{path}: names {name}, which is not among the {len(files)} images; check the name")
        for i in matching:
            entries[i] = entry
    boxes = [_rows(path, entry.get("boxes", []), 4) for entry in entries]
    labels = [np.array(entry.get("labels", [0] * len(rows))) for entry, rows in zip(entries, boxes, strict=True)]
    points = [_rows(path, [(*point, 2)[:3] for point in entry.get("keypoints", [])], 3) for entry in entries]
    options: dict[str, Any] = {}
    if any(len(rows) for rows in boxes):
        options["bounding_boxes"] = {"boxes": boxes, "labels": labels}
    if any(len(rows) for rows in points):
        most = max(len(rows) for rows in points)
        options["keypoints"] = [np.pad(rows, ((0, most - len(rows)), (0, 0))) for rows in points]
    return options


def _rows(path: Path, values: Any, width: int) -> np.ndarray:
    try:
        return np.array(values, np.float32).reshape(len(values), width)
    except (TypeError, ValueError):
        raise InputError(f"{path}: {values!r} is not a list of rows of {width} numbers; mend it") from None


def _short_name(name: str, root: str) -> str:
    """What a sample is called within `root`: at most the folder it lies in, and its file."""
    inside = name.removeprefix(root).lstrip(":/\\") or name
    return "/".join(PurePosixPath(inside.replace("\\", "/")).parts[-2:])
