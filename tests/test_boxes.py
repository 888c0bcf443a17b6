"""Bounding boxes: Keras' formats, clipping, dropping and padding; other libraries' rotated boxes are the oracle."""

from __future__ import annotations

import numpy as np
import pytest

import onewarp as ow
import oracles
from onewarp.boxes import from_corners, to_corners
from onewarp.spec import BOX_FORMATS

KERAS_FORMATS = (
    "xyxy", "yxyx", "xywh", "center_xywh", "center_yxhw", "rel_xyxy", "rel_yxyx", "rel_xywh", "rel_center_xywh",
)  # fmt: skip
HEIGHT, WIDTH = 40, 60


def some_boxes(rng, n: int = 3, k: int = 5, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Corner boxes [n, k, 4] within the frame, at least two pixels wide and high."""
    corner = rng.uniform(0, 0.7, (n, k, 2)) * [width, height]
    far = corner + 2 + rng.uniform(0, 1, (n, k, 2)) * ([width, height] - corner - 2)
    return np.concatenate([corner, far], axis=-1)


def with_boxes(boxes, labels=None, height: int = HEIGHT, width: int = WIDTH) -> dict:
    boxes = np.asarray(boxes, dtype=np.float64)
    labels = np.zeros(boxes.shape[:2], np.int64) if labels is None else np.asarray(labels)
    images = np.zeros((len(boxes), height, width, 1), np.uint8)
    return {"images": images, "bounding_boxes": {"boxes": boxes, "labels": labels}}


def moved(policy: ow.Policy, boxes, labels=None, **call) -> tuple[np.ndarray, np.ndarray]:
    result = policy(with_boxes(boxes, labels), **{"seed": 0, **call})["bounding_boxes"]
    return result["boxes"], result["labels"]


# --- formats ------------------------------------------------------------------------------------------------------


def test_the_formats_are_keras_nine() -> None:
    assert set(BOX_FORMATS) == set(KERAS_FORMATS)


@pytest.mark.parametrize("box_format", KERAS_FORMATS)
def test_formats_convert_as_keras_converts_them(box_format, rng) -> None:
    keras = pytest.importorskip("keras")
    convert = keras.utils.bounding_boxes.convert_format
    corners = some_boxes(rng)
    height, width = np.full(3, float(HEIGHT)), np.full(3, float(WIDTH))
    ours = from_corners(corners, box_format, height, width, np)
    theirs = convert(corners.astype(np.float32), "xyxy", box_format, HEIGHT, WIDTH)
    np.testing.assert_allclose(ours, keras.ops.convert_to_numpy(theirs), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(to_corners(ours, box_format, height, width, np), corners, rtol=1e-12)


@pytest.mark.parametrize("box_format", KERAS_FORMATS)
@pytest.mark.parametrize(
    "transforms", [[ow.HorizontalFlip(p=1), ow.CenterCrop(30)], [ow.Rotate(40), ow.Resize((20, 80))]]
)
def test_a_policy_takes_and_gives_boxes_in_the_format_that_is_named(box_format, transforms, rng) -> None:
    policy, corners = ow.Policy(transforms), some_boxes(rng)
    before, after = (np.full(3, float(side)) for side in (HEIGHT, WIDTH)), policy.plan(ow.Spec((HEIGHT, WIDTH, 1))).size
    expected, labels = moved(policy, corners)
    found, kept = moved(policy, from_corners(corners, box_format, *before, np), bounding_box_format=box_format)
    np.testing.assert_array_equal(kept, labels)
    back = to_corners(found, box_format, *(np.full(3, float(side)) for side in after), np)
    np.testing.assert_allclose(np.where((kept != -1)[..., None], back, 0), expected, atol=1e-9)
    assert (found[kept == -1] == 0).all()  # padding is zeros in every format


def test_a_format_is_told_from_capitals() -> None:
    boxes, _ = moved(ow.Policy([]), [[(1, 2, 3, 4)]], bounding_box_format="XYWH")
    np.testing.assert_array_equal(boxes, [[(1, 2, 3, 4)]])


def test_relative_boxes_of_images_of_different_sizes_belong_to_their_own_images() -> None:
    images = [np.zeros((10, 20, 3), np.uint8), np.zeros((30, 10, 3), np.uint8)]
    boxes = np.full((2, 1, 4), (0.25, 0.5, 0.75, 1.0))
    batch = {"images": images, "bounding_boxes": {"boxes": boxes, "labels": np.ones((2, 1), int)}}
    result = ow.Policy([ow.Resize(16)])(batch, bounding_box_format="rel_xyxy")
    np.testing.assert_allclose(result["bounding_boxes"]["boxes"], boxes, atol=1e-6)


# --- what is left of a box ----------------------------------------------------------------------------------------


def test_boxes_are_clipped_and_what_lies_outside_becomes_padding() -> None:
    policy = ow.Policy([ow.CenterCrop((20, 20))])  # x from 20 to 40, y from 10 to 30
    given = [[(25, 15, 35, 25), (0, 0, 25, 15), (30, 20, 60, 40), (0, 0, 19, 9), (40, 10, 50, 30), (0, 0, 0, 0)]]
    boxes, labels = moved(policy, given, [[5, 6, 7, 8, 9, -1]])
    expected = [[(5, 5, 15, 15), (0, 0, 5, 5), (10, 10, 20, 20), (0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0)]]
    np.testing.assert_array_equal(boxes, expected)
    np.testing.assert_array_equal(labels, [[5, 6, 7, -1, -1, -1]])


def test_boxes_that_reach_out_of_the_image_are_clipped_without_a_transform() -> None:
    boxes, labels = moved(ow.Policy([ow.HorizontalFlip(p=1)]), [[(-10, -5, 30, 20), (50, 30, 100, 100)]])
    np.testing.assert_array_equal(boxes, [[(30, 0, 60, 20), (0, 30, 10, 40)]])
    np.testing.assert_array_equal(labels, [[0, 0]])


@pytest.mark.parametrize(
    ("min_area", "kept"), [(0, 3), (24, 3), (25, 3), (26, 2), (100, 2), (101, 1), (400, 1), (401, 0)]
)
def test_min_area_counts_the_pixels_that_are_left(min_area, kept) -> None:
    policy = ow.Policy([ow.CenterCrop((20, 20))], min_area=min_area)
    given = [[(0, 0, 25, 15), (25, 15, 35, 25), (10, 5, 50, 35)]]  # 25, 100 and 400 pixels are left
    assert (moved(policy, given)[1] != -1).sum() == kept


@pytest.mark.parametrize(("least", "kept"), [(0, 3), (0.24, 3), (0.25, 3), (0.26, 2), (0.5, 2), (0.51, 1), (1, 1)])
def test_min_visibility_is_the_fraction_that_is_left(least, kept) -> None:
    policy = ow.Policy([ow.CenterCrop((20, 20))], min_visibility=least)
    given = [[(30, 20, 50, 40), (30, 10, 50, 20), (20, 10, 40, 30)]]  # a quarter, half and all of it is left
    assert (moved(policy, given)[1] != -1).sum() == kept


def test_visibility_does_not_depend_on_the_scale() -> None:
    policy = ow.Policy([ow.CenterCrop((20, 20)), ow.Resize(7)], min_visibility=0.5)
    _, labels = moved(policy, [[(30, 10, 50, 20), (31, 10, 51, 20)]])
    np.testing.assert_array_equal(labels, [[0, -1]])


def test_visibility_is_judged_by_the_final_frame_across_a_barrier() -> None:
    """Two crops with a filter between them leave a quarter of the box, each of them half of what it sees."""
    crops = [ow.CenterCrop((40, 30)), ow.CenterCrop((20, 30))]
    given = [[(0, 0, 60, 40)]]
    for between in ([], [ow.GaussianBlur(p=0.5)]):
        policy = ow.Policy([crops[0], *between, crops[1]], min_visibility=0.4)
        np.testing.assert_array_equal(moved(policy, given)[1], [[-1]], err_msg=str(between))


def test_boxes_of_padding_never_come_back() -> None:
    boxes, labels = moved(ow.Policy([ow.Translate((0.3, 0.3))]), np.zeros((2, 4, 4)), np.full((2, 4), -1))
    assert (boxes == 0).all() and (labels == -1).all()


@pytest.mark.parametrize("dtype", ["int64", "int32", "int8", "float32"])
def test_labels_follow_their_boxes_and_keep_their_dtype(dtype) -> None:
    given = [[(0, 0, 10, 10), (20, 10, 40, 30)], [(25, 15, 30, 20), (50, 0, 60, 5)]]
    _, labels = moved(ow.Policy([ow.CenterCrop(20)]), given, np.array([[1, 2], [3, 4]], dtype))
    np.testing.assert_array_equal(labels, [[-1, 2], [3, -1]])
    assert labels.dtype == dtype


def test_unsigned_labels_still_tell_padding() -> None:
    """-1 does not fit uint8, where it would be class 255: such labels become wider, or are refused."""
    given = [[(0, 0, 10, 10), (20, 10, 40, 30)]]
    try:
        _, labels = moved(ow.Policy([ow.CenterCrop(20)]), given, np.array([[1, 2]], np.uint8))
    except ow.InputError as refusal:
        assert "labels" in str(refusal) and "uint8" in str(refusal)
    else:
        np.testing.assert_array_equal(labels, [[-1, 2]])


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_boxes_keep_a_float_dtype_and_integers_become_float32(dtype) -> None:
    batch = with_boxes([[(10, 5, 30, 20)]])
    batch["bounding_boxes"]["boxes"] = batch["bounding_boxes"]["boxes"].astype(dtype)
    policy = ow.Policy([ow.HorizontalFlip(p=1)])
    assert policy(batch)["bounding_boxes"]["boxes"].dtype == dtype
    batch["bounding_boxes"]["boxes"] = batch["bounding_boxes"]["boxes"].astype(np.int32)
    assert policy(batch)["bounding_boxes"]["boxes"].dtype == np.float32


def test_no_boxes_at_all_are_fine() -> None:
    boxes, labels = moved(ow.Policy([ow.Rotate(10), ow.CutMix()]), np.zeros((3, 0, 4)), num_classes=3)
    assert boxes.shape == (3, 0, 4) and labels.shape == (3, 0)


def test_other_entries_of_the_boxes_are_not_lost() -> None:
    """Scores, say: they come back, or are refused by name. The caller notices either way."""
    batch = with_boxes([[(10, 5, 30, 20)]])
    batch["bounding_boxes"]["scores"] = np.array([[0.5]])
    try:
        result = ow.Policy([ow.HorizontalFlip(p=1)])(batch)
    except ow.InputError as refusal:
        assert "scores" in str(refusal)
    else:
        np.testing.assert_array_equal(result["bounding_boxes"]["scores"], [[0.5]])


# --- oracles ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [-170, -30, 7, 45, 90])
def test_a_rotated_box_is_that_of_albumentations(degrees, rng) -> None:
    a = oracles.albumentations()
    corners = some_boxes(rng, n=1)
    rotate = a.Rotate((degrees, degrees), p=1, rotate_method="largest_box")
    theirs = a.Compose([rotate], bbox_params=a.BboxParams("pascal_voc", label_fields=["labels"], clip=True))
    expected = theirs(image=np.zeros((HEIGHT, WIDTH, 1), np.uint8), bboxes=corners[0], labels=np.arange(5))
    boxes, labels = moved(ow.Policy([ow.Rotate((degrees, degrees))]), corners, np.arange(5)[None])
    kept = labels[0] != -1
    np.testing.assert_array_equal(labels[0][kept], expected["labels"])
    np.testing.assert_allclose(boxes[0][kept], expected["bboxes"], atol=1e-3)


@pytest.mark.parametrize(("angle", "scale", "shear"), [(20, 1.0, 0), (-75, 0.7, 0), (0, 1.4, 0), (0, 1.0, 25)])
def test_an_affine_box_is_that_of_torchvision(angle, scale, shear, rng) -> None:
    torch = oracles.torch_module()
    oracles.torchvision_functional()
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    corners = some_boxes(rng, n=1) * 0.2 + [24, 16, 24, 16]  # in the middle, so that nothing is clipped
    expected = functional.affine_bounding_boxes(
        torch.from_numpy(corners[0]),
        "XYXY",
        (HEIGHT, WIDTH),
        angle=-angle,
        translate=[0, 0],
        scale=scale,
        shear=[shear, 0],
    )
    policy = ow.Policy([ow.Affine((angle, angle), 0, scale, (shear, shear))])
    np.testing.assert_allclose(moved(policy, corners)[0][0], expected.numpy(), atol=1e-3)
