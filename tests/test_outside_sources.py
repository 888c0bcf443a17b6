"""Sources of other libraries' formats: Hugging Face datasets and WebDataset tars."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onewarp as ow
from data_helpers import check_source, encode, picture, same
from onewarp.data import webdataset
from onewarp.data.batches import Batches
from onewarp.errors import DataError, InputError, MissingDependency

POLICY = ow.Policy([ow.RandomResizedCrop(8), ow.HorizontalFlip()])


def photo(k: int, kind: str = "PNG") -> bytes:
    return encode(picture(12, 18 + k, seed=k), kind)


# --- WebDataset ---------------------------------------------------------------------------------------------------


def tar(path: Path, files: Mapping[str, Any]) -> Path:
    """A tar of these files, in this order: name -> bytes, or what is written as JSON or text."""
    with tarfile.open(path, "w") as out:
        for name, content in files.items():
            if not isinstance(content, bytes):
                content = (json.dumps(content) if name.endswith("json") else str(content)).encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))
    return path


def sample(k: int) -> dict[str, Any]:
    boxes = {"boxes": [[0, 1, 4, 5]] * k, "labels": list(range(k)), "label": f"kind {k % 2}"}
    mask = encode(np.full((12, 18 + k), k, np.uint8), "PNG")
    return {f"a/{k:03d}.png": photo(k), f"a/{k:03d}.cls": k % 3, f"a/{k:03d}.json": boxes, f"a/{k:03d}.seg.png": mask}


@pytest.fixture
def shards(tmp_path: Path) -> str:
    """Two tars of three samples."""
    for shard in range(2):
        tar(
            tmp_path / f"train-{shard:03d}.tar", {**sample(3 * shard), **sample(3 * shard + 1), **sample(3 * shard + 2)}
        )
    return str(tmp_path / "train-{000..001}.tar")


def test_webdataset_gives_images_and_labels(shards: str) -> None:
    source = ow.WebDatasetSource(shards)
    check_source(source, 6)
    assert source.labels.tolist() == [0, 1, 2, 0, 1, 2] and source.class_names is None
    for k in range(6):
        np.testing.assert_array_equal(source[k]["images"], picture(12, 18 + k, seed=k))
    assert source.name(4).endswith("train-001.tar:a/004.png")
    files = ow.FileSource([source[k]["images"] for k in range(6)], source.labels)
    same(Batches(source, POLICY, 4).batch(1, 0), Batches(files, POLICY, 4).batch(1, 0))


def test_webdataset_gives_masks_boxes_and_json_labels(shards: str) -> None:
    source = ow.WebDatasetSource(
        [path for path in webdataset.expand(shards)],
        label="json.label",
        mask="seg.png",
        boxes=("json.boxes", "json.labels"),
    )
    check_source(source, 6)
    assert source.class_names == ("kind 0", "kind 1") and source.most("bounding_boxes") == 5
    for k in range(6):
        assert (source[k]["segmentation_masks"] == k).all()
        assert source[k]["bounding_boxes"]["labels"].tolist() == list(range(k))


def test_webdataset_from_threads_with_few_open_files(shards: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webdataset, "OPEN", 1)
    source = ow.WebDatasetSource(shards, label=None)
    with ThreadPoolExecutor(4) as pool:
        for k, found in enumerate(pool.map(lambda k: source[k % 6]["images"], range(60))):
            np.testing.assert_array_equal(found, picture(12, 18 + k % 6, seed=k % 6))
    assert len(source._open) == 1


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("a.tar", ["a.tar"]),
        ("a{08..11}.tar", ["a08.tar", "a09.tar", "a10.tar", "a11.tar"]),
        ("a{8..10}.tar", ["a10.tar", "a8.tar", "a9.tar"]),
        ("{a,b}{0..1}", ["a0", "a1", "b0", "b1"]),
        ("{a,b{1..2}}", ["a", "b1", "b2"]),
    ],
)
def test_braces_expand_as_in_a_shell(pattern: str, paths: list[str]) -> None:
    assert sorted(webdataset.expand(pattern)) == paths


@pytest.mark.parametrize(
    ("files", "options", "says"),
    [
        ({"0.png": photo(0)}, {}, r"t\.tar:0 has no cls among png"),
        ({"0.png": photo(0), "0.cls": ""}, {}, "t.tar:0: cls is empty"),
        ({"0.png": photo(0), "0.cls": 1, "1.cls": 1}, {}, "t.tar:1 has no image among cls; name its extension"),
        (
            {"0.png": photo(0), "0.jpg": photo(0, "JPEG"), "0.cls": 1},
            {},
            "the images png and jpg; choose one with image=",
        ),
        ({"0.png": photo(0), "0.PNG": photo(0)}, {}, "0.PNG is there twice"),
        ({"0.png": photo(0), "0.json": {}}, {"label": "json.label"}, "0.json has no 'label', where json.label is"),
        ({"0.png": photo(0), "0.json": b"{"}, {"label": "json.label"}, "0.json cannot be read"),
        ({"0.png": photo(0), "0.cls": b"\xff"}, {}, "0.cls cannot be read"),
        ({"0.png": photo(0), "0.cls": 7}, {"class_names": ["a"]}, "t.tar:0: cls='7' is no class number"),
        ({"0.png": photo(0)}, {"label": None, "mask": "seg.png"}, "has no seg.png"),
        ({}, {}, "no sample in 1 tars"),
    ],
)
def test_bad_webdatasets_name_the_sample(tmp_path: Path, files: Any, options: Any, says: str) -> None:
    with pytest.raises((DataError, InputError), match=says):
        ow.WebDatasetSource(tar(tmp_path / "t.tar", files), **options)


def test_bad_tars(tmp_path: Path, shards: str) -> None:
    with pytest.raises(InputError, match="not a local file.*copy the tars here"):
        ow.WebDatasetSource("https://example.org/{0..3}.tar")
    with pytest.raises(InputError, match="neither counts nor lists"):
        ow.WebDatasetSource("{x}.tar")
    with pytest.raises(InputError, match="no tars"):
        ow.WebDatasetSource("train-{3..1}.tar")
    with pytest.raises(DataError, match=r"train-002\.tar: no such file"):
        ow.WebDatasetSource(shards.replace("001", "002"))
    path = Path(webdataset.expand(shards)[1])
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"train-001\.tar: the file ends"):
        ow.WebDatasetSource(shards)


def test_a_tar_that_is_cut_anywhere_is_noticed(tmp_path: Path) -> None:
    """Also between two members, and inside a header, where tarfile sees an end."""
    whole = tar(tmp_path / "t.tar", {f"a/{k}.png": photo(k) for k in range(3)}).read_bytes()
    end = len(whole.rstrip(bytes(1)))
    end += -end % 512
    assert len(ow.TarSource(tmp_path / "t.tar")) == 3
    for size in range(512, end + 512, 256):
        (tmp_path / "t.tar").write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"t\.tar"):
            ow.TarSource(tmp_path / "t.tar")


# --- Hugging Face -------------------------------------------------------------------------------------------------


@pytest.fixture
def hugging(tmp_path: Path) -> Any:
    """Six rows: images as bytes (the last one as a path), a class label, a name, boxes and a mask."""
    datasets = pytest.importorskip("datasets")
    (tmp_path / "5.png").write_bytes(photo(5))
    images = [{"bytes": photo(k), "path": f"{k}.png"} for k in range(5)] + [
        {"bytes": None, "path": str(tmp_path / "5.png")}
    ]
    masks = [{"bytes": encode(np.full((12, 18 + k), k, np.uint8), "PNG"), "path": None} for k in range(6)]
    rows = {
        "image": images,
        "label": [2, 1, 0, 2, 1, 0],
        "kind": ["b", "a"] * 3,
        "age": [0.5] * 6,
        "tags": [[0, 1]] * 6,
        "objects": [{"bbox": [[0, 1, 4, 5]] * k, "category": [1] * k} for k in range(6)],
        "mask": masks,
    }
    number, floats = datasets.Value("int64"), datasets.Value("float32")
    features = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=["ant", "bee", "cat"]),
        "kind": datasets.Value("string"),
        "age": floats,
        "tags": datasets.List(number),
        "objects": {
            "bbox": datasets.List(datasets.List(floats)),
            "category": datasets.List(datasets.ClassLabel(names=["x", "y"])),
        },
        "mask": datasets.Image(),
    }
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


def test_hugging_face_gives_images_and_labels(hugging: Any) -> None:
    source = ow.HuggingFaceSource(hugging)
    check_source(source, 6)
    assert source.class_names == ("ant", "bee", "cat") and source.labels.tolist() == [2, 1, 0, 2, 1, 0]
    for k in range(6):
        np.testing.assert_array_equal(source[k]["images"], picture(12, 18 + k, seed=k))
    chosen = ow.HuggingFaceSource(hugging.shuffle(seed=3).select(range(4)))
    rows = [[np.array_equal(chosen[i]["images"], source[k]["images"]) for k in range(6)].index(True) for i in range(4)]
    assert rows != [0, 1, 2, 3] and chosen.labels.tolist() == source.labels[rows].tolist()


def test_hugging_face_gives_masks_boxes_and_other_labels(hugging: Any) -> None:
    boxes = ("objects.bbox", "objects.category")
    source = ow.HuggingFaceSource(hugging, label="kind", mask="mask", boxes=boxes)
    check_source(source, 6)
    assert source.class_names == ("a", "b") and source.labels.tolist() == [1, 0] * 3
    assert (source[3]["segmentation_masks"] == 3).all() and source.most("bounding_boxes") == 5
    batch = Batches(source, POLICY, 6, shuffle=False, bounding_box_format="xywh").batch(0, 0)
    assert batch["bounding_boxes"]["boxes"].shape == (6, 5, 4) and batch["segmentation_masks"].shape == (6, 8, 8)
    assert ow.HuggingFaceSource(hugging, label=None, boxes=boxes).class_names == ("x", "y")
    assert ow.HuggingFaceSource(hugging, label="age").labels.dtype == np.float32
    assert ow.HuggingFaceSource(hugging, label="tags").labels.shape == (6, 2)


def test_hugging_face_decodes_nothing_through_pillow(hugging: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("Pillow was asked to open an image")

    source = ow.HuggingFaceSource(hugging)
    monkeypatch.setattr(Image, "open", refuse)
    assert source[0]["images"].shape == (12, 18, 3)
    with pytest.raises(AssertionError):
        hugging[0]  # the check can fail


def test_bad_hugging_face_datasets(hugging: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    for given, options, says in [
        ({"train": hugging, "test": hugging}, {}, "the splits train, test; pass one of them"),
        (hugging.to_iterable_dataset(), {}, "IterableDataset, which has no random access"),
        (hugging, {"image": "photo"}, "no column 'photo'; the dataset has image, label"),
        (hugging, {"label": "class"}, "no column 'class' for labels; .*pass label=None"),
        (hugging, {"image": "label"}, "the column 'label' holds ClassLabel.*no images; cast it"),
        (
            hugging,
            {"boxes": ("objects.box", "objects.category")},
            "no 'objects.box' in the dataset: 'objects' holds bbox",
        ),
    ]:
        with pytest.raises(InputError, match=says):
            ow.HuggingFaceSource(given, **options)
    rows = datasets.Dataset.from_dict(
        {"image": [None, {"bytes": b"no image", "path": None}], "label": ["a", None]},
        features=datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")}),
    )
    with pytest.raises(DataError, match="row 1 of the Hugging Face dataset: label is empty"):
        ow.HuggingFaceSource(rows)
    source = ow.HuggingFaceSource(rows, label=None)
    with pytest.raises(DataError, match="row 0 of the Hugging Face dataset: there is no image"):
        source[0]
    with pytest.raises(DataError, match="row 1 of the Hugging Face dataset: "):
        source[1]
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependency, match=r"pip install onewarp\[huggingface\]"):
        ow.HuggingFaceSource(hugging)
