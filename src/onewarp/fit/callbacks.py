"""PipelineMonitor: how long the training step waits for data, and how far training has come, from Keras' callbacks."""

from __future__ import annotations

from typing import Any

import keras

from onewarp.errors import InputError
from onewarp.fit.loader import Loader, started
from onewarp.fit.passes import cut_short


class PipelineMonitor(keras.callbacks.Callback):
    """Adds `data_wait` and `images_per_second` to the logs of every epoch that trains on a `Loader`.

    They then appear in the progress bar, in History, in CSVLogger and so on. It also tells the loader which batches
    were trained, so that `loader.state()` is right in the middle of an epoch: put it first among the callbacks.

    With Loader(reuse=N) there are also `frames_new`, 1 in an epoch that shows frames for the first time and else 0, and
    `frames_made`, the number of frames made meanwhile. With balanced classes or an `augment_probability` there are
    `originals` and `augmented`, how many samples were shown plain and how many augmented; by class they are in
    `loader.history[-1].shown`.

    data_wait is the fraction of the epoch, 0 to 1, in which the step waited for data; near 0, the input pipeline is not
    the problem. Nothing is added where the model trains on something else than a Loader.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loader: Loader | None = None
        self._epochs = 0  # that the loader had complete when this one began

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._loader = None
        started.loader = None

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._loader is None:
            reference = getattr(started, "loader", None)
            self._loader = None if reference is None else reference()
            if self._loader is None:
                return
            self._loader.watched(0)
            steps = self.params.get("steps")
            if steps is not None and steps != len(self._loader):
                raise InputError(cut_short(len(self._loader)))
            self._epochs = len(self._loader.history)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._loader is not None:
            self._loader.watched(batch + 1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        loader = self._loader
        if loader is None or len(loader.history) == self._epochs or logs is None:
            return  # no Loader, or the epoch was broken off
        stats = loader.history[-1]
        logs["data_wait"] = float("nan") if stats.data_wait is None else stats.data_wait
        logs["images_per_second"] = stats.images_per_second
        if stats.skipped:
            logs["skipped"] = len(stats.skipped)
        if stats.frames is not None:
            logs["frames_new"] = float(stats.frames == "new")
            logs["frames_made"] = stats.frames_made
        if stats.shown:
            logs["originals"] = sum(plain for plain, _ in stats.shown.values())
            logs["augmented"] = sum(augmented for _, augmented in stats.shown.values())

    def on_train_end(self, logs: Any = None) -> None:
        if self._loader is not None:
            self._loader.rest()
        self._loader = None
