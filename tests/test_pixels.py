"""Pixels to learn from: shared by class and image, drawn from the key alone, of image and mask under one policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onewarp as ow
from data_helpers import encode, picture
from onewarp import random
from onewarp.errors import InputError, PolicyError
from onewarp.segment import PixelFeatures, sample_pixels
from onewarp.segment.pixels import SLOT, choose, quotas_of

VOID = 9
FEATURES = PixelFeatures(scales=(1,), filters=("gaussian", "gradient"))
TURN = ow.Policy([ow.Rotate(40), ow.HorizontalFlip(), ow.ColorJitter(0.3)], mask_fill_value=VOID)


def scenes(n: int = 5, h: int = 12, w: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Images, and masks of three classes of very different sizes and a little void."""
    images = np.stack([picture(h, w, seed) for seed in range(n)])
    masks = np.zeros((n, h, w), np.uint8)
    masks[:, :, w // 2 :] = 1
    masks[:, 3:6, 4:6] = 2
    masks[:, 0] = VOID
    return images, masks


def sampled(source: Any, policy: Any = TURN, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    given = {"classes": 3, "features": FEATURES, "pixels": 400, "void": VOID, "seed": 3, **options}
    return sample_pixels(source, policy, **given)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=8), st.integers(0, 200), st.floats(0, 1))
def test_quotas_add_up_and_stay_below_the_areas(areas: list[int], total: int, balance: float) -> None:
    quotas = quotas_of(np.array(areas), total, balance)
    assert quotas.sum() == min(total, sum(areas))
    assert (quotas >= 0).all() and (quotas <= areas).all()


def test_balance_goes_from_area_to_equal_shares() -> None:
    areas = np.array([9000, 900, 100, 0])
    assert quotas_of(areas, 1000, 0.0).tolist() == [900, 90, 10, 0]
    assert quotas_of(areas, 300, 1.0).tolist() == [100, 100, 100, 0]
    assert quotas_of(areas, 1000, 1.0).tolist() == [450, 450, 100, 0]  # what a small class lacks, the others give
    assert quotas_of(np.array([400, 100]), 30, 0.5).tolist() == [20, 10]


def test_of_each_class_the_pixels_with_the_lowest_numbers_are_taken(rng: np.random.Generator) -> None:
    labels, u = rng.integers(0, 4, 500), rng.random(500)
    places = choose(labels, u, 60, 3, 1.0, 3, "image")
    expected = [sorted(np.flatnonzero(labels == c).tolist(), key=lambda p: u[p])[:20] for c in range(3)]
    assert places.tolist() == sorted(p for some in expected for p in some)
    assert choose(labels, u, 0, 3, 1.0, 3, "image").tolist() == []


def slowly(images: np.ndarray, masks: np.ndarray, policy: Any, passes: int, quota: int, seed: int) -> Any:
    """The same training set, one showing at a time, straight from the policy and the random numbers."""
    x, y = [], []
    for epoch in range(passes):
        for k in range(len(images)):
            batch = {"images": images[k : k + 1], "segmentation_masks": masks[k : k + 1]}
            shown = policy(batch, seed=seed, epoch=epoch, ids=[k])
            labels = shown["segmentation_masks"].reshape(-1)
            u = random.uniforms(seed, epoch, np.array([k]), None, SLOT, labels.size)[0]
            places = choose(labels, u, quota, 3, 0.5, VOID, "image")
            x.append(FEATURES(shown["images"][0]).reshape(-1, len(FEATURES))[places])
            y.append(labels[places])
    return np.concatenate(x), np.concatenate(y)


def test_pixels_are_those_of_the_policy_showing_by_showing() -> None:
    images, masks = scenes()
    x, y = sampled((images, masks), passes=4)
    expected = slowly(images, masks, TURN, 4, 20, seed=3)
    assert x.dtype == np.float32 and y.dtype == np.int64 and len(x) == 400
    np.testing.assert_array_equal(x, expected[0])
    np.testing.assert_array_equal(y, expected[1])
    assert set(y.tolist()) == {0, 1, 2}  # void is left out, where it was drawn and where the policy filled
    assert not np.array_equal(x, slowly(images, masks, TURN, 4, 20, seed=4)[0])  # the check can fail


def test_each_pass_shows_another_draw() -> None:
    source = scenes()
    x, _ = sampled(source, passes=2, pixels=200)
    assert not np.array_equal(x[:100], x[100:])
    np.testing.assert_array_equal(x[:100], sampled(source, passes=1, pixels=100)[0])


def test_image_and_mask_stay_together() -> None:
    """Images that show their class as a colour still do after every policy."""
    _, masks = scenes()
    images = np.repeat(masks[..., None] * 20, 3, -1)
    policy = ow.Policy(
        [ow.Rotate(90), ow.HorizontalFlip(), ow.Scale((0.5, 2))], mask_fill_value=VOID, interpolation="nearest"
    )
    which = PixelFeatures(colours=("rgb",), filters=(), position=False)
    x, y = sampled((images, masks), policy, features=which, passes=6, pixels=3000)
    np.testing.assert_array_equal(x, np.repeat(y[:, None] * 20, 3, 1))


