"""LeNet-5 with batch normalisation, as in the tutorial whose CIFAR-10 result the recipes answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onewarp.errors import InputError

if TYPE_CHECKING:
    import keras


def lenet5(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """LeNet-5 with ReLU, max-pooling and batch normalisation: 62,998 parameters for 32x32x3 and 10 classes.

    Args:
        input_shape: (height, width, channels), each side at least 16 pixels.
        classes: number of classes, at least 1.

    Returns:
        An uncompiled `keras.Model`: float images [n, height, width, channels] -> probabilities [n, classes].

    Raises:
        InputError: a side is shorter than 16 pixels, so that nothing is left after the second pooling.
    """
    from keras import Sequential, layers

    if min(input_shape[:2]) < 16:
        raise InputError(f"lenet5 needs images of at least 16x16, got {input_shape}; let the policy resize them")
    return Sequential(
        [
            layers.Input(input_shape),
            layers.Conv2D(6, 5),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(2),
            layers.BatchNormalization(),
            layers.Conv2D(16, 5),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(2),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.BatchNormalization(),
            layers.Dense(84, activation="relu"),
            layers.BatchNormalization(),
            layers.Dense(classes, activation="softmax"),
        ],
        name="lenet5",
    )
