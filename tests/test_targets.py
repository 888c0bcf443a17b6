"""Image, mask, box and keypoint of one object stay together: to the last bit where pixels are only permuted."""

from __future__ import annotations

import numpy as np
import pytest

import onewarp as ow

N = 24  # samples, so that every draw of a transform occurs


def numbered(n: int, height: int, width: int) -> np.ndarray:
    """Images in which every pixel has a number of its own, 1 and up: uint16 [n, h, w, 1]."""
    return np.broadcast_to(
        np.arange(1, height * width + 1, dtype=np.uint16).reshape(1, height, width, 1), (n, height, width, 1)
    )


def objects(height: int, width: int) -> np.ndarray:
    """Rows and columns of the pixels that are watched: the four corners, and some inside. [k, 2]"""
    return np.array(
        [
            (0, 0),
            (0, width - 1),
            (height - 1, 0),
            (height - 1, width - 1),
            (1, 2),
            (height // 2, width // 2),
            (height - 3, 1),
        ]
    )


def batch_of(height: int, width: int, n: int = N) -> dict:
    """Numbered pixels, twice (image and mask); each watched pixel has a box around it and a point at its centre."""
    rows, columns = objects(height, width).T.astype(float)
    boxes = np.stack([columns, rows, columns + 1, rows + 1], axis=-1)
    points = np.stack([columns + 0.5, rows + 0.5, np.full(len(rows), 2.0)], axis=-1)
    images = numbered(n, height, width)
    return {
        "images": images,
        "labels": np.arange(n),
        "segmentation_masks": images[..., 0].astype(np.int32),
        "bounding_boxes": {"boxes": np.tile(boxes, (n, 1, 1)), "labels": np.tile(np.arange(len(rows)), (n, 1))},
        "keypoints": np.tile(points, (n, 1, 1)),
    }


SQUARE, WIDE = (8, 8), (6, 9)

EXACT = [
    (SQUARE, [ow.HorizontalFlip()]),
    (WIDE, [ow.HorizontalFlip()]),
    (WIDE, [ow.VerticalFlip()]),
    (WIDE, [ow.HorizontalFlip(), ow.VerticalFlip()]),
    (SQUARE, [ow.Transpose()]),
    (WIDE, [ow.Transpose(), ow.CenterCrop(5)]),
    (WIDE, [ow.Transpose(), ow.RandomCrop((7, 4))]),
    (SQUARE, [ow.Rotate90()]),
    (WIDE, [ow.Rotate90(), ow.RandomCrop(6)]),
    (SQUARE, [ow.D4()]),
    (WIDE, [ow.D4(), ow.CenterCrop((9, 9))]),
    (WIDE, [ow.D4(), ow.HorizontalFlip(), ow.Transpose(), ow.RandomCrop((4, 5))]),
    (WIDE, [ow.RandomCrop((4, 4))]),
    (WIDE, [ow.RandomCrop((6, 9), padding=2)]),
    (WIDE, [ow.RandomCrop(12)]),
    (WIDE, [ow.CenterCrop((4, 6))]),
    (WIDE, [ow.CenterCrop((3, 12))]),
    (WIDE, [ow.Pad((1, 3)), ow.HorizontalFlip()]),
    (SQUARE, [ow.OneOf([ow.Rotate90(), ow.HorizontalFlip(p=1), ow.Transpose(p=1)])]),
    (SQUARE, [ow.SomeOf([ow.D4(), ow.VerticalFlip(p=1), ow.Transpose(p=1)], n=(1, 3))]),
    (SQUARE, [ow.Sometimes([ow.RandomCrop(8, padding=3), ow.Rotate90()], p=0.5)]),
    (SQUARE, [ow.RandomCrop(6), ow.GaussianBlur(p=0.0), ow.HorizontalFlip(), ow.CenterCrop(4)]),  # two warps
]


@pytest.mark.parametrize(("size", "transforms"), EXACT, ids=lambda value: str(value) if isinstance(value, list) else "")
def test_a_pixel_its_mask_its_box_and_its_point_stay_together(size, transforms) -> None:
    height, width = size
    result = ow.Policy(transforms)(batch_of(height, width), seed=1, epoch=2)
    images, masks = result["images"][..., 0], result["segmentation_masks"]
    np.testing.assert_array_equal(images, masks)
    wanted = objects(height, width) @ [width, 1] + 1
    seen = 0
    for sample in range(N):
        for k, number in enumerate(wanted):
            box, label = (result["bounding_boxes"][name][sample, k] for name in ("boxes", "labels"))
            x, y, visibility = result["keypoints"][sample, k]
            found = np.argwhere(images[sample] == number)
            if len(found):
                i, j = found[0]
                assert len(found) == 1
                assert (*box, label) == (j, i, j + 1, i + 1, k), f"sample {sample}, pixel {number}"
                assert (x, y, visibility) == (j + 0.5, i + 0.5, 2), f"sample {sample}, pixel {number}"
                seen += 1
            else:
                assert (*box, label) == (0, 0, 0, 0, -1), f"sample {sample}, pixel {number}"
                assert visibility == 0, f"sample {sample}, pixel {number}"
    assert seen >= N  # the test has something to compare


def test_the_draws_of_the_test_above_cover_all_eight_symmetries() -> None:
    images = ow.Policy([ow.D4()])(numbered(64, 4, 4), seed=0)
    assert len({image.tobytes() for image in images}) == 8


def test_all_symmetries_are_numpys() -> None:
    """What D4 gives are the eight turns and mirrored turns, for a frame that is not square, too."""
    x = numbered(1, 4, 6)[0]
    expected = {np.rot90(y, k).tobytes() + bytes(np.rot90(y, k).shape) for y in (x, x[:, ::-1]) for k in range(4)}
    found = set()
    for size in ((4, 6), (6, 4)):
        for image in ow.Policy([ow.D4(), ow.CenterCrop(size)])(numbered(64, 4, 6), seed=0):
            if (image > 0).all():
                found.add(image.tobytes() + bytes(image.shape))
    assert found == expected


@pytest.mark.parametrize("factor", [2, 4])
def test_a_resize_by_a_power_of_two_scales_boxes_and_points_exactly(factor) -> None:
    batch = batch_of(4, 6, 2)
    result = ow.Policy([ow.Resize((4 * factor, 6 * factor))], interpolation="nearest")(batch)
    np.testing.assert_array_equal(
        result["segmentation_masks"], batch["segmentation_masks"].repeat(factor, 1).repeat(factor, 2)
    )
    np.testing.assert_array_equal(result["images"][..., 0], result["segmentation_masks"])
    np.testing.assert_array_equal(result["bounding_boxes"]["boxes"], batch["bounding_boxes"]["boxes"] * factor)
    np.testing.assert_array_equal(result["keypoints"][..., :2], batch["keypoints"][..., :2] * factor)


WARPS = [
    [ow.RandomResizedCrop(20, scale=(0.3, 1))],
    [ow.Rotate(180)],
    [ow.Shear(25, 25), ow.Translate(0.2)],
    [ow.Affine(40, 0.1, (0.7, 1.5), 20)],
    [ow.Perspective(0.6, p=1)],
    [ow.LetterBox((40, 30)), ow.Scale((0.6, 1.6))],
    [ow.ResizeShortest(30), ow.RandomCrop(24), ow.Rotate(30)],
    [ow.ResizeLongest(30), ow.HorizontalFlip(), ow.D4(), ow.Resize((25, 35))],
    [ow.ElasticTransform(0.05, p=1)],
    [ow.GridDistortion(p=1), ow.Rotate(20)],
    [ow.Rotate(20), ow.GaussianBlur(p=0.0), ow.RandomResizedCrop(24)],
]


@pytest.mark.parametrize("transforms", WARPS, ids=str)
def test_an_image_and_a_mask_of_the_same_numbers_stay_equal(transforms) -> None:
    batch = batch_of(24, 30, 8)
    result = ow.Policy(transforms, interpolation="nearest")(batch, seed=4)
    np.testing.assert_array_equal(result["images"][..., 0], result["segmentation_masks"])


@pytest.mark.parametrize("transforms", WARPS, ids=str)
def test_a_box_holds_its_warped_mask(transforms) -> None:
    """An object that fills its box, a painted rectangle: its warped pixels lie in the box, and reach all its sides."""
    height, width, n = 48, 60, 16
    x1, y1, x2, y2 = 18, 14, 43, 36
    masks = np.zeros((n, height, width), np.uint8)
    masks[:, y1:y2, x1:x2] = 1
    batch = {
        "images": np.zeros((n, height, width, 1), np.uint8),
        "segmentation_masks": masks,
        "bounding_boxes": {
            "boxes": np.full((n, 1, 4), (x1, y1, x2, y2), np.float32),
            "labels": np.zeros((n, 1), np.int64),
        },
    }
    result = ow.Policy(transforms)(batch, seed=11)
    found = result["bounding_boxes"]
    assert (found["labels"] == 0).any()
    compared = 0
    for mask, box, label in zip(result["segmentation_masks"], found["boxes"][:, 0], found["labels"][:, 0], strict=True):
        rows, columns = np.nonzero(mask)
        if label == -1:
            assert len(rows) == 0
            continue
        if len(rows) < 4:
            continue
        hull = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert (box[:2] <= hull[:2] + 1).all() and (box[2:] >= hull[2:] - 1).all()
        if min(hull[:2]) > 0 and max(hull[2:] - mask.shape[::-1]) < 0:  # a cut corner would make the hull smaller
            np.testing.assert_allclose(box, hull, atol=1.5)
            compared += 1
    assert compared


# --- masks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint16", "int32", "int64", "float32"])
@pytest.mark.parametrize("shape", [(), (1,), (2,)], ids=str)
def test_masks_keep_their_dtype_and_shape_and_invent_no_class(dtype, shape, rng) -> None:
    classes = np.array([0, 1] if dtype == "bool" else [0, 3, 7, 100]).astype(dtype)
    masks = rng.choice(classes, size=(6, 20, 24, *shape))
    batch = {"images": np.zeros((6, 20, 24, 3), np.uint8), "segmentation_masks": masks}
    result = ow.Policy([ow.Rotate(45), ow.RandomResizedCrop(18), ow.ElasticTransform(p=1)])(batch, seed=0)
    assert result["segmentation_masks"].dtype == dtype
    assert result["segmentation_masks"].shape == (6, 18, 18, *shape)
    assert np.isin(result["segmentation_masks"], classes).all()


@pytest.mark.parametrize(("dtype", "ignore"), [("uint8", 255), ("int32", -1), ("int64", -100), ("uint16", 40_000)])
def test_what_lies_outside_gets_the_ignore_value(dtype, ignore) -> None:
    batch = {"images": np.full((2, 8, 8, 3), 50, np.uint8), "segmentation_masks": np.full((2, 8, 8), 7, dtype)}
    result = ow.Policy([ow.CenterCrop(12)], fill_value=9, mask_fill_value=ignore)(batch)
    inside = np.zeros((12, 12), bool)
    inside[2:10, 2:10] = True
    np.testing.assert_array_equal(result["segmentation_masks"], np.where(inside, 7, ignore)[None].repeat(2, 0))
    np.testing.assert_array_equal(result["images"][..., 0], np.where(inside, 50, 9)[None].repeat(2, 0))


def test_colour_erase_and_filters_leave_all_other_targets_alone() -> None:
    batch = batch_of(8, 10, 4)
    batch["images"] = batch["images"].astype(np.uint8)
    policy = ow.Policy(
        [ow.Brightness(), ow.GaussianBlur(p=1), ow.GaussianNoise(p=1), ow.RandomErasing(p=1), ow.Rescale()]
    )
    result = policy(batch, seed=0)
    for role in ("labels", "segmentation_masks", "keypoints"):
        np.testing.assert_array_equal(result[role], batch[role])
    for part in ("boxes", "labels"):
        np.testing.assert_array_equal(result["bounding_boxes"][part], batch["bounding_boxes"][part])


def test_images_of_different_sizes_take_their_targets_along() -> None:
    small, large = batch_of(10, 8, 1), batch_of(12, 14, 1)
    together = {
        "images": [small["images"][0], large["images"][0]],
        "segmentation_masks": [small["segmentation_masks"][0], large["segmentation_masks"][0]],
        "bounding_boxes": {
            part: np.concatenate([small["bounding_boxes"][part], large["bounding_boxes"][part]])
            for part in ("boxes", "labels")
        },
        "keypoints": np.concatenate([small["keypoints"], large["keypoints"]]),
    }
    policy = ow.Policy([ow.RandomResizedCrop(9, scale=(0.5, 1)), ow.Rotate(30), ow.HorizontalFlip()])
    result = policy(together, seed=3, ids=np.array([5, 6]))
    for row, single in enumerate((small, large)):
        alone = policy(single, seed=3, ids=np.array([5 + row]))
        for role in ("images", "segmentation_masks", "keypoints"):
            np.testing.assert_array_equal(result[role][row], alone[role][0])
        for part in ("boxes", "labels"):
            np.testing.assert_array_equal(result["bounding_boxes"][part][row], alone["bounding_boxes"][part][0])
