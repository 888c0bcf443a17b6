"""Pictures: what is drawn lies where it should, nothing is cut off, and samples are drawn as training sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import onewarp as ow
from data_helpers import picture
from onewarp.data.batches import Batches
from onewarp.errors import InputError
from onewarp.picture import (
    BACKGROUND,
    colour,
    paint_boxes,
    paint_mask,
    paint_points,
    render,
    sheet,
    to_rgb,
    write_png,
)
from onewarp.samples import draw_samples, one_per_class, sample_sheet, shown

GREY = np.full((20, 30, 3), 100, np.uint8)


@pytest.mark.parametrize(
    ("image", "value_range", "expected"),
    [
        (np.array([[[0], [255]]], np.uint8), None, [[0] * 3, [255] * 3]),
        (np.array([[0, 255]], np.uint8), None, [[0] * 3, [255] * 3]),
        (np.array([[[1, 2, 3, 4]]], np.uint8), None, [[1, 2, 3]]),
        (np.array([[[10, 20]]], np.uint8), None, [[10, 20, 0]]),
        (np.array([[[0], [65535], [257]]], np.uint16), None, [[0] * 3, [255] * 3, [1] * 3]),
        (np.array([[[0.0], [1.0], [2.0], [np.nan]]], np.float32), None, [[0] * 3, [255] * 3, [255] * 3, [0] * 3]),
        (np.array([[[-1.0], [1.0]]], np.float32), (-1, 1), [[0] * 3, [255] * 3]),
    ],
)
def test_to_rgb(image: np.ndarray, value_range: Any, expected: list[list[int]]) -> None:
    before = image.copy()
    rgb = to_rgb(image, value_range)
    assert rgb.dtype == np.uint8
    assert rgb[0].tolist() == expected
    rgb[:] = 7
    np.testing.assert_array_equal(image, before)


def test_colours_of_neighbouring_classes_differ() -> None:
    colours = np.array([colour(number) for number in range(40)], int)
    assert np.abs(np.diff(colours, axis=0)).sum(axis=1).min() > 60
    assert len({tuple(row) for row in colours}) == 40


def test_a_box_is_drawn_inside_its_edges() -> None:
    """Edges at 5 and 25, 4 and 14: pixels 5...24 and 4...13 are inside, and only they change."""
    drawn = paint_boxes(GREY, np.array([[5, 4, 25, 14]], np.float32), [2])
    rows, columns = np.nonzero((drawn != GREY).any(axis=2))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (4, 14, 5, 25)
    assert (drawn[9, 15] == GREY[9, 15]).all()  # not filled
    assert (drawn[4, 15] == colour(2)).all()


def test_padding_boxes_and_invisible_points_are_not_drawn() -> None:
    boxes = np.array([[0, 0, 30, 20], [2, 2, 9, 9]], np.float32)
    assert (paint_boxes(GREY, boxes, [-1, -1]) == GREY).all()
    assert (paint_points(GREY, np.array([[10.0, 10, 0]])) == GREY).all()
    assert (paint_points(GREY, np.array([[10.0, 10]])) != GREY).any()


def test_a_point_is_drawn_around_its_place() -> None:
    drawn = paint_points(np.zeros((41, 41, 3), np.uint8), np.array([[12.5, 30.5, 2]]))
    rows, columns = np.nonzero(drawn.max(axis=2) > 50)  # OpenCV's faintest pixels are not symmetric
    assert rows.mean() == pytest.approx(30, abs=0.1) and columns.mean() == pytest.approx(12, abs=0.1)
    assert (drawn[30, 12] == colour(0)).all()


def test_far_points_and_boxes_do_no_harm() -> None:
    far = np.array([[1e9, -1e9, 2], [-1e9, 5, 2], [np.inf, 1, 2]])
    assert paint_points(GREY, far).shape == GREY.shape
    assert paint_boxes(GREY, np.array([[-1e9, -1e9, 1e9, 1e9]]), [0]).shape == GREY.shape


def test_a_mask_tints_its_classes_and_leaves_background_and_void() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 10:20] = 3
    mask[:2] = 255
    drawn = paint_mask(GREY, mask)
    changed = (drawn != GREY).any(axis=2)
    np.testing.assert_array_equal(changed, mask == 3)
    assert (drawn[5, 12] == colour(3)).all()  # a border is opaque
    mixed = np.rint(0.55 * 100 + 0.45 * np.array(colour(3)))
    np.testing.assert_allclose(drawn[10, 15], mixed, atol=1)


def test_render_enlarges_small_images_by_whole_pixels() -> None:
    small = picture(8, 8)
    drawn = render({"images": small}, side=60)
    assert drawn.shape == (64, 64, 3)
    np.testing.assert_array_equal(drawn, np.kron(small, np.ones((8, 8, 1), np.uint8)))


def test_render_scales_targets_with_the_image() -> None:
    """A corner that is painted, masked, boxed and pointed at: all four at the same place of the smaller picture."""
    image = np.full((300, 600, 3), 80, np.uint8)
    mask = np.zeros((300, 600), np.int32)
    mask[100:200, 150:300] = 4
    sample = {
        "images": image,
        "segmentation_masks": mask,
        "bounding_boxes": {"boxes": np.array([[150, 100, 300, 200.0]]), "labels": np.array([4])},
        "keypoints": np.array([[225.0, 150.0, 2]]),
    }
    for alone in ("segmentation_masks", "bounding_boxes"):
        drawn = render({"images": image, alone: sample[alone]}, side=200)
        assert drawn.shape == (100, 200, 3)
        rows, columns = np.nonzero((drawn != 80).any(axis=2))
        assert (rows.min(), columns.min()) == (33, 50)
        assert rows.max() + 1 in (66, 67) and columns.max() + 1 == 100
    drawn = render({"images": image, "keypoints": sample["keypoints"]}, side=200)
    rows, columns = np.nonzero((drawn != 80).any(axis=2))
    assert abs(rows.mean() - 49.5) < 0.6 and abs(columns.mean() - 74.5) < 0.6
    assert (image == 80).all()


def test_sheet_keeps_every_picture_whole() -> None:
    """Each tile has a value of its own: all their pixels must be there, whatever names and sizes."""
    sizes = [[(10, 20), (30, 12)], [(25, 25)]]
    tiles = [
        [np.full((h, w, 3), 10 * i + j + 1, np.uint8) for j, (h, w) in enumerate(row)] for i, row in enumerate(sizes)
    ]
    page = sheet(
        tiles, ["a", "quite a long name of a row, much too long to stay whole"], ["first", "second"], "A title"
    )
    for row in tiles:
        for tile in row:
            assert (page == tile[0, 0]).all(axis=2).sum() >= tile.shape[0] * tile.shape[1]
    plain = sheet(tiles)
    assert plain.shape[0] < page.shape[0] and plain.shape[1] < page.shape[1]


@pytest.mark.parametrize("title", ["", "x", "a title that is a good deal wider than the one small picture under it"])
@pytest.mark.parametrize("head", ["", "a heading wider than its picture"])
@pytest.mark.parametrize("name", ["", "ä日ß", "photos/" + "very_" * 40 + "long.jpg"])
def test_sheet_cuts_no_text_off(title: str, head: str, name: str) -> None:
    page = sheet([[np.full((16, 16, 3), 128, np.uint8)]], [name], [head], title)
    border = np.concatenate(
        [page[:2].reshape(-1, 3), page[-2:].reshape(-1, 3), page[:, :2].reshape(-1, 3), page[:, -2:].reshape(-1, 3)]
    )
    assert (border == BACKGROUND).all()
    assert page.shape[1] < 900


def test_sheet_refusals() -> None:
    with pytest.raises(InputError, match="at least one picture"):
        sheet([])
    with pytest.raises(InputError, match="1 rows of pictures but 2 row names"):
        sheet([[GREY]], ["a", "b"])


def test_write_png(tmp_path: Path) -> None:
    image = picture(9, 7)
    write_png(tmp_path / "new" / "å.png", image)
    read = cv2.imdecode(np.fromfile(tmp_path / "new" / "å.png", np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(read[..., ::-1], image)
    with pytest.raises(InputError, match=r"å\.png.*choose another place"):
        write_png(tmp_path / "new" / "å.png" / "x.png", image)


def photos(count: int = 3, height: int = 24, width: int = 36) -> ow.ArraySource:
    boxes = [np.array([[2, 3, 20, 12], [5, 5, 9, 9]], float)[: 1 + i % 2] for i in range(count)]
    return ow.ArraySource(
        np.stack([picture(height, width, seed) for seed in range(count)]),
        np.arange(count),
        segmentation_masks=np.stack([np.eye(height, width, dtype=np.uint8) * (i + 1) for i in range(count)]),
        bounding_boxes={"boxes": boxes, "labels": [np.zeros(len(rows), int) for rows in boxes]},
        keypoints=[np.array([[3.0, 4, 2]])] * count,
    )


POLICY = ow.Policy([ow.Rotate(20), ow.HorizontalFlip(), ow.Resize((20, 28)), ow.ColorJitter(0.2), ow.Normalize()])


def test_shown_drops_what_is_for_the_model_and_nothing_else() -> None:
    policy = ow.Policy([ow.Rotate(20), ow.Normalize()], fill_mode="wrap", dtype="float16", data_format="channels_first")
    looks = shown(policy)
    assert looks == ow.Policy([ow.Rotate(20)], fill_mode="wrap")
    assert POLICY.draw(ow.Spec((24, 36, 3)), seed=1, ids=np.arange(4)).n == 4


def test_samples_are_drawn_as_training_draws_them() -> None:
    """The samples of a sheet are the training's: the same geometry under the same (seed, epoch, id)."""
    source = photos(5)
    unit = ow.Policy([*POLICY.transforms[:-1], ow.Rescale()])
    drawn = draw_samples(source, POLICY, [4, 1], draws=2, seed=7, first=3)
    batches = Batches(source, unit, 5, shuffle=False, seed=7)
    for epoch in (3, 4):
        batch = batches.batch(epoch, 0)
        for slot, index in ((0, 4), (1, 1)):
            got = drawn[slot][epoch - 3]
            np.testing.assert_allclose(got["images"], batch["images"][index] * 255, atol=0.51)
            np.testing.assert_array_equal(got["segmentation_masks"], batch["segmentation_masks"][index])
            np.testing.assert_array_equal(got["bounding_boxes"]["boxes"], batch["bounding_boxes"]["boxes"][index])
            np.testing.assert_array_equal(got["keypoints"], batch["keypoints"][index])


