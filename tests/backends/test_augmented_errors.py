"""What AugmentedModel refuses, each in a line that says what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import pytest
from augmented_helpers import BACKEND, MIXES, TURNS, augmented, classifier, ignore_inside_keras, on_device, pixels

import onewarp as ow
from onewarp.errors import InputError, MissingDependency, PolicyError

pytestmark = ignore_inside_keras


def test_a_host_placed_loader_is_refused_everywhere() -> None:
    x, y = pixels()
    model, host = augmented(), ow.Loader(ow.ArraySource(x, y), TURNS.deterministic(), 4, shuffle=False)
    for call in (
        lambda: model.fit(ow.Loader(ow.ArraySource(x, y), TURNS, 4), verbose=0),
        lambda: model.fit(on_device(), validation_data=host, verbose=0),
        lambda: model.evaluate(host, verbose=0),
        lambda: model.predict(host, verbose=0),
        lambda: ow.evaluate(model, host),
        lambda: ow.predict(model, host),
    ):
        with pytest.raises(InputError, match='placement="device"'):
            call()


def test_a_device_placed_loader_needs_an_augmented_model() -> None:
    model = classifier()
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(InputError, match=r"AugmentedModel\(model, policy\)"):
        model.fit(on_device(), verbose=0)


def test_a_loader_with_another_policy() -> None:
    with pytest.raises(InputError, match="the Loader's policy is not the model's"):
        augmented().fit(on_device(MIXES), verbose=0)


def test_images_of_different_sizes() -> None:
    images = [np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)]
    with pytest.raises(InputError, match="2 images of 2 shapes"):
        augmented().fit(images, np.zeros(2), verbose=0)


def test_targets_that_may_be_anything() -> None:
    x, _ = pixels(4)
    with pytest.raises(InputError, match="targets="):
        augmented().evaluate(x, np.zeros((4, 5, 7)), verbose=0)


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        keras.losses.SparseCategoricalCrossentropy(),
        keras.losses.sparse_categorical_crossentropy,
        {"a": "sparse_categorical_crossentropy"},
    ],
)
def test_a_sparse_loss_with_mixed_labels(loss: Any) -> None:
    with pytest.raises(InputError, match="MixUp makes mixed labels"):
        augmented(MIXES, loss=loss)


def test_a_mix_inside_a_combinator_counts() -> None:
    for inside in (ow.Sometimes([ow.MixUp()], p=0.5), ow.OneOf([ow.Sometimes([ow.CutMix()], p=0.5), ow.MixUp()])):
        policy = ow.Policy([inside, ow.Rescale()])
        with pytest.raises(InputError, match="makes mixed labels"):
            augmented(policy, loss="sparse_categorical_crossentropy")
        with pytest.raises(PolicyError, match="changes the labels"):
            policy.as_layer()


def test_a_sparse_metric_with_mixed_labels() -> None:
    metrics = [keras.metrics.SparseCategoricalAccuracy()]
    with pytest.raises(InputError, match="SparseCategoricalAccuracy.*use CategoricalAccuracy"):
        augmented(MIXES, loss="categorical_crossentropy", metrics=metrics)
    augmented(MIXES, targets="segmentation_masks")  # masks stay class numbers


def test_mixing_needs_to_know_the_classes() -> None:
    inner = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    with pytest.raises(InputError, match="num_classes="):
        augmented(MIXES, inner, loss="categorical_crossentropy")._prepared(*pixels(4), None)


def test_a_transform_of_the_host_alone() -> None:
    @dataclass(frozen=True)
    class Odd(ow.Filter):
        method: ClassVar[str] = "odd"

    policy = ow.Policy([ow.HorizontalFlip(), Odd()])
    with pytest.raises(PolicyError, match="Odd runs on the host only"):
        on_device(policy)


def test_another_backend_than_the_one_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch" if BACKEND != "torch" else "jax")
    with pytest.raises(InputError, match="KERAS_BACKEND is .* before the first import"):
        augmented()


def test_an_old_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras, "version", lambda: "3.4.1")
    with pytest.raises(MissingDependency, match="Keras is 3.4.1, onewarp needs 3.10"):
        augmented()


def test_what_is_no_model_and_no_policy() -> None:
    with pytest.raises(InputError, match="pass a plain keras.Model"):
        ow.AugmentedModel(None, TURNS)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="pass a Policy"):
        ow.AugmentedModel(classifier(), [ow.HorizontalFlip()])  # type: ignore[arg-type]
