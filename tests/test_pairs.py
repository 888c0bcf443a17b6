"""Images with their masks: names, palettes, ids, the layouts of VOC and Cityscapes, and class weights of masks."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onewarp as ow
import onewarp.data as data
from data_helpers import check_source, encode, picture
from onewarp.data.palettes import CAMVID_COLOURS, CITYSCAPES_CLASSES, CITYSCAPES_IDS, VOC_COLOURS, voc_colours
from onewarp.data.store import prepare
from onewarp.errors import DataError, InputError
from onewarp.segment import median_frequency


def pair(root: Path, name: str, mask: Image.Image | np.ndarray, suffixes: tuple[str, str] = ("", "")) -> None:
    """An image in root/images and a mask in root/masks, both PNG."""
    size = mask.size[::-1] if isinstance(mask, Image.Image) else mask.shape[:2]
    for folder, content, suffix in zip(("images", "masks"), (picture(*size), mask), suffixes, strict=True):
        file = root / folder / f"{name}{suffix}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(content, "PNG"))


def masks_of(source: data.Source) -> list[np.ndarray]:
    return [source[index]["segmentation_masks"] for index in range(len(source))]


NUMBERS = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "images", tmp_path / "masks"


def in_colours(numbers: np.ndarray, colours: Any) -> np.ndarray:
    return np.array(colours, np.uint8)[numbers]


# --- names --------------------------------------------------------------------------------------------------------


def test_suffixes_pass_other_files_over(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    for number, name in enumerate(("b/1", "b/0", "a/7")):
        pair(tmp_path, name, np.full((3, 4), number, np.uint8), ("_image", "_ids"))
        (tmp_path / "masks" / f"{name}_color.png").write_bytes(encode(picture(3, 4), "PNG"))
    source = data.PairSource(*folders, images_suffix="_image", masks_suffix="_ids")
    check_source(source, 3)
    assert [int(mask[0, 0]) for mask in masks_of(source)] == [2, 1, 0]
    chosen = data.PairSource(*folders, images_suffix="_image", masks_suffix="_ids", names=["b/1", "a/7"])
    assert [int(mask[0, 0]) for mask in masks_of(chosen)] == [0, 2]
    with pytest.raises(DataError, match="no image whose name ends with '_picture'"):
        data.PairSource(*folders, images_suffix="_picture", masks_suffix="_ids")
    with pytest.raises(DataError, match=r"no mask for a.7 \(3 of 3"):
        data.PairSource(*folders, images_suffix="_image", masks_suffix="_labels")
    for names, words in ((["b/9"], "'b/9', which is not in"), ([], r"\[\]"), ("b/1", "'b', which")):
        with pytest.raises(InputError, match=f"names has {words}"):
            data.PairSource(*folders, images_suffix="_image", masks_suffix="_ids", names=names)


def test_a_mask_alone_does_not_read_its_image(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    pair(tmp_path, "x", NUMBERS)
    pair(tmp_path, "y", NUMBERS + 1)
    source = data.PairSource(*folders)
    for file in folders[0].iterdir():
        file.unlink()
    np.testing.assert_array_equal(source.mask(1), NUMBERS + 1)
    np.testing.assert_array_equal(source.subset([1, 0]).mask(-2), NUMBERS + 1)
    arrays = data.ArraySource(np.zeros((2, 3, 4, 3), np.uint8), segmentation_masks=np.stack([NUMBERS, NUMBERS + 1]))
    np.testing.assert_array_equal(arrays.mask(1), NUMBERS + 1)
    with pytest.raises(IndexError):
        source.mask(2)
    with pytest.raises(InputError, match="has no masks, only images"):
        data.ArraySource(np.zeros((2, 3, 4, 3), np.uint8)).mask(0)


# --- colours and numbers ------------------------------------------------------------------------------------------

COLOURS = [(10, 20, 30), (255, 0, 7), (10, 20, 31)]


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "palette"])
def test_colours_become_class_numbers(kind: str, tmp_path: Path, folders: tuple[Path, Path]) -> None:
    """Also those of a palette file whose indices mean nothing."""
    image: Any = Image.fromarray(in_colours(NUMBERS, COLOURS))
    if kind == "RGBA":
        image.putalpha(77)
    elif kind == "palette":
        image = Image.fromarray(np.uint8(5) - NUMBERS)
        image.putpalette(bytes(9) + bytes(value for colour in reversed(COLOURS) for value in colour))
    pair(tmp_path, "x", image)
    for palette in (COLOURS, np.array(COLOURS), {colour: number for number, colour in enumerate(COLOURS)}):
        source = data.PairSource(*folders, palette=palette)
        check_source(source, 1)
        np.testing.assert_array_equal(source[0]["segmentation_masks"], NUMBERS)
        assert source[0]["segmentation_masks"].dtype == np.uint8 and source.ignore is None
    many = data.PairSource(*folders, palette=dict(zip(COLOURS, (7, 1000, 7), strict=True)))
    np.testing.assert_array_equal(many[0]["segmentation_masks"], np.array([7, 1000, 7])[NUMBERS])


def test_numbers_become_class_numbers(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    pair(tmp_path, "x", NUMBERS * 10)
    pair(tmp_path, "y", NUMBERS.astype(np.uint16) * 1000)
    mapping = {0: 255, 10: 0, 20: 1, 1000: 0, 2000: 1}
    source = data.PairSource(*folders, mapping=mapping, ignore=255)
    for mask in masks_of(source):
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, np.array([255, 0, 1])[NUMBERS])
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again.mask(1), source.mask(1))
    other = data.PairSource(*folders, mapping={**mapping, 2000: 2}, ignore=255)
    assert list(other.stamps()) != list(source.stamps()) == list(again.stamps())


def test_what_is_not_in_the_table_is_named(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    pair(tmp_path, "x", NUMBERS)
    numbers = data.PairSource(*folders, mapping={0: 0, 1: 1})
    with pytest.raises(DataError, match=r"masks.x\.png: the mask has the value 2 in row 0, column 2.*`ignore`"):
        numbers[0]
    pair(tmp_path, "x", in_colours(NUMBERS, COLOURS))
    colours = data.PairSource(*folders, palette=COLOURS[:2])
    with pytest.raises(DataError, match=r"x\.png: the mask has the colour \(10, 20, 31\) in row 0, column 2.*PNG"):
        colours[0]
    with pytest.raises(DataError, match=r"3 channels that differ.*palette="):
        data.PairSource(*folders)[0]
    loader = ow.Loader(colours, ow.Policy([ow.Resize(3)]), batch_size=1)
    with pytest.raises(DataError, match=r"x\.png: the mask has the colour"):
        next(iter(loader))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"palette": "voc", "mapping": {0: 0}}, "both given"),
        ({"palette": "ade20k"}, "palette='ade20k' is not known; use 'voc', 'camvid'"),
        ({"mapping": "kitti"}, "mapping='kitti' is not known; use 'cityscapes'"),
        ({"palette": []}, "empty"),
        ({"palette": [(1, 2)]}, r"colour \(1, 2\)"),
        ({"palette": [(1, 2, 300)]}, "0 to 255"),
        ({"palette": [(1, 2, 3), (1, 2, 3)]}, "a value twice"),
        ({"palette": {(1, 2, 3): -1}}, "class number -1"),
        ({"mapping": {0: 1.5}}, "class number 1.5"),
        ({"mapping": {"road": 1}}, "'road'"),
    ],
)
def test_tables_that_cannot_be(options: dict[str, Any], words: str, folders: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match=words):
        data.PairSource(*folders, **options)


def test_the_masks_of_a_table_go_into_stores_and_batches(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    for name in ("x", "y"):
        pair(tmp_path, name, in_colours(NUMBERS, COLOURS))
    source = data.PairSource(*folders, palette=COLOURS, class_names="abc", ignore=1, image_size=(3, 4))
    prepare(source, tmp_path / "store")
    for kept in (source.in_memory(), data.StoreSource(tmp_path / "store")):
        np.testing.assert_array_equal(kept[1]["segmentation_masks"], NUMBERS)
    loader = ow.Loader(source, ow.Policy([ow.HorizontalFlip(p=1.0), ow.Rescale(1 / 255)]), batch_size=2, shuffle=False)
    _, masks = next(iter(loader))
    np.testing.assert_array_equal(masks, np.stack([NUMBERS[:, ::-1]] * 2))


# --- VOC, Cityscapes, CamVid --------------------------------------------------------------------------------------


def test_the_colours_of_voc() -> None:
    """As the development kit lists them, the first few and the last."""
    assert voc_colours()[:9] == (
        *((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)),
        *((128, 0, 128), (0, 128, 128), (128, 128, 128), (64, 0, 0)),
    )
    assert voc_colours()[15] == (192, 128, 128) and voc_colours()[20] == (0, 64, 128)  # person, tvmonitor
    assert voc_colours(256)[255] == (224, 224, 192)  # what the kit's palette has at void
    assert len(VOC_COLOURS) == 22 and VOC_COLOURS[224, 224, 192] == 255


def test_the_tables_of_cityscapes_and_camvid() -> None:
    assert sorted(CITYSCAPES_IDS) == list(range(34)) and len(CITYSCAPES_CLASSES) == 19
    named = {
        7: "road",
        11: "building",
        17: "pole",
        21: "vegetation",
        24: "person",
        26: "car",
        31: "train",
        33: "bicycle",
    }
    for label, name in named.items():
        assert CITYSCAPES_CLASSES[CITYSCAPES_IDS[label]] == name
    assert sum(number == 255 for number in CITYSCAPES_IDS.values()) == 15
    assert len(CAMVID_COLOURS) == 32 and set(CAMVID_COLOURS.values()) == {*range(11), 255}


def test_voc(tmp_path: Path) -> None:
    """Two masks of the same classes: palette indices, as the kit has them, and their colours."""
    classes = np.array([[0, 1, 15, 255], [20, 7, 255, 0]], np.uint8)
    indexed = Image.fromarray(classes)
    indexed.putpalette([value for colour in voc_colours(256) for value in colour])
    for name, mask in (("2007_000032", indexed), ("2007_000039", Image.fromarray(np.array(indexed.convert("RGB"))))):
        pair(tmp_path, name, mask)
    for name in ("2007_000033", "2008_000001"):  # images without segmentation, as most of VOC's
        (tmp_path / "images" / f"{name}.png").write_bytes(encode(picture(2, 4), "PNG"))
    (tmp_path / "images").rename(tmp_path / "JPEGImages")
    (tmp_path / "masks").rename(tmp_path / "SegmentationClass")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000039\n2007_000032\n")
    source = data.PairSource.voc(tmp_path)
    check_source(source, 2)
    assert source.num_classes == 21 and source.ignore == 255 and source.class_names[15] == "person"
    assert "2007_000039" in source.name(0)
    for mask in masks_of(source):
        np.testing.assert_array_equal(mask, classes)
    with pytest.raises(DataError, match=r"has no val\.txt \(train\)"):
        data.PairSource.voc(tmp_path, "val")


def test_cityscapes(tmp_path: Path) -> None:
    ids = np.array([[7, 26, 0, 33], [4, 23, 3, 14]], np.uint8)
    for city in ("aachen", "ulm"):
        stem = f"{city}/{city}_000000_000019"
        pair(tmp_path, stem, ids, ("_leftImg8bit", "_gtFine_labelIds"))
        for other in ("instanceIds", "color"):
            (tmp_path / "masks" / f"{stem}_gtFine_{other}.png").write_bytes(encode(picture(2, 4), "PNG"))
    for name, wanted in (("images", "leftImg8bit"), ("masks", "gtFine")):
        (tmp_path / wanted).mkdir()
        (tmp_path / name).rename(tmp_path / wanted / "train")
    source = data.PairSource.cityscapes(tmp_path)
    check_source(source, 2)
    assert source.num_classes == 19 and source.ignore == 255
    for mask in masks_of(source):
        np.testing.assert_array_equal(mask, [[0, 13, 255, 18], [255, 10, 255, 255]])
    with pytest.raises(DataError, match="val: no such folder"):
        data.PairSource.cityscapes(tmp_path, "val")


def test_camvid_in_its_own_colours(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    pair(tmp_path, "x", in_colours(NUMBERS, [(64, 128, 192), (0, 0, 0), (192, 0, 64)]))
    source = data.PairSource(*folders, palette="camvid")
    np.testing.assert_array_equal(source.mask(0), np.array([8, 255, 3])[NUMBERS])
    assert source.class_names is not None and source.class_names[8] == "car" and source.ignore == 255


# --- class weights ------------------------------------------------------------------------------------------------


def test_median_frequency_by_hand(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    """Class 0: 6 of 10 + 8 pixels, 1: 4 of 10, 2: 8 of 8 + 8; two pixels of the first mask are void, 3 is nowhere."""
    masks = [
        np.array([[0, 0, 0, 0], [1, 1, 1, 1], [9, 9, 0, 0]], np.uint8),
        np.array([[2, 2, 2, 2], [2, 2, 2, 2], [9, 9, 9, 9]], np.uint8),
    ]
    frequency = np.array([6 / 10, 4 / 10, 8 / 8])
    expected = [*(np.median(frequency) / frequency), 1]
    np.testing.assert_allclose(median_frequency(masks, 4, void=9, progress=False), expected, rtol=1e-6)
    for number, mask in enumerate(masks):
        pair(tmp_path, str(number), mask)
    source = data.PairSource(*folders, class_names="abcd", ignore=9)
    found = median_frequency(source, threads=2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    part = median_frequency(source.subset([0]), void=9, progress=False)
    np.testing.assert_allclose(part, [5 / 6, 5 / 4, 1, 1], rtol=1e-6)
    with pytest.raises(InputError, match=r"masks.0\.png|images.0\.png: the mask has the label 9.*void="):
        median_frequency(data.PairSource(*folders, class_names="abcd"), progress=False)
    with pytest.raises(InputError, match="classes=None"):
        median_frequency(masks)
    with pytest.raises(InputError, match="no masks"):
        median_frequency([], 3)
    with pytest.raises(InputError, match=r"all are void \(9\)"):
        median_frequency([np.full((2, 2), 9)], 3, void=9, progress=False)
    with pytest.raises(InputError, match="mask 0: the mask is float"):
        median_frequency([np.zeros((2, 2))], 3, progress=False)
    with pytest.raises(InputError, match="has no masks"):
        median_frequency(data.ArraySource(np.zeros((1, 2, 2, 3), np.uint8), [0]), 3, progress=False)


def test_median_frequency_of_camvid(data_dir: Path) -> None:
    """SegNet's weights of this split, within a fifth; its sign, 9.64, is not that of these masks."""
    root = data_dir / "camvid"
    source = data.PairSource(root / "train", root / "trainannot", ignore=11)
    found = median_frequency(source, 11, progress=False)
    published = np.array([0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614])
    near = np.abs(np.log(found / published)) < np.log(1.21)
    assert near.sum() == 10 and not near[6]
