"""`onewarp segment`: photographs through a trained segmentation model, as masks, overlays and COCO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onewarp.cli.options import BackendOption, choose_backend
from onewarp.errors import DataError, InputError

if TYPE_CHECKING:
    import numpy as np

    from onewarp.fit.segmenter import Segmenter, Task
    from onewarp.segment import DenseCRF


def segment(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An image, or a folder of images.")],
    model: Annotated[
        Path,
        typer.Option("--model", metavar="RUN", help="A run folder of a segmentation, or a .keras file inside one."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where masks/ and overlays/ go.")] = Path(
        "segmented"
    ),
    crf: Annotated[
        bool, typer.Option("--crf/--no-crf", help="Refine by a dense CRF: the one tuned in the run, or as given below.")
    ] = False,
    gaussian: Annotated[
        tuple[float, float] | None,
        typer.Option("--gaussian", metavar="SXY COMPAT", help="The CRF's kernel of positions, instead of the run's."),
    ] = None,
    bilateral: Annotated[
        tuple[float, float, float] | None,
        typer.Option(
            "--bilateral", metavar="SXY SRGB COMPAT", help="Its kernel of positions and colours, instead of the run's."
        ),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=0, metavar="N", help="Of the CRF; the run's, or 10.")
    ] = None,
    coco: Annotated[
        bool, typer.Option("--coco", help="Also write coco.json: run lengths, one annotation per class and image.")
    ] = False,
    skip: Annotated[
        bool, typer.Option("--skip-unreadable", help="Name images that cannot be read, instead of stopping at them.")
    ] = False,
    backend: BackendOption = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, metavar="N", help="Of the CRF; results do not depend on it.")
    ] = None,
) -> None:
    """Label every pixel of photographs with a model that recipes/camvid_deeplab.py has trained.

    Writes DIR/masks/NAME.png (class numbers, with the classes' colours as palette) and DIR/overlays/NAME.png, at the
    size of the photograph, turned as its EXIF entry says.

    Example: [cyan]onewarp segment photos/ --model runs/camvid --crf --coco --out segmented[/cyan]
    """
    from rich.console import Console
    from rich.progress import track

    console = Console()
    names = find_images(image, out)
    choose_backend(backend)
    from onewarp.data import FileSource
    from onewarp.fit.segmenter import Segmenter  # imports Keras, so only now

    segmenter = Segmenter.load(model)
    refine = chosen_crf(segmenter.task, gaussian, bilateral, iterations) if crf else None
    source = FileSource([str(path) for path in names])
    records = Records(segmenter.task) if coco else None
    written = skipped = 0
    steps = list(names.items())
    shown = track(steps, "segmenting", console=console) if len(steps) > 1 and console.is_terminal else steps
    for index, (path, name) in enumerate(shown):
        try:
            pixels = source[index]["images"]
        except DataError as error:
            if not skip:
                raise DataError(str(error).replace('on_error="skip"', "--skip-unreadable")) from None
            console.print(f"left out: {error}", style="yellow", highlight=False, soft_wrap=True)
            skipped += 1
            continue
        mask = labels(segmenter, pixels, refine, threads)
        write_pictures(out, name, pixels, mask, segmenter.task)
        if records is not None:
            records.add(path.relative_to(image).as_posix() if path != image else path.name, mask)
        written += 1
    if records is not None:
        records.write(out / "coco.json")
    left = f", {skipped} left out" if skipped else ""
    many = "1 image" if written == 1 else f"{written} images"
    console.print(
        f"{out}: masks/ and overlays/ of {many}{', coco.json' if coco else ''}{left}", highlight=False, soft_wrap=True
    )
    if written == 1:
        console.print(shares(mask, segmenter.task), highlight=False, soft_wrap=True)


def find_images(image: Path, out: Path) -> dict[Path, str]:
    """The image files at a path, each with the name of its results, without an extension.

    Raises:
        InputError, DataError: there is none; results would lie among the images, or two under one name.
    """
    from onewarp.data.files import images_below

    if not image.is_dir():
        if not image.is_file():
            raise InputError(f"{image}: no such file or folder; check the path")
        return {image: image.stem}
    if out.resolve().is_relative_to(image.resolve()):
        raise InputError(f"--out {out} lies in {image}, where the next run would take masks for images; choose another")
    names = {Path(path): Path(path).relative_to(image).with_suffix("").as_posix() for path in images_below(image)}
    if not names:
        raise InputError(f"{image}: there is no image in this folder; put some into it, or name another")
    first: dict[str, Path] = {}
    for path, name in names.items():
        if first.setdefault(name, path) != path:
            raise InputError(f"{first[name]} and {path} would both become {name}.png; rename one of them")
    return names


def chosen_crf(
    task: Task,
    gaussian: tuple[float, float] | None,
    bilateral: tuple[float, float, float] | None,
    iterations: int | None,
) -> DenseCRF:
    """The CRF of the run, with what was given instead of its own.

    Raises:
        InputError: the run has none, and none was given; parameters that cannot be.
    """
    from onewarp.segment import DenseCRF

    terms = dict(task.crf or {})
    if gaussian is not None:
        terms["gaussian"] = dict(zip(("sxy", "compat"), gaussian, strict=True))
    if bilateral is not None:
        terms["bilateral"] = dict(zip(("sxy", "srgb", "compat"), bilateral, strict=True))
    if not terms:
        raise InputError("--crf: the run has tuned none; give --gaussian 3 3 --bilateral 50 6 4, or leave --crf out")
    if iterations is not None:
        terms["iterations"] = iterations
    return DenseCRF(**terms)


def labels(segmenter: Segmenter, pixels: np.ndarray, refine: DenseCRF | None, threads: int | None) -> np.ndarray:
    """Class numbers uint8 [h, w] of an image."""
    import numpy as np

    found = segmenter.probabilities(pixels)
    if refine is not None:
        found = refine(pixels, found, threads=threads)
    return found.argmax(-1).astype(np.uint8)


def write_pictures(out: Path, name: str, pixels: np.ndarray, mask: np.ndarray, task: Task) -> None:
    """masks/NAME.png, class numbers with a palette, and overlays/NAME.png.

    Raises:
        InputError: they cannot be written.
    """
    from PIL import Image

    from onewarp.picture import blend, colour_mask, write_png

    write_png(out / "overlays" / f"{name}.png", blend(pixels, colour_mask(mask, task.colours)))
    path = out / "masks" / f"{name}.png"
    page = Image.fromarray(mask)
    page.putpalette([level for colour in task.colours for level in colour])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        page.save(path)
    except OSError as error:
        raise InputError(f"{path}: the mask cannot be written: {error.strerror}; choose another --out") from None


class Records:
    """A COCO file of masks: an annotation for each class that an image has, its category id the class number + 1."""

    def __init__(self, task: Task) -> None:
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._categories = [{"id": number, "name": name} for number, name in enumerate(task.class_names, start=1)]

    def add(self, file_name: str, mask: np.ndarray) -> None:
        """An image of that name with the classes of its mask [h, w]."""
        import numpy as np

        from onewarp.coco.writer import described

        number, (height, width) = len(self._images) + 1, mask.shape
        self._images.append({"id": number, "file_name": file_name, "height": height, "width": width})
        for label in np.unique(mask):
            fields = {
                "image_id": number,
                "category_id": int(label) + 1,
                "iscrowd": 0,
                **(described(mask == label) or {}),
            }
            self._annotations.append({"id": len(self._annotations) + 1, **fields})

    def write(self, path: Path) -> None:
        """Raises InputError where the file cannot be written."""
        from onewarp.coco.writer import content_of
        from onewarp.fit.files import replace_file

        content = content_of("segmented by onewarp", self._images, self._annotations, self._categories)
        try:
            replace_file(path, lambda file: file.write(json.dumps(content).encode()))
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}; choose another --out") from None


def shares(mask: np.ndarray, task: Task) -> str:
    """The share of each class, the largest first."""
    import numpy as np

    counts = np.bincount(mask.reshape(-1), minlength=len(task.class_names))
    present = [label for label in np.argsort(-counts, kind="stable") if counts[label]]
    return ", ".join(f"{task.class_names[label]} {counts[label] / mask.size:.1%}" for label in present)
