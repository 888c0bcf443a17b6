"""Boxes of objects that have a polygon or a mask: tight after a turn, cut where the object is cut, in step with labels
and masks; and never larger than the boxes of warped corners.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import onewarp as ow
from coco_helpers import DISC, HEIGHT, SQUARE, WIDTH, annotation, content, write
from onewarp.coco.annotations import Rle
from onewarp.coco.masks import box_of, encode, run_lengths
from onewarp.coco.shapes import outline_of
from onewarp.data.batches import Batches
from onewarp.data.frames import FrameBatches
from onewarp.engine import host
from onewarp.engine.outlines import Outline, _seen, boxes_of
from onewarp.errors import InputError

DIAMOND = [30.0, 8.0, 42.0, 20.0, 30.0, 32.0, 18.0, 20.0]  # about the middle of the frame, 12 to each corner
SPEC = ow.Spec(images=(HEIGHT, WIDTH, 3))


def turned(degrees: float, **options: Any) -> ow.Policy:
    return ow.Policy([ow.Rotate((degrees, degrees))], **options)


def source_of(folder: Path, *segmentations: Any, **options: Any) -> ow.CocoSource:
    """One photograph with an object for each segmentation, whose boxes are theirs."""
    what = content()
    what["images"] = what["images"][:1]
    what["annotations"] = [
        annotation(number, 7, 2 if number % 2 else 40, segmentation, bbox=None)
        for number, segmentation in enumerate(segmentations)
    ]
    for one in what["annotations"]:
        del one["bbox"]
        if isinstance(one["segmentation"], list):
            points = np.concatenate([np.reshape(part, (-1, 2)) for part in one["segmentation"]])
            one["bbox"] = [*points.min(axis=0).tolist(), *np.ptp(points, axis=0).tolist()]
    return ow.CocoSource(folder, write(folder, what), **options)


def boxes_under(policy: ow.Policy, source: ow.CocoSource, epoch: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [k, 4] and labels [k] of the first sample."""
    found = Batches(source, policy, 1, shuffle=False).batch(epoch, 0)["bounding_boxes"]
    return found["boxes"][0], found["labels"][0]


# --- what is known by hand ------------------------------------------------------------------------------------------


def test_a_turned_diamond_is_a_square(tmp_path: Path) -> None:
    side = 12 / np.sqrt(2)
    boxes, labels = boxes_under(turned(45), source_of(tmp_path, [DIAMOND]))
    np.testing.assert_allclose(boxes, [[30 - side, 20 - side, 30 + side, 20 + side]], atol=1e-3)
    assert labels.tolist() == [1]
    corners, _ = boxes_under(turned(45), source_of(tmp_path, [DIAMOND], boxes_follow="corners"))
    np.testing.assert_allclose(corners, [[30 - 2 * side, 20 - 2 * side, 30 + 2 * side, 20 + 2 * side]], atol=1e-3)


def test_a_turned_disc_keeps_its_size(tmp_path: Path) -> None:
    source = source_of(tmp_path, [DISC])
    for degrees in (10, 33, 45, 90, 171):
        boxes, _ = boxes_under(turned(degrees), source)
        np.testing.assert_allclose(boxes[0, 2:] - boxes[0, :2], 18, atol=0.06)  # a polygon of 40 corners


def test_what_is_cut_off_is_no_part_of_the_box(tmp_path: Path) -> None:
    """24 rows up: of the diamond a tip is left, 16 wide; its box cut at the frame would be 24 wide."""
    policy = ow.Policy([ow.Translate(0, (-0.6, -0.6))])
    boxes, _ = boxes_under(policy, source_of(tmp_path, [DIAMOND]))
    np.testing.assert_allclose(boxes, [[22, 0, 38, 8]], atol=1e-4)
    corners, _ = boxes_under(policy, source_of(tmp_path, [DIAMOND], boxes_follow="corners"))
    np.testing.assert_allclose(corners, [[18, 0, 42, 8]], atol=1e-4)


@pytest.mark.parametrize(("least", "kept"), [(0.0, True), (0.45, True), (0.55, False)])
def test_min_visibility_is_that_of_the_object_s_box(tmp_path: Path, least: float, kept: bool) -> None:
    """After a turn by 45 degrees half of the diamond, now a square, is cut off."""
    policy = ow.Policy([ow.Rotate((45, 45)), ow.Translate(0, (-0.5, -0.5))], min_visibility=least)
    boxes, labels = boxes_under(policy, source_of(tmp_path, [DIAMOND]))
    assert (labels.tolist() == [1]) == kept
    if kept:
        side = 12 / np.sqrt(2)
        np.testing.assert_allclose(boxes, [[30 - side, 0, 30 + side, side]], atol=1e-3)
    else:
        assert not boxes.any()


