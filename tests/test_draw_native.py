"""What is native on the host: uniforms, products of matrices and rectangles are those of the array operations; views
are copies.
"""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import onewarp as ow
from onewarp import _native
from onewarp.data.base import SMALL
from onewarp.data.batches import Batches
from onewarp.data.sources import ArraySource
from onewarp.matrices import compose, compose_by_operations
from onewarp.params import fingerprint
from onewarp.random import Slots, uniforms_by_operations, uniforms_of
from onewarp.transforms.crop import TRIALS, first_fit, first_fit_by_operations

SLOTS = Slots.of([(("Rotate", 0), 1), (("Rotate", 3), 2), (("name:mine", 0), 7), (("Shear", 0), 40)])


@pytest.mark.parametrize("n", [0, 1, 5, 128, 300])
@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (2**64 - 1, 2**32 - 1), ((5 << 33) + 0xDEADBEEF, 0xF0000001)])
@pytest.mark.parametrize("occurrence", ["none", "one", "each"])
def test_native_uniforms_are_those_of_array_operations(n, seed, epoch, occurrence, rng) -> None:
    ids = rng.integers(0, 2**63, n)
    times = {"none": None, "one": 7, "each": rng.integers(0, 2**32, n)}[occurrence]
    found = uniforms_of(seed, epoch, ids, times, SLOTS)
    expected = uniforms_by_operations(seed, epoch, ids, times, SLOTS, np)
    for k, ours, theirs in zip(SLOTS.counts, found, expected, strict=True):
        assert ours.shape == (n, k) and ours.dtype == np.float64
        np.testing.assert_array_equal(ours, theirs)


def test_many_uniforms_are_made_without_the_gil_and_are_the_same() -> None:
    ids = np.arange(3000)
    many = uniforms_of(1, 2, ids, None, SLOTS)
    few = uniforms_of(1, 2, ids[2900:2903], None, SLOTS)
    for all_of_them, some in zip(many, few, strict=True):
        np.testing.assert_array_equal(all_of_them[2900:2903], some)


def test_native_uniforms_refuse_what_does_not_fit() -> None:
    slots, counts = np.zeros((2, 2), np.uint32), np.ones(2, np.int32)
    ids, once = np.zeros(3, np.uint64), np.zeros(1, np.uint32)
    with pytest.raises(ValueError, match="counts: must be as many as slots"):
        _native.uniforms(0, 0, slots, counts[:1], ids, once)
    with pytest.raises(ValueError, match="counts: must not be negative, got -1"):
        _native.uniforms(0, 0, slots, -counts, ids, once)
    with pytest.raises(ValueError, match="occurrence: expected 1 or 3 numbers, got 2"):
        _native.uniforms(0, 0, slots, counts, ids, np.zeros(2, np.uint32))
    with pytest.raises(TypeError):
        _native.uniforms(0, 0, slots, counts, ids.astype(np.int64), once)


def test_native_products_are_those_of_array_operations(rng) -> None:
    n = 50
    some = rng.random((n, 3)) < 0.5
    steps = [
        (rng.normal(size=(n, 3, 3)), None),
        (rng.normal(size=(1, 3, 3)), some[:, 1]),  # not contiguous
        (rng.normal(size=(3, 3, n)).transpose(2, 0, 1), some[:, 0].copy()),
        (rng.normal(size=(n, 3, 3)).astype(np.float32), np.array([True])),
        (rng.normal(size=(1, 3, 3)), np.array([False])),
    ]
    for count in range(len(steps) + 1):
        expected = np.broadcast_to(compose_by_operations(steps[:count], np), (n, 3, 3))
        np.testing.assert_allclose(compose(steps[:count], n, np), expected, rtol=1e-12, atol=1e-12)


def test_native_products_refuse_what_does_not_fit() -> None:
    eye = np.eye(3)[None]
    with pytest.raises(ValueError, match="fires: must be as many as matrices"):
        _native.compose([eye], [], 1)
    with pytest.raises(ValueError, match="expected 1 or 4 of each"):
        _native.compose([eye], [np.ones(3, bool)], 4)
    with pytest.raises(ValueError, match="expected 1 or 4 of each"):
        _native.compose([np.repeat(eye, 2, axis=0)], [None], 4)


