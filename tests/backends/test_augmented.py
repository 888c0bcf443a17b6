"""AugmentedModel trains as the host-placed loader does, on every backend, compiled or not."""

from __future__ import annotations

import importlib.util
from typing import Any

import keras
import numpy as np
import pytest
from augmented_helpers import (
    BACKEND,
    MIXES,
    TURNS,
    Seen,
    array,
    augmented,
    classifier,
    every_jit,
    ignore_inside_keras,
    on_device,
    pixels,
)
from loader_helpers import POLICY, weights

import onewarp as ow
from onewarp.models import lenet5

pytestmark = ignore_inside_keras


def curves(history: Any) -> dict[str, list[float]]:
    return {name: history.history[name] for name in sorted(history.history)}


def assert_same_curves(found: dict[str, list[float]], expected: dict[str, list[float]], atol: float = 1e-4) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=atol, err_msg=name)


def test_lenet_on_digits_learns_the_same_on_host_and_device() -> None:
    source, rest = ow.split(ow.DigitsSource(), 0.9, seed=0, stratify=True)
    _, held_out = ow.split(rest, 0.05, seed=0, stratify=True)
    policy = ow.Policy([ow.Rotate(10), ow.Translate(0.1), ow.Resize(16), ow.Brightness(0.2), ow.Rescale(1 / 255)])
    found = {}
    for placement in ("host", "device"):
        keras.utils.set_random_seed(0)
        model = lenet5((16, 16, 1), 10)
        model = model if placement == "host" else ow.AugmentedModel(model, policy)
        model.compile(keras.optimizers.SGD(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
        train = ow.Loader(source, policy, 32, placement=placement)
        options = {"shuffle": False, "last_batch": "drop", "placement": placement}
        val = ow.Loader(held_out, policy.deterministic(), 16, **options)
        found[placement] = curves(model.fit(train, validation_data=val, epochs=2, verbose=0))
    assert_same_curves(found["device"], found["host"], 2e-3)
    assert found["host"]["loss"][1] < found["host"]["loss"][0]


@every_jit
def test_the_policy_runs_once_whoever_runs_it(jit: bool) -> None:
    source, val_policy = ow.ArraySource(*pixels()), TURNS.deterministic()
    plain = classifier()
    plain.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=jit)
    val = ow.Loader(source, val_policy, 4, shuffle=False)
    expected = curves(plain.fit(ow.Loader(source, TURNS, 4), validation_data=val, epochs=2, verbose=0))
    model = augmented(jit_compile=jit)
    assert model.jit_compile == jit
    val = on_device(val_policy, shuffle=False)
    assert_same_curves(curves(model.fit(on_device(), validation_data=val, epochs=2, verbose=0)), expected)
    for mine, other in zip(weights(model.model), weights(plain), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)


def test_evaluate_and_predict_take_raw_images_in_any_form() -> None:
    model, (x, y) = augmented(), pixels()
    loader = on_device(TURNS.deterministic(), shuffle=False)
    ready = TURNS.deterministic()(x)
    expected = array(model.model(ready))
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-5)
    np.testing.assert_allclose(model.predict(loader, verbose=0), expected, atol=1e-5)
    np.testing.assert_allclose(ow.predict(model, loader), expected, atol=1e-5)
    np.testing.assert_allclose(array(model(x)), expected, atol=1e-5)
    numbers = model.model.evaluate(ready, y, batch_size=4, verbose=0, return_dict=True)
    for found in (
        model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True),
        model.evaluate(loader, verbose=0, return_dict=True),
        ow.evaluate(model, loader),
    ):
        assert found == pytest.approx(numbers, abs=1e-5)


@every_jit
def test_draws_in_the_step_are_those_of_seed_step_and_place(jit: bool) -> None:
    x, y = pixels(8)
    model = augmented(POLICY, seed=3, jit_compile=jit)
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    by_hand = classifier()
    by_hand.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    for step in range(4):
        rows = slice(4 * (step % 2), 4 * (step % 2) + 4)
        by_hand.train_on_batch(POLICY(x[rows], seed=3, epoch=step, ids=np.arange(4)), y[rows])
    for mine, other in zip(weights(model), weights(by_hand), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)


