"""PipelineMonitor: how long the training step waits for data, and how far training has come, from Keras' callbacks."""

from __future__ import annotations

from typing import Any

import keras

from onewarp.errors import InputError
from onewarp.fit.loader import Loader, started


class PipelineMonitor(keras.callbacks.Callback):
    """Adds `data_wait` and `images_per_second` to the logs of every epoch that trains on a `Loader`.

    They then appear in the progress bar, in History, in CSVLogger and so on. It also tells the loader which batches were
    trained, so that `loader.state()` is right in the middle of an epoch: put it first among the callbacks.

    data_wait is the fraction of the epoch, 0 to 1, in which the step waited for data; near 0, the input pipeline is not
    the problem. Nothing is added where the model trains on something else than a Loader.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loader: Loader | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._loader = None
        started.loader = None

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._loader is None:
            reference = getattr(started, "loader", None)
            self._loader = None if reference is None else reference()
            if self._loader is None:
                return
            steps = self.params.get("steps")
            if steps is not None and steps != len(self._loader):
                raise InputError(
                    f"fit wants epochs of {steps} steps, the loader's have {len(self._loader)} batches: steps_per_epoch "
                    "is not supported, because the rest of the epoch would never be shown; take a subset of the source "
                    "for a shorter epoch, and after restore() fit the rest of that epoch first, with epochs=1"
                )
            self._loader.watched(0)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._loader is not None:
            self._loader.watched(batch + 1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        loader = self._loader
        if loader is None or not loader.history or logs is None:
            return
        stats = loader.history[-1]
        logs["data_wait"] = float("nan") if stats.data_wait is None else stats.data_wait
        logs["images_per_second"] = stats.images_per_second
        if stats.skipped:
            logs["skipped"] = len(stats.skipped)

    def on_train_end(self, logs: Any = None) -> None:
        self._loader = None