def test_min_area_is_that_of_the_new_box(tmp_path: Path) -> None:
    area = 2 * 12**2  # of the square
    for least, kept in ((area - 1, True), (area + 1, False)):
        _, labels = boxes_under(turned(45, min_area=least), source_of(tmp_path, [DIAMOND]))
        assert (labels[0] != -1) == kept


FLIPS: dict[str, list[Any]] = {
    "horizontal": [ow.HorizontalFlip(p=1.0)],
    "vertical": [ow.VerticalFlip(p=1.0)],
    "both": [ow.HorizontalFlip(p=1.0), ow.VerticalFlip(p=1.0)],
    "half turn": [ow.Rotate((180, 180))],
    "twice": [ow.Resize((2 * HEIGHT, 2 * WIDTH))],
}


@pytest.mark.parametrize("name", FLIPS)
def test_flips_are_exact(tmp_path: Path, name: str) -> None:
    runs = {"size": [HEIGHT, WIDTH], "counts": [5 * HEIGHT + 3, 7, HEIGHT - 7, 9, HEIGHT * (WIDTH - 7) + HEIGHT - 12]}
    shapes = ([DIAMOND], [DISC, SQUARE], runs)
    outlines, corners = (
        boxes_under(ow.Policy(FLIPS[name]), source_of(tmp_path, *shapes, boxes_follow=how))
        for how in ("outlines", "corners")
    )
    np.testing.assert_allclose(outlines[0], corners[0], atol=1e-3)
    np.testing.assert_array_equal(outlines[1], corners[1])


def test_without_a_warp_boxes_stay_as_they_are(tmp_path: Path) -> None:
    source = source_of(tmp_path, [DIAMOND], [SQUARE])
    boxes, _ = boxes_under(ow.Policy([ow.Normalize("imagenet")]), source)
    np.testing.assert_array_equal(boxes, source[0]["bounding_boxes"]["boxes"].astype(np.float32))


def test_an_outline_of_something_else_is_not_believed(tmp_path: Path) -> None:
    what = content()
    what["annotations"] = [annotation(1, 7, 2, [[1, 1, 5, 1, 5, 5]], bbox=[20.0, 10.0, 12.0, 12.0])]
    source = ow.CocoSource(tmp_path, write(tmp_path, what))
    boxes, labels = boxes_under(ow.Policy([ow.HorizontalFlip(p=1.0)]), source)
    assert labels[0] == 0
    np.testing.assert_allclose(boxes[0], [28, 10, 40, 22])


def test_an_object_without_an_outline_follows_its_corners(tmp_path: Path) -> None:
    expected, _ = boxes_under(turned(45), source_of(tmp_path, [DIAMOND]))
    what = content()
    what["images"] = what["images"][:1]
    what["annotations"] = [annotation(1, 7, 2, [DIAMOND]), annotation(2, 7, 2, None), annotation(3, 7, 2, [])]
    for one in what["annotations"]:
        one["bbox"] = [18.0, 8.0, 24.0, 24.0]
    some = ow.CocoSource(tmp_path, write(tmp_path, what))
    boxes, _ = boxes_under(turned(45), some)
    np.testing.assert_allclose(boxes[0], expected[0], atol=1e-4)
    assert (boxes[1] == boxes[2]).all() and boxes[1, 2] - boxes[1, 0] > 1.9 * (boxes[0, 2] - boxes[0, 0])


def test_behind_the_viewer_corners_decide(tmp_path: Path) -> None:
    """A perspective that throws a part of the object behind the viewer: its outline has no box there."""
    policy = ow.Policy([ow.Perspective(0.3, p=1.0)])
    plan, params = policy.plan(SPEC), policy.draw(SPEC, seed=0, ids=np.array([0]))
    params.arrays["0.matrix"][0, 0] = np.linalg.inv([[1.0, 0, 0], [0, 1, 0], [0.04, 0, -1.0]])
    outline = Outline.of_polygons([SQUARE])
    assert not boxes_of(plan, params, 0, [outline]).known.any()


# --- against others -------------------------------------------------------------------------------------------------


def polygons(rng: np.random.Generator, height: int, width: int) -> list[np.ndarray]:
    """Some polygons, most of them with edges that cross, in and beside a frame."""
    scale = rng.choice([0.5, 1.0, 3.0])
    centre = rng.uniform(-0.3, 1.3, 2) * (width, height)
    return [
        centre + scale * rng.normal(size=(rng.integers(3, 9), 2)) * (width / 4, height / 4)
        for _ in range(rng.integers(1, 4))
    ]


