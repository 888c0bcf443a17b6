"""What has to be true before a policy can run inside a model: the versions, the backend, the kind of data."""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np

from onewarp.data.batches import Batches
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


def check_placement(model: Any, loader: Any) -> None:
    """Raise InputError unless the model runs the policy exactly where the loader does not.

    Where nothing was measured, "auto" becomes "device".
    """
    on_device = getattr(model, "takes_device_batches", False)
    if on_device and loader.placement == "auto":
        loader.place("device")
    if on_device and loader.placement == "host" and not loader.batches.marks:
        raise InputError(
            f"{loader!r} has run its policy on the host, and an AugmentedModel would run one again; make the Loader "
            'with placement="device", for validation, too'
        )
    if not on_device and loader.placement != "host":
        raise InputError(
            f"{loader!r} has placement={loader.placement!r}, but a plain model runs no policy; wrap it: "
            "AugmentedModel(model, policy)"
        )


def check_device_can(batches: Batches) -> None:
    """Raise PolicyError where the device cannot run what the host leaves to it."""
    from onewarp.engine.device import check_device

    check_device(batches.plan, batches.assemble.start)
