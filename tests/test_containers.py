"""What comes in and what goes out: the caller's arrays stay as they are, and the kind of container is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import onewarp as ow

N, H, W = 4, 12, 16


def a_batch(rng, dtype: str = "uint8") -> dict[str, Any]:
    """Every entry that a batch can have."""
    images = rng.integers(0, 256, (N, H, W, 3)).astype(np.uint8)
    return {
        "images": images if dtype == "uint8" else (images / 255).astype(dtype),
        "labels": rng.integers(0, 5, N).astype(np.int32),
        "segmentation_masks": rng.integers(0, 3, (N, H, W)).astype(np.uint8),
        "bounding_boxes": {
            "boxes": np.tile(np.array([[(2, 3, 9, 8), (0, 0, 16, 12), (0, 0, 0, 0)]], np.float32), (N, 1, 1)),
            "labels": np.tile(np.array([[1, 2, -1]], np.int32), (N, 1)),
        },
        "keypoints": rng.uniform(0, 12, (N, 2, 3)).astype(np.float32),
        "sample_weight": np.ones(N, np.float32),
    }


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in leaves(part)]
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


def digest(value: Any) -> list[str]:
    return [hashlib.sha256(np.ascontiguousarray(leaf).tobytes()).hexdigest() for leaf in leaves(value)]


POLICIES = {
    "nothing": ow.Policy([]),
    "exact": ow.Policy([ow.HorizontalFlip(p=1), ow.RandomCrop(12, padding=2)]),
    "warp": ow.Policy([ow.RandomResizedCrop(10), ow.Rotate(30), ow.ElasticTransform(p=1)], fill_mode="reflect"),
    "colour": ow.Policy([ow.ColorJitter(0.3, 0.3, 0.3, 0.1), ow.Posterize(p=1), ow.Equalize(p=1)]),
    "filters": ow.Policy([ow.GaussianBlur(p=1), ow.GaussianNoise(p=1)]),
    "erase": ow.Policy([ow.RandomErasing(p=1, fill_value="noise"), ow.GridDropout(p=1)]),
    "all": ow.Policy(
        [ow.Rotate(20), ow.Hue(), ow.CoarseDropout(p=1), ow.Normalize("imagenet"), ow.MixUp(), ow.CutMix()]
    ),
}
each_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)


@each_policy
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_callers_arrays_and_dictionaries_are_not_written_to(policy, dtype, rng) -> None:
    batch = a_batch(rng, dtype)
    before, keys = digest(batch), (list(batch), list(batch["bounding_boxes"]))
    objects = [id(leaf) for leaf in leaves(batch)]
    policy(batch, seed=0, num_classes=5)
    policy.draw(batch, seed=0)
    assert digest(batch) == before
    assert (list(batch), list(batch["bounding_boxes"])) == keys
    assert [id(leaf) for leaf in leaves(batch)] == objects


@each_policy
def test_arrays_that_cannot_be_written_to_are_fine(policy, rng) -> None:
    batch = a_batch(rng)
    expected = policy(batch, seed=0, num_classes=5)
    for leaf in leaves(batch):
        leaf.flags.writeable = False
    assert digest(policy(batch, seed=0, num_classes=5)) == digest(expected)


@each_policy
def test_images_and_masks_of_the_result_are_new_arrays(policy, rng) -> None:
    batch = a_batch(rng)
    result = policy(batch, seed=0, num_classes=5)
    for role in ("images", "segmentation_masks"):
        assert not np.shares_memory(result[role], batch[role])
        assert result[role].flags.writeable


@each_policy
def test_strides_do_not_matter(policy, rng) -> None:
    batch = a_batch(rng)
    odd = dict(batch)
    for role in ("images", "segmentation_masks"):
        wide = np.repeat(np.asfortranarray(batch[role]), 2, axis=2)
        odd[role] = wide[:, ::-1, ::2][:, ::-1]
        assert not odd[role].flags.c_contiguous
    assert digest(policy(odd, seed=0, num_classes=5)) == digest(policy(batch, seed=0, num_classes=5))


def test_a_params_value_is_not_written_to(rng) -> None:
    batch = a_batch(rng)
    params = POLICIES["all"].draw(batch, seed=0)
    before = digest(dict(params.arrays))
    POLICIES["all"](batch, params=params, num_classes=5)
    assert digest(dict(params.arrays)) == before


# --- structure ----------------------------------------------------------------------------------------------------


def test_an_array_a_pair_a_triple_and_a_dictionary_come_back_as_what_they_were(rng) -> None:
    batch, policy = a_batch(rng), POLICIES["warp"]
    x, y, w = batch["images"], batch["labels"], batch["sample_weight"]
    images = policy(x, seed=0)
    assert isinstance(images, np.ndarray) and images.shape == (N, 10, 10, 3)
    for given in ((x, y), (x, y, w)):
        found = policy(given, seed=0)
        assert isinstance(found, tuple) and len(found) == len(given)
        np.testing.assert_array_equal(found[0], images)
        np.testing.assert_array_equal(found[1], y)
    everything = policy(batch, seed=0)
    assert list(everything) == list(batch)
    np.testing.assert_array_equal(everything["images"], images)


def test_a_list_of_images_comes_back_as_one_array(rng) -> None:
    images = [rng.integers(0, 256, (8 + i, 20 - i, 3), dtype=np.uint8) for i in range(5)]
    result = POLICIES["warp"](images, seed=0)
    assert result.shape == (5, 10, 10, 3)
    for i, image in enumerate(images):
        np.testing.assert_array_equal(POLICIES["warp"](image[None], seed=0, ids=np.array([i]))[0], result[i])
    same = [np.ascontiguousarray(image[:8, :16]) for image in images]
    np.testing.assert_array_equal(POLICIES["colour"](same, seed=0), POLICIES["colour"](np.stack(same), seed=0))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_without_normalize_images_keep_their_dtype(dtype) -> None:
    images = np.zeros((2, 8, 8, 3), dtype)
    for policy in (ow.Policy([]), ow.Policy([ow.Rotate(), ow.Brightness(), ow.GaussianBlur(p=1)])):
        assert policy(images).dtype == dtype
    for last in (ow.Normalize("imagenet"), ow.Rescale()):
        assert ow.Policy([last])(images).dtype == np.float32
        assert ow.Policy([last], dtype="float16")(images).dtype == np.float16


# --- tensors ------------------------------------------------------------------------------------------------------


def tensor_kind(name: str) -> tuple[Callable[[np.ndarray], Any], type]:
    module = pytest.importorskip(name)
    if name == "torch":
        return (lambda array: module.from_numpy(array.copy())), module.Tensor
    if name == "jax":
        return module.numpy.asarray, module.Array
    return module.convert_to_tensor, module.Tensor


@pytest.mark.parametrize("name", ["jax", "tensorflow", "torch"])
@pytest.mark.parametrize("policy", ["nothing", "warp", "all"])
def test_a_backend_tensor_in_is_a_backend_tensor_out(name, policy, rng) -> None:
    make, kind = tensor_kind(name)
    batch, policy = a_batch(rng), POLICIES[policy]
    expected = policy(batch, seed=3, num_classes=5)
    boxes = {part: make(value) for part, value in batch["bounding_boxes"].items()}
    tensors = {role: boxes if role == "bounding_boxes" else make(value) for role, value in batch.items()}
    before = digest(tensors)
    found = policy(tensors, seed=3, num_classes=5)
    assert list(found) == list(expected)
    for value, wanted in zip(leaves(found), leaves(expected), strict=True):
        assert isinstance(value, kind)
        np.testing.assert_array_equal(np.asarray(value), wanted)
        assert np.asarray(value).dtype == wanted.dtype
    assert digest(tensors) == before
    assert isinstance(policy(tensors["images"], seed=3), kind)
    assert all(isinstance(part, kind) for part in policy((tensors["images"], tensors["labels"]), seed=3, num_classes=5))


@pytest.mark.parametrize("name", ["jax", "tensorflow", "torch"])
def test_a_list_of_tensors_gives_a_tensor(name, rng) -> None:
    make, kind = tensor_kind(name)
    images = [make(rng.integers(0, 256, (8 + i, 12, 3), dtype=np.uint8)) for i in range(3)]
    result = POLICIES["warp"](images, seed=0)
    assert isinstance(result, kind) and tuple(result.shape) == (3, 10, 10, 3)


def test_a_torch_tensor_that_needs_a_gradient_is_taken_as_its_values() -> None:
    torch = pytest.importorskip("torch")
    result = POLICIES["warp"](torch.rand(2, 8, 8, 3, requires_grad=True), seed=0)
    assert isinstance(result, torch.Tensor) and not result.requires_grad
