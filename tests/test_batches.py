"""Batches as a pure function of (epoch, index), their targets, what happens to unreadable samples, and the
prefetcher.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onewarp as ow
import onewarp.data as data
from data_helpers import class_folder, encode, picture, same
from onewarp.data.batches import Batches
from onewarp.data.prefetch import prefetch_batches
from onewarp.data.slots import Unreadable
from onewarp.errors import DataError, InputError, PolicyError

POLICY = ow.Policy([ow.RandomResizedCrop(8), ow.HorizontalFlip(), ow.Brightness(0.3), ow.RandomErasing(p=0.5)])


def arrays(n: int = 11, **targets: Any) -> data.ArraySource:
    return data.ArraySource(np.stack([picture(10, 14, seed=k) for k in range(n)]), np.arange(n) % 3, **targets)


@pytest.fixture
def folder(tmp_path: Path) -> data.FolderSource:
    return data.FolderSource(class_folder(tmp_path / "photos", {"a": 4, "b": 5}, size=(10, 14)))


def test_a_batch_is_what_the_policy_makes_of_its_samples() -> None:
    source = arrays()
    batches = Batches(source, POLICY, 4, seed=3)
    for epoch, index in ((0, 0), (5, 1), (5, 2)):
        rows = batches.indices(epoch, index)
        occurrence = batches.positions(index) // 11
        images = np.stack([source[row]["images"] for row in rows])
        expected = POLICY(images, seed=3, epoch=epoch, ids=rows) if not occurrence.any() else None
        batch = batches.batch(epoch, index)
        assert batch["labels"].tolist() == (rows % 3).tolist()
        if expected is not None:
            np.testing.assert_array_equal(batch["images"], expected)
        else:  # the wrapped rows are second views of their samples
            np.testing.assert_array_equal(batch["images"][:3], POLICY(images[:3], seed=3, epoch=epoch, ids=rows[:3]))


def test_files_and_arrays_give_the_same_batches(folder: data.FolderSource) -> None:
    from_files, from_memory = (Batches(source, POLICY, 4, seed=1) for source in (folder, folder.in_memory()))
    for epoch in (0, 1):
        for index in range(len(from_files)):
            same(from_files.batch(epoch, index), from_memory.batch(epoch, index))


@pytest.mark.parametrize("decode", ["exact", "fast"])
@pytest.mark.parametrize("room", [1, 5000, 1 << 18])
def test_images_warped_together_are_those_warped_alone(
    room: int, decode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of several sizes and formats, with masks of 8 and 16 bits: whichever share a call of the kernel."""
    monkeypatch.setattr("onewarp.data.file_warp.RUN", room)
    files, masks = [], []
    for k, (height, width) in enumerate([(20, 30), (12, 18), (90, 130), (12, 18), (8, 8), (64, 40), (33, 17)]):
        files.append(tmp_path / f"{k}.jpg")
        files[-1].write_bytes(encode(picture(height, width, seed=k), "JPEG" if k != 3 else "PNG"))
        masks.append(tmp_path / f"{k}.png")
        mask = (np.arange(height * width).reshape(height, width) % 7).astype(np.uint16 if k in (1, 5) else np.uint8)
        masks[-1].write_bytes(encode(mask, "PNG"))
    source = data.FileSource(files, masks=masks)
    together = Batches(source, POLICY, 7, shuffle=False, seed=2, decode=decode)
    alone = Batches(source, POLICY, 1, shuffle=False, seed=2, decode=decode)
    with ThreadPoolExecutor(3) as pool:
        for found in (together.batch(1, 0), together.build(1, 0, pool).entries):
            for k in range(7):
                for role, values in alone.batch(1, k).items():
                    np.testing.assert_array_equal(found[role][k], values[0])
    for broken in (1, 3, 4):
        files[broken].write_bytes(files[broken].read_bytes()[:-40])
    with pytest.raises(Unreadable) as caught:
        together.assemble(0, np.arange(7), np.zeros(7, np.int64), None)
    assert list(caught.value.errors) == [1, 3, 4]


