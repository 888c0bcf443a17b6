"""Every property for every row of the table, on the host engine."""

from __future__ import annotations

import dataclasses
import json
import pickle
from typing import Any

import numpy as np
import pytest

import onewarp as ow
from onewarp.engine.host import run_images
from onewarp.engine.visited import visited
from onewarp.transform import Combinator, Erase, Filter, Geometric, Mix
from onewarp.transforms import vocabulary
from reference import run_policy, steps_of
from table import ROWS, VARIANTS, Row

ALL = ROWS + VARIANTS
FOLLOWS_PIXELS = (Geometric, Mix, Combinator)  # kinds that move masks and points, too


def ids(rows: list[Row]) -> list[str]:
    return [f"{row.name}-{i}" if row in VARIANTS else row.name for i, row in enumerate(rows)]


every_row = pytest.mark.parametrize("row", ALL, ids=ids(ALL))


def pictures(row: Row, rng: np.random.Generator, n: int = 4, dtype: str = "uint8", channels: int | None = None) -> Any:
    """Images with smooth parts, edges and noise, [n, h, w, c]: odd sizes, not square unless the row wants squares."""
    channels = channels or (3 if 3 in row.channels else row.channels[0])
    height, width = (37, 37) if row.square else (37, 53)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(y * a / 9 + x * b / 7 + c) for a, b, c in rng.uniform(0.3, 2, (n * channels, 3))]
    values = 0.5 + 0.4 * np.stack(waves).reshape(n, channels, height, width).transpose(0, 2, 3, 1)
    values += rng.uniform(-0.1, 0.1, values.shape)
    values[:, 10:20, 12:30] = rng.uniform(0, 1, (n, 1, 1, channels))
    values = values.clip(0, 1)
    if dtype == "float32":
        return values.astype(np.float32)
    top = np.iinfo(dtype).max
    return np.rint(values * top).astype(dtype)


def assert_same_pixels(result: np.ndarray, expected: np.ndarray, steps: bool, unit: float) -> None:
    """The rule: at most 0.1 % of the values differ by more than one grey level (`unit`; 1e-3 of the range for floats).

    Without steps nothing may differ by more. `expected` is float64, not yet rounded.
    """
    assert result.shape == expected.shape
    if result.dtype.kind in "iu":
        top = np.iinfo(result.dtype).max
        expected = np.rint(expected.clip(0, top))
    off = np.abs(result.astype(np.float64) - expected)
    far = off > unit * (1 + 1e-6)
    assert far.mean() <= 1e-3, f"{far.mean():.2%} of the values are off, the worst by {off.max():.4g}"
    if not steps:
        assert not far.any(), f"off by {off.max():.4g}"


def grey_level(dtype: str) -> float:
    return {"uint8": 1.0, "uint16": 65.5, "float32": 1e-3}[dtype]


def compare(policy: ow.Policy, images: Any, steps: bool, seed: int = 5) -> None:
    result = policy(images, seed=seed, epoch=2, ids=np.arange(10, 10 + len(images)), threads=2)
    expected = run_policy(policy, images, seed, 2, range(10, 10 + len(images)))
    unit = grey_level(str(images[0].dtype))
    if result.dtype == np.float32:
        low, high = (0.0, 1.0) if images[0].dtype == np.float32 else (0.0, float(np.iinfo(images[0].dtype).max))
        scale = policy.plan(ow.Spec.of(images)).output.scale
        unit = max(unit, 1e-3 * (high - low)) * max(scale)
    for got, want in zip(result, expected, strict=True):
        assert_same_pixels(got, want, steps, unit)


def test_every_public_transform_has_a_row() -> None:
    assert {row.name for row in ROWS} == set(vocabulary())
    assert len(ROWS) == len(vocabulary())


@every_row
@pytest.mark.parametrize("dtype", ["uint8", "float32", "uint16"])
def test_alone_it_equals_the_slow_twin(row: Row, dtype: str, rng: np.random.Generator) -> None:
    if isinstance(row.make(1.0), Mix):
        pytest.skip("mixing is not the engine's: tests/test_targets.py")
    for p in (1.0, 0.5):
        compare(ow.Policy([row.make(p)]), pictures(row, rng, dtype=dtype), row.steps)


