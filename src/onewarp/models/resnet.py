"""CIFAR ResNets as in Keras' cifar10_resnet example: version 1 (post-activation) and 2 (pre-activation bottlenecks).

He initialisation, L2 weight decay of 1e-4 on convolutions, three stages that double the filters and halve the sides.
The final pooling is global, so that images other than 32x32 work too; for 32x32 it equals the example's 8x8 pooling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def resnet20(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """ResNet-20 v1: 3 stages of 3 blocks of two 3x3 convolutions; 274,442 parameters for 32x32x3 and 10 classes.

    Args:
        input_shape: (height, width, channels).
        classes: number of classes.

    Returns:
        An uncompiled `keras.Model`: float images [n, height, width, channels] -> probabilities [n, classes].
    """
    from keras import Model, layers

    inputs = layers.Input(input_shape)
    x = _activate(_convolve(inputs, 16))
    for stage in range(3):
        filters = 16 * 2**stage
        for block in range(3):
            strides = 2 if stage > 0 and block == 0 else 1
            y = _activate(_convolve(x, filters, strides=strides))
            y = layers.BatchNormalization()(_convolve(y, filters))
            if strides == 2:
                x = _convolve(x, filters, size=1, strides=2)
            x = layers.ReLU()(layers.Add()([x, y]))
    return Model(inputs, _classify(x, classes), name="resnet20")


def resnet29v2(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """ResNet-29 v2: 3 stages of 3 pre-activation bottlenecks; 849,002 parameters for 32x32x3 and 10 classes.

    Args:
        input_shape: (height, width, channels).
        classes: number of classes.

    Returns:
        An uncompiled `keras.Model`: float images [n, height, width, channels] -> probabilities [n, classes].
    """
    from keras import Model, layers

    inputs = layers.Input(input_shape)
    x = _activate(_convolve(inputs, 16))
    narrow = 16
    for stage in range(3):
        wide = 64 * 2**stage
        for block in range(3):
            strides = 2 if stage > 0 and block == 0 else 1
            first = stage == 0 and block == 0  # its input is activated already
            y = _convolve(x if first else _activate(x), narrow, size=1, strides=strides)
            y = _convolve(_activate(y), narrow)
            y = _convolve(_activate(y), wide, size=1)
            if block == 0:
                x = _convolve(x, wide, size=1, strides=strides)
            x = layers.Add()([x, y])
        narrow = wide
    return Model(inputs, _classify(_activate(x), classes), name="resnet29v2")


def _convolve(x: Any, filters: int, size: int = 3, strides: int = 1) -> Any:
    from keras import layers, regularizers

    return layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding="same",
        kernel_initializer="he_normal",
        kernel_regularizer=regularizers.L2(1e-4),
    )(x)


def _activate(x: Any) -> Any:
    from keras import layers

    return layers.ReLU()(layers.BatchNormalization()(x))


def _classify(x: Any, classes: int) -> Any:
    from keras import layers

    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dense(classes, activation="softmax", kernel_initializer="he_normal")(x)