@pytest.mark.parametrize("kind", ["files", "arrays"])
@pytest.mark.parametrize("threads", [1, 8])
def test_same_bytes_in_any_order_with_any_number_of_threads(kind: str, threads: int, folder: data.FolderSource) -> None:
    batches = Batches(folder if kind == "files" else arrays(), POLICY, 2, seed=7)
    count = len(batches)
    expected = [batches.batch(2, index) for index in range(count)]
    for index in np.random.default_rng(0).permutation(count):
        same(batches.batch(2, int(index)), expected[index])
    ahead = prefetch_batches(batches, 2, 0, count, threads, None)
    for index in range(count):
        same(ahead.get().entries, expected[index])


def test_batch_size_does_not_change_a_sample() -> None:
    small, large = (Batches(arrays(), POLICY, size, shuffle=False, seed=9) for size in (3, 11))
    together = np.concatenate([small.batch(4, index)["images"] for index in range(len(small))])
    np.testing.assert_array_equal(together, large.batch(4, 0)["images"])


def test_a_subset_draws_for_its_samples_what_the_whole_draws() -> None:
    whole = arrays()
    part = Batches(whole.subset([6, 2]), POLICY, 2, shuffle=False).batch(1, 0)["images"]
    all_of_them = Batches(whole, POLICY, 11, shuffle=False).batch(1, 0)["images"]
    np.testing.assert_array_equal(part, all_of_them[[6, 2]])


@pytest.mark.parametrize(
    ("last_batch", "shuffle", "sizes"),
    [
        ("wrap", True, [4, 4, 4]),
        ("drop", True, [4, 4]),
        ("keep", False, [4, 4, 3]),
        (None, True, [4, 4, 4]),
        (None, False, [4, 4, 3]),
    ],
)
def test_last_batch(last_batch: str | None, shuffle: bool, sizes: list[int]) -> None:
    batches = Batches(arrays(), POLICY, 4, shuffle=shuffle, last_batch=last_batch)
    assert [len(batches.batch(0, index)["images"]) for index in range(len(batches))] == sizes
    seen = np.concatenate([batches.indices(0, index) for index in range(len(batches))])
    assert len(set(seen.tolist())) == min(sum(sizes), 11)
    if last_batch == "wrap":
        assert seen[11:].tolist() == seen[: sum(sizes) - 11].tolist()
    with pytest.raises(InputError, match="indices run from 0 to"):
        batches.batch(0, len(sizes))


def test_a_wrapped_sample_is_drawn_afresh() -> None:
    """The wrapped rows show their samples for the second time in the epoch: occurrence 1, so other augmentations."""
    batches = Batches(arrays(5), POLICY, 10)  # every sample twice in one batch
    images = batches.batch(0, 0)["images"]
    assert batches.indices(0, 0)[:5].tolist() == batches.indices(0, 0)[5:].tolist()
    assert not any(np.array_equal(images[k], images[k + 5]) for k in range(5))


def test_epochs_differ_and_seeds_differ() -> None:
    batches = Batches(arrays(), POLICY, 11, shuffle=False)
    reference = batches.batch(0, 0)["images"]
    for other in (batches.batch(1, 0), Batches(arrays(), POLICY, 11, shuffle=False, seed=1).batch(0, 0)):
        assert sum(np.array_equal(a, b) for a, b in zip(reference, other["images"], strict=True)) <= 1


def test_labels_weights_and_outputs() -> None:
    source = arrays()
    plain = Batches(source, POLICY, 11, shuffle=False)
    x, y = plain.xyw(plain.batch(0, 0))
    assert y.tolist() == (np.arange(11) % 3).tolist() and x.shape == (11, 8, 8, 3)
    hot = Batches(source, POLICY, 11, shuffle=False, labels="one_hot", class_weight={0: 2.0, 2: 0.5})
    _, y, weight = hot.xyw(hot.batch(0, 0))
    np.testing.assert_array_equal(y, np.eye(3, dtype=np.float32)[np.arange(11) % 3])
    np.testing.assert_array_equal(weight, np.float32([2.0, 1.0, 0.5])[np.arange(11) % 3])
    only = Batches(source, POLICY, 11, outputs=("images",))
    assert isinstance(only.xyw(only.batch(0, 0)), np.ndarray)
    named = Batches(source, POLICY, 11, outputs=("images", ("labels",)))
    assert set(named.xyw(named.batch(0, 0))[1]) == {"labels"}


