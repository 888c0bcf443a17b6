"""Random words for every value of every image, the same as on the host from the same key."""

from __future__ import annotations

import math

from keras import ops

from onewarp.random import Array, threefry2x32


def words(keys: Array, shape: tuple[int, ...], stream: int) -> Array:
    """int32 of `shape` [n, h, w, c] from keys [n, 2]: value e of an image has word e % 2 of block (e // 2, stream)."""
    n, size = shape[0], math.prod(shape[1:])
    keys = ops.cast(keys, "int32")  # 24 bits
    blocks = ops.reshape(ops.arange((size + 1) // 2, dtype="int32"), (1, -1))
    counter = ops.full((1, 1), stream, dtype="int32")
    both = threefry2x32(keys[:, 0:1], keys[:, 1:2], blocks, counter, ops)
    return ops.reshape(ops.reshape(ops.stack(both, axis=2), (n, -1))[:, :size], shape)
