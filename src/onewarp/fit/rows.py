"""A known number of rows. Under `fit`, TensorFlow compiles for batches of any length, and the engine for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

Function = Callable[[Any, Any], Any]  # (tensors, their places in the batch) -> tensors


def in_known_rows(function: Function, tensors: Any, rows: int, exact: bool = False) -> Any:
    """function(tensors, places) where the number n of rows is known; the results have n rows, too.

    Where it is not, batches have `rows` rows if `exact`; else they are taken in pieces of `rows`, the last one filled
    up with the first rows of the batch.

    Args:
        function: takes a nest of tensors [n, ...] and int32 [n], 0 for the first row of the batch.
    """
    first = keras.tree.flatten(tensors)[0]
    if first.shape[0] is not None:
        return function(tensors, ops.arange(first.shape[0], dtype="int32"))
    if exact:
        known = keras.tree.map_structure(lambda tensor: ops.reshape(tensor, (rows, *tensor.shape[1:])), tensors)
        return function(known, ops.arange(rows, dtype="int32"))
    n = ops.shape(first)[0]
    places = ops.arange(-(-n // rows) * rows, dtype="int32")

    def pieces(tensor: Any) -> Any:
        return ops.reshape(ops.take(tensor, places % n, axis=0), (-1, rows, *tensor.shape[1:]))

    split = [keras.tree.map_structure(pieces, tensors), ops.reshape(places, (-1, rows))]
    done = ops.map(lambda piece: function(*piece), split)
    return keras.tree.map_structure(lambda tensor: ops.reshape(tensor, (-1, *tensor.shape[2:]))[:n], done)
