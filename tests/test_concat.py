"""Several sources as one: samples, ids, classes, batches, and sources that do not fit together."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onewarp as ow
import onewarp.data as data
from data_helpers import check_source, class_folder, same
from onewarp.data.batches import Batches
from onewarp.data.concat import ConcatSource
from onewarp.data.store import prepare
from onewarp.errors import DataError, InputError
from store_helpers import everything, photos

POLICY = ow.Policy([ow.RandomResizedCrop(12), ow.Rotate(15), ow.HorizontalFlip()])


def arrays(n: int, seed: int = 0, size: int = 16, **options) -> data.ArraySource:
    images = np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return data.ArraySource(images, np.arange(n) % 3, **options)


def test_samples_come_one_source_after_the_other(tmp_path: Path) -> None:
    few, many = arrays(3, 1), arrays(5, 2)
    files = data.FolderSource(class_folder(tmp_path / "photos", {"ant": 2, "bee": 1}))
    named = [arrays(4, 3, class_names=("bee", "cat", "ant")), files]
    check_source(ConcatSource([few, many]), 8)
    check_source(ConcatSource(named), 7)
    joined = ConcatSource([few, many])
    for index in range(8):
        same(joined[index], few[index] if index < 3 else many[index - 3])
    assert joined.dense and joined.image_shape == (16, 16, 3) and joined.num_classes == 3
    assert joined.name(3) == "source 2, image 0 of the array"
    assert not ConcatSource(named).dense and ConcatSource(named).image_shape == (None, None, 3)


def test_classes_are_numbered_by_name(tmp_path: Path) -> None:
    first = data.FolderSource(class_folder(tmp_path / "a", {"bee": 2, "cat": 1}))
    second = data.FolderSource(class_folder(tmp_path / "b", {"ant": 1, "cat": 2}))
    joined = ConcatSource([first, second])
    assert joined.class_names == ("bee", "cat", "ant") and joined.num_classes == 3
    assert joined.labels is not None and joined.labels.tolist() == [0, 0, 1, 2, 1, 1]
    assert [int(joined[k]["labels"]) for k in range(6)] == joined.labels.tolist()
    for k in range(6):
        assert f"/{joined.class_names[joined.labels[k]]}/" in joined.name(k)


def test_every_id_is_one_of_its_own() -> None:
    source = arrays(10)
    head, tail = source.subset([7, 2, 9]), source.subset([0, 2])
    joined = ConcatSource([head, tail, source])
    assert joined.ids(np.arange(15)).tolist() == [7, 2, 9, 10, 12, *range(13, 23)]
    nested = ConcatSource([ConcatSource([head, tail]), source])
    same(nested.ids(np.arange(15)), joined.ids(np.arange(15)))
    twice = Batches(ConcatSource([source, source]), POLICY, 20, shuffle=False, seed=1).batch(0, 0)["images"]
    assert all((twice[k] != twice[k + 10]).any() for k in range(10))  # other draws
    same(twice[:10], Batches(source, POLICY, 10, shuffle=False, seed=1).batch(0, 0)["images"])


@pytest.mark.parametrize("placement", ["host", "device"])
@pytest.mark.parametrize("size", [16, 160])  # copied into one array, and handled one by one
def test_a_batch_does_not_depend_on_where_samples_lie(tmp_path: Path, size: int, placement: str) -> None:
    whole = arrays(12, 5, size)
    parts = [whole.subset(range(5)), data.ArraySource(whole.images[5:], whole.labels[5:])]
    prepare(parts[0], tmp_path / "store", data.StoreSettings(raw=True))
    stored = [data.StoreSource(tmp_path / "store"), parts[1]]
    expected = Batches(whole, POLICY, 5, seed=3, placement=placement)
    for sources in (parts, stored):
        found = Batches(ConcatSource(sources), POLICY, 5, seed=3, placement=placement)
        assert found.source.dense
        for index in range(len(expected)):
            same(found.batch(1, index), expected.batch(1, index))


def test_all_targets(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = everything(tmp_path / "a", 4), everything(tmp_path / "b", 5)
    joined = ConcatSource([first, second])
    assert set(joined.roles) > {"images", "segmentation_masks", "bounding_boxes", "keypoints"}
    assert joined.most("bounding_boxes") == max(first.most("bounding_boxes"), second.most("bounding_boxes"))
    same(joined.mask(6), second.mask(2))
    batch = Batches(joined, POLICY, 9, shuffle=False, seed=2, last_batch="keep").batch(0, 0)
    alone = Batches(first, POLICY, 4, shuffle=False, seed=2).batch(0, 0)
    k = first.most("bounding_boxes")
    same(batch["images"][:4], alone["images"])
    same(batch["segmentation_masks"][:4], alone["segmentation_masks"])
    same(batch["bounding_boxes"]["boxes"][:4, :k], alone["bounding_boxes"]["boxes"])


def test_windows_go_by_the_shards_of_all(tmp_path: Path) -> None:
    source = data.FileSource(photos(tmp_path / "photos", 20))
    for name, rows in (("a", range(12)), ("b", range(12, 20))):
        prepare(source.subset(rows), tmp_path / name, data.StoreSettings(20), shard_size=900)
    a, b = data.StoreSource(tmp_path / "a"), data.StoreSource(tmp_path / "b")
    joined = ConcatSource([a, source.subset(range(3)), b])
    assert a.blocks is not None and b.blocks is not None and joined.blocks is not None
    assert joined.blocks.tolist() == [*a.blocks[:-1], 12, *(b.blocks + 15)]
    windowed = Batches(joined, POLICY, 4, shuffle="windowed", window=2, seed=1, last_batch="keep")
    assert sorted(np.concatenate([windowed.indices(0, k) for k in range(len(windowed))])) == list(range(23))
    assert ConcatSource([arrays(2), arrays(3)]).blocks is None


def test_a_store_of_it_is_made_anew_when_a_part_changes(tmp_path: Path) -> None:
    from onewarp.data.store.storing import storing

    joined = ConcatSource([arrays(3, 1), arrays(4, 2)])
    prepare(joined, tmp_path / "store", data.StoreSettings(raw=True))
    store = data.StoreSource(tmp_path / "store")
    for k in range(7):
        same(store[k], joined[k])
    same(store.ids(np.arange(7)), joined.ids(np.arange(7)))
    with pytest.raises(InputError, match="the source has changed"):
        storing(ConcatSource([arrays(3, 1), arrays(4, 3)]), {"path": tmp_path / "store", "raw": True})


def test_random_functions_and_balance() -> None:
    def shifted(sample: dict, generator: np.random.Generator) -> dict:
        return {**sample, "images": np.roll(sample["images"], int(generator.integers(1, 9)), 1)}

    first, second = arrays(6, 1), arrays(9, 2).map(shifted, random=True)
    batches = Batches(ConcatSource([first, second]), POLICY, 6, seed=2, balance="classes")
    same(batches.batch(0, 1), batches.batch(0, 1))
    joined = ConcatSource([first, second])
    assert (joined.drawn(8, 1, 0, 0)["images"] != joined.drawn(8, 1, 1, 0)["images"]).any()


def test_an_unreadable_sample_is_named(tmp_path: Path) -> None:
    files = photos(tmp_path / "photos", 4)
    Path(files[1]).write_bytes(b"nothing of the kind")
    joined = ConcatSource([data.FileSource(files[2:]), data.FileSource(files[:2])])
    with pytest.raises(DataError, match=r"01\.jpeg"):
        Batches(joined, POLICY, 4, shuffle=False).batch(0, 0)


@given(lengths=st.lists(st.integers(1, 4), min_size=1, max_size=5), seed=st.integers(0, 9))
def test_rows_of_any_lengths(lengths: list[int], seed: int) -> None:
    parts = [data.ArraySource(np.full((n, 2, 2, 1), k, np.uint8), [k] * n) for k, n in enumerate(lengths)]
    joined = ConcatSource(parts)
    rows = np.random.default_rng(seed).permutation(len(joined))
    found = joined.gather(rows)
    expected = np.repeat(np.arange(len(lengths)), lengths)[rows]
    np.testing.assert_array_equal(found["images"][:, 0, 0, 0], expected)
    np.testing.assert_array_equal(found["labels"], expected)
    assert len(set(joined.ids(rows).tolist())) == len(joined)


@pytest.mark.parametrize(
    ("sources", "complaint"),
    [
        ([], "ConcatSource([]) needs sources; pass a list of them"),
        (arrays(2), "pass a list of them"),
        ([arrays(2), np.zeros(3)], "source 2 is a ndarray; pass e.g. ow.ArraySource(images, labels)"),
        (
            [arrays(2), data.ArraySource(np.zeros((2, 4, 4, 3), np.uint8))],
            "source 2 has roles ('images',), but source 1 has ('images', 'labels'); leave out what one of them lacks",
        ),
        (
            [arrays(2), arrays(2), data.ArraySource(np.zeros((2, 4, 4, 3), np.float32), [0, 1])],
            "source 3 has dtype 'float32', but source 1 has 'uint8'; make both of one dtype",
        ),
        (
            [arrays(2), data.ArraySource(np.zeros((2, 4, 4, 1), np.uint8), [0, 1])],
            "source 2 has channels 1, but source 1 has 3; make both grey or both RGB",
        ),
        (
            [arrays(2), data.ArraySource(np.zeros((2, 4, 4, 3), np.uint8), np.eye(2, dtype=np.float32))],
            "source 2 has labels (2,), but source 1 has 'class numbers'",
        ),
        (
            [arrays(2, class_names=("a", "b", "c")), arrays(2)],
            "source 2 has class_names None, but source 1 has ('a', 'b', 'c'); give both the same",
        ),
    ],
)
def test_sources_that_do_not_fit_together(sources, complaint: str) -> None:
    with pytest.raises(InputError, match=re.escape(complaint)):
        ConcatSource(sources)


def test_classes_of_masks_are_not_numbered_anew(tmp_path: Path) -> None:
    masks = np.zeros((2, 4, 4), np.uint8)
    images = np.zeros((2, 4, 4, 3), np.uint8)
    a, b = (
        data.ArraySource(images, segmentation_masks=masks, class_names=names) for names in (("sky", "road"), ("road",))
    )
    with pytest.raises(InputError, match=r"source 2 has class_names \('road',\).*numbered anew"):
        ConcatSource([a, b])
