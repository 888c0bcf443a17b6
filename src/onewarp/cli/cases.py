"""What `onewarp doctor` looks at: the training of a run folder, or one on images that lie somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from onewarp.cli.policies import PHOTOS
from onewarp.cli.preview import open_source
from onewarp.errors import DataError, InputError

if TYPE_CHECKING:
    from onewarp.data.base import Source

TABLES = (".csv", ".tsv", ".parquet")
CLASSIFIERS, SEGMENTERS = ("lenet5", "resnet20", "resnet29v2"), ("unet", "deeplab_v1", "deeplab_v3plus")
_HEAD = 1 << 20  # bytes in which a COCO file shows that it is one
_COCO = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')


@dataclass(frozen=True)
class Where:
    """Where samples lie, as the entry `data` of a config.yaml says it.

    Attributes:
        name: of the data set.
        path: a folder of class folders, or of images; a tar; the folder of a store; a CSV or Parquet file.
        masks: folder of the masks, named as the images.
        annotations: a COCO file, or boxes and points by image as for `onewarp preview`.
        split: of a table, which rows are meant.
        ignore: what pixels without a class are worth in the masks.
        in_memory: whether the training decodes them all before it begins.
    """

    name: str = ""
    path: Path | None = None
    masks: Path | None = None
    annotations: Path | None = None
    split: str | None = None
    ignore: int | None = None
    in_memory: bool = False


@dataclass(frozen=True)
class Case:
    """A training to look at.

    Attributes:
        name: what it is called.
        data: its training samples.
        policy: as plain values.
        model: a name in `onewarp.models`; None: one that suits the samples.
        saved: a file with the model, where it has no such name, or settings of its own.
    """

    name: str
    data: Where
    policy: dict[str, Any]
    model: str | None = None
    saved: Path | None = None
    batch_size: int = 32
    threads: int | None = None
    backend: str | None = None


def of_run(folder: Path) -> Case:
    """The training that `onewarp train` or a recipe wrote into a run folder.

    Raises:
        DataError: its config.yaml cannot be read, is something else, or does not say where the samples are.
    """
    path = folder / "config.yaml"
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        entry, policy, size = dict(config["data"]), dict(config["policy"]), int(config["batch_size"])
        settings = {name: config.get(name) for name in ("threads", "backend")}
        named = config["model"]
        model = str(named["name"] if isinstance(named, Mapping) else named)
        entry.setdefault("ignore", policy.get("mask_fill_value"))  # what lies outside an image has no class either
        data = _where(entry, shlex.split(str(config.get("command", ""))))
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as fault:
        raise DataError(
            f"{path}: not what onewarp train writes ({type(fault).__name__}: {fault}); name a run folder, or images"
        ) from None
    if data.path is None and data.name not in ("digits", "cifar10"):
        raise DataError(
            f"{path}: does not say where the samples of {data.name or 'the training'!r} are; "
            "add path: to its entry data, or name the images themselves"
        )
    saved = folder / "model.keras"
    return Case(f"{folder} ({data.name})", data, policy, model, saved if saved.is_file() else None, size, **settings)


def _where(entry: dict[str, Any], words: list[str]) -> Where:
    """`data` of a config.yaml; where it has no path, that behind --data in the command."""

    def place(*names: str) -> Path | None:
        return next((Path(str(entry[name])) for name in names if entry.get(name) is not None), None)

    path, masks = place("path", "images"), place("masks")
    if path is None:
        given = next((words[i + 1] for i, word in enumerate(words[:-1]) if word == "--data"), None)
        given = next((word.removeprefix("--data=") for word in words if word.startswith("--data=")), given)
        path = None if given is None else Path(given)
        folders = None if path is None else (path / "train", path / "trainannot")  # CamVid, as SegNet has it
        if folders is not None and all(folder.is_dir() for folder in folders):
            path, masks = folders
    ignore = entry.get("ignore")
    return Where(
        name=str(entry.get("name", "")),
        path=path,
        masks=masks,
        annotations=place("annotations"),
        split=None if entry.get("split") is None else str(entry["split"]),
        ignore=None if ignore is None else int(ignore),
        in_memory=bool(entry.get("in_memory", False)),
    )


def of_source(path: Path, masks: Path | None = None, annotations: Path | None = None) -> Case:
    """A training on images. Raises DataError where there are none."""
    known = (".tar", *TABLES)
    if not path.is_dir() and not (path.is_file() and path.suffix.lower() in known):
        raise DataError(
            f"{path}: neither a run folder, nor a folder, store, tar or table ({', '.join(TABLES)}) of images; "
            "check the path"
        )
    return Case(str(path), Where(path=path, masks=masks, annotations=annotations), PHOTOS)


def open_samples(case: Case) -> Source:
    """The training samples of a case. Raises DataError, InputError."""
    from onewarp.data import DigitsSource, split

    data = case.data
    if data.path is None and data.name == "digits":
        return split(split(DigitsSource(), 0.2, seed=0, stratify=True)[0], 0.2, seed=1, stratify=True)[0]
    if data.name == "cifar10":
        from onewarp.cli.cifar import open_cifar10

        return split(open_cifar10(data.path, case.threads)[0], 0.1, seed=0, stratify=True)[0]
    source = _open(data)
    return source.in_memory(case.threads) if data.in_memory else source


def _open(data: Where) -> Source:
    from onewarp.data import PairSource, TableSource

    path = data.path
    assert path is not None
    if path.is_file() and path.suffix.lower() in TABLES:
        if data.masks is not None or data.annotations is not None:
            raise InputError(f"{path}: a table names masks and boxes itself; leave --masks and --annotations out")
        return TableSource(path, split=data.split, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    if data.annotations is not None and is_coco(data.annotations):
        from onewarp.coco import CocoSource

        return CocoSource(path, data.annotations, boxes=False, masks="semantic")
    if data.masks is not None and path.is_dir() and data.annotations is None:
        return PairSource(path, data.masks, ignore=data.ignore)
    return open_source(path, data.masks, data.annotations, labels=None)


def is_coco(path: Path) -> bool:
    """Whether a JSON file has the lists of a COCO file."""
    try:
        with open(path, "rb") as file:
            return _COCO.search(file.read(_HEAD)) is not None
    except OSError as fault:
        raise DataError(f"{path}: cannot be read ({fault.strerror}); check the path") from None


def check_masks(source: Source, model: str) -> None:
    """Raise InputError where samples have no masks for a model that gives a class for each pixel."""
    if "segmentation_masks" not in source.roles:
        raise InputError(f"{model} gives a class for each pixel, but the samples have no masks; add --masks DIR")


def mask_classes(source: Source) -> int:
    """How many classes masks have, by the names and by up to 32 of them."""
    from onewarp.coco import CocoSource

    names = 0 if source.class_names is None else len(source.class_names) + isinstance(source, CocoSource)
    highest = 1
    for index in np.unique(np.linspace(0, len(source) - 1, min(len(source), 32)).astype(int)):
        mask = source[int(index)]["segmentation_masks"]
        highest = max(highest, int(mask[mask != source.ignore].max(initial=0)))
    return max(names, highest + 1)
