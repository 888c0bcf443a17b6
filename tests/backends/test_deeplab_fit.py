"""DeepLab on the backend of KERAS_BACKEND: a step lowers the loss, files bring it back, precision, sizes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from augmented_helpers import array, ignore_inside_keras

from onewarp.models import deeplab_v1, deeplab_v3plus

pytestmark = ignore_inside_keras


def small(name: str, size: tuple[int, int] = (36, 45), classes: int = 3, **options: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    if name == "v1":
        return deeplab_v1((*size, 3), classes, **{"filters": 4, "batch_norm": True, **options})
    return deeplab_v3plus((*size, 3), classes, **{"alpha": 0.35, "filters": 16, **options})


def scene(n: int, size: tuple[int, int] = (36, 45)) -> tuple[np.ndarray, np.ndarray]:
    """Noise, brighter in a half of the image, float32 [n, h, w, 3]; that half as a mask, one-hot [n, h, w, 3]."""
    rng = np.random.default_rng(0)
    masks = np.zeros((n, *size), int)
    for mask, top in zip(masks, rng.random(n) < 0.5, strict=True):
        mask[: size[0] // 2 if top else None, : None if top else size[1] // 2] = 1
    return (rng.normal(size=(n, *size, 3)) + 2 * masks[..., None]).astype(np.float32), np.eye(3, dtype="float32")[masks]


@pytest.mark.parametrize("name", ["v1", "v3plus"])
def test_learns_and_is_saved(name: str, tmp_path: Path) -> None:
    """Odd sides, the last batch smaller; a saved model is the same function, its weights fit one for another size."""
    x, y = scene(6)
    model = small(name, dropout=0.0)
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.CategoricalCrossentropy())
    losses = model.fit(x, y, batch_size=4, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < 0.6 * losses[0]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    before = model.predict(x[:2], verbose=0)
    np.testing.assert_allclose(again.predict(x[:2], verbose=0), before, atol=1e-5)
    assert before.shape == (2, 36, 45, 3) and before.dtype == np.float32
    np.testing.assert_allclose(before.sum(-1), 1, atol=1e-5)
    other = small(name, (64, 48))
    other.set_weights(model.get_weights())
    assert other.output_shape == (None, 64, 48, 3)


@pytest.fixture
def mixed() -> Iterator[None]:
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("name", ["v1", "v3plus"])
def test_mixed_precision(name: str, mixed: None) -> None:
    """Layers compute in bfloat16, weights and probabilities are float32."""
    x, _ = scene(2)
    model = small(name)
    assert {str(w.dtype) for w in model.trainable_weights} == {"float32"}
    computed = {layer.compute_dtype for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)}
    assert computed == {"bfloat16"}
    found = model(x, training=False)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    np.testing.assert_allclose(array(found).sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("name", ["v1", "v3plus"])
def test_one_class_is_a_probability_per_pixel(name: str) -> None:
    found = array(small(name, (40, 32), classes=1)(scene(1, (40, 32))[0], training=False))
    assert found.shape == (1, 40, 32, 1) and (found > 0).all() and (found < 1).all() and found.std() > 0
