"""What single settings mean on the device: fill modes, interpolations, reduced levels, ranges, dtypes, boxes, masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from device_helpers import BACKEND, assert_same_pixels, batch_of, both, check, on_device, ties

import onewarp as ow
from table import ROWS

WARPS = [ow.Rotate(30), ow.Scale((0.4, 1.3)), ow.Translate(0.4), ow.Shear(15)]


@pytest.mark.parametrize("fill_mode", ["constant", "nearest", "reflect", "wrap"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest", "bicubic"])
def test_fill_modes_and_interpolations(fill_mode: str, interpolation: str, rng: np.random.Generator) -> None:
    """On odd sizes, with 1, 3 and 4 channels; some samples are shrunk by more than 2."""
    for channels, dtype in ((1, "uint8"), (3, "float32"), (4, "uint8")):
        batch = batch_of(ROWS[2], rng, dtype, channels)
        fill = tuple(np.linspace(0.2, 0.9, channels) * (255 if dtype == "uint8" else 1))
        policy = ow.Policy(WARPS, fill_mode=fill_mode, interpolation=interpolation, fill_value=fill)
        if channels != 3:
            del batch["keypoints"]
        check(policy, batch, steps=False, compile=BACKEND != "torch" and channels == 3)


@pytest.mark.parametrize("size", [(7, 9), (11, 30), (18, 26), (5, 5)])
@pytest.mark.parametrize("fill_mode", ["constant", "reflect"])
def test_shrinking_reads_reduced_levels(size: tuple[int, int], fill_mode: str, rng: np.random.Generator) -> None:
    """Blocks at the lower and right edges are partial: 37 x 53 pixels, by 2, 4 and 8."""
    steps = [ow.Rotate(20), ow.RandomResizedCrop(size, scale=(0.5, 1.0))]
    for dtype, fill in (("uint8", 99), ("float32", 0.4)):
        images = np.concatenate([batch_of(ROWS[2], rng, dtype)["images"]] * 3)
        policy = ow.Policy(steps, fill_mode=fill_mode, fill_value=fill)
        check(policy, {"images": images}, steps=False)


@pytest.mark.parametrize(
    "value_range, dtype", [((-1.0, 1.0), "float32"), ((0.0, 255.0), "float32"), ((5, 250), "uint8")]
)
def test_other_value_ranges(value_range: Any, dtype: str, rng: np.random.Generator) -> None:
    low, high = value_range
    images = batch_of(ROWS[2], rng, "float32")["images"] * (high - low) + low
    images = np.rint(images).astype(np.uint8) if dtype == "uint8" else images
    colours = [ow.ColorJitter(0.3, 0.3, 0.3, 0.1, hue_method="hsv"), ow.Gamma(1.2), ow.AutoContrast(), ow.Invert()]
    policy = ow.Policy([ow.Rotate(9), *colours, ow.GaussianNoise(), ow.RandomErasing(fill_value="noise", p=1)])
    found, expected, _ = both(policy, {"images": images}, value_range=value_range)
    unit = 1.0 if dtype == "uint8" else 1e-3 * (high - low)
    assert_same_pixels(found["images"], expected["images"], unit, steps=True)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "bfloat16"])
def test_dtypes_and_layouts_of_the_result(dtype: str, data_format: str, rng: np.random.Generator) -> None:
    images = batch_of(ROWS[2], rng)["images"]
    steps = [ow.Rotate(9), ow.Brightness(0.5), ow.Rescale(1 / 2, 3)]
    policy = ow.Policy(steps, dtype=dtype, data_format=data_format)
    plan = policy.plan(ow.Spec.of(images))
    params = policy.draw(images, seed=5)
    wide = ow.Policy(steps, dtype="float32", data_format=data_format)
    expected = wide(images, params=wide.draw(images, seed=5))
    found = on_device(plan, params, {"images": images})["images"]
    slack = {"uint8": 0.5, "float16": 0.07, "bfloat16": 0.6, "float32": 1e-3}[dtype] + 1e-3
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.astype(float), expected, rtol=0, atol=slack)


def test_a_flat_image_stays_flat() -> None:
    """To the last bit: whatever the weights are, they are steps away from one tap."""
    for interpolation in ("bilinear", "bicubic"):
        policy = ow.Policy(WARPS, fill_mode="reflect", interpolation=interpolation)
        images = np.full((4, 37, 53, 3), 0.3, np.float32)
        found, _, _ = both(policy, {"images": images})
        assert (found["images"] == np.float32(0.3)).all()


@pytest.mark.parametrize("box_format", ["xywh", "rel_yxyx", "center_xywh"])
def test_formats_of_boxes(box_format: str, rng: np.random.Generator) -> None:
    batch = batch_of(ROWS[2], rng)
    scale = np.array([37, 53, 37, 53]) if box_format.startswith("rel") else 1.0
    batch["bounding_boxes"]["boxes"] = (batch["bounding_boxes"]["boxes"] / scale).astype(np.float32)
    policy = ow.Policy([ow.RandomResizedCrop(30), ow.CutMix()], min_area=20, min_visibility=0.2)
    found, expected, _ = both(policy, batch, bounding_box_format=box_format)
    np.testing.assert_array_equal(found["bounding_boxes"]["labels"], expected["bounding_boxes"]["labels"])
    assert (expected["bounding_boxes"]["labels"] == -1).any()
    np.testing.assert_allclose(found["bounding_boxes"]["boxes"], expected["bounding_boxes"]["boxes"], atol=1e-3)


def test_masks_of_every_kind(rng: np.random.Generator) -> None:
    images = batch_of(ROWS[2], rng)["images"]
    policy = ow.Policy([ow.Rotate(30)], mask_fill_value=7)
    for dtype, shape in (("uint8", (37, 53)), ("int32", (37, 53, 2)), ("float32", (37, 53, 1)), ("int16", (37, 53))):
        masks = rng.integers(0, 100, (4, *shape)).astype(dtype)
        found, expected, params = both(policy, {"images": images, "segmentation_masks": masks})
        found, expected = found["segmentation_masks"], expected["segmentation_masks"]
        assert found.dtype == expected.dtype
        wrong = (found != expected).reshape(4, 37, 53, -1).any(axis=-1)
        assert not (wrong & ~ties(policy.plan(ow.Spec.of(images)), params)).any()


def test_padding_is_never_a_partner(rng: np.random.Generator) -> None:
    batch = batch_of(ROWS[2], rng)
    found, expected, _ = both(ow.Policy([ow.MixUp(1.0)]), batch, valid=3)
    assert_same_pixels(found["images"], expected["images"], 1.0, steps=False)
    assert not np.array_equal(found["images"], both(ow.Policy([ow.MixUp(1.0)]), batch)[0]["images"])