def test_mix_mixes_labels_and_weights() -> None:
    policy = ow.Policy([ow.Resize(8), ow.MixUp()])
    batches = Batches(arrays(), policy, 11, shuffle=False, class_weight={0: 3.0})
    batch = batches.batch(0, 0)
    assert batch["labels"].shape == (11, 3)
    np.testing.assert_allclose(batch["labels"].sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(batch["sample_weight"], batch["labels"] @ [3.0, 1.0, 1.0], atol=1e-5)
    same(batch, batches.batch(0, 0))


def test_masks_boxes_and_points_from_files_follow_the_image(tmp_path: Path) -> None:
    """Every sample has one white square; mask, box and point are painted on it and must still be on it."""
    paths, masks, boxes, points = [], [], [], []
    for k in range(5):
        image, mask = np.zeros((40 + k, 50, 3), np.uint8), np.zeros((40 + k, 50), np.uint8)
        image[5 + k : 25 + k, 10:30], mask[5 + k : 25 + k, 10:30] = 255, 1
        for name, content, found in (("x", image, paths), ("m", mask, masks)):
            found.append(tmp_path / f"{name}{k}.png")
            found[-1].write_bytes(encode(content, "PNG"))
        boxes.append(np.array([[10, 5 + k, 30, 25 + k]] * (1 + k % 2), float))
        points.append(np.array([[20, 15 + k, 1]], float))
    labels = [np.zeros(len(rows), int) for rows in boxes]
    source = data.FileSource(paths, masks=masks, bounding_boxes={"boxes": boxes, "labels": labels}, keypoints=points)
    policy = ow.Policy([ow.HorizontalFlip(), ow.Translate(0.1), ow.Resize((32, 36))])
    batches = Batches(source, policy, 5, last_batch="keep")
    with ThreadPoolExecutor(4) as pool:
        same(batches.build(3, 0, pool).entries, batches.batch(3, 0))
    batch = batches.batch(3, 0)
    assert batch["bounding_boxes"]["boxes"].shape == (5, 2, 4) and batch["keypoints"].shape == (5, 1, 3)
    rows = batches.indices(3, 0)
    for slot, row in enumerate(rows):
        white = batch["images"][slot, ..., 0] > 127
        assert (white != (batch["segmentation_masks"][slot] == 1)).mean() < 0.02
        y, x = np.nonzero(white)
        expected = [x.min(), y.min(), x.max() + 1, y.max() + 1]
        np.testing.assert_allclose(batch["bounding_boxes"]["boxes"][slot, 0], expected, atol=1.0)
        assert batch["bounding_boxes"]["labels"][slot].tolist() == ([0, 0] if row % 2 else [0, -1])
        px, py, visible = batch["keypoints"][slot, 0]
        assert visible == 1 and white[int(py), int(px)]


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    for name, content in (("x.png", picture(10, 14)), ("m.png", np.zeros((14, 10), np.uint8))):
        (tmp_path / name).write_bytes(encode(content, "PNG"))
    batches = Batches(data.FileSource([tmp_path / "x.png"], masks=[tmp_path / "m.png"]), POLICY, 1)
    with pytest.raises(DataError, match=r"x\.png: .*10x14 .*14x10"):
        batches.batch(0, 0)


def ragged(**options: Any) -> data.ArraySource:
    boxes = {
        "boxes": [np.array([[0, 0, 5, 5.0]] * k).reshape(k, 4) for k in range(3)],
        "labels": [[0] * k for k in range(3)],
    }
    return data.ArraySource([picture(10, 14)] * 3, bounding_boxes=boxes, **options)


def test_boxes_are_padded_to_one_number() -> None:
    batch = Batches(ragged(), POLICY, 3, shuffle=False).batch(0, 0)
    assert batch["bounding_boxes"]["boxes"].shape == (3, 2, 4)
    unmoved = Batches(ragged(), ow.Policy([ow.Brightness(0.1)]), 3, shuffle=False).batch(0, 0)["bounding_boxes"]
    assert unmoved["labels"].tolist() == [[-1, -1], [0, -1], [0, 0]]
    wide = Batches(ragged(), POLICY, 3, shuffle=False, max_boxes=7).batch(0, 0)["bounding_boxes"]
    assert wide["labels"].shape == (3, 7) and (wide["labels"][0] == -1).all()
    with pytest.raises(DataError, match="image 2 of the array: 2 boxes, but max_boxes is 1"):
        Batches(ragged(), POLICY, 3, shuffle=False, max_boxes=1).batch(0, 0)


def test_bad_values_name_the_sample() -> None:
    images = np.zeros((4, 8, 8, 3), np.float32)
    images[2, 0, 0] = np.nan
    with pytest.raises(DataError, match="image 2 of the array: .*NaN"):
        Batches(data.ArraySource(images), POLICY, 4, shuffle=False).batch(0, 0)
    images[2] = 300.0
    with pytest.raises(DataError, match=r"image 2 of the array: .*value_range"):
        Batches(data.ArraySource(images), POLICY, 4, shuffle=False).batch(0, 0)
    boxes = {"boxes": np.array([[[0, 0, 4, 4]], [[5, 0, 4, 4.0]]]), "labels": np.zeros((2, 1), int)}
    with pytest.raises(DataError, match="image 1 of the array: .*ends before it begins"):
        Batches(data.ArraySource(np.zeros((2, 8, 8, 3), np.uint8), bounding_boxes=boxes), POLICY, 2).batch(0, 0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
        ({"seed": -1}, "seed=-1"),
        ({"last_batch": "pad"}, "'wrap' or 'drop' or 'keep'"),
        ({"labels": "categorical"}, "'one_hot'"),
        ({"on_error": "ignore"}, "'skip'"),
        ({"batch_size": 99, "last_batch": "drop"}, "no batch of 99"),
        ({"class_weight": {5: 1.0}}, "class 5"),
        ({"class_weight": {1: -1.0}}, "not negative"),
        ({"class_weight": {1: 1.0}, "outputs": ("images",)}, "needs targets"),
        ({"outputs": ("images", "segmentation_masks")}, "'segmentation_masks'"),
        ({"outputs": ("images", "labels", "sample_weight")}, "'sample_weight'"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Batches(arrays(), POLICY, **arguments)
    with pytest.raises(InputError, match="class numbers"):
        Batches(data.ArraySource(np.zeros((2, 4, 4, 3), np.uint8)), POLICY, labels="one_hot")


def test_a_policy_without_a_size_is_refused_at_once(folder: data.FolderSource) -> None:
    with pytest.raises(PolicyError, match="Resize"):
        Batches(folder, ow.Policy([ow.HorizontalFlip()]))
    Batches(
        data.FolderSource(Path(folder.name(0)).parent.parent, image_size=(10, 14)), ow.Policy([ow.HorizontalFlip()])
    )


def test_real_images_from_a_tar_file_and_from_memory(data_dir: Path) -> None:
    tar = data.TarSource(data_dir / "cifar10-test.tar", image_size=(32, 32)).subset(range(0, 10_000, 50))
    policy = ow.Policy([ow.RandomCrop(28), ow.Rotate(10), ow.ColorJitter(0.2, 0.2, 0.2, 0.1), ow.Normalize("imagenet")])
    files, memory = (Batches(source, policy, 64, seed=4) for source in (tar, tar.in_memory()))
    ahead = prefetch_batches(files, 1, 0, len(files), 4, None)
    for index in range(len(files)):
        same(ahead.get().entries, memory.batch(1, index))


def test_real_images_with_masks_are_cut_from_the_same_place(data_dir: Path) -> None:
    """A crop without interpolation holds only pairs of colour and class that the original has."""
    pairs = data.PairSource(data_dir / "camvid" / "val", data_dir / "camvid" / "valannot")
    batches = Batches(pairs, ow.Policy([ow.RandomCrop(96), ow.HorizontalFlip(), ow.Rotate90()]), 4)
    batch = batches.batch(0, 0)

    def pairs_of(image: np.ndarray, mask: np.ndarray) -> set[bytes]:
        joined = np.concatenate([image, mask[..., None]], axis=-1).reshape(-1, 4)
        return {row.tobytes() for row in np.unique(joined, axis=0)}

    for slot, row in enumerate(batches.indices(0, 0)):
        original = pairs_of(pairs[row]["images"], pairs[row]["segmentation_masks"])
        cut = pairs_of(batch["images"][slot], batch["segmentation_masks"][slot])
        assert cut <= original
        assert not pairs_of(batch["images"][slot], np.roll(batch["segmentation_masks"][slot], 9, axis=1)) <= original