def test_threads_and_subsets_make_no_difference() -> None:
    source = ow.ArraySource(scenes(20)[0], segmentation_masks=scenes(20)[1])
    x, y = sampled(source, threads=1)
    for threads in (2, 5):
        again = sampled(source, threads=threads)
        assert (again[0] == x).all() and (again[1] == y).all()
    chosen = [17, 3]  # an image gives the same pixels in any company, as its id is the key
    part, _ = sampled(source.subset(chosen), pixels=40)
    np.testing.assert_array_equal(part, np.concatenate([x[20 * k : 20 * k + 20] for k in chosen]))


def test_the_seed_draws_the_pixels() -> None:
    source, plain = scenes(), ow.Policy([])
    x, _ = sampled(source, plain, pixels=100)
    assert (sampled(source, None, pixels=100)[0] == x).all()
    assert not np.array_equal(sampled(source, plain, pixels=100, seed=4)[0], x)


def test_a_budget_is_spread_over_the_showings_and_never_exceeded() -> None:
    source = scenes(5)
    for pixels, found in ((1, 1), (3, 3), (7, 7), (100, 100), (10**6, 5 * (12 * 16 - 16))):
        assert len(sampled(source, None, pixels=pixels)[0]) == found


def test_masks_from_files_are_read(tmp_path: Any) -> None:
    images, masks = scenes()
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for k in range(len(images)):
        (tmp_path / "images" / f"{k}.png").write_bytes(encode(images[k], "PNG"))
        (tmp_path / "masks" / f"{k}.png").write_bytes(encode(masks[k], "PNG"))
    files = ow.PairSource(tmp_path / "images", tmp_path / "masks", image_size=(12, 16))
    expected = sampled((images, masks))
    for found, wanted in zip(sampled(files), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


IMAGES, MASKS = scenes()
ALL_VOID = np.full_like(MASKS, VOID)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ((IMAGES, MASKS), {"void": None}, r"image 0 of the array: its mask has the label 9, which is not in \[0, 3\)"),
        ((IMAGES, MASKS), {"classes": 2}, r"has the label 2, which is not in \[0, 2\)"),
        ((IMAGES, np.where(MASKS == VOID, -1, MASKS.astype(np.int16))), {}, "has the label -1"),
        ((IMAGES, ALL_VOID), {}, "there is no pixel to learn from: in all 5 masks everything is void"),
        ((IMAGES, MASKS[:, 1:]), {}, "give it the size of the image"),
        ((IMAGES, MASKS.astype(float)), {}, "a class is a whole number"),
        ((IMAGES[..., :1], MASKS), {}, r"need \[n, h, w, 3\], RGB"),
        ((IMAGES.astype(np.float32) / 255, MASKS), {}, "images are float32 after the policy; leave Normalize"),
        (IMAGES, {}, "source is ndarray; pass a Source or a pair"),
        (ow.ArraySource(IMAGES), {}, "has no segmentation masks, only images; use PairSource"),
        ((IMAGES, MASKS), {"pixels": 0}, "pixels=0 must be a whole number >= 1"),
        ((IMAGES, MASKS), {"pixels": 1e5}, "pixels=100000.0 must be"),
        ((IMAGES, MASKS), {"passes": 0}, "passes=0 must be"),
        ((IMAGES, MASKS), {"classes": True}, "classes=True must be"),
        ((IMAGES, MASKS), {"balance": 1.5}, "balance=1.5 must be a number in"),
        ((IMAGES, MASKS), {"balance": "classes"}, "balance='classes' must be"),
        ((IMAGES, MASKS), {"features": "rgb"}, "features='rgb' must be a PixelFeatures"),
        ((IMAGES, MASKS), {"seed": -1}, "seed=-1 must be"),
        ((IMAGES, MASKS), {"threads": 0}, "threads=0 must be"),
    ],
)
def test_bad_input_is_named(source: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sampled(source, None, **options)


def test_bad_policies_are_named() -> None:
    with pytest.raises(InputError, match="images are float32 after the policy; leave Normalize and Rescale out"):
        sampled((IMAGES, MASKS), ow.Policy([ow.Normalize("imagenet")]))
    with pytest.raises(InputError, match="policy='flip' must be a Policy"):
        sampled((IMAGES, MASKS), "flip")
    several = ([IMAGES[0], IMAGES[1, 2:]], [MASKS[0], MASKS[1, 2:]])
    with pytest.raises(PolicyError, match="Resize"):
        sampled(several, None)
    assert len(sampled(several, ow.Policy([ow.Resize(10)]), pixels=50)[0]) == 50
