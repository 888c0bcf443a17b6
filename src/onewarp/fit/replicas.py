"""What backends have and `keras.ops` has not: whose part of a batch this is, and one operation in torch's graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import keras
from keras import ops

Function = TypeVar("Function", bound=Callable[..., Any])


def first_place(images: Any) -> Any:
    """The place of the first of `images` [n, ...] in the batch that all processes or replicas share.

    Processes of torch.distributed and replicas of tf.distribute have n images each, in the order of their ranks. JAX
    hands over whole batches, however they are spread.
    """
    rank = _rank()
    if isinstance(rank, int) and rank == 0:
        return 0
    n = images.shape[0] if images.shape[0] is not None else ops.shape(images)[0]
    return ops.cast(rank, "int32") * ops.cast(n, "int32")


def _rank() -> Any:
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        there = torch.distributed.is_available() and torch.distributed.is_initialized()
        return torch.distributed.get_rank() if there else 0
    if backend == "tensorflow":
        import tensorflow as tf

        replica = tf.distribute.get_replica_context()
        several = replica is not None and replica.num_replicas_in_sync > 1
        return replica.replica_id_in_sync_group if several else 0
    return 0


def one_operation(function: Function) -> Function:
    """`function` as one operation of what torch.compile makes: it reads tensors, and returns a list of them."""
    if keras.backend.backend() != "torch":
        return function
    import torch

    return torch.compiler.allow_in_graph(function)
