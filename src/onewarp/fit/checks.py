"""What has to be true before a policy can run inside a model: the versions, the backend, the kind of data."""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np

from onewarp.errors import InputError, MissingDependency

MINIMUM_KERAS = (3, 10)  # as in pyproject.toml


def check_keras() -> None:
    """Raise unless Keras is new enough and runs on the backend that KERAS_BACKEND names."""
    version = tuple(int(part) for part in keras.version().split(".")[:2])
    if version < MINIMUM_KERAS:
        wanted = ".".join(map(str, MINIMUM_KERAS))
        raise MissingDependency(
            f"Keras is {keras.version()}, onewarp needs {wanted} or newer; upgrade it with: pip install -U keras"
        )
    asked, running = os.environ.get("KERAS_BACKEND"), keras.backend.backend()
    if asked and asked != running:
        raise InputError(
            f"KERAS_BACKEND is {asked!r}, but Keras was imported with {running!r} and keeps it; set it before the "
            "first import of keras or onewarp"
        )


def check_sizes(x: Any) -> None:
    """Raise InputError for images of different sizes, which only our Loader makes one size."""
    several = isinstance(x, np.ndarray) and x.dtype == object
    if isinstance(x, (list, tuple)) and x and all(getattr(image, "ndim", 0) == 3 for image in x):
        several = True
    if several:
        shapes = {tuple(image.shape) for image in x if hasattr(image, "shape")}
        raise InputError(
            f"x is a list of {len(x)} images of {len(shapes)} shapes, which makes no batch; let a Loader warp them to "
            'one size: Loader(ArraySource(images, labels), policy, placement="device")'
        )
