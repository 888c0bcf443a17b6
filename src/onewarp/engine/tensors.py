"""Backend tensors to NumPy and back, without importing a backend that the caller has not imported."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np


def to_numpy(value: Any) -> np.ndarray:
    """A NumPy array, a JAX, TensorFlow or PyTorch tensor, or nested lists -> a NumPy array (no copy where possible)."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return np.asarray(value.detach().cpu().numpy())
    return np.asarray(value)


def like(value: Any) -> Callable[[np.ndarray], Any]:
    """A function that brings NumPy results back to the kind (and device) of tensor that `value` is."""
    torch, tensorflow, jax = (sys.modules.get(name) for name in ("torch", "tensorflow", "jax"))
    if torch is not None and isinstance(value, torch.Tensor):
        return lambda array: torch.from_numpy(array).to(value.device)
    if tensorflow is not None and hasattr(tensorflow, "is_tensor") and tensorflow.is_tensor(value):
        return lambda array: tensorflow.convert_to_tensor(array)
    if jax is not None and hasattr(jax, "Array") and isinstance(value, jax.Array):
        return lambda array: jax.numpy.asarray(array)
    return lambda array: array