@every_row
def test_fused_with_neighbours_it_equals_the_slow_twin(row: Row, rng: np.random.Generator) -> None:
    transform = row.make(0.7)
    if isinstance(transform, Mix):
        pytest.skip("mixing is not the engine's: tests/test_targets.py")
    size = (34, 34) if row.square else (34, 45)
    before = [ow.Scale((0.9, 1.1)), ow.Brightness(0.2), ow.HorizontalFlip()]
    after = [] if row.always else [ow.Rotate(12), ow.Contrast(0.3), ow.Gamma((0.8, 1.2)), ow.CenterCrop(size)]
    for fill_mode in ("constant", "reflect"):
        policy = ow.Policy([*before, transform, *after], fill_mode=fill_mode, fill_value=90)
        compare(policy, pictures(row, rng), steps=True)  # a table rounds: what differs by one before may by two after
    without_table = ow.Policy([*before, transform, *[t for t in after if not isinstance(t, ow.Gamma)]])
    compare(without_table, pictures(row, rng), row.steps or row.tables)


@every_row
def test_pixels_outside_of_what_it_visits_do_not_matter(row: Row, rng: np.random.Generator) -> None:
    if isinstance(row.make(1.0), Mix):
        pytest.skip("mixing comes after everything that is visited")
    images = pictures(row, rng, n=6)
    end = [] if row.always else [ow.RandomCrop((9, 9))]
    for fill_mode in ("constant", "nearest", "reflect", "wrap"):
        for interpolation in ("bilinear", "bicubic", "nearest"):
            policy = ow.Policy([row.make(0.7), *end], fill_mode=fill_mode, interpolation=interpolation)
            plan, params = policy.plan(ow.Spec.of(images)), policy.draw(images, seed=4)
            parts, spoilt = visited(plan, params, params.sizes), images.copy()
            for image, (top, left, bottom, right) in zip(spoilt, parts, strict=True):
                kept = image[top:bottom, left:right].copy()
                image[...] = rng.integers(0, 256, image.shape)
                image[top:bottom, left:right] = kept
            np.testing.assert_array_equal(run_images(plan, params, spoilt), run_images(plan, params, images))


def test_less_is_visited_than_all_and_one_pixel_less_would_be_too_little(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (64, 40, 60, 3), dtype=np.uint8)
    policy = ow.Policy([ow.RandomResizedCrop(24, scale=(0.1, 0.6)), ow.Rotate(20)])
    plan, params = policy.plan(ow.Spec.of(images)), policy.draw(images, seed=1)
    parts, spoilt = visited(plan, params, params.sizes), images.copy()
    assert (np.diff(parts[:, ::2]) * np.diff(parts[:, 1::2])).mean() < 0.75 * 40 * 60
    for image, (top, left, bottom, right) in zip(spoilt, parts, strict=True):
        kept = image[top + 4 : bottom - 4, left + 4 : right - 4].copy()
        image[...] = 0
        image[top + 4 : bottom - 4, left + 4 : right - 4] = kept
    assert (run_images(plan, params, spoilt) != run_images(plan, params, images)).any()


@every_row
def test_every_number_of_channels(row: Row, rng: np.random.Generator) -> None:
    for channels in (1, 2, 3, 4, 5):
        images = pictures(row, rng, n=2, channels=channels)
        policy = ow.Policy([row.make(1.0)])
        if channels in row.channels:
            if not isinstance(row.make(1.0), Mix):
                compare(policy, images, row.steps)
        else:
            with pytest.raises(ow.PolicyError, match=f"{channels}") as caught:
                policy(images, seed=0)
            assert "\n" not in str(caught.value)


