"""The few array verbs that Keras does not have, or that one backend does faster in another way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import ops

from onewarp.errors import InputError
from onewarp.random import Array


def rows(table: Array, index: Array) -> Array:
    """The rows of `table` [m, ...] at `index`, which lies within: whole pixels [.., c] by flat index."""
    if keras.backend.backend() == "jax":  # `take` fills what lies outside, and is then not vectorised: six times slower
        return table.at[index].get(mode="clip")
    return ops.take(table, index, axis=0)


def occurrences(values: Array, count: int) -> Array:
    """How often each number from 0 to count - 1 is among the int32 `values` [m], which are no others: int32 [count]."""
    ones = ops.ones_like(values)
    if keras.backend.backend() == "torch":  # `segment_sum` asks the device for a size, which waits for all before it
        return ops.zeros((count,), dtype="int32").scatter_add(0, ops.cast(values, "int64"), ones)
    return ops.segment_sum(ones, values, num_segments=count)


def entry(arrays: Mapping[str, Array], number: int, name: str) -> Array:
    """A stage's parameter array. Raises InputError where it is missing."""
    try:
        return arrays[f"{number}.{name}"]
    except KeyError:
        raise InputError(
            f"the parameters have no entry '{number}.{name}', which stage {number} of the plan needs; pass all that "
            "policy.draw(...) made for this plan"
        ) from None


def numbers(values: Sequence[float]) -> Array:
    """Host numbers as a float32 tensor."""
    return ops.convert_to_tensor(list(values), dtype="float32")


def floats(values: Array) -> Array:
    return ops.cast(values, "float32")


def pixelwise(values: Array, axes: int = 2) -> Array:
    """[n, ...] -> [n, 1, 1, ...]: one value for all pixels of a sample."""
    return ops.reshape(values, (values.shape[0], *(1,) * axes, *values.shape[1:]))


def flags(values: Array, axes: int = 3) -> Array:
    """Numbers [n], 0 or not -> booleans [n, 1, 1, 1]."""
    return pixelwise(ops.not_equal(ops.cast(values, "int32"), 0), axes)


def saturated(values: Array, bounds: tuple[float, float]) -> Array:
    return ops.clip(values, *bounds)


def settled(values: Array, dtype: str) -> Array:
    """Values as pixels of `dtype`: of an integer, rounded half to even and saturated, not a number as low."""
    if not dtype.startswith(("int", "uint")):
        return ops.cast(values, dtype)
    limits = np.iinfo(dtype)
    values = ops.where(values > limits.min, values, float(limits.min))  # not a number compares false
    return ops.cast(ops.minimum(ops.round(values), float(limits.max)), dtype)