def test_samples_of_open_sizes_are_drawn_one_by_one_and_alike() -> None:
    policy = ow.Policy([ow.HorizontalFlip(), ow.Rotate(20)])
    images = [picture(20, 30, 0), picture(31, 22, 1)]
    drawn = draw_samples(ow.ArraySource(images), policy, [0, 1], draws=3, seed=2)
    for slot, image in enumerate(images):
        for epoch in range(3):
            expected = policy(image[None], seed=2, epoch=epoch, ids=np.array([slot]))[0]
            np.testing.assert_array_equal(drawn[slot][epoch]["images"], expected)


def test_mixed_samples_mix_with_each_other() -> None:
    source = ow.ArraySource(np.stack([np.full((8, 8, 3), 0, np.uint8), np.full((8, 8, 3), 200, np.uint8)]), [0, 1])
    drawn = draw_samples(source, ow.Policy([ow.MixUp(alpha=1.0, p=1.0)]), [0, 1], draws=6)
    values = {int(sample["images"][0, 0, 0]) for row in drawn for sample in row}
    assert len(values) > 4


def test_sample_sheet(tmp_path: Path) -> None:
    source = photos(3)
    page = sample_sheet(source, POLICY, [0, 2], 3, names=["first", "last"], side=72, title="photos")
    write_png(tmp_path / "sheet.png", page)
    assert page.shape[0] > 2 * 48 and page.shape[1] > 4 * 56
    assert one_per_class(ow.ArraySource(np.zeros((5, 4, 4, 1), np.uint8), [3, 1, 1, 3, 0])) == [4, 1, 0]
