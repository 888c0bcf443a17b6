"""ResNet-18 (He et al. 2016), which `keras.applications` has not: the smallest backbone of ordinary convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def resnet18(input_shape: tuple[int, int, int], alpha: float = 1.0) -> keras.Model:
    """Without its classifier: 11,176,512 weights of images of three channels, and 9,600 moving averages.

    Args:
        input_shape: (height, width, channels).
        alpha: width, as a multiple: 1 has 64 filters in the first stage and 512 in the last.

    Returns:
        An uncompiled `keras.Model`: float images -> features [n, height / 32, width / 32, 512 * alpha], its last layer
        "stage4_block2_out".
    """
    from keras import Input, Model, layers

    def convolve(x: Any, width: int, size: int, strides: int, name: str) -> Any:
        x = layers.Conv2D(
            width,
            size,
            strides=strides,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=name,
        )(x)
        return layers.BatchNormalization(name=f"{name}_bn")(x)

    images = Input(input_shape)
    widths = [max(1, round(alpha * 64 * 2**stage)) for stage in range(4)]
    x = layers.ReLU(name="stem_relu")(convolve(images, widths[0], 7, 2, "stem"))
    x = layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    for stage, width in enumerate(widths, start=1):
        for block in (1, 2):
            name, strides = f"stage{stage}_block{block}", 2 if stage > 1 and block == 1 else 1
            y = layers.ReLU(name=f"{name}_relu")(convolve(x, width, 3, strides, f"{name}_conv1"))
            y = convolve(y, width, 3, 1, f"{name}_conv2")
            if strides == 2:
                x = convolve(x, width, 1, 2, f"{name}_shortcut")
            x = layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([x, y]))
    return Model(images, x, name="resnet18")