@pytest.mark.parametrize("smaller", [False, True])
@pytest.mark.parametrize("sizes", ["one", "each"])
def test_native_rectangles_are_those_of_array_operations(smaller, sizes, rng) -> None:
    n = 300
    u = rng.random((2 * TRIALS + 2, n)).T
    along, across = rng.integers(1, 400, (2, n if sizes == "each" else 1)).astype(float)
    some = 0
    for scale, ratio in (((0.5, 1.0), (0.3, 3.3)), ((0.35, 1.0), (3 / 4, 4 / 3)), ((1.0, 1.0), (50.0, 100.0))):
        expected = first_fit_by_operations(u, scale, ratio, along, across, smaller=smaller, xp=np)
        found = first_fit(u, scale, ratio, along, across, smaller=smaller, xp=np)
        np.testing.assert_array_equal(found[0], expected[0])
        for ours, theirs in zip(found[1:], expected[1:], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-14)
        some += found[0].sum()
    assert 0 < some < 3 * n


def test_a_rectangle_as_large_as_the_frame_fits_unless_it_must_be_smaller() -> None:
    u, side = np.zeros((1, 2 * TRIALS)), np.array([64.0])
    found, high, wide = first_fit(u, (1.0, 1.0), (1.0, 1.0), side, side, smaller=False, xp=np)
    assert (found[0], high[0], wide[0]) == (True, 64.0, 64.0)
    found, high, wide = first_fit(u, (1.0, 1.0), (1.0, 1.0), side, side, smaller=True, xp=np)
    assert (found[0], high[0], wide[0]) == (False, 0.0, 0.0)


def test_native_rectangles_refuse_what_does_not_fit() -> None:
    u, sides, pair = np.zeros((3, 20)), np.ones(3), (0.0, 1.0)
    with pytest.raises(ValueError, match="expected 2 numbers for each of 11 trials, got 20"):
        _native.first_fit(u, 11, pair, pair, sides, sides, False)
    with pytest.raises(ValueError, match="expected 1 or 3 numbers each"):
        _native.first_fit(u, 10, pair, pair, sides, sides[:2], False)


def test_large_images_are_warped_where_they_are(rng) -> None:
    """A batch of views has the bytes of a batch of copies, and the source keeps its own."""
    side = 160
    assert side * side * 3 > SMALL
    images = rng.integers(0, 256, (9, side, side, 3), dtype=np.uint8)
    labels, masks = np.arange(9), rng.integers(0, 5, (9, side, side), dtype=np.uint8)
    before = images.copy()
    policy = ow.Policy([ow.Rotate(20), ow.GaussianNoise(p=0.5), ow.RandomCrop(90), ow.MixUp()])
    source = ArraySource(images, labels, segmentation_masks=masks, class_names=[str(k) for k in range(9)])
    views = source.subset([8, 3, 4, 5]).views(np.array([1, 0]))
    assert isinstance(views["images"], list) and all(np.shares_memory(view, images) for view in views["images"])
    assert not np.shares_memory(views["segmentation_masks"], masks)
    batches = Batches(source, policy, 4, seed=3)
    rows = batches.indices(1, 0)
    batch = {"images": images[rows], "labels": labels[rows], "segmentation_masks": masks[rows]}
    expected = policy(batch, seed=3, epoch=1, ids=rows, num_classes=9)
    found = batches.batch(1, 0)
    for role in ("images", "labels", "segmentation_masks"):
        np.testing.assert_array_equal(found[role], expected[role])
    np.testing.assert_array_equal(images, before)


def test_plans_survive_pickling_without_their_hash() -> None:
    policy = ow.Policy([ow.Rotate(20), ow.ColorJitter(0.2)])
    plan = policy.plan(ow.Spec((8, 8, 3)))
    hash(plan)
    again = pickle.loads(pickle.dumps(plan))
    assert b"_hash" not in pickle.dumps(plan)
    assert again == plan and hash(again) == hash(plan) and fingerprint(again) == fingerprint(plan)
    twin = pickle.loads(pickle.dumps(policy))
    assert twin == policy and hash(twin) == hash(policy)
