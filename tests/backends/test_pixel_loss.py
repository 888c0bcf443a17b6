"""PixelCrossentropy on the backend of KERAS_BACKEND: against NumPy, Keras' own loss, under fit and AugmentedModel."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from augmented_helpers import array, ignore_inside_keras

import onewarp as ow
from onewarp.errors import InputError
from onewarp.segment import PixelCrossentropy, median_frequency

pytestmark = ignore_inside_keras
WEIGHTS = [0.5, 2.0, 3.0]


def case(n: int = 2, classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels uint8 [n, 4, 5] with void 255, scores and probabilities float32 [n, 4, 5, classes]."""
    rng = np.random.default_rng(n)
    labels = rng.integers(0, classes, (n, 4, 5)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.3] = 255
    scores = rng.normal(size=(n, 4, 5, classes)).astype(np.float32)
    return labels, scores, np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)


def by_hand(labels: np.ndarray, probs: np.ndarray, weights: Any, sample_weight: Any = 1.0) -> float:
    counts = (labels != 255) * np.broadcast_to(sample_weight, labels.shape)
    known = np.where(labels == 255, 0, labels)
    losses = -np.log(np.take_along_axis(probs, known[..., None], -1))[..., 0] * np.asarray(weights)[known]
    return float((losses * counts).sum() / counts.sum())


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("from_logits", [False, True])
def test_is_the_mean_over_the_pixels_that_count(weights: Any, from_logits: bool) -> None:
    labels, scores, probs = case()
    loss = PixelCrossentropy(weights, void=255, from_logits=from_logits)
    given = scores if from_logits else probs
    for y in (labels, labels[..., None], labels.astype(np.float32)):
        assert float(array(loss(y, given))) == pytest.approx(by_hand(labels, probs, weights or [1, 1, 1]), rel=1e-5)
    for sample_weight in (np.array([1.0, 0.25]), np.random.default_rng(0).random(labels.shape)):
        wide = sample_weight.reshape(-1, 1, 1) if sample_weight.ndim == 1 else sample_weight
        expected = by_hand(labels, probs, weights or [1, 1, 1], wide)
        assert float(array(loss(labels, given, sample_weight))) == pytest.approx(expected, rel=1e-5)
    if weights is None:
        keras_own = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits, ignore_class=255)
        assert float(array(loss(labels, given))) == pytest.approx(float(array(keras_own(labels, given))), rel=1e-5)


def test_other_reductions_give_the_losses_of_pixels_or_their_sum() -> None:
    labels, _, probs = case()
    each = array(PixelCrossentropy(WEIGHTS, void=255, reduction=None)(labels, probs))
    assert each.shape == labels.shape and (each[labels == 255] == 0).all() and (each[labels != 255] > 0).all()
    total = float(array(PixelCrossentropy(WEIGHTS, void=255, reduction="sum")(labels, probs)))
    assert total == pytest.approx(each.sum(), rel=1e-5)


@pytest.mark.parametrize("from_logits", [False, True])
def test_one_channel_is_class_1_of_two(from_logits: bool) -> None:
    labels, scores, probs = case(classes=2)
    one = scores[..., 1:] - scores[..., :1] if from_logits else probs[..., 1:]
    found = float(array(PixelCrossentropy([1, 4], void=255, from_logits=from_logits)(labels, one)))
    assert found == pytest.approx(by_hand(labels, probs, [1, 4]), rel=1e-5)


def test_nothing_but_void_is_0_and_a_label_that_is_no_class_is_nan() -> None:
    labels, _, probs = case()
    loss = PixelCrossentropy(void=255)
    assert float(array(loss(np.full_like(labels, 255), probs))) == 0
    labels[0, 0, 0] = 3
    assert np.isnan(float(array(loss(labels, probs))))
    with pytest.raises(InputError, match=r"2 class_weights, but the model gives 3"):
        PixelCrossentropy([1, 2])(labels, probs)
    for weights in ([1, -1, 1], [1, np.nan, 1], 3.0):
        with pytest.raises(InputError, match="finite numbers that are not negative"):
            PixelCrossentropy(weights)


def test_is_saved_with_its_weights() -> None:
    loss = PixelCrossentropy(WEIGHTS, void=255)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    labels, _, probs = case()
    assert isinstance(again, PixelCrossentropy)
    assert float(array(again(labels, probs))) == float(array(loss(labels, probs)))


def painted(n: int = 8) -> ow.ArraySource:
    """Dark images with a bright bar, class 1 of a tenth of the pixels, and a void rim."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (n, 20, 20, 3), dtype=np.uint8)
    masks = np.zeros((n, 20, 20), np.uint8)
    for k in range(n):
        masks[k, :, 4 + k : 6 + k] = 1
    images[masks == 1] += 120
    masks[:, 0], masks[:, -1] = 255, 255
    return ow.ArraySource(images, segmentation_masks=masks, class_names=("dark", "bright"))


POLICY = ow.Policy([ow.HorizontalFlip(), ow.Translate(0.1), ow.Rescale(1 / 255)], mask_fill_value=255)


@pytest.mark.parametrize("placement", ["host", "device"])
def test_trains_under_a_loader_and_in_the_step(placement: str) -> None:
    """Masks move with the policy, on the host or in the step; what they uncover is void."""
    source = painted()
    weights = median_frequency(source, void=255, progress=False)
    assert weights[1] > 5 * weights[0]
    keras.utils.set_random_seed(0)
    inputs = keras.Input((20, 20, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, activation="softmax", bias_initializer="zeros")(inputs))
    if placement == "device":
        model = ow.AugmentedModel(model, POLICY)
        loader = ow.Loader(source, POLICY, 4, seed=0, placement="device")
    else:
        loader = ow.Loader(source, POLICY, 4, seed=0)
    model.compile(keras.optimizers.Adam(0.1), PixelCrossentropy(weights, void=255))
    losses = model.fit(loader, epochs=6, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < 0.7 * losses[0]