@every_row
def test_p_0_changes_nothing(row: Row, rng: np.random.Generator) -> None:
    if row.always:
        with pytest.raises(ow.InputError, match="p must be 1"):
            dataclasses.replace(row.make(1.0), p=0.5)
        return
    images = pictures(row, rng)
    policy = ow.Policy([row.make(0.0)])
    result = policy({"images": images, "labels": np.eye(4, dtype=np.float32)}, seed=3)["images"]
    if result.shape == images.shape:
        np.testing.assert_array_equal(result, images)
    else:  # what sets the size and does not fire is a resize
        resized = ow.Policy([ow.Resize(result.shape[1:3])])(images, seed=3)
        np.testing.assert_array_equal(result, resized)


@every_row
def test_p_is_the_probability_of_firing(row: Row) -> None:
    if row.always or isinstance(row.make(1.0), Combinator):
        pytest.skip("it always fires" if row.always else "its members fire")
    policy = ow.Policy([row.make(0.3)])
    fired = sum(steps_of(policy, 7, 0, i)[0].fires for i in range(400))
    assert 80 < fired < 160  # 120 expected, four standard deviations either side


@every_row
def test_the_draw_depends_only_on_the_key(row: Row, rng: np.random.Generator) -> None:
    images, keys = pictures(row, rng, n=6), np.array([5, 2**40 + 1, 7, 0, 3, 9])
    policy = ow.Policy([row.make(0.6)])
    together = policy.draw(images, seed=1, epoch=4, ids=keys)
    order = np.array([3, 0, 5, 1])
    again = policy.draw(images[order], seed=1, epoch=4, ids=keys[order])
    assert together.take(order) == again
    behind = ow.Policy(
        [ow.ChannelShift(0.01), row.make(0.6)] if row.name != "ChannelShift" else [ow.Rotate(1), row.make(0.6)]
    )
    if 3 in row.channels:
        alone, other = steps_of(policy, 1, 4, 7), steps_of(behind, 1, 4, 7)
        if row.name not in ("OneOf", "SomeOf", "Sometimes"):
            np.testing.assert_array_equal(alone[0].u, other[1].u)


@every_row
def test_seed_epoch_and_id_matter(row: Row) -> None:
    if row.always:
        pytest.skip("it draws nothing")
    policy = ow.Policy([row.make(0.6)])

    def drawn(seed: int, epoch: int, first: int) -> list[Any]:
        steps = [steps_of(policy, seed, epoch, first + i)[0] for i in range(60)]
        return [(step.fires, step.u.tolist()) for step in steps]

    here = drawn(1, 4, 0)
    assert here == drawn(1, 4, 0)
    for elsewhere in (drawn(2, 4, 0), drawn(1, 5, 0), drawn(1, 4, 60)):
        assert elsewhere != here


@every_row
def test_masks_boxes_and_points_follow_the_pixels_or_stay(row: Row, rng: np.random.Generator) -> None:
    transform = row.make(1.0)
    if isinstance(transform, Mix):
        pytest.skip("tests/test_targets.py")
    images = pictures(row, rng)
    masks = images[..., :1].astype(np.uint8) // 32
    batch = {
        "images": np.repeat(masks, images.shape[3], axis=3),
        "segmentation_masks": masks,
        "bounding_boxes": {
            "boxes": np.tile(np.array([[[4.0, 5.0, 20.0, 30.0]]]), (4, 1, 1)),
            "labels": np.ones((4, 1), int),
        },
        "keypoints": np.tile(np.array([[[4.0, 5.0], [20.0, 5.0], [20.0, 30.0], [4.0, 30.0]]]), (4, 1, 1)),
    }
    result = ow.Policy([transform], interpolation="nearest")(batch, seed=8)
    if isinstance(transform, Geometric):
        np.testing.assert_array_equal(result["images"][..., :1], result["segmentation_masks"])
        height, width = result["images"].shape[1:3]
        points = result["keypoints"].clip(0, [width, height])
        hull = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
        boxes = result["bounding_boxes"]["boxes"][:, 0]
        kept = result["bounding_boxes"]["labels"][:, 0] == 1
        slack = 4.0 if transform.displaces else 1e-4  # between its corners the outline bends
        np.testing.assert_allclose(boxes[kept], hull[kept], atol=slack)
    elif not isinstance(transform, Combinator):
        np.testing.assert_array_equal(result["segmentation_masks"], masks)
        np.testing.assert_array_equal(result["bounding_boxes"]["boxes"], batch["bounding_boxes"]["boxes"])
        np.testing.assert_array_equal(result["keypoints"], batch["keypoints"])


