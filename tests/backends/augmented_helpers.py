"""What the tests of AugmentedModel share: small data, small models, and policies for both."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from loader_helpers import BACKEND, POLICY, source

import onewarp as ow

TURNS = ow.Policy(
    [ow.RandomCrop(6), ow.HorizontalFlip(), ow.Rotate(20), ow.ColorJitter(brightness=0.2), ow.Rescale(1 / 255)]
)
MIXES = ow.Policy([*TURNS, ow.MixUp()])
JIT = {"torch": [False], "tensorflow": [False, True], "jax": [True]}[BACKEND]
# On torch a whole compiled model takes a minute; on JAX it is compiled anyway.
every_jit = pytest.mark.parametrize("jit", JIT)
ignore_inside_keras = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

__all__ = ["BACKEND", "JIT", "MIXES", "POLICY", "TURNS", "every_jit", "ignore_inside_keras", "source"]


def pixels(n: int = 22, size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, size, size, 3] and class numbers [n] of three classes."""
    return np.random.default_rng(n).integers(0, 256, (n, size, size, 3), dtype=np.uint8), np.arange(n) % 3


def classifier(size: int = 6) -> keras.Model:
    """A plain model, the same weights every time."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    return keras.Sequential([keras.Input((size, size, 3)), *layers])


def augmented(
    policy: ow.Policy = TURNS, model: keras.Model | None = None, compile: bool = True, **options: Any
) -> ow.AugmentedModel:
    """An AugmentedModel of the classifier, compiled."""
    own = {name: options.pop(name) for name in ("seed", "targets", "num_classes", "value_range") if name in options}
    made = ow.AugmentedModel(classifier() if model is None else model, policy, **own)
    if compile:
        defaults = {"optimizer": keras.optimizers.SGD(0.1), "loss": "sparse_categorical_crossentropy"}
        made.compile(**{**defaults, "metrics": ["accuracy"], **options})
    return made


def on_device(policy: ow.Policy = TURNS, n: int = 22, batch_size: int = 4, **options: Any) -> ow.Loader:
    return ow.Loader(ow.ArraySource(*pixels(n)), policy, batch_size, placement="device", **options)


def array(tensor: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


class Seen(keras.layers.Layer):
    """Notes what it is called with, and how often it is traced."""

    def __init__(self) -> None:
        super().__init__(autocast=False)
        self.shapes: list[tuple[Any, ...]] = []
        self.dtypes: list[str] = []

    def call(self, x: Any) -> Any:
        self.shapes.append(tuple(x.shape))
        self.dtypes.append(keras.backend.standardize_dtype(x.dtype))
        return x
