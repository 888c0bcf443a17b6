"""Polygons follow the geometry: drawn at the size of the result they agree with resampled masks but for their edges,
and lie nearer to the truth there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import onewarp as ow
from coco_helpers import DISC, HEIGHT, SQUARE, WIDTH, annotation, content, write
from onewarp.coco.annotations import Rle
from onewarp.coco.masks import encode
from onewarp.coco.shapes import Shape, Shapes
from onewarp.data.batches import Batches
from onewarp.data.files import FileSource
from onewarp.engine import host

POLICIES = {
    "flip": [ow.HorizontalFlip(p=1.0)],
    "turn": [ow.Rotate((20, 20))],
    "crop": [ow.RandomResizedCrop((32, 48), scale=(0.3, 0.6))],
    "shrink": [ow.Resize((20, 30))],
    "perspective": [ow.Perspective(0.3, p=1.0)],
    "two warps": [ow.Rotate((20, 20)), ow.RandomCrop((30, 40)), ow.Rotate((-30, -30))],
    "field": [ow.ElasticTransform(p=1.0)],
}


def policy(name: str, fill_mode: str = "constant") -> ow.Policy:
    return ow.Policy(POLICIES[name], fill_mode=fill_mode, mask_fill_value=9)


def batch_of(tmp_path: Path, chosen: ow.Policy, masks: str = "semantic", epoch: int = 0) -> dict[str, Any]:
    what = content()
    what["annotations"] = [
        annotation(1, 7, 2, [DISC], bbox=[31.0, 11.0, 18.0, 18.0]),
        annotation(2, 7, 40, [SQUARE], area=500.0),
    ]
    what["images"] = what["images"][:1]
    source = ow.CocoSource(tmp_path, write(tmp_path, what), masks=masks)
    return Batches(source, chosen, 1, shuffle=False).batch(epoch, 0)


def resampled_of(tmp_path: Path, chosen: ow.Policy, epoch: int = 0) -> np.ndarray:
    """The same mask the ordinary way: drawn at the size of the photograph, then resampled."""
    source = ow.CocoSource(tmp_path, tmp_path / "instances.json", masks="semantic")
    plain = FileSource(source.items, masks=[source[0]["segmentation_masks"]], image_size=(HEIGHT, WIDTH))
    return Batches(plain, chosen, 1, shuffle=False).batch(epoch, 0)["segmentation_masks"][0]


@pytest.mark.parametrize("fill_mode", ["constant", "reflect", "nearest", "wrap"])
@pytest.mark.parametrize("name", POLICIES)
def test_drawn_masks_agree_with_resampled_ones_up_to_their_edges(tmp_path: Path, name: str, fill_mode: str) -> None:
    for epoch in range(3):
        drawn = batch_of(tmp_path, policy(name, fill_mode), epoch=epoch)["segmentation_masks"][0]
        other = resampled_of(tmp_path, policy(name, fill_mode), epoch=epoch)
        assert drawn.shape == other.shape and drawn.dtype == other.dtype
        kernel = np.ones((3, 3), np.uint8)
        edge = cv2.dilate(other, kernel) != cv2.erode(other, kernel)
        np.testing.assert_array_equal(drawn[~edge], other[~edge])
        assert set(np.unique(drawn)) <= set(np.unique(other)) | {0, 1, 2, 9}


def test_a_mirrored_polygon_would_be_noticed(tmp_path: Path) -> None:
    drawn = batch_of(tmp_path, ow.Policy([ow.HorizontalFlip(p=1.0)]))["segmentation_masks"][0]
    assert (drawn[:, ::-1] != resampled_of(tmp_path, ow.Policy([ow.HorizontalFlip(p=1.0)]))).mean() > 0.1


def test_drawn_masks_are_nearer_to_the_truth(tmp_path: Path) -> None:
    """Enlarged four times, a disc keeps its outline; a resampled mask has the steps of the small one."""
    chosen = ow.Policy([ow.Resize((HEIGHT * 4, WIDTH * 4))])
    drawn = batch_of(tmp_path, chosen)["segmentation_masks"][0] == 1
    other = resampled_of(tmp_path, chosen) == 1
    y, x = np.mgrid[: HEIGHT * 4, : WIDTH * 4] + 0.5
    truth = np.hypot(x - 160, y - 80) < 36
    assert (drawn != truth).sum() < 0.5 * (other != truth).sum()


def test_instances_keep_the_rows_of_their_boxes(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, policy("turn"), masks="instance")
    masks, boxes = batch["segmentation_masks"][0], batch["bounding_boxes"]["boxes"][0]
    assert masks.shape == (HEIGHT, WIDTH, 2)
    for row in range(2):
        ys, xs = np.nonzero(masks[..., row] == 1)
        x1, y1, x2, y2 = boxes[row]
        assert len(xs) and xs.min() >= x1 - 1 and xs.max() <= x2 + 1 and ys.min() >= y1 - 1 and ys.max() <= y2 + 1


def test_run_lengths_are_resampled(tmp_path: Path) -> None:
    inside = np.zeros((HEIGHT, WIDTH), np.uint8)
    inside[10:30, 20:40] = 1
    rle = Rle(encode(inside)["counts"].decode(), (HEIGHT, WIDTH))
    plan = ow.Policy([ow.Rotate((20, 20))]).plan(ow.Spec(images=(HEIGHT, WIDTH, 3)))
    params = ow.Policy([ow.Rotate((20, 20))]).draw(ow.Spec(images=(HEIGHT, WIDTH, 3)), seed=0, ids=np.array([0]))
    drawn = Shapes([Shape(rle, 3)], HEIGHT, WIDTH).draw(plan, params, 0)[0]
    np.testing.assert_array_equal(drawn, host.run_masks(plan, params, [inside * 3])[0])


def test_masks_need_not_be_drawn_where_nothing_moves(tmp_path: Path) -> None:
    drawn = batch_of(tmp_path, ow.Policy([ow.Normalize("imagenet")]))["segmentation_masks"][0]
    source = ow.CocoSource(tmp_path, tmp_path / "instances.json", masks="semantic")
    np.testing.assert_array_equal(drawn, source[0]["segmentation_masks"])