def data_sets() -> dict[str, Any]:
    """Two batches of four in what Keras takes."""
    x, y = pixels(8)
    found: dict[str, Any] = {"generator": lambda: ((x[i : i + 4], y[i : i + 4]) for _ in range(9) for i in (0, 4))}
    if BACKEND == "tensorflow":
        import tensorflow as tf

        found["tf.data"] = lambda: tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    if importlib.util.find_spec("grain") is not None:
        import grain

        found["grain"] = lambda: grain.MapDataset.source(list(zip(x, y, strict=True))).batch(4).to_iter_dataset()
    if importlib.util.find_spec("torch") is not None:
        import torch

        tensors = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
        found["torch"] = lambda: torch.utils.data.DataLoader(tensors, batch_size=4)
    return found


@pytest.mark.parametrize("kind", sorted(data_sets()))
def test_other_data_sets_are_drawn_for_in_the_step(kind: str) -> None:
    x, y = pixels(8)
    expected, model = augmented(), augmented()
    expected.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    model.fit(data_sets()[kind](), steps_per_epoch=2, shuffle=False, verbose=0)
    for mine, other in zip(weights(model), weights(expected), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)


def test_accumulated_gradients_do_not_slow_the_draws() -> None:
    seen: list[np.ndarray] = []

    class Eager(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            if not keras.utils.is_keras_tensor(x) and BACKEND != "jax":
                seen.append(array(x))
            return x

    model = classifier()
    x, y = np.repeat(pixels(1)[0], 8, axis=0), np.zeros(8)
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    made = augmented(model=keras.Sequential([Eager(), *model.layers]), optimizer=optimizer, run_eagerly=True)
    made.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    assert int(array(optimizer.variables[0])) == 2
    assert BACKEND == "jax" or not np.array_equal(seen[-1], seen[-2])  # one image four times: only draws differ


def test_mixed_precision_leaves_draws_and_images_in_float32() -> None:
    seen = Seen()
    policy = keras.dtype_policies.DTypePolicy("mixed_bfloat16")
    dense = keras.layers.Dense(3, activation="softmax", dtype=policy)
    inner = keras.Sequential([keras.Input((6, 6, 3)), seen, keras.layers.Flatten(), dense])
    made = augmented(model=inner)
    made.fit(on_device(), verbose=0)
    assert set(seen.dtypes) == {"float32"}
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        low = augmented()
        found = low.fit(on_device(), verbose=0).history["loss"]
        assert low.compute_dtype == "bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(found, augmented().fit(on_device(), verbose=0).history["loss"], rtol=0.05)


def test_mixed_labels_become_rows_everywhere() -> None:
    loss = "categorical_crossentropy"
    x, y = pixels()
    model = augmented(MIXES, loss=loss)
    found = curves(model.fit(on_device(MIXES), epochs=2, verbose=0))
    plain = classifier()
    plain.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
    expected = plain.fit(ow.Loader(ow.ArraySource(x, y), MIXES, 4, labels="one_hot"), epochs=2, verbose=0)
    assert_same_curves(found, curves(expected))
    in_step = augmented(MIXES, loss=loss)
    history = in_step.fit(x, y, batch_size=4, validation_data=(x, y), verbose=0).history
    assert np.isfinite([*history["loss"], *history["val_loss"]]).all()
    numbers = in_step.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
    loader = on_device(TURNS.deterministic(), shuffle=False)
    assert ow.evaluate(in_step, loader) == pytest.approx(numbers, abs=1e-5)


@pytest.mark.skipif(BACKEND == "torch", reason="torch runs eagerly: there is no tracing to count")
def test_nothing_is_compiled_twice() -> None:
    seen = Seen()
    inner = keras.Sequential([keras.Input((6, 6, 3)), seen, keras.layers.Flatten()])
    inner.add(keras.layers.Dense(3, activation="softmax"))
    model = augmented(model=inner)
    train, val = on_device(), on_device(TURNS.deterministic(), n=10, shuffle=False)
    wrapped = on_device(TURNS.deterministic(), n=10, shuffle=False, last_batch="wrap")
    model.fit(train, validation_data=wrapped, verbose=0)
    ow.predict(model, val)
    count = len(seen.shapes)
    model.fit(train, validation_data=wrapped, epochs=2, verbose=0)
    numbers = ow.evaluate(model, val)
    assert ow.predict(model, val).shape == (10, 3)
    assert len(seen.shapes) == count
    assert numbers == pytest.approx(model.evaluate(val, verbose=0, return_dict=True), abs=1e-5)
