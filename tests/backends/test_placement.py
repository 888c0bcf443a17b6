"""placement="auto", and the same results on several devices."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from augmented_helpers import BACKEND, TURNS, augmented, ignore_inside_keras, pixels
from loader_helpers import weights

import onewarp as ow
from onewarp.fit import placement
from onewarp.fit.placement import Measured

pytestmark = ignore_inside_keras


@pytest.mark.parametrize("faster", ["host", "device"])
def test_the_faster_placement_is_taken(faster: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    real = placement.measure

    def measured(model: object, loader: ow.Loader, where: str) -> Measured:
        found = real(model, loader, where, steps=2)
        assert found.seconds > 0 and 0 <= found.data_wait <= 1
        return Measured(0.001 if where == faster else 0.002, 0.25)

    monkeypatch.setattr(placement, "measure", measured)
    source = ow.ArraySource(*pixels())
    model, fixed = augmented(), augmented()
    loader = ow.Loader(source, TURNS, 4, placement="auto")
    val = ow.Loader(source, TURNS.deterministic(), 4, shuffle=False, placement="auto")
    model.fit(loader, validation_data=val, verbose=0)
    said = capsys.readouterr().out
    assert f'placement="auto": {faster} (' in said and "1.00 ms per step, data_wait 25%" in said
    assert loader.placement == loader.state()["placement"] == faster and val.placement == "device"
    fixed.fit(ow.Loader(source, TURNS, 4, placement="device"), verbose=0)
    for mine, other in zip(weights(model), weights(fixed), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)  # measuring left nothing behind
    resumed = ow.Loader(source, TURNS, 4, placement="auto")
    resumed.restore(loader.state())
    assert resumed.placement == faster and resumed.epoch == 1


PROGRAM = """
import jax, keras, numpy as np, onewarp as ow
x = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
policy = ow.Policy([ow.RandomCrop(6), ow.HorizontalFlip(), ow.Rotate(20), ow.Rescale(1 / 255)])
found = []
for devices in (1, len(jax.devices())):
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=keras.distribution.list_devices()[:devices]))
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(3, activation="softmax")
    model = ow.AugmentedModel(keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Flatten(), dense]), policy)
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    model.fit(ow.Loader(ow.ArraySource(x, np.arange(16) % 3), policy, 8, placement="device"), verbose=0)
    model.fit(x, np.arange(16) % 3, batch_size=8, shuffle=False, verbose=0)
    found.append([np.array(w) for w in model.get_weights()])
for one, several in zip(*found):
    np.testing.assert_allclose(one, several, atol=1e-5)
print("devices:", len(jax.devices()))
"""


@pytest.mark.skipif(BACKEND != "jax", reason="DataParallel in one process is JAX'")
@pytest.mark.parametrize("devices", [2, 8])
def test_several_devices_learn_what_one_does(devices: int) -> None:
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env={**os.environ, **flags})
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"devices: {devices}" in done.stdout
