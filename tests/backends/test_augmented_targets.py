"""Masks, boxes and points follow the images into the train step, and into evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from augmented_helpers import array, ignore_inside_keras
from loader_helpers import weights

import onewarp as ow
from onewarp.data.travel import PARAMS, unpack
from onewarp.errors import InputError
from onewarp.models import unet

pytestmark = ignore_inside_keras

MOVES = ow.Policy([ow.RandomCrop(6), ow.HorizontalFlip(), ow.Rotate(30), ow.Rescale(1 / 255)])


def scenes(n: int = 8) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, 8, (n, 2, 2, 2)), axis=2).reshape(n, 2, 4).astype(np.float32)
    return {
        "images": rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8),
        "segmentation_masks": rng.integers(0, 3, (n, 8, 8), dtype=np.uint8),
        "bounding_boxes": {"boxes": corners, "labels": rng.integers(0, 2, (n, 2))},
    }


def segmenter() -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Dense(3, activation="softmax")])


@keras.saving.register_keras_serializable("tests")
def box_loss(y: Any, found: Any) -> Any:
    return keras.ops.mean(keras.ops.square(keras.ops.cast(y, found.dtype) - found), axis=-1)


@keras.saving.register_keras_serializable("tests")
def mask_loss(y: Any, found: Any) -> Any:
    """Keras' own sparse loss of whole images fails in torch's backward pass: "grad_input must be contiguous"."""
    return keras.ops.categorical_crossentropy(keras.ops.one_hot(keras.ops.cast(y, "int32"), 3), found)


def finder() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3))
    flat = keras.layers.Flatten()(inputs)
    boxes = keras.layers.Reshape((2, 4), name="boxes")(keras.layers.Dense(8)(flat))
    labels = keras.layers.Dense(2, name="labels")(flat)
    return keras.Model(inputs, {"boxes": boxes, "labels": labels})


def test_masks_as_y() -> None:
    scene, found = scenes(), {}
    source = ow.ArraySource(scene["images"], segmentation_masks=scene["segmentation_masks"])
    for placement in ("host", "device", "arrays"):
        model = segmenter() if placement == "host" else ow.AugmentedModel(segmenter(), MOVES)
        model.compile(keras.optimizers.SGD(0.1), mask_loss, metrics=[keras.metrics.SparseCategoricalAccuracy()])
        if placement == "arrays":
            model.fit(scene["images"], scene["segmentation_masks"], batch_size=4, verbose=0)
        else:
            model.fit(ow.Loader(source, MOVES, 4, placement=placement), epochs=2, verbose=0)
        found[placement] = model
    for mine, other in zip(weights(found["device"]), weights(found["host"]), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4)
    fixed = MOVES.deterministic()
    ready = fixed({name: scene[name] for name in ("images", "segmentation_masks")})
    inner = found["device"].model
    expected = inner.evaluate(ready["images"], ready["segmentation_masks"], verbose=0, return_dict=True)
    numbers = found["device"].evaluate(scene["images"], scene["segmentation_masks"], verbose=0, return_dict=True)
    assert numbers == pytest.approx(expected, abs=1e-5)
    val = ow.Loader(source, fixed, 4, shuffle=False, placement="device")
    assert ow.evaluate(found["device"], val) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("channel", [False, True])
def test_masks_of_one_class(channel: bool) -> None:
    """A U-Net with one sigmoid per pixel, whose masks are [n, h, w] or [n, h, w, 1] of 0 and 1."""
    scene, found = scenes(), {}
    masks = (scene["segmentation_masks"] > 1).astype(np.uint8)
    masks = masks[..., None] if channel else masks
    source = ow.ArraySource(scene["images"], segmentation_masks=masks)
    ids = np.arange(8)
    for placement in ("host", "device", "arrays", "by hand"):
        keras.utils.set_random_seed(0)
        inner = unet((6, 6, 3), 1, filters=2, depth=1)
        model = ow.AugmentedModel(inner, MOVES, seed=4) if placement in ("device", "arrays") else inner
        model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy", metrics=["binary_accuracy"])
        if placement == "arrays":
            model.fit(scene["images"], masks, batch_size=8, shuffle=False, epochs=2, verbose=0)
        elif placement == "by hand":
            for step in range(2):
                batch = {"images": scene["images"], "segmentation_masks": masks}
                seen = MOVES(batch, seed=4, epoch=step, ids=ids)
                model.train_on_batch(seen["images"], seen["segmentation_masks"])
        else:
            model.fit(ow.Loader(source, MOVES, 4, placement=placement), epochs=2, verbose=0)
        found[placement] = weights(model)
    for one, other in (("device", "host"), ("arrays", "by hand")):
        for mine, theirs in zip(found[one], found[other], strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-4)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(found["host"], found["arrays"], strict=True))


def test_boxes_as_y() -> None:
    scene, found = scenes(), {}
    source = ow.ArraySource(scene["images"], bounding_boxes=scene["bounding_boxes"])
    for placement in ("host", "device"):
        model = finder() if placement == "host" else ow.AugmentedModel(finder(), MOVES)
        model.compile(keras.optimizers.SGD(1e-4), {"boxes": box_loss, "labels": "mse"})
        found[placement] = model.fit(ow.Loader(source, MOVES, 4, placement=placement), epochs=2, verbose=0).history
    np.testing.assert_allclose(found["device"]["loss"], found["host"]["loss"], rtol=1e-4)
    model = ow.AugmentedModel(finder(), MOVES)
    model.compile(keras.optimizers.SGD(1e-4), {"boxes": box_loss, "labels": "mse"})
    model.fit(scene["images"], scene["bounding_boxes"], batch_size=4, verbose=0)
    fixed = MOVES.deterministic()
    ready = fixed({name: scene[name] for name in ("images", "bounding_boxes")})
    inner = model.model.evaluate(ready["images"], ready["bounding_boxes"], verbose=0)
    assert model.evaluate(scene["images"], scene["bounding_boxes"], verbose=0) == pytest.approx(inner, rel=1e-4)


def test_photos_of_different_sizes_are_warped_once_on_the_host() -> None:
    rng = np.random.default_rng(1)
    sizes = [(40, 30), (24, 48), (33, 33), (20, 26), (51, 20), (28, 28), (30, 44), (22, 22)]
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    masks = [rng.integers(0, 3, size, dtype=np.uint8) for size in sizes]
    source = ow.ArraySource(images, segmentation_masks=masks)
    policy = ow.Policy([ow.RandomResizedCrop(6), ow.HorizontalFlip(), ow.ColorJitter(0.2, 0.2), ow.Rescale(1 / 255)])
    host, device = (ow.Loader(source, policy, 4, placement=placement) for placement in ("host", "device"))
    (x, y), (dx, dy) = (loader.batches.xyw(loader.batches.batch(0, 0)) for loader in (host, device))
    route, raw, arrays = unpack(dx)  # type: ignore[misc]
    assert route.start == 1 and raw.shape == (4, 6, 6, 3) and raw.dtype == np.uint8
    assert arrays and all(name.startswith("1.") for name in arrays)  # the warp's numbers stay at home
    np.testing.assert_array_equal(y, dy)
    model = ow.AugmentedModel(segmenter(), policy)
    model.compile(keras.optimizers.SGD(0.1), mask_loss)
    found = array(model._run(dx, dy, None, model._augment, None)[0])
    np.testing.assert_allclose(found, x, atol=1.01 / 255)
    model.fit(device, verbose=0)


def test_images_in_files_of_one_size_travel_as_they_are(tmp_path: Path) -> None:
    images = scenes()["images"]
    for number, image in enumerate(images):
        keras.utils.save_img(tmp_path / f"{number}.png", image, scale=False)
    source = ow.FileSource([tmp_path / f"{i}.png" for i in range(8)], np.arange(8) % 3, image_size=(8, 8))
    loader = ow.Loader(source, MOVES, 4, shuffle=False, placement="device")
    route, raw, _ = unpack(loader.batches.xyw(loader.batches.batch(0, 0))[0])  # type: ignore[misc]
    assert route.start == 0
    np.testing.assert_array_equal(raw, images[:4])


def test_targets_by_name() -> None:
    scene = scenes()
    masks = scene["segmentation_masks"]
    model = ow.AugmentedModel(segmenter(), MOVES, targets="labels")
    with pytest.raises(InputError, match="two entries 'labels'"):
        named = ow.AugmentedModel(segmenter(), MOVES, targets={"a": "labels", "b": "labels"})
        named._prepared(scene["images"], {"a": np.zeros(8), "b": np.zeros(8)}, None)
    assert model._prepared(scene["images"], masks, None)[1].shape == (8, 8, 8)  # left as they are
    model = ow.AugmentedModel(segmenter(), MOVES, targets={"mask": "segmentation_masks", "extra": "ignored"})
    y = model._prepared(scene["images"], {"mask": masks, "extra": np.zeros((8, 5, 7))}, None)[1]
    assert y["mask"].shape == (8, 6, 6) and y["extra"].shape == (8, 5, 7)
    with pytest.raises(InputError, match="targets='segmentation_mask'"):
        ow.AugmentedModel(segmenter(), MOVES, targets="segmentation_mask")


def test_a_missing_parameter_is_named() -> None:
    source = ow.ArraySource(scenes()["images"])
    x = ow.Loader(source, MOVES, 4, placement="device").batches
    packed = x.xyw(x.batch(0, 0))
    packed[PARAMS].pop("0.matrix")
    with pytest.raises(InputError, match="'0.matrix'"):
        ow.AugmentedModel(segmenter(), MOVES)(packed)