def test_what_is_seen_is_what_a_fine_raster_and_its_edges_show() -> None:
    """The pixels that pycocotools fills at 16 times the size, and points along the edges, which show thin ends, too."""
    rng, times, empty, cut = np.random.default_rng(0), 16, 0, 0
    height, width = 20, 30
    for _ in range(300):
        parts = polygons(rng, height, width)
        outline = Outline.of_polygons(parts)
        whole = np.array([*outline.points.min(axis=0), *outline.points.max(axis=0)])
        seen = _seen(outline, height, width)
        drawn = run_lengths([(part * times).ravel().tolist() for part in parts], height * times, width * times)
        x, y, w, h = box_of(drawn) / times
        share = np.linspace(0, 1, 2001)[:, None, None]
        edges = np.concatenate([(part + share * (np.roll(part, -1, axis=0) - part)).reshape(-1, 2) for part in parts])
        points = edges[((edges >= 0) & (edges <= (width, height))).all(axis=1)]
        if w * h > 0:
            points = np.concatenate([points, [[x, y], [x + w, y + h]]])
        if not len(points):
            empty += 1
            assert not seen.any()
            continue
        cut += not np.array_equal(seen, whole)
        np.testing.assert_allclose(seen, [*points.min(axis=0), *points.max(axis=0)], atol=0.1)
    assert empty > 20 and cut > 100


def test_a_frame_inside_an_object_is_all_box() -> None:
    ring = Outline.of_polygons([[-10, -10, 50, -10, 50, 50, -10, 50]])
    np.testing.assert_array_equal(_seen(ring, 20, 30), [0, 0, 30, 20])
    hole = Outline.of_polygons([[-10, -10, 15, -10, 15, 50, -10, 50], [-5, -5, 10, -5, 10, 25, -5, 25]])  # united
    np.testing.assert_array_equal(_seen(hole, 20, 30), [0, 0, 15, 20])
    band = Outline.of_polygons([[-100.0, 5, 5, -100, 200, 95, 95, 200]])  # slanted, its ends far outside
    np.testing.assert_array_equal(_seen(band, 20, 30), [0, 0, 30, 20])


@pytest.mark.parametrize("transforms", ["affine", "perspective", "field"])
def test_runs_give_the_box_of_the_warped_mask(transforms: str) -> None:
    rng = np.random.default_rng(1)
    chosen: dict[str, list[Any]] = {
        "affine": [ow.Rotate(180), ow.Scale((0.7, 1.6)), ow.Translate(0.3)],
        "perspective": [ow.Perspective(0.2, p=1.0)],
        "field": [ow.ElasticTransform(p=1.0)],
    }
    policy = ow.Policy(chosen[transforms])
    plan = policy.plan(SPEC)
    for number in range(40):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        for _ in range(3):
            y, x = rng.integers(0, HEIGHT - 8), rng.integers(0, WIDTH - 8)
            mask[y : y + rng.integers(3, 8), x : x + rng.integers(3, 8)] = 1
        rle = Rle(encode(mask)["counts"].decode(), (HEIGHT, WIDTH))
        params = policy.draw(SPEC, seed=3, ids=np.array([number]))
        found = boxes_of(plan, params, 0, [outline_of(rle, HEIGHT, WIDTH)])
        x, y, w, h = box_of(encode(host.run_masks(plan, params, [mask])[0]))
        if w * h > 0:
            np.testing.assert_allclose(found.seen[0], [x, y, x + w, y + h], atol=1.01)
        assert found.known[0]


def tiny(data_dir: Path, **options: Any) -> ow.CocoSource:
    folder = data_dir / "coco_tiny"
    return ow.CocoSource(folder / "val2017", folder / "annotations" / "instances_val2017.json", **options)


