"""A U-Net (Ronneberger, Fischer and Brox 2015) with batch normalisation and padded convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onewarp.errors import InputError

if TYPE_CHECKING:
    import keras


def unet(input_shape: tuple[int, int, int], classes: int, *, filters: int = 32, depth: int = 4) -> keras.Model:
    """Encoder and decoder with skip connections; the result has the size of the image.

    Args:
        input_shape: (height, width, channels); both sides must be divisible by 2 ** depth.
        classes: number of classes; 1 gives one sigmoid per pixel, for masks of 0 and 1.
        filters: of the first level; every level below has twice as many.
        depth: how often the sides are halved.

    Returns:
        An uncompiled `keras.Model`: float images [n, height, width, channels] -> probabilities
        [n, height, width, classes].

    Raises:
        InputError: sides that cannot be halved so often, or numbers below 1.
    """
    from keras import Input, Model, layers

    step = 2**depth
    if depth < 1 or filters < 1 or classes < 1:
        raise InputError(f"unet(classes={classes}, filters={filters}, depth={depth}): all must be at least 1")
    if input_shape[0] % step or input_shape[1] % step:
        raise InputError(
            f"unet with depth={depth} needs sides divisible by {step}, got {input_shape}; let the policy resize or crop"
        )

    def block(x: Any, width: int) -> Any:
        for _ in range(2):
            x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        return x

    images = x = Input(input_shape)
    skips = []
    for level in range(depth):
        x = block(x, filters * 2**level)
        skips.append(x)
        x = layers.MaxPooling2D(2)(x)
    x = block(x, filters * step)
    for level in reversed(range(depth)):
        x = layers.Conv2DTranspose(filters * 2**level, 2, strides=2)(x)
        x = block(layers.Concatenate()([skips[level], x]), filters * 2**level)
    # float32: probabilities near 0 and 1 need it under mixed precision
    ends = layers.Conv2D(classes, 1, activation="sigmoid" if classes == 1 else "softmax", dtype="float32")(x)
    return Model(images, ends, name="unet")
