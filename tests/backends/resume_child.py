"""A training that is killed at a given moment: run as a program by test_resume.py, and imported by it.

    python resume_child.py FOLDER KIND MOMENT

FOLDER keeps the backup and a list of the batches that were seen. KIND is "plain" or "augmented". MOMENT is when this
process ends itself by SIGKILL: "batch E B" after batch B of epoch E, "end E" when epoch E was validated, before its
backup, "begin E" before epoch E, "write N" in the middle of writing the N-th backup, or "wait E B": it stops at that
batch, says so, and is killed by somebody else.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import keras
from augmented_helpers import TURNS
from loader_helpers import POLICY, fingerprint, source

import onewarp as ow
from onewarp.fit import snapshot

EPOCHS, BATCH = 4, 4  # six batches an epoch


def network() -> keras.Model:
    """Everything that has state: batch normalisation, dropout, Adam, metrics."""
    keras.utils.set_random_seed(3)
    layers = [
        keras.layers.Flatten(),
        keras.layers.Dense(8, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(3, activation="softmax"),
    ]
    return keras.Sequential([keras.Input((6, 6, 3)), *layers])


def make(kind: str, **options: Any) -> tuple[keras.Model, ow.Loader, ow.Loader]:
    """A compiled model, its training loader and its validation loader."""
    device = kind == "augmented"
    model, policy = network(), TURNS if device else POLICY
    if device:
        model = ow.AugmentedModel(model, policy, seed=5)
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    common: dict[str, Any] = {"placement": "device" if device else "host", "threads": 1}
    training = ow.Loader(source(), policy, BATCH, seed=7, **common, **options)
    return (
        model,
        training,
        ow.Loader(source(), policy.deterministic(), BATCH, shuffle=False, last_batch="wrap", **common),
    )


def rate(epoch: int) -> float:
    return 0.01 / (1 + epoch)


class Die(keras.callbacks.Callback):
    """Kills this process at a moment, and notes the batches that Keras got until then."""

    def __init__(self, moment: str) -> None:
        super().__init__()
        self.what, *numbers = moment.split()
        self.at = [int(number) for number in numbers]
        self.epoch = -1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch
        if [self.what, *self.at] == ["begin", epoch]:
            die()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.at == [self.epoch, batch] and self.what in ("batch", "wait"):
            if self.what == "wait":
                print("ready", flush=True)
                time.sleep(600)
            die()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if [self.what, *self.at] == ["end", epoch]:
            die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_while_writing(number: int) -> None:
    """The number-th backup, from 1, is half written when the process ends."""
    real, count = snapshot.replace_file, 0

    def replace_file(path: Path, write: Any) -> None:
        nonlocal count
        count += 1
        if count == number:
            path.with_name(path.name + ".part").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            die()
        real(path, write)

    snapshot.replace_file = replace_file


class Noting(ow.Loader):
    """Writes down the pixels of every batch that Keras gets, a line for each pass."""

    folder: Path

    def on_epoch_begin(self) -> None:
        super().on_epoch_begin()
        with (self.folder / "pixels.txt").open("a") as file:
            file.write("\n")

    def __getitem__(self, index: int) -> Any:
        inside = self._pass is not None
        batch = super().__getitem__(index)
        if inside:
            with (self.folder / "pixels.txt").open("a") as file:
                x = batch[0]
                x = x if not isinstance(x, dict) else next(value for key, value in x.items() if "route" in key)
                file.write(f"{fingerprint(x)} ")
        return batch


def train(folder: Path, kind: str, moment: str = "never", save_every: int = 2) -> tuple[keras.Model, Any, ow.Loader]:
    """Train, or go on; returns model, history and loader."""
    model, loader, validation = make(kind)
    loader.__class__, loader.folder = Noting, folder
    if moment.startswith("write"):
        die_while_writing(int(moment.split()[1]))
    history = ow.resume_fit(
        model,
        loader,
        ow.Backup(folder / "backup.npz", loader, save_every=save_every),
        epochs=EPOCHS,
        callbacks=[Die(moment), keras.callbacks.LearningRateScheduler(rate)],
        validation_data=validation,
        verbose=0,
    )
    return model, history, loader


if __name__ == "__main__":
    train(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
