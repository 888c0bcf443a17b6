"""Stores: what goes in comes out, with no copy where it is raw; and the same bytes however it was made."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onewarp as ow
import onewarp.data as data
from data_helpers import check_source, class_folder, encode, picture, pillow, same, tar_of, with_orientation
from onewarp.data.batches import Batches
from onewarp.data.store import layout, prepare, verify
from onewarp.data.store.records import resized
from onewarp.errors import DataError, InputError
from store_helpers import SIZES, content, everything, photos


def made(source: data.Source, folder: Path, **settings) -> data.StoreSource:
    prepare(source, folder, data.StoreSettings(**settings))
    return data.StoreSource(folder)


def equal(source: data.Source, store: data.StoreSource) -> None:
    """Everything but the pixels, which depend on the settings."""
    assert (store.roles, store.outputs, store.class_names) == (source.roles, source.outputs, source.class_names)
    assert (store.dtype, store.value_range, store.num_classes) == (source.dtype, source.value_range, source.num_classes)
    n = np.arange(len(source))
    np.testing.assert_array_equal(store.ids(n), source.ids(n))
    assert [store.name(k) for k in n] == [source.name(k) for k in n]
    if source.labels is None:
        assert store.labels is None
    else:
        same(np.array(store.labels), source.labels)


@pytest.mark.parametrize("raw", [False, True])
def test_every_target_comes_back(tmp_path: Path, raw: bool) -> None:
    source = everything(tmp_path)
    store = made(source, tmp_path / "store", raw=raw)
    check_source(store, 7)
    equal(source, store)
    for index in range(7):
        same(store[index], source[index])  # nothing is reduced, so a JPEG keeps its bytes
    assert store.most("bounding_boxes") == source.most("bounding_boxes") and store.most("keypoints") == 4
    assert not list(verify(tmp_path / "store"))


@pytest.mark.parametrize("box_format", ["xyxy", "yxyx", "center_xywh", "center_yxhw", "rel_xyxy", "rel_yxyx"])
def test_targets_are_reduced_with_the_image(tmp_path: Path, box_format: str) -> None:
    source = everything(tmp_path)
    store = made(source, tmp_path / "store", short_side=24, raw=True, bounding_box_format=box_format)
    for index in range(7):
        whole, small = source[index], store[index]
        (h, w), (y, x) = whole["images"].shape[:2], small["images"].shape[:2]
        short = min(h, w)
        assert min(y, x) == min(24, short) and (y, x) == ((h, w) if short <= 24 else (y, x))
        assert abs(y / x - h / w) <= 0.5 / min(y, x) * max(h / w, 1) + 1e-9  # the long side is rounded to a pixel
        scale = {"x": [x / w, y / h] * 2, "y": [y / h, x / w] * 2}.get(box_format.removeprefix("center_")[0], [1] * 4)
        np.testing.assert_allclose(
            small["bounding_boxes"]["boxes"], whole["bounding_boxes"]["boxes"] * np.array(scale), rtol=1e-6
        )
        np.testing.assert_allclose(small["keypoints"], whole["keypoints"] * [x / w, y / h, 1], rtol=1e-6)
        rows, columns = (np.floor((np.arange(n) + 0.5) * m / n).astype(int) for n, m in ((y, h), (x, w)))
        same(small["segmentation_masks"], whole["segmentation_masks"][rows][:, columns])


def test_a_reduced_pixel_is_the_mean_of_its_area(rng: np.random.Generator) -> None:
    for channels in (1, 3, 4, 6):
        image = rng.integers(0, 256, (40, 24, channels), dtype=np.uint8)
        means = image.reshape(10, 4, 6, 4, channels).mean((1, 3))
        assert np.abs(resized(image, (10, 6)) - means).max() <= 0.51


@pytest.mark.parametrize("raw", [False, True])
def test_every_image_can_get_one_size(tmp_path: Path, raw: bool) -> None:
    source = everything(tmp_path)  # sides from 20 to 90: some are reduced, some enlarged
    store = made(source, tmp_path / "store", size=(40, 48), raw=raw)
    assert store.image_shape == (40, 48, 3) and store.settings["size"] == [40, 48]
    for index in range(7):
        whole, made_one = source[index], store[index]
        assert made_one["images"].shape == (40, 48, 3) and made_one["segmentation_masks"].shape == (40, 48)
        h, w = whole["images"].shape[:2]
        scale = np.array([48 / w, 40 / h])
        np.testing.assert_allclose(
            made_one["bounding_boxes"]["boxes"], whole["bounding_boxes"]["boxes"] * np.tile(scale, 2), rtol=1e-6
        )
        np.testing.assert_allclose(made_one["keypoints"], whole["keypoints"] * [*scale, 1], rtol=1e-6)
        rows, columns = (np.floor((np.arange(n) + 0.5) * m / n).astype(int) for n, m in ((40, h), (48, w)))
        same(made_one["segmentation_masks"], whole["segmentation_masks"][rows][:, columns])
        seen = np.asarray(Image.fromarray(whole["images"]).resize((48, 40), Image.Resampling.BILINEAR), int)
        assert np.abs(made_one["images"] - seen).mean() < 12  # JPEG, another filter; turned: 60


def test_a_store_of_one_size_is_as_good_as_an_array(tmp_path: Path) -> None:
    source = data.FileSource(photos(tmp_path / "photos"), np.arange(7) % 3)
    prepare(source, tmp_path / "store", data.StoreSettings(raw=True, size=24), shard_size=3 * 24 * 24 * 3)
    store = data.StoreSource(tmp_path / "store")
    array = data.ArraySource(np.stack([store[k]["images"] for k in range(7)]), np.arange(7) % 3)
    assert store.dense and layout.shard_count(store.about) == 3
    picked = np.array([6, 0, 4, 4, 2])
    views = store.views(picked)["images"]
    for view, index in zip(views, picked, strict=True):
        assert np.shares_memory(view, np.frombuffer(store._data(index // 3), np.uint8)) and not view.flags.writeable
    same(store.gather(picked), array.gather(picked))
    policy = ow.Policy([ow.RandomCrop(16), ow.HorizontalFlip()])
    same(Batches(array, policy, 3, seed=4).batch(2, 1), Batches(store, policy, 3, seed=4).batch(2, 1))


def test_a_store_made_before_there_was_a_size_is_the_same_store(tmp_path: Path) -> None:
    source = data.FileSource(photos(tmp_path / "photos"))
    prepare(source, tmp_path / "store", data.StoreSettings(short_side=20))
    assert "size" not in data.StoreSource(tmp_path / "store").settings
    with pytest.raises(InputError, match=r"holds a store of short_side=20, not None"):
        prepare(source, tmp_path / "store", data.StoreSettings(size=20))
    prepare(source, tmp_path / "other", data.StoreSettings(size=20))
    with pytest.raises(InputError, match=r"holds a store of size=\[20, 20\], not \[20, 21\]"):
        prepare(source, tmp_path / "other", data.StoreSettings(size=(20, 21)))
    with pytest.raises(InputError, match=r"holds a store of size=\[20, 20\], not None"):
        prepare(source, tmp_path / "other", data.StoreSettings())


def test_nothing_is_enlarged_and_jpegs_are_not_encoded_twice(tmp_path: Path) -> None:
    files = photos(tmp_path / "photos")
    store = made(data.FileSource(files), tmp_path / "store", short_side=1000)
    for index, file in enumerate(files):
        assert bytes(store.lazy(index)["images"].data) == Path(file).read_bytes()


def test_turned_photos_are_stored_upright(tmp_path: Path) -> None:
    image = picture(32, 48)
    for orientation in range(1, 9):
        jpeg = encode(image, "JPEG", quality=95, exif=with_orientation(orientation))
        (tmp_path / f"{orientation}.jpg").write_bytes(jpeg)
    source = data.FileSource([tmp_path / f"{orientation}.jpg" for orientation in range(1, 9)])
    store = made(source, tmp_path / "store", raw=True)
    small = made(source, tmp_path / "small", quality=100)
    for index in range(8):
        np.testing.assert_array_equal(store[index]["images"], source[index]["images"])
        assert small.lazy(index)["images"].header.orientation == 1
        assert small[index]["images"].shape == source[index]["images"].shape
        assert np.abs(small[index]["images"].astype(int) - source[index]["images"]).mean() < 8  # another flip: 60


def test_a_jpeg_of_ours_is_one_that_others_read(tmp_path: Path) -> None:
    store = made(data.FileSource(photos(tmp_path / "a")), tmp_path / "store", short_side=20, quality=75)
    image = store.lazy(0)["images"]
    with Image.open(__import__("io").BytesIO(bytes(image.data))) as opened:
        assert (opened.height, opened.width) == (20, 29) and "progressive" not in opened.info
    assert np.abs(pillow(bytes(image.data)).astype(int) - image.decode()).mean() < 2


@pytest.mark.parametrize(
    ("dtype", "channels", "encoding"), [("uint8", 4, "png"), ("uint16", 3, "png"), ("uint16", 1, "png")]
)
def test_what_is_no_jpeg_is_kept_exactly_as_png(tmp_path: Path, rng, dtype: str, channels: int, encoding: str) -> None:
    images = rng.integers(0, np.iinfo(dtype).max, (3, 10, 12, channels)).astype(dtype)
    source = data.ArraySource(images, [0, 1, 1])
    store = made(source, tmp_path / "store")
    assert store.about["encoding"] == encoding
    for index in range(3):
        same(store[index], source[index])


def test_what_cannot_be_encoded_needs_raw(tmp_path: Path, rng: np.random.Generator) -> None:
    source = data.ArraySource(rng.random((3, 10, 12, 5), np.float32), [[0.5, 1], [1, 2], [3, 4]])
    with pytest.raises(InputError, match="float32 images of 5 channels.*raw=True"):
        prepare(source, tmp_path / "store")
    store = made(source, tmp_path / "store", raw=True)
    check_source(store, 3)
    same(store.gather(np.array([2, 0])), source.gather(np.array([2, 0])))


@pytest.mark.parametrize("kind", ["int64", "uint8", "int32", "bool", "uint16"])
@pytest.mark.parametrize("raw", [False, True])
def test_masks_keep_their_dtype(tmp_path: Path, rng: np.random.Generator, kind: str, raw: bool) -> None:
    masks = rng.integers(0, 2, (3, 9, 11)).astype(kind)
    source = data.ArraySource(rng.integers(0, 256, (3, 9, 11, 3), np.uint8), segmentation_masks=masks)
    store = made(source, tmp_path / "store", raw=raw)
    for index in range(3):
        same(store[index]["segmentation_masks"], masks[index])
    if raw:
        same(store.gather(np.array([1, 2]))["segmentation_masks"], masks[1:])


def test_raw_images_of_one_size_are_read_where_they_lie(tmp_path: Path, rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (10, 160, 150, 3), dtype=np.uint8)
    source = data.ArraySource(images, np.arange(10))
    prepare(source, tmp_path / "store", data.StoreSettings(raw=True), shard_size=3 * images[0].nbytes)
    store = data.StoreSource(tmp_path / "store")
    assert store.dense and store.image_shape == (160, 150, 3) and layout.shard_count(store.about) == 4
    picked = np.array([9, 0, 4, 4])
    views = store.views(picked)
    for view, index in zip(views["images"], picked, strict=True):
        shard = np.frombuffer(store._data(index // 3), np.uint8)
        assert np.shares_memory(view, shard) and not view.flags.writeable
        np.testing.assert_array_equal(view, images[index])
    same(store.gather(picked), source.gather(picked))
    policy = ow.Policy([ow.RandomCrop(64), ow.HorizontalFlip()])
    for a, b in ((source, store), (source.subset([5, 2, 7]), store.subset([5, 2, 7]))):
        same(Batches(a, policy, 3, seed=4).batch(2, 0), Batches(b, policy, 3, seed=4).batch(2, 0))


def test_draws_are_those_of_the_original(tmp_path: Path) -> None:
    source = everything(tmp_path).subset([6, 1, 3, 0])
    store = made(source, tmp_path / "store")
    assert store.ids(np.arange(4)).tolist() == [6, 1, 3, 0]
    policy = ow.Policy([ow.RandomResizedCrop(16), ow.Rotate(20), ow.ColorJitter(0.2)])
    for epoch in range(2):
        same(Batches(source, policy, 2, seed=1).batch(epoch, 1), Batches(store, policy, 2, seed=1).batch(epoch, 1))


def test_a_store_of_a_store(tmp_path: Path) -> None:
    store = made(everything(tmp_path), tmp_path / "a")
    again = made(store, tmp_path / "b")
    for index in range(7):
        same(again[index], store[index])


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_bytes_do_not_depend_on_threads(tmp_path: Path, threads: int) -> None:
    source = everything(tmp_path, kind="PNG")
    prepare(source, tmp_path / "one", data.StoreSettings(short_side=24), threads=1, shard_size=700)
    prepare(source, tmp_path / "many", data.StoreSettings(short_side=24), threads=threads, shard_size=700)
    assert content(tmp_path / "one") == content(tmp_path / "many") and len(content(tmp_path / "one")) > 4


def test_folders_tars_and_pairs(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "set", {"ant": 3, "bee": 2})
    for k, source in enumerate((data.FolderSource(folder), data.TarSource(tar_of(folder, tmp_path / "set.tar")))):
        store = made(source, tmp_path / str(k), raw=True)
        equal(source, store)
        same(store[4], source[4])
    pairs = data.PairSource(folder / "ant", folder / "ant", class_names=[str(k) for k in range(256)], ignore=255)
    grey = tmp_path / "grey"
    class_folder(grey, {"m": 3})
    for k in range(3):
        (grey / "m" / f"{k:03d}.png").write_bytes(encode(picture(seed=k)[..., 0], "PNG"))
    pairs = data.PairSource(folder / "ant", grey / "m", class_names=("x", "y"), ignore=255)
    store = made(pairs, tmp_path / "pairs")
    assert store.ignore == 255 and store.class_names == ("x", "y") and store.labels is None
    same(store[1]["segmentation_masks"], pairs[1]["segmentation_masks"])


def test_two_processes_read_one_store(tmp_path: Path) -> None:
    store = made(everything(tmp_path), tmp_path / "store", raw=True)
    (tmp_path / "pickled").write_bytes(pickle.dumps(store))
    program = (
        "import pickle, sys, zlib; s = pickle.load(open(sys.argv[1], 'rb'));"
        "print(zlib.crc32(b''.join(s[k]['images'].tobytes() for k in range(len(s)))))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "pickled")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = {process.communicate()[0] for process in running}
    import zlib

    assert answers == {f"{zlib.crc32(b''.join(store[k]['images'].tobytes() for k in range(7)))}\n"}


def test_a_windowed_epoch_goes_through_the_shards(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (11, 32, 32, 3), dtype=np.uint8)
    source = data.ArraySource(images, np.arange(11))
    prepare(source, tmp_path / "store", data.StoreSettings(raw=True), shard_size=4 * 32 * 32 * 3)
    store = data.StoreSource(tmp_path / "store")
    each = store.about["shard_samples"]
    assert 1 < each < 6 and store.blocks is not None
    assert store.blocks.tolist() == [*range(0, 11, each), 11]
    batches = Batches(store, ow.Policy([ow.HorizontalFlip()]), 11, shuffle="windowed", window=1)
    shards = batches.indices(0, 0) // each
    assert np.count_nonzero(np.diff(shards)) == len(store.blocks) - 2
    assert sorted(batches.batch(0, 0)["labels"]) == list(range(11))


def test_unreadable_samples_can_be_kept_as_such(tmp_path: Path) -> None:
    files = photos(tmp_path / "photos")
    Path(files[3]).write_bytes(Path(files[3]).read_bytes()[:-100])
    source = data.FileSource(files)
    with pytest.raises(DataError, match="03.jpeg.*truncated"):
        prepare(source, tmp_path / "store")
    seen: list[tuple[int, int]] = []
    prepare(source, tmp_path / "store", on_error="skip", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (7, 7)
    store = data.StoreSource(tmp_path / "store")
    assert store.about["unreadable"] == 1 and not list(verify(tmp_path / "store"))
    with pytest.raises(DataError, match="03.jpeg.*truncated.*so it was when the store"):
        store.lazy(3)
    policy = ow.Policy([ow.Resize(8)])
    with pytest.raises(DataError, match="03.jpeg"):
        Batches(store, policy, 7, shuffle=False).batch(0, 0)
    batch = Batches(store, policy, 7, shuffle=False, on_error="skip").build(0, 0)
    assert len(batch.entries["images"]) == 7 and "03.jpeg" in batch.skipped[0]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"short_side": 0}, "short_side=0"),
        ({"short_side": 2.5}, "short_side=2.5"),
        ({"size": 0}, "size=0 must be"),
        ({"size": (3, 4, 5)}, r"size=\(3, 4, 5\) must be"),
        ({"size": (2.5, 4)}, r"size=\(2.5, 4\) must be"),
        ({"size": 32, "short_side": 32}, "size=32 and short_side=32 both say"),
        ({"quality": 0}, "quality=0"),
        ({"quality": 101}, "quality=101"),
        ({"raw": "yes"}, "raw='yes'"),
        ({"bounding_box_format": "xxyy"}, "bounding_box_format='xxyy'"),
    ],
)
def test_bad_settings_are_refused_by_name(settings: dict, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        data.StoreSettings(**settings)


def test_other_bad_arguments(tmp_path: Path) -> None:
    source = data.ArraySource(np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(InputError, match="on_error='ignore'"):
        prepare(source, tmp_path / "a", on_error="ignore")
    with pytest.raises(InputError, match="shard_size=0"):
        prepare(source, tmp_path / "b", shard_size=0)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("dear diary")
    with pytest.raises(InputError, match="full: not empty, and no store"):
        prepare(source, tmp_path / "full")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file"):
        prepare(source, tmp_path / "file")
    with pytest.raises(DataError, match="nowhere: no store here"):
        data.StoreSource(tmp_path / "nowhere")
    with pytest.raises(DataError, match="file: no store here"):
        data.StoreSource(tmp_path / "file")
    assert sorted(os.listdir(tmp_path / "full")) == ["diary.txt"]


def test_sizes_of_the_test_pictures_differ() -> None:
    assert len(set(SIZES)) == len(SIZES)