@every_row
def test_round_trips(row: Row) -> None:
    policy = ow.Policy([row.make(0.25)], fill_mode="wrap", fill_value=(1, 2, 3))
    assert ow.Policy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert hash(ow.Policy.from_dict(policy.to_dict())) == hash(policy)
    assert eval(repr(policy), vars(ow) | {"Policy": ow.Policy} | vocabulary()) == policy


@every_row
def test_replay_saved_parameters(row: Row, rng: np.random.Generator, tmp_path: Any) -> None:
    images, labels = pictures(row, rng), np.eye(4, dtype=np.float32)
    policy = ow.Policy([row.make(0.5)])
    params = policy.draw(images, seed=11)
    params.save(tmp_path / "params.npz")
    first = policy((images, labels), seed=11)
    for again in (params, ow.Params.load(tmp_path / "params.npz")):
        for one, other in zip(first, policy((images, labels), params=again), strict=True):
            np.testing.assert_array_equal(one, other)


@every_row
def test_lists_strides_and_threads_give_the_same_bytes(row: Row, rng: np.random.Generator) -> None:
    images, labels = pictures(row, rng), np.eye(4, dtype=np.float32)
    before = images.copy()
    policy = ow.Policy([row.make(0.8)])
    plain = policy((images, labels), seed=2, threads=1)[0]
    wide = np.zeros((4, images.shape[1] * 2, images.shape[2] + 3, images.shape[3] + 1), images.dtype)
    strided = wide[:, ::2, 3:, 1:]
    strided[...] = images
    backwards = images[:, ::-1].copy()[:, ::-1]
    for same in (list(images), strided, backwards, np.asfortranarray(images)):
        np.testing.assert_array_equal(policy((same, labels), seed=2, threads=8)[0], plain)
    np.testing.assert_array_equal(images, before)


def test_the_comparison_can_fail(rng: np.random.Generator) -> None:
    """A quarter of a pixel, one colour step or one transform too few are seen."""
    row = ROWS[0]
    images = pictures(row, rng)
    policy = ow.Policy([ow.Rotate(20), ow.Brightness((0.7, 0.8)), ow.Gamma(1.3)])
    honest = run_policy(policy, images, 5)
    result = policy(images, seed=5)
    for got, want in zip(result, honest, strict=True):
        assert_same_pixels(got, want, False, 1.0)
    for wrong in (
        ow.Policy([ow.Rotate(20), ow.Gamma(1.3)]),
        ow.Policy([ow.Rotate(20), ow.Brightness((0.7, 0.8))]),
        ow.Policy([ow.Rotate(20), ow.Brightness((0.7, 0.8)), ow.Gamma(1.4)]),
        ow.Policy([ow.Rotate(20.3), ow.Brightness((0.7, 0.8)), ow.Gamma(1.3)]),
    ):
        with pytest.raises(AssertionError):
            for got, want in zip(result, run_policy(wrong, images, 5), strict=True):
                assert_same_pixels(got, want, False, 1.0)


def test_filters_and_erases_are_the_only_barriers() -> None:
    for row in ROWS:
        transform = row.make(1.0)
        if row.square or row.always or isinstance(transform, (Mix, Combinator)):
            continue
        plan = ow.Policy([ow.Rotate(5), transform, ow.Shear(5), ow.Resize(32)]).plan(ow.Spec((37, 53, 3)))
        warps = sum(type(stage).__name__ == "WarpStage" for stage in plan.stages)
        assert warps == (2 if isinstance(transform, (Filter, Erase)) else 1), row.name
