"""`evaluate` and `predict` in batches of one static shape: nothing recompiles for the last batch, and every row
counts once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from onewarp.data.prefetch import prefetch_batches
from onewarp.errors import InputError
from onewarp.fit.checks import check_placement
from onewarp.fit.loader import Loader


def predict(model: Any, loader: Loader) -> Any:
    """The model's outputs for every sample of the loader's source, in the source's order.

    The last batch is padded for the forward pass and cut back, so the model is compiled for one shape only.

    Args:
        model: a Keras model that takes what the loader gives as x.
        loader: not shuffling; its `last_batch` does not matter and its epoch does not advance.

    Returns:
        Arrays [n, ...] in the structure of the model's output.

    Raises:
        InputError: the loader shuffles, so that rows would be in no useful order.
    """
    if loader.batches.shuffle:
        raise InputError("predict on a shuffling loader gives rows in no useful order; make it with shuffle=False")
    parts = [outputs for _, outputs in _forward(model, loader)]
    return keras.tree.map_structure(lambda *rows: np.concatenate(rows), *parts)


def evaluate(model: Any, loader: Loader) -> dict[str, float]:
    """Loss and metrics of a compiled model over every sample of the loader's source, each counted once.

    The last batch is padded for the forward pass and cut back before loss and metrics see it. As in Keras' own
    evaluate, the loss is the mean over rows of what the loss gives per batch.

    Args:
        model: a compiled Keras model.
        loader: its `last_batch` does not matter and its epoch does not advance.

    Returns:
        {"loss": ..., metric: ...} as `model.evaluate(..., return_dict=True)` gives them.

    Raises:
        InputError: the loader gives no targets.
    """
    if len(loader.batches.outputs) < 2:
        raise InputError(
            f'evaluate needs targets, but the loader gives {loader.batches.outputs}; use outputs=("images", ...)'
        )
    model.reset_metrics()
    total = rows = 0.0
    results: dict[str, Any] = {}
    for batch, outputs in _forward(model, loader):
        x, y, *weight = batch
        sample_weight = weight[0] if weight else None
        loss = model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=sample_weight, training=False)
        count = len(keras.tree.flatten(x)[0])
        total, rows = total + count * float(keras.ops.convert_to_numpy(loss)), rows + count
        results = model.compute_metrics(x, y, outputs, sample_weight=sample_weight)
    found = {name: float(keras.ops.convert_to_numpy(value)) for name, value in results.items()}
    return {**found, "loss": total / rows}


def _forward(model: Any, loader: Loader) -> Iterator[tuple[Any, Any]]:
    """(batch, outputs) with short last batches cut back to their rows; the batch as (x, y[, sample_weight])."""
    check_placement(model, loader)
    batches = loader.batches.keeping_all()
    count = len(batches)
    prefetcher = prefetch_batches(batches, loader.epoch, 0, count, loader.threads, loader.prefetch)
    try:
        for _ in range(count):
            batch = batches.xyw(prefetcher.get().entries)
            batch = batch if isinstance(batch, tuple) else (batch,)
            rows = len(keras.tree.flatten(batch[0])[0])
            padded = keras.tree.map_structure(lambda array: _padded(array, batches.batch_size), batch[0])
            outputs = model.predict_on_batch(padded)
            yield batch, keras.tree.map_structure(lambda array, rows=rows: np.asarray(array)[:rows], outputs)
    finally:
        prefetcher.close()


def _padded(array: np.ndarray, rows: int) -> np.ndarray:
    """`array` with its last row repeated until there are `rows` of them."""
    missing = rows - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array
