"""Trains under tf.distribute.MirroredStrategy on virtual devices, and keeps the weights.

`python replicas_child.py REPLICAS FOLDER`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import onewarp as ow

POLICY = ow.Policy([ow.Rotate(30), ow.ColorJitter(brightness=0.3), ow.Rescale(1 / 255)])


def main(replicas: int, folder: Path) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    one = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    x, y = np.repeat(one, 16, axis=0), np.arange(16) % 3
    strategy = tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(replicas)])
    with strategy.scope():
        keras.utils.set_random_seed(0)
        inner = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
        model = ow.AugmentedModel(inner, POLICY, seed=5)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(8, drop_remainder=True)
    model.fit(batches, epochs=2, shuffle=False, verbose=0)
    np.savez(folder / f"{replicas}.npz", *inner.get_weights())


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