@pytest.mark.parametrize(("boxes_follow", "least"), [("outlines", 0.9), ("corners", 0.0)])
def test_boxes_of_photographs_are_those_of_their_drawn_masks(data_dir: Path, boxes_follow: str, least: float) -> None:
    """coco_tiny, crowds too: the box that pycocotools finds around each object's mask in the result.

    It lies inside ours, and within a pixel of it but for ends so thin that no pixel of them is drawn.
    """
    source = tiny(data_dir, masks="instance", crowd="keep", boxes_follow=boxes_follow)
    policy = ow.Policy([ow.RandomResizedCrop(320, scale=(0.3, 1.0)), ow.HorizontalFlip(), ow.Rotate(45)])
    batches = Batches(source.subset(range(0, len(source), 4)), policy, 4, seed=5, shuffle=False)
    compared = within = 0
    for index in range(len(batches)):
        batch = batches.batch(0, index)
        boxes, labels = batch["bounding_boxes"]["boxes"], batch["bounding_boxes"]["labels"]
        for masks, rows, classes in zip(batch["segmentation_masks"], boxes, labels, strict=True):
            for row in range(len(classes)):
                x, y, w, h = box_of(encode(masks[..., row]))
                if w * h > 0:
                    assert classes[row] != -1
                    compared += 1
                    assert (rows[row, :2] <= [x + 1, y + 1]).all() and (rows[row, 2:] >= [x + w - 1, y + h - 1]).all()
                    within += bool((np.abs(rows[row] - [x, y, x + w, y + h]) <= 1.0).all())
    assert compared > 100 and within >= least * compared
    assert least or within < 0.2 * compared  # the corners' boxes would not do


def test_flips_of_photographs_are_exact(data_dir: Path) -> None:
    """To the hundredth of a pixel to which a COCO file rounds its boxes."""
    found = []
    for boxes_follow in ("outlines", "corners"):
        source = tiny(data_dir, crowd="keep", boxes_follow=boxes_follow).subset(range(0, 80, 8))
        flipped = ow.Policy([ow.HorizontalFlip(p=1.0), ow.VerticalFlip(p=1.0), ow.Resize(512)])
        found.append(Batches(source, flipped, 10, shuffle=False).batch(0, 0)["bounding_boxes"])
    np.testing.assert_array_equal(found[0]["labels"], found[1]["labels"])
    assert (np.abs(found[0]["boxes"] - found[1]["boxes"]).max(axis=2) < 0.03).mean() > 0.999


# --- what always holds ----------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(["affine", "perspective", "field", "two warps"]))
def test_an_outline_s_box_lies_in_that_of_its_corners(tmp_path_factory: Any, seed: int, kind: str) -> None:
    chosen: dict[str, list[Any]] = {
        "affine": [ow.Rotate(180), ow.Shear(20), ow.Scale((0.5, 2.0)), ow.Translate(0.4)],
        "perspective": [ow.Perspective(0.4, p=1.0), ow.Rotate(90)],
        "field": [ow.ElasticTransform(p=1.0), ow.Rotate(90)],
        "two warps": [ow.Rotate(90), ow.GaussianBlur(p=1.0), ow.RandomResizedCrop((30, 40), scale=(0.2, 0.8))],
    }
    rng = np.random.default_rng(seed)
    shapes = [[part.clip(0, (WIDTH, HEIGHT)).ravel().tolist() for part in polygons(rng, HEIGHT, WIDTH)] for _ in "abcd"]
    folder = tmp_path_factory.mktemp("coco")
    policy = ow.Policy(chosen[kind], fill_mode=["constant", "reflect"][seed % 2])
    boxes, labels = boxes_under(policy, source_of(folder, *shapes), seed)
    outer, outer_labels = boxes_under(policy, source_of(folder, *shapes, boxes_follow="corners"), seed)
    kept = labels != -1
    assert (outer_labels[kept] == labels[kept]).all() and not boxes[~kept].any()
    assert (boxes[kept, :2] >= outer[kept, :2] - 1e-3).all() and (boxes[kept, 2:] <= outer[kept, 2:] + 1e-3).all()


def test_rows_labels_and_masks_stay_in_step(tmp_path: Path) -> None:
    """The first object leaves the frame: its row becomes padding, the others keep theirs."""
    left = [2.0, 10.0, 8.0, 10.0, 8.0, 20.0, 2.0, 20.0]
    source = source_of(tmp_path, [left], [DIAMOND], [SQUARE], masks="instance")
    policy = ow.Policy([ow.Rotate((5, 5)), ow.Translate((-0.2, -0.2), 0)])
    batch = Batches(source, policy, 1, shuffle=False).batch(0, 0)
    boxes, labels = batch["bounding_boxes"]["boxes"][0], batch["bounding_boxes"]["labels"][0]
    assert labels.tolist() == [-1, 0, 1] and not boxes[0].any()
    for row in (1, 2):
        x, y, w, h = box_of(encode(batch["segmentation_masks"][0, ..., row]))
        np.testing.assert_allclose(boxes[row], [x, y, x + w, y + h], atol=1)


