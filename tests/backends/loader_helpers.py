"""A small source, a small model, and a loader that notes what Keras gets from it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import keras
import numpy as np

import onewarp as ow
from onewarp.data.files import FileSource
from onewarp.data.sources import ArraySource
from onewarp.fit.loader import Loader

BACKEND = keras.backend.backend()
POLICY = ow.Policy([ow.RandomCrop(6), ow.HorizontalFlip(), ow.Rescale(1 / 255)])
N, BATCH = 22, 4  # six batches, the last one of two samples


def source(n: int = N, **options: Any) -> ArraySource:
    rng = np.random.default_rng(n)
    return ArraySource(rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8), np.arange(n) % 3, **options)


def model(seed: int = 0, built: bool = True, **compile_options: Any) -> keras.Model:
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    made = keras.Sequential([keras.layers.Input((6, 6, 3)), *layers] if built else layers)
    options = {
        "optimizer": keras.optimizers.SGD(0.1),
        "loss": "sparse_categorical_crossentropy",
        "metrics": ["accuracy"],
    }
    made.compile(**{**options, **compile_options})
    return made


def fingerprint(images: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(keras.ops.convert_to_numpy(images)).tobytes()).hexdigest()[:12]


class Recording(Loader):
    """Notes which batches Keras gets between on_epoch_begin and on_epoch_end, and the epochs that ended."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.passes: list[list[str]] = []
        self.ends: list[int] = []
        options.setdefault("on_epoch_end", lambda loader, epoch: self.ends.append(epoch))
        super().__init__(*arguments, **options)

    def on_epoch_begin(self) -> None:
        self.passes.append([])
        super().on_epoch_begin()

    def __getitem__(self, index: int) -> Any:
        inside = self._pass is not None
        batch = super().__getitem__(index)
        if inside:
            self.passes[-1].append(fingerprint(batch[0] if isinstance(batch, tuple) else batch))
        return batch

    def expected(self, epoch: int, start: int = 0) -> list[str]:
        return [fingerprint(self.batches.batch(epoch, i)["images"]) for i in range(start, len(self.batches))]


class StopAfter(keras.callbacks.Callback):
    """Ends training after some steps of an epoch: politely, or by an exception."""

    def __init__(self, steps: int, epoch: int = 0, error: BaseException | None = None) -> None:
        super().__init__()
        self.steps, self.epoch, self.error, self.running = steps, epoch, error, -1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.running += 1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.running == self.epoch and batch + 1 == self.steps:
            if self.error is not None:
                raise self.error
            self.model.stop_training = True


def weights(of: keras.Model) -> list[np.ndarray]:
    return [np.array(array) for array in of.get_weights()]


def assert_same(a: keras.Model, b: keras.Model) -> None:
    for mine, other in zip(weights(a), weights(b), strict=True):
        np.testing.assert_array_equal(mine, other)


def damaged(tmp_path: Path, bad: int) -> FileSource:
    """Twelve files, in order, of which one is empty."""
    paths = []
    for k in range(12):
        paths.append(tmp_path / f"{k:02d}.png")
        keras.utils.save_img(paths[-1], source(12).images[k])
    paths[bad].write_bytes(b"")
    return FileSource(paths, np.arange(12) % 3)
