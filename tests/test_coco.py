"""COCO files: every record of real files agrees with pycocotools; malformed ones are refused by id."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as reference
from pycocotools.coco import COCO

from coco_helpers import DISC, HEIGHT, SQUARE, WIDTH, annotation, content, write
from data_helpers import check_source, encode, picture, with_orientation
from onewarp.coco import CocoFile, CocoSource, CocoWriter, Rle, coco_writer
from onewarp.coco.masks import area_of, box_of, decode, fill, run_lengths
from onewarp.coco.masks import encode as encode_mask
from onewarp.coco.summary import class_rows, doubtful, totals
from onewarp.coco.summary import picture as summary_picture
from onewarp.data.decode import EncodedImage
from onewarp.errors import DataError, InputError


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_every_annotation_of_real_files_agrees_with_pycocotools(data_dir: Path, split: str) -> None:
    path = data_dir / "coco_tiny" / "annotations" / f"instances_{split}.json"
    file, other = CocoFile(path), COCO(str(path))
    assert len(file) == len(other.anns) and len(file.image_ids) == len(other.imgs)
    assert [other.cats[int(number)]["name"] for number in file.category_ids] == list(file.category_names)
    for row in range(len(file)):
        record = other.anns[int(file.ids[row])]
        assert file.record(row) == record and file.crowd[row] == record["iscrowd"]
        image = file.image_rows[row]
        shape = file.shape(row)
        assert shape is not None
        runs = run_lengths(shape, int(file.heights[image]), int(file.widths[image]))
        np.testing.assert_array_equal(decode(runs), other.annToMask(record))
        assert area_of(runs) == reference.area(other.annToRLE(record))
        np.testing.assert_array_equal(box_of(runs), reference.toBbox(other.annToRLE(record)))
        np.testing.assert_array_equal(file.box(row), record["bbox"])
    for row, number in enumerate(file.image_ids):
        assert sorted(file.ids[file.of_image(row)]) == sorted(other.getAnnIds(imgIds=[int(number)]))


SHAPES = {
    "a hole by a second part is no hole": [SQUARE, [15.0, 12.0, 25.0, 12.0, 25.0, 22.0, 15.0, 22.0]],
    "self-intersection": [[5.0, 5.0, 35.0, 30.0, 35.0, 5.0, 5.0, 30.0]],
    "one pixel": [[10.0, 10.0, 11.0, 10.0, 11.0, 11.0, 10.0, 11.0]],
    "a line": [[10.0, 10.0, 30.0, 10.0, 20.0, 10.0]],
    "out of the image": [[-20.0, -5.0, 80.0, -5.0, 80.0, 20.0, -20.0, 50.0]],
    "nowhere in the image": [[100.0, 100.0, 120.0, 100.0, 120.0, 120.0]],
    "disc": [DISC],
}


@pytest.mark.parametrize("name", SHAPES)
def test_polygons_agree_with_pycocotools(name: str) -> None:
    shape = SHAPES[name]
    runs = reference.merge(reference.frPyObjects(shape, HEIGHT, WIDTH))
    np.testing.assert_array_equal(decode(run_lengths(shape, HEIGHT, WIDTH)), reference.decode(runs))
    parts = [np.array(part).reshape(-1, 2) for part in shape]
    np.testing.assert_array_equal(fill(parts, HEIGHT, WIDTH), reference.decode(runs))


def test_a_polygon_far_beyond_the_image_is_cut_without_a_trace() -> None:
    star = [(30 + r * np.cos(a), 20 + r * np.sin(a)) for a, r in zip(np.linspace(0, 6, 12), [12, 900] * 6, strict=True)]
    whole = reference.decode(reference.merge(reference.frPyObjects([np.ravel(star).tolist()], HEIGHT, WIDTH)))
    mine = fill([np.array(star)], HEIGHT, WIDTH)
    assert 0 < whole.sum() < whole.size and (mine != whole).mean() < 0.01  # cutting an edge rounds its slope anew
    endless = fill([np.array(star) * 1e7], HEIGHT, WIDTH)
    assert endless.shape == (HEIGHT, WIDTH)


def test_run_lengths_of_both_kinds(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[3:30, 7:50:2] = 1
    runs = reference.encode(np.asfortranarray(mask))
    columns = mask.T.ravel().astype(int)
    plain = np.diff(np.r_[0, np.flatnonzero(np.diff(columns)) + 1, columns.size]).tolist()  # begins with background
    for counts in (runs["counts"].decode(), plain):
        what = content()
        what["annotations"] = [annotation(1, 7, 2, {"size": [HEIGHT, WIDTH], "counts": counts})]
        file = CocoFile(write(tmp_path, what))
        shape = file.shape(0)
        assert isinstance(shape, Rle)
        np.testing.assert_array_equal(decode(run_lengths(shape, HEIGHT, WIDTH)), mask)
    assert encode_mask(mask) == runs


def test_what_a_file_may_lack(tmp_path: Path) -> None:
    what = content()
    del what["info"], what["licenses"]
    for one in what["annotations"]:
        del one["iscrowd"], one["area"], one["bbox"]
    file = CocoFile(write(tmp_path, what))
    assert file.info == {} and file.licenses == [] and not file.crowd.any() and np.isnan(file.areas).all()
    np.testing.assert_array_equal(file.box(0), [10, 8, 20, 20])  # from its polygon
    del what["annotations"]
    bare = CocoFile(write(tmp_path, what))
    assert len(bare) == 0 and len(bare.image_ids) == 3 and len(CocoSource(tmp_path, bare)) == 3


def test_columns_and_records(tmp_path: Path) -> None:
    file = CocoFile(write(tmp_path))
    assert file.category_ids.tolist() == [2, 40] and file.category_names == ("cat", "dog")
    assert file.labels.tolist() == [1, 0, 0, 1] and file.ids[file.of_image(file.image_row(3))].tolist() == [13, 14]
    assert file.record(0)["note"] == "kept" and file.image_record(0)["license"] == 1
    again = pickle.loads(pickle.dumps(file))
    assert again.record(3) == file.record(3) and again.image_record(2) == file.image_record(2)
    with pytest.raises(InputError, match="no image 8; the ids reach from 3 to 90"):
        file.image_row(8)


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "type": ({"category_id": "cat"}, "annotation 14: Expected int, got str at .category_id"),
    "image": ({"image_id": 5}, "annotation 14: there is no image 5"),
    "category": ({"category_id": 5}, "annotation 14: there is no category 5"),
    "box": ({"bbox": [1, 2, 3]}, "annotation 14: its bbox"),
    "negative": ({"bbox": [1, 2, -3, 4]}, "annotation 14: its bbox .* negative"),
    "area": ({"area": -1}, "annotation 14: its area is -1"),
    "crowd": ({"iscrowd": 7}, "annotation 14: its iscrowd is 7"),
    "odd": ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "annotation 14: a polygon of 7 numbers"),
    "few": ({"segmentation": [[1, 2, 3, 4]]}, "annotation 14: a polygon of 4 numbers"),
    "size": ({"segmentation": {"size": [2, 2], "counts": [4]}}, "annotation 14: its RLE is for 2 x 2"),
    "runs": ({"segmentation": {"size": [40, 60], "counts": [4]}}, "annotation 14: the runs of its RLE sum to 4"),
    "text": ({"segmentation": {"size": [40, 60], "counts": "5"}}, "annotation 14: the runs of its compressed RLE"),
    "points": ({"keypoints": [1, 2]}, "annotation 14: its keypoints are 2 numbers"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_malformed_records_are_refused_by_id(tmp_path: Path, name: str) -> None:
    fields, message = BROKEN[name]
    what = content()
    what["annotations"][3].update(fields)
    path = write(tmp_path, what)
    with pytest.raises(DataError, match=message):
        CocoFile(path)
    file = CocoFile(path, strict=False)
    assert len(file) == 3 and [problem.record for problem in file.malformed] == ["annotation 14"]
    assert file.record(2)["id"] == 13 and file.shape(2) is not None  # the others are where they were


def test_other_broken_files(tmp_path: Path) -> None:
    def refused(text: str, message: str) -> None:
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(DataError, match=message):
            CocoFile(tmp_path / "x.json")

    refused("", "the file is empty")
    refused("[]", "not a COCO annotation file")
    refused(json.dumps(content())[:-20], "not JSON, or cut short")
    refused('{"images": [{"id": 1, "height": 3, "width": 4}]}', "image 1: Object missing required field file_name")
    refused('{"images": [{"height": 3}]}', r"image without id \(number 0 of the list\)")
    doubled = content()
    doubled["images"][1]["id"] = 7
    refused(json.dumps(doubled), "image 7: the id stands twice")
    with pytest.raises(DataError, match="no such file"):
        CocoFile(tmp_path / "none.json")


def test_the_source(tmp_path: Path) -> None:
    path = write(tmp_path)
    source = CocoSource(tmp_path, path, masks="semantic")
    check_source(source, 3)
    first, second, last = (source[i] for i in range(3))
    np.testing.assert_array_equal(first["bounding_boxes"]["boxes"], [[10, 8, 30, 28], [1, 1, 49, 29]])
    assert first["bounding_boxes"]["labels"].tolist() == [1, 0] and len(last["bounding_boxes"]["labels"]) == 0
    mask = first["segmentation_masks"]
    assert mask[20, 40] == 1 and mask[10, 12] == 2 and mask[35, 5] == 0 and mask.dtype == np.uint8
    assert (second["segmentation_masks"] == source.ignore).sum() == 5  # the crowd
    assert second["bounding_boxes"]["labels"].tolist() == [1]
    assert len(CocoSource(tmp_path, path, empty=False)) == 2
    kept = CocoSource(tmp_path, path, crowd="keep", masks="semantic")[1]
    assert kept["bounding_boxes"]["labels"].tolist() == [0, 1] and (kept["segmentation_masks"] == 1).sum() == 5
    assert not (CocoSource(tmp_path, path, crowd="drop", masks="semantic")[1]["segmentation_masks"] == 255).any()
    dogs = CocoSource(tmp_path, path, categories=["dog"], bounding_box_format="xywh")
    assert dogs.class_names == ("dog",) and dogs.category_ids.tolist() == [40]
    np.testing.assert_array_equal(dogs[0]["bounding_boxes"]["boxes"], [[10, 8, 20, 20]])
    each = CocoSource(tmp_path, path, masks="instance")[0]["segmentation_masks"]
    assert each.shape == (HEIGHT, WIDTH, 2) and each[10, 12].tolist() == [1, 0] and each[20, 40].tolist() == [0, 1]


def test_keypoints(tmp_path: Path) -> None:
    what = content()
    what["annotations"][0]["keypoints"] = [1.0, 2.0, 2, 3.0, 4.0, 1]
    source = CocoSource(tmp_path, write(tmp_path, what), keypoints=True)
    np.testing.assert_array_equal(source[0]["keypoints"], [[1, 2, 2], [3, 4, 1], [0, 0, 0], [0, 0, 0]])
    with pytest.raises(InputError, match="no annotation has keypoints"):
        CocoSource(tmp_path, write(tmp_path), keypoints=True)


def test_wrong_arguments_of_the_source(tmp_path: Path) -> None:
    path = write(tmp_path)
    for options, message in (
        ({"masks": "panoptic"}, "masks='panoptic' is not known"),
        ({"crowd": "no"}, "crowd='no' is not known"),
        ({"bounding_box_format": "yolo"}, "bounding_box_format='yolo' is not known"),
        ({"categories": ["cow"]}, "no category 'cow'; it has cat, dog"),
    ):
        with pytest.raises(InputError, match=message):
            CocoSource(tmp_path, path, **options)  # type: ignore[arg-type]
    (tmp_path / "a.png").write_bytes(encode(picture(20, 20), "PNG"))
    with pytest.raises(DataError, match=r"a.png \(image 7\): the image is 20 x 20 pixels, the annotations say 40 x 60"):
        CocoSource(tmp_path, path)[0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_annotated_size_says_in_which_frame(tmp_path: Path, orientation: int) -> None:
    pixels = picture(HEIGHT, WIDTH)
    data = encode(Image.fromarray(pixels), "PNG", exif=with_orientation(orientation))
    turned = EncodedImage(data, "x").decode()
    for stored in (True, False):
        what = content()
        height, width = pixels.shape[:2] if stored else turned.shape[:2]
        what["images"][0].update(height=height, width=width)
        what["annotations"] = what["annotations"][:1]
        path = write(tmp_path, what)
        (tmp_path / "a.png").write_bytes(data)
        seen = CocoSource(tmp_path, path)[0]["images"]
        np.testing.assert_array_equal(seen, pixels if stored and orientation >= 5 else turned)


def test_summary(tmp_path: Path) -> None:
    what = content()
    what["annotations"][0]["bbox"] = [50.0, 8.0, 20.0, 20.0]
    what["annotations"].append(annotation(14, 3, 2, [SQUARE], bbox=[0, 0, 0, 0]))
    what["annotations"].append(annotation(15, 4, 2, [SQUARE]))
    file = CocoFile(write(tmp_path, what), strict=False)
    assert [str(problem) for problem in doubtful(file)] == [
        "annotation 15: there is no image 4",
        "annotation 14: its id stands twice",
        "annotation 14: its box is empty",
        "annotation 11: its box reaches beyond the image",
        "annotation 14: its area is larger than its box",
    ]
    cat, dog = class_rows(file)
    assert (cat.objects, cat.crowds, cat.images, cat.small, dog.objects) == (2, 1, 2, 2, 2)
    assert totals(file)["images without annotations"] == 1
    summary_picture(file, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as page:
        assert page.size[0] > 500


def test_what_is_written_can_be_loaded(tmp_path: Path) -> None:
    source = CocoSource(tmp_path, write(tmp_path), masks="instance")
    out = tmp_path / "new.json"
    with coco_writer(out, tmp_path / "new", source.class_names, source.category_ids) as writer:
        for index in range(3):
            sample = source[index]
            boxes, labels = sample["bounding_boxes"]["boxes"], sample["bounding_boxes"]["labels"]
            writer.add(sample["images"], boxes, labels, sample["segmentation_masks"] if index else None)
        assert not out.exists()
    other, file = COCO(str(out)), CocoFile(out)
    assert len(other.imgs) == 3 and file.category_ids.tolist() == [2, 40] and doubtful(file) == []
    back = CocoSource(tmp_path / "new", file, masks="instance")
    for index in range(3):
        np.testing.assert_array_equal(back[index]["images"], source[index]["images"])
        if index:
            np.testing.assert_array_equal(back[index]["segmentation_masks"], source[index]["segmentation_masks"])
        np.testing.assert_array_equal(
            back[index]["bounding_boxes"]["labels"], source[index]["bounding_boxes"]["labels"]
        )
    np.testing.assert_array_equal(back[0]["bounding_boxes"]["boxes"], source[0]["bounding_boxes"]["boxes"])


def test_a_block_that_fails_writes_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), coco_writer(tmp_path / "new.json", tmp_path / "new", ["cat"]):
        raise RuntimeError
    assert not (tmp_path / "new.json").exists()


def test_wrong_arguments_of_the_writer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give each one id of its own"):
        CocoWriter(tmp_path / "x.json", tmp_path, ["a", "b"], [1, 1])
    with pytest.raises(InputError, match="format='gif'"):
        CocoWriter(tmp_path / "x.json", tmp_path, ["a"], format="gif")
    writer = CocoWriter(tmp_path / "x.json", tmp_path / "i", ["a"])
    image, boxes, labels = picture(), np.zeros((1, 4)), np.zeros(1, int)
    for arguments, message in (
        ((image / 255.0, boxes, labels), "policy without Normalize"),
        ((image, boxes[:, :3], labels), "give one box a label"),
        ((image, boxes, labels + 1), "label 1 has no category; there are 1"),
        ((image, boxes, labels, np.zeros((12, 18, 0))), "one channel per label"),
    ):
        with pytest.raises(InputError, match=message):
            writer.add(*arguments)
