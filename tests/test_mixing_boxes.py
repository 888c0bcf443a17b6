"""Boxes and keypoints under MixUp and CutMix; what is pasted over is judged by painted pixels."""

from __future__ import annotations

import numpy as np
import pytest

import onewarp as ow
from test_mixing import H, N, W, flat_images, inside, mixed


def boxed(rng, k: int = 3) -> dict:
    """Whole-pixel boxes [N, k, 4], labels 100 * sample + box."""
    x, y = rng.integers(0, W - 8, (N, k)), rng.integers(0, H - 8, (N, k))
    far_x, far_y = x + rng.integers(3, W - x + 1), y + rng.integers(3, H - y + 1)
    boxes = np.stack([x, y, far_x, far_y], axis=-1).astype(np.float32)
    return {"boxes": boxes, "labels": 100 * np.arange(N)[:, None] + np.arange(k)}


def painted(box, where: np.ndarray) -> tuple[list[int], int]:
    """The bounding box and the number of the pixels of `box` that lie in `where` [H, W]."""
    rows, columns = np.mgrid[:H, :W]
    x1, y1, x2, y2 = box
    i, j = np.nonzero(where & (columns >= x1) & (columns < x2) & (rows >= y1) & (rows < y2))
    return ([j.min(), i.min(), j.max() + 1, i.max() + 1] if len(i) else [0, 0, 0, 0]), len(i)


def test_mixup_keeps_the_boxes_of_both(rng) -> None:
    given = boxed(rng)
    result, other, _, _ = mixed(ow.MixUp(1.0), {"images": flat_images(), "bounding_boxes": given})
    found = result["bounding_boxes"]
    np.testing.assert_array_equal(found["boxes"], np.concatenate([given["boxes"], given["boxes"][other]], axis=1))
    np.testing.assert_array_equal(found["labels"], np.concatenate([given["labels"], given["labels"][other]], axis=1))


@pytest.mark.parametrize("settings", [{}, {"min_visibility": 0.4}, {"min_area": 30}], ids=str)
def test_cutmix_cuts_boxes_to_what_is_still_to_be_seen(settings, rng) -> None:
    given = boxed(rng)
    policy = ow.Policy([ow.CutMix(1.0)], **settings)
    batch = {"images": flat_images(), "bounding_boxes": given}
    kept = dropped = 0
    for seed in range(5):
        _, other, _, rect = mixed(ow.CutMix(1.0), batch, seed)
        found = policy(batch, seed=seed)["bounding_boxes"]
        assert found["boxes"].shape == (N, 6, 4) and found["labels"].dtype == given["labels"].dtype
        for i in range(N):
            pasted = inside(rect[i])
            for k in range(6):
                owner, where = (i, ~pasted) if k < 3 else (other[i], pasted)
                box, label = given["boxes"][owner, k % 3], given["labels"][owner, k % 3]
                hull, pixels = painted(box, where)
                whole = (box[2] - box[0]) * (box[3] - box[1])
                stays = pixels > 0 and pixels >= settings.get("min_visibility", 0) * whole
                # What little is left is measured as the box around it: the pixels beside a corner that is gone count.
                room = (hull[2] - hull[0]) * (hull[3] - hull[1])
                stays = stays and room >= settings.get("min_area", 0)
                about = f"seed {seed}, sample {i}, box {k}"
                assert found["labels"][i, k] == (label if stays else -1), about
                np.testing.assert_array_equal(found["boxes"][i, k], hull if stays else [0, 0, 0, 0], err_msg=about)
                kept, dropped = kept + stays, dropped + (not stays)
    assert kept > 50 and dropped > 50


@pytest.mark.parametrize("cls", [ow.MixUp, ow.CutMix])
def test_boxes_of_what_does_not_fire_stay_and_nobody_joins_them(cls, rng) -> None:
    given = boxed(rng)
    result, _, weight, _ = mixed(cls(1.0, p=0.5), {"images": flat_images(), "bounding_boxes": given})
    still = weight == 1
    assert still.any()
    np.testing.assert_array_equal(result["bounding_boxes"]["boxes"][still, :3], given["boxes"][still])
    np.testing.assert_array_equal(result["bounding_boxes"]["labels"][still, :3], given["labels"][still])
    assert (result["bounding_boxes"]["boxes"][still, 3:] == 0).all()
    assert (result["bounding_boxes"]["labels"][still, 3:] == -1).all()


@pytest.mark.parametrize("box_format", ["xywh", "rel_yxyx", "center_yxhw"])
def test_mixed_boxes_are_given_in_the_callers_format(box_format, rng) -> None:
    from onewarp.boxes import from_corners, to_corners

    sides = np.full(N, float(H)), np.full(N, float(W))
    given = boxed(rng)
    policy = ow.Policy([ow.CutMix(1.0)])
    expected = policy({"images": flat_images(), "bounding_boxes": given}, seed=0)["bounding_boxes"]
    other = {**given, "boxes": from_corners(given["boxes"].astype(float), box_format, *sides, np)}
    found = policy({"images": flat_images(), "bounding_boxes": other}, seed=0, bounding_box_format=box_format)
    found = found["bounding_boxes"]
    np.testing.assert_array_equal(found["labels"], expected["labels"])
    real = expected["labels"] != -1
    corners = to_corners(found["boxes"], box_format, *sides, np)
    np.testing.assert_allclose(corners[real], expected["boxes"][real], atol=1e-4)
    assert (found["boxes"][~real] == 0).all()


def test_boxes_of_padding_stay_padding(rng) -> None:
    given = boxed(rng)
    given["labels"][:, 1] = -1
    given["boxes"][:, 1] = 0
    for mix in (ow.MixUp(1.0), ow.CutMix(1.0)):
        result = ow.Policy([mix])({"images": flat_images(), "bounding_boxes": given}, seed=0)["bounding_boxes"]
        assert (result["labels"][:, [1, 4]] == -1).all() and (result["boxes"][:, [1, 4]] == 0).all()


# --- keypoints ----------------------------------------------------------------------------------------------------


def points(rng, k: int = 4) -> np.ndarray:
    place = rng.uniform(0, 1, (N, k, 2)) * [W, H]
    return np.concatenate([place, np.full((N, k, 1), 2.0)], axis=-1).astype(np.float32)


def test_mixup_keeps_the_points_of_both(rng) -> None:
    given = points(rng)
    result, other, _, _ = mixed(ow.MixUp(1.0), {"images": flat_images(), "keypoints": given})
    np.testing.assert_array_equal(result["keypoints"], np.concatenate([given, given[other]], axis=1))


def test_cutmix_hides_points_that_are_pasted_over_or_not_pasted(rng) -> None:
    given = points(rng)
    result, other, _, rect = mixed(ow.CutMix(1.0), {"images": flat_images(), "keypoints": given})
    found = result["keypoints"]
    np.testing.assert_array_equal(found[..., :2], np.concatenate([given, given[other]], axis=1)[..., :2])
    for i in range(N):
        pasted = inside(rect[i])
        for k in range(8):
            x, y, visibility = found[i, k]
            assert visibility == (2 if pasted[int(y), int(x)] == (k >= 4) else 0), (i, k)
    assert 0 < (found[..., 2] == 0).sum() < found[..., 2].size


@pytest.mark.parametrize("mix", [ow.MixUp(), ow.CutMix()])
def test_points_without_visibility_cannot_be_mixed(mix, rng) -> None:
    with pytest.raises(ow.InputError, match=r"mixing keypoints needs their visibility; give keypoints as \[n, k, 3\]"):
        ow.Policy([mix])({"images": flat_images(), "keypoints": points(rng)[..., :2]})