@pytest.mark.parametrize("box_format", ["xyxy", "xywh"])
def test_formats(tmp_path: Path, box_format: str) -> None:
    source = source_of(tmp_path, [DIAMOND], bounding_box_format=box_format)
    found = Batches(source, turned(45), 1, shuffle=False, bounding_box_format=box_format).batch(0, 0)
    low, side = np.array([30, 20]) - 12 / np.sqrt(2), 24 / np.sqrt(2)
    expected = [*low, *(low + side)] if box_format == "xyxy" else [*low, side, side]
    np.testing.assert_allclose(found["bounding_boxes"]["boxes"][0, 0], expected, atol=1e-3)


def test_frames_and_devices_get_the_same_boxes(tmp_path: Path) -> None:
    """Frames are made as batches are. With placement="device" the host does the first warp where sizes differ."""
    what = content()
    what["images"][1].update(height=HEIGHT, width=WIDTH)
    source = ow.CocoSource(tmp_path, write(tmp_path, what))
    source.image_shape = (None, None, 3)  # as if sizes differed
    policy = ow.Policy([ow.Rotate(60), ow.Resize(32), ow.Rescale(1 / 255)])
    plain = Batches(source, policy, 3, shuffle=False)
    frames = FrameBatches(source, policy, 3, shuffle=False, reuse=2)
    placed = Batches(source, policy, 3, shuffle=False, placement="device")
    for name in ("boxes", "labels"):
        expected = plain.batch(0, 0)["bounding_boxes"][name]
        np.testing.assert_array_equal(frames.batch(0, 0)["bounding_boxes"][name], expected)
        np.testing.assert_array_equal(placed.batch(0, 0)["bounding_boxes"][name], expected)


# --- masks that a caller hands in -----------------------------------------------------------------------------------


def test_boxes_of_a_batch_follow_its_masks() -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((3, HEIGHT, WIDTH, 4), np.uint8)
    boxes, labels = np.zeros((3, 4, 4), np.float32), np.full((3, 4), -1)
    for i in range(3):
        for j in range(i + 1):
            y, x = rng.integers(4, 16), rng.integers(4, 30)
            yy, xx = np.mgrid[:HEIGHT, :WIDTH]
            masks[i, ..., j] = np.abs(yy - y - 8) + np.abs(xx - x - 8) <= 7  # a diamond
            px, py, w, h = box_of(encode(masks[i, ..., j]))
            boxes[i, j], labels[i, j] = (px, py, px + w, py + h), j
    batch = {
        "images": rng.integers(0, 256, (3, HEIGHT, WIDTH, 3), np.uint8),
        "segmentation_masks": masks,
        "bounding_boxes": {"boxes": boxes, "labels": labels},
    }
    policy = ow.Policy([ow.Rotate((45, 45)), ow.Translate(0.1)])
    found = policy(batch, seed=0, boxes_follow="masks")
    outer = policy(batch, seed=0)["bounding_boxes"]
    np.testing.assert_array_equal(found["bounding_boxes"]["labels"], labels)
    for i, j in np.argwhere(labels != -1):
        x, y, w, h = box_of(encode(found["segmentation_masks"][i, ..., j]))
        box, large = found["bounding_boxes"]["boxes"][i, j], outer["boxes"][i, j]
        np.testing.assert_allclose(box, [x, y, x + w, y + h], atol=1.01)
        assert (large[2:] - large[:2]).prod() > 1.3 * (box[2:] - box[:2]).prod()
    flip = ow.Policy([ow.HorizontalFlip(p=1.0)])
    same, corners = (flip(batch, boxes_follow=how)["bounding_boxes"]["boxes"] for how in ("masks", "corners"))
    np.testing.assert_allclose(same, corners, atol=1e-4)


@pytest.mark.parametrize(
    ("entries", "how", "complaint"),
    [
        ({}, "shapes", "boxes_follow='shapes' is not known"),
        ({}, "masks", "needs bounding_boxes and segmentation_masks"),
        ({"segmentation_masks": np.zeros((1, 8, 8), np.uint8)}, "masks", r"2 boxes for each image, .* shape \(8, 8\)"),
        ({"segmentation_masks": np.zeros((1, 8, 8, 1), np.uint8)}, "masks", r"2 boxes .* shape \(8, 8, 1\)"),
    ],
)
def test_masks_that_boxes_cannot_follow(entries: dict[str, Any], how: str, complaint: str) -> None:
    boxes = {"boxes": np.zeros((1, 2, 4)), "labels": np.full((1, 2), -1)}
    with pytest.raises(InputError, match=complaint):
        turned(10)({"images": np.zeros((1, 8, 8, 3), np.uint8), "bounding_boxes": boxes, **entries}, boxes_follow=how)


def test_a_source_knows_two_ways(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="boxes_follow='masks' is not known; use 'outlines' or 'corners'"):
        ow.CocoSource(tmp_path, write(tmp_path), boxes_follow="masks")
