"""policy.as_layer(): random in training, deterministic otherwise, saved with the model, and it leaves jit on."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from augmented_helpers import BACKEND, MIXES, TURNS, array, every_jit, ignore_inside_keras, pixels

from onewarp.errors import PolicyError

pytestmark = ignore_inside_keras


def model(**options: object) -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = [TURNS.as_layer(seed=3), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    made = keras.Sequential([keras.Input((8, 8, 3), dtype="uint8"), *layers])
    made.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", **options)
    return made


@every_jit
def test_it_trains_on_what_the_policy_draws(jit: bool) -> None:
    x, y = pixels(8)
    trained = model(jit_compile=jit)
    assert trained.layers[0].supports_jit and trained.jit_compile == jit
    trained.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    assert int(array(trained.layers[0].seen)) == 4
    by_hand = model()
    inner = keras.Sequential(by_hand.layers[1:])
    inner.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    for step in range(4):
        rows = slice(4 * (step % 2), 4 * (step % 2) + 4)
        inner.train_on_batch(TURNS(x[rows], seed=3, epoch=step, ids=np.arange(4)), y[rows])
    for mine, other in zip(trained.layers[2].get_weights(), by_hand.layers[2].get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)


@pytest.mark.skipif(BACKEND == "torch", reason='"auto" is eager there')
def test_it_does_not_switch_off_jit() -> None:
    assert model().jit_compile == (BACKEND == "jax")  # TensorFlow: off where there are only CPUs
    assert model(jit_compile=True).jit_compile


def test_it_is_saved_and_goes_on(tmp_path: Path) -> None:
    x, y = pixels(8)
    trained = model()
    trained.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    trained.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].policy == TURNS and int(array(loaded.layers[0].seen)) == 2
    np.testing.assert_allclose(loaded.predict(x, verbose=0), trained.predict(x, verbose=0), atol=1e-6)
    for one in (trained, loaded):
        one.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    np.testing.assert_allclose(loaded.get_weights()[-1], trained.get_weights()[-1], atol=1e-6)


def test_outside_of_training_it_is_deterministic() -> None:
    x, _ = pixels(5)
    layer = TURNS.as_layer()
    np.testing.assert_allclose(array(layer(x)), TURNS.deterministic()(x), atol=1e-5)
    assert int(array(layer.seen)) == 0
    assert layer(keras.KerasTensor((None, 9, 9, 3), "uint8")).shape == (None, 6, 6, 3)


def test_labels_are_out_of_its_reach() -> None:
    with pytest.raises(PolicyError, match="MixUp.*AugmentedModel"):
        MIXES.as_layer()
