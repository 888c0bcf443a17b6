"""Which of how many processes this one is, as the active backend counts them."""

from __future__ import annotations

import json
import os
from typing import Any

import keras

from onewarp.errors import InputError


def process_shard() -> tuple[int, int]:
    """(index, count) for `Loader(shard="auto")`; (0, 1) where this process trains alone.

    JAX: `jax.process_index()`, so after `jax.distributed.initialize()`. torch: the rank in the default process group,
    so after `init_process_group()`. TensorFlow: the place among the chief and the workers of the strategy in use, or
    of TF_CONFIG. Only the active backend is asked.

    Raises:
        InputError: the environment says that there are several processes, but they have not been joined yet; or this
            process is no worker.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return int(jax.process_index()), int(jax.process_count())
    if backend == "torch":
        return _torch()
    if backend == "tensorflow":
        return _tensorflow()
    raise InputError(f'shard="auto" knows jax, torch and tensorflow, not {backend}; pass shard=(index, count)')


def _torch() -> tuple[int, int]:
    import torch

    distributed: Any = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank()), int(distributed.get_world_size())
    size = os.environ.get("WORLD_SIZE", "1")
    if size != "1":
        raise InputError(
            f'shard="auto": WORLD_SIZE={size}, but torch.distributed is not initialised; call '
            "torch.distributed.init_process_group() before making the Loader"
        )
    return 0, 1


def _tensorflow() -> tuple[int, int]:
    import tensorflow as tf

    resolver = tf.distribute.get_strategy().cluster_resolver
    if resolver is not None and resolver.task_type is not None:
        cluster = resolver.cluster_spec().as_dict()
        return _place({name: len(hosts) for name, hosts in cluster.items()}, resolver.task_type, resolver.task_id)
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return 0, 1
    try:
        config = json.loads(text)
        cluster = {name: len(hosts) for name, hosts in config.get("cluster", {}).items()}
        task = config.get("task", {})
        kind, index = str(task.get("type", "worker")), int(task.get("index", 0))
    except (ValueError, AttributeError, TypeError) as fault:
        raise InputError(f'shard="auto": TF_CONFIG cannot be read ({fault}); mend it or pass shard=') from None
    return _place(cluster, kind, index)


def _place(cluster: dict[str, int], kind: str, index: int) -> tuple[int, int]:
    """The place of task `index` of `kind` among the chief and the workers."""
    chiefs = cluster.get("chief", 0) + cluster.get("master", 0)
    count = chiefs + cluster.get("worker", 0)
    if not cluster:
        return 0, 1
    place = index if kind in ("chief", "master") else chiefs + index
    if kind not in ("chief", "master", "worker") or not 0 <= place < count:
        raise InputError(
            f'shard="auto": task {index} of kind {kind!r} is none of the {count} chiefs and workers; pass shard='
        )
    return place, count
