"""What is saved is the inner model; a run that is resumed goes on with the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from augmented_helpers import TURNS, array, augmented, classifier, ignore_inside_keras, pixels
from loader_helpers import assert_same, weights

import onewarp as ow

pytestmark = ignore_inside_keras


class Scaled(keras.Model):
    """A subclassed model: no inputs, layers in attributes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.flat, self.dense = keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")

    def call(self, x: Any) -> Any:
        return self.dense(self.flat(x))


def trained(model: keras.Model | None = None) -> ow.AugmentedModel:
    made = augmented(model=model, optimizer=keras.optimizers.Adam(0.01))
    x, y = pixels(8)
    made.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    return made


@pytest.mark.parametrize("how", ["save", "keras.saving", "checkpoint"])
def test_a_saved_model_is_the_inner_model(how: str, tmp_path: Path) -> None:
    path = str(tmp_path / "model.keras")
    model = trained()
    if how == "save":
        model.save(path)
    elif how == "keras.saving":
        keras.saving.save_model(model, path)
    else:
        x, y = pixels(8)
        checkpoint = keras.callbacks.ModelCheckpoint(path)
        model.fit(x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[checkpoint])
    loaded = keras.saving.load_model(path)
    assert type(loaded) is type(model.model) is keras.Sequential
    assert_same(loaded, model.model)
    for mine, other in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(array(mine), array(other))
    x, y = pixels(8)
    ready = TURNS.deterministic()(x)
    np.testing.assert_allclose(loaded.predict(ready, verbose=0), model.predict(x, verbose=0), atol=1e-5)
    loaded.fit(ready, y, verbose=0)  # compiled as it was


def test_a_subclassed_model_is_saved_in_its_own_layout(tmp_path: Path) -> None:
    keras.saving.register_keras_serializable("tests")(Scaled)
    inner = Scaled()
    inner(np.zeros((1, 6, 6, 3), np.float32))
    model = trained(inner)
    keras.saving.save_model(model, str(tmp_path / "a.keras"))
    model.save(tmp_path / "b.keras")
    for name in ("a", "b"):
        assert_same(keras.saving.load_model(tmp_path / f"{name}.keras"), inner)


def test_weights_alone_are_those_of_the_inner_model(tmp_path: Path) -> None:
    path = str(tmp_path / "model.weights.h5")
    model, (x, y) = trained(), pixels(8)
    checkpoint = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[checkpoint])
    plain = classifier()
    plain.load_weights(path)
    assert_same(plain, model.model)
    other = trained()
    other.load_weights(path)
    assert_same(other, model)


def test_backup_and_restore_goes_on_with_the_same_draws(tmp_path: Path) -> None:
    x, y = pixels(8)

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 2:
                raise KeyboardInterrupt

    def run(stop: bool) -> ow.AugmentedModel:
        model = augmented(optimizer=keras.optimizers.Adam(0.01), seed=5)
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
        callbacks = [backup, Stop()] if stop else [backup]
        options: dict[str, Any] = {"batch_size": 4, "epochs": 4, "shuffle": False, "verbose": 0}
        if not stop:
            model.fit(x, y, callbacks=callbacks, **options)
        else:
            with pytest.raises(KeyboardInterrupt):
                model.fit(x, y, callbacks=callbacks, **options)
        return model

    run(stop=True)
    resumed = run(stop=False)
    straight = augmented(optimizer=keras.optimizers.Adam(0.01), seed=5)
    straight.fit(x, y, batch_size=4, epochs=4, shuffle=False, verbose=0)
    assert int(array(resumed.optimizer.iterations)) == 8
    for mine, other in zip(weights(resumed), weights(straight), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 8, 3), (None, None, 3)])
def test_a_model_for_serving_takes_raw_images(shape: tuple[int | None, ...], tmp_path: Path) -> None:
    model, (x, _) = trained(), pixels(5)
    serving = model.with_preprocessing(shape)
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(serving.predict(x, verbose=0), expected, atol=1e-5)
    serving.save(tmp_path / "serving.keras")
    loaded = keras.saving.load_model(tmp_path / "serving.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), expected, atol=1e-5)
