"""A Loader's batches as a `tf.data.Dataset`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from onewarp.errors import InputError


def dataset(loader: Any, first: Any) -> tf.data.Dataset:
    """One epoch in each pass over it, built ahead by the loader's threads.

    first: the first batch, which gives structure, shapes and dtypes.
    """
    batches = loader.batches
    rows = batches.batch_size if batches.route.exact else None

    def spec(array: Any) -> tf.TensorSpec:
        return tf.TensorSpec((rows, *array.shape[1:]), array.dtype)

    signature = tf.nest.map_structure(spec, first)

    def epoch() -> Iterator[Any]:
        for batch in loader:
            tf.nest.map_structure(_check, batch, signature)
            yield batch

    made = tf.data.Dataset.from_generator(epoch, output_signature=signature)
    if len(loader) == len(batches):  # a restored loader's first pass is shorter than the others
        made = made.apply(tf.data.experimental.assert_cardinality(len(loader)))
    return made.prefetch(1)


def _check(array: Any, spec: tf.TensorSpec) -> None:
    """TensorFlow would convert another dtype in silence."""
    if array.dtype != spec.dtype.as_numpy_dtype:
        raise InputError(
            f"a batch has {array.dtype} where the first one has {spec.dtype.name}; give all mask files one depth"
        )
