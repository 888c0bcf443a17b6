"""set_memory: how much of an accelerator's memory a process may take, said in one way for every backend."""

from __future__ import annotations

import os
import sys
from typing import Any

from onewarp.errors import InputError
from onewarp.fit.gpus import nvidia_gpus


def set_memory(fraction: float = 0.8, growth: bool = True) -> str:
    """Limit what this process takes of the memory of every accelerator. Call it before the first use of the backend.

    JAX takes both, by XLA_PYTHON_CLIENT_MEM_FRACTION and XLA_PYTHON_CLIENT_PREALLOCATE. TensorFlow takes one of the
    two: the fraction wins, as a memory limit of its logical devices. On torch memory always grows, up to the fraction.
    Where there is no accelerator nothing happens.

    Args:
        fraction: of each accelerator's memory, in (0, 1].
        growth: whether memory is taken as it is needed; else JAX takes all of the fraction at once.

    Returns:
        What was set, in a line, which is printed, too.

    Raises:
        InputError: an argument that cannot be, or the backend has taken its devices already.
    """
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0.0 < fraction <= 1.0:
        raise InputError(f"set_memory(fraction={fraction!r}): fraction must be a number in (0, 1]")
    if not isinstance(growth, bool):
        raise InputError(f"set_memory(growth={growth!r}): growth must be True or False")
    import keras

    backend = keras.backend.backend()
    setters = {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}
    if backend not in setters:
        raise InputError(f"set_memory: Keras runs on {backend}; it takes {', '.join(setters)}")
    told = f"memory: {setters[backend](float(fraction), growth)}"
    print(told)
    return told


def _too_late(backend: str) -> InputError:
    return InputError(
        f"set_memory came too late: {backend} has taken its devices already; call it before the first model or tensor, "
        "in a new process"
    )


def _jax(fraction: float, growth: bool) -> str:
    if jax_has_started():
        raise _too_late("jax")
    new, old = "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"  # newer versions refuse both at once
    os.environ[new if new in os.environ else old] = f"{fraction:g}"
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false" if growth else "true"
    return f"jax takes at most {fraction:.0%} of each GPU, {'as it is needed' if growth else 'all at once'}"


def jax_has_started() -> bool:
    """Whether JAX has made its devices; False where it does not tell."""
    bridge = sys.modules.get("jax._src.xla_bridge")  # there is no public way to ask without making them
    started = getattr(bridge, "backends_are_initialized", None)
    return bool(started()) if started is not None else False


def _tensorflow(fraction: float, growth: bool) -> str:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "tensorflow sees no GPU, nothing to limit"
    limits = [_limit(tf.config.experimental.get_device_details(gpu).get("device_name"), fraction) for gpu in gpus]
    try:
        if None in limits:
            for gpu in gpus:
                tf.config.experimental.set_memory_growth(gpu, growth)
            return (
                f"the size of a GPU is unknown without nvidia-smi, so tensorflow cannot keep to {fraction:.0%}; "
                f"growth={growth} is set on {len(gpus)} instead"
            )
        for gpu, limit in zip(gpus, limits, strict=True):
            tf.config.set_logical_device_configuration(gpu, [tf.config.LogicalDeviceConfiguration(memory_limit=limit)])
    except RuntimeError:  # "cannot be modified after being initialized"
        raise _too_late("tensorflow") from None
    except ValueError as fault:  # growth was set before
        raise InputError(f"set_memory: tensorflow refuses it: {fault}; set no memory growth of your own") from None
    each = ", ".join(f"{limit} MiB" for limit in limits)
    limited = f"tensorflow takes at most {fraction:.0%} of each GPU ({each})"
    return f"{limited}; it takes only one of the two, so growth is not set"


def _limit(name: str | None, fraction: float) -> int | None:
    """MiB for a GPU of this name; None where none of that name is known. The smallest, where they differ."""
    found = [gpu.memory for gpu in nvidia_gpus() if name is None or gpu.name == name]
    return int(fraction * min(found)) if found else None


def _torch(fraction: float, growth: bool) -> str:
    import torch

    if not torch.cuda.is_available():
        return "torch sees no GPU, nothing to limit"
    count = torch.cuda.device_count()
    if torch.cuda.is_initialized():
        for device in range(count):
            if torch.cuda.memory_reserved(device) > fraction * torch.cuda.get_device_properties(device).total_memory:
                raise _too_late("torch")
    for device in range(count):
        torch.cuda.set_per_process_memory_fraction(fraction, device)
    note = "as it is needed" if growth else "as it is needed: torch knows no other way, so growth=False is not set"
    return f"torch takes at most {fraction:.0%} of each of {count} GPUs, {note}"


def memory_settings() -> dict[str, Any]:
    """The environment variables that limit memory, as they are set."""
    names = (
        "XLA_CLIENT_MEM_FRACTION",
        "XLA_PYTHON_CLIENT_MEM_FRACTION",
        "XLA_PYTHON_CLIENT_PREALLOCATE",
        "XLA_PYTHON_CLIENT_ALLOCATOR",
        "TF_FORCE_GPU_ALLOW_GROWTH",
        "TF_GPU_ALLOCATOR",
        "PYTORCH_CUDA_ALLOC_CONF",
        "PYTORCH_ALLOC_CONF",
    )
    return {name: os.environ[name] for name in names if name in os.environ}
