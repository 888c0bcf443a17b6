"""Models in plain Keras: `lenet5`, `resnet20`, `resnet29v2`; for masks `unet`, `deeplab_v1`, `deeplab_v3plus`.

Nothing here imports Keras before a model is built, so that the backend can still be chosen. Each builder takes
`input_shape` (height, width, channels) and the number of `classes`, and returns an uncompiled `keras.Model` from float
images [n, height, width, channels] to class probabilities: [n, classes], or [n, height, width, classes] for masks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from onewarp.errors import InputError
from onewarp.models.deeplab import deeplab_v1, deeplab_v3plus
from onewarp.models.lenet import lenet5
from onewarp.models.resnet import resnet20, resnet29v2
from onewarp.models.unet import unet

if TYPE_CHECKING:
    import keras

MODELS: dict[str, Callable[[tuple[int, int, int], int], keras.Model]] = {
    "lenet5": lenet5,
    "resnet20": resnet20,
    "resnet29v2": resnet29v2,
}


def build(name: str, input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """The model of that name for images of `input_shape` (height, width, channels) and `classes` classes.

    Raises:
        InputError: `name` is not one of `MODELS`, or the images are too small for the model.
    """
    if name not in MODELS:
        raise InputError(f"there is no model {name!r}; choose one of {', '.join(MODELS)}")
    return MODELS[name](input_shape, classes)


__all__ = ["MODELS", "build", "deeplab_v1", "deeplab_v3plus", "lenet5", "resnet20", "resnet29v2", "unet"]
