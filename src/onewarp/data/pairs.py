"""Images with their masks, in two folders: `PairSource`, and the layouts of Pascal VOC and Cityscapes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onewarp.data.files import KINDS, FileSource, images_below
from onewarp.data.palettes import VOID, TableMask, mask_table
from onewarp.errors import DataError, InputError


class PairSource(FileSource):
    """Images with their masks: two folders whose files have the same names up to the extension.

    Args:
        images: folder of images; its sub-folders are searched, too.
        masks: folder of mask files: class numbers (grey or palette PNG), or what `palette` or `mapping` make of them.
        images_suffix, masks_suffix: what follows the common name, before the extension: "_leftImg8bit" and
            "_gtFine_labelIds" for "a_leftImg8bit.png" and "a_gtFine_labelIds.png". Other files are passed over.
        names: which images, by their common name (with sub-folders), in that order; all of them, sorted, by default.
        palette: where masks are pictures in colours: "voc", "camvid" (its 32 colours in the 11 usual classes), an array
            [k, 3] whose row c is the colour of class c, or {(red, green, blue): class number}.
        mapping: where they hold other numbers than class numbers: "cityscapes", or {number: class number}.
        class_names: name of each class number; those of a table known by its name come by themselves.
        ignore: class number that means "no class" (void), for losses and metrics to leave out; 255 with a table known
            by its name.
        channels, dtype, image_size, outputs: as in `FileSource`.

    A policy fills what lies outside the image with `mask_fill_value`; give it the number of `ignore`.

    Raises:
        DataError: a missing or empty folder, or an image without a mask, which is named; when a mask is read, a colour
            or number that the table does not hold, with the file and the place.
        InputError: a name that is not there, or a table that cannot be one.
    """

    def __init__(
        self,
        images: str | Path,
        masks: str | Path,
        *,
        images_suffix: str = "",
        masks_suffix: str = "",
        names: Sequence[str] | None = None,
        palette: str | Mapping[Any, int] | Sequence[Any] | None = None,
        mapping: str | Mapping[int, int] | None = None,
        class_names: Sequence[str] | None = None,
        ignore: int | None = None,
        **options: Any,
    ) -> None:
        self.table, known = mask_table(palette, mapping)
        found = _by_name(images, images_suffix)
        if not found:
            ending = f" whose name ends with {images_suffix!r}" if images_suffix else ""
            raise DataError(f"{images}: there is no image{ending} in this folder; put {KINDS} files into it")
        with_mask = dict(_by_name(masks, masks_suffix))
        if names is not None:
            here = dict(found)
            missing = [name for name in names if name not in here]
            if missing or isinstance(names, str) or not len(names):
                wrong = f"{missing[0]!r}, which is not in {images}" if missing else f"{names!r}"
                raise InputError(f"names has {wrong}; give a list of names as they are there, without extension")
            found = [(name, here[name]) for name in names]
        alone = [name for name, _ in found if name not in with_mask]
        if alone:
            raise DataError(
                f"{masks}: there is no mask for {alone[0]} ({len(alone)} of {len(found)} images have none); add it"
            )
        super().__init__([file for _, file in found], masks=[with_mask[name] for name, _ in found], **options)
        class_names = known if class_names is None else class_names
        self.class_names = None if class_names is None else tuple(class_names)
        self.ignore = VOID if ignore is None and known is not None else ignore

    @classmethod
    def voc(cls, root: str | Path, split: str = "train", **options: Any) -> PairSource:
        """Pascal VOC's segmentations: 21 classes, their borders void (255).

        Args:
            root: the folder of a year, such as "VOCdevkit/VOC2012", with JPEGImages, SegmentationClass (palette PNG, or
                the same colours as RGB) and ImageSets/Segmentation.
            split: "train", "val" or "trainval": the name of a list in ImageSets/Segmentation.
            options: as for `PairSource`.
        """
        root = Path(root)
        lists = root / "ImageSets" / "Segmentation"
        if not (lists / f"{split}.txt").is_file():
            there = ", ".join(sorted(path.stem for path in lists.glob("*.txt"))) or "no list"
            raise DataError(f"{lists}: has no {split}.txt ({there}); check root and split")
        names = (lists / f"{split}.txt").read_text(encoding="utf-8").split()
        options = {"palette": "voc", **options}
        return cls(root / "JPEGImages", root / "SegmentationClass", names=names, **options)

    @classmethod
    def cityscapes(
        cls, root: str | Path, split: str = "train", annotation: str = "gtFine", **options: Any
    ) -> PairSource:
        """Cityscapes: ids become the 19 classes of its benchmark, all others void (255).

        Args:
            root: the folder with leftImg8bit and gtFine (or gtCoarse) in it, each with split and city below.
            split: "train", "val", or "train_extra" of the coarse ones.
            annotation: "gtFine" or "gtCoarse".
            options: as for `PairSource`.
        """
        root = Path(root)
        options = {"mapping": "cityscapes", "masks_suffix": f"_{annotation}_labelIds", **options}
        return cls(root / "leftImg8bit" / split, root / annotation / split, images_suffix="_leftImg8bit", **options)

    def stamps(self) -> Iterator[bytes]:
        yield from super().stamps()
        yield repr(self.table).encode()

    def _target(self, role: str, value: Any) -> Any:
        if role == "segmentation_masks" and self.table is not None:
            return TableMask(self._read(os.fspath(value)), str(value), self.table)
        return super()._target(role, value)


def _by_name(folder: str | Path, suffix: str) -> list[tuple[str, str]]:
    """(name below the folder without suffix and extension, path) of its images, sorted folder by folder."""
    found = []
    for file in images_below(folder):
        stem = str(Path(file).relative_to(folder).with_suffix(""))
        if stem.endswith(suffix):
            found.append((stem[: len(stem) - len(suffix)], file))
    return found
