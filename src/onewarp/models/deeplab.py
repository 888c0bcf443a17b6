"""DeepLab: dense prediction by atrous convolution. Version 1, LargeFOV (Chen et al. 2015), and a compact v3+ (2018).

Both take pixels of `Normalize("imagenet")`, whatever the network behind them, and give class probabilities for every
pixel of the image. Sides need not be multiples of a stride: features are enlarged to the next multiple and cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from onewarp.errors import InputError
from onewarp.models.backbones import BACKBONES, MOMENTUM, application, features, reverse_colours, trained_pixels

if TYPE_CHECKING:
    import keras


def deeplab_v1(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    filters: int = 64,
    dropout: float = 0.5,
    batch_norm: bool = False,
    weights: str | None = None,
) -> keras.Model:
    """DeepLab v1, LargeFOV (arXiv 1412.7062): VGG-16 with output stride 8; 20,505,429 parameters for 21 classes.

    The last two poolings keep their size, the convolutions of block 5 have rate 2, fc6 is a 3x3 convolution at rate 12,
    fc7 a 1x1 one. Scores are enlarged by 8, bilinearly, before the softmax. The paper only says that the last two
    poolings do not subsample; they are 3x3 here as in the network its authors published, because 2x2 ones at
    stride 1 would move everything by half a pixel. The first three stay 2x2 as in VGG.

    Args:
        input_shape: (height, width, channels), sides of at least 8 pixels.
        classes: number of classes; 1 gives one sigmoid per pixel, for masks of 0 and 1.
        filters: of the first block; the next have 2, 4, 8 and 8 times as many, fc6 and fc7 16 times. 64 is VGG-16.
        dropout: share of fc6 and fc7 that is dropped in training.
        batch_norm: normalise after every convolution but the last, for training from random weights. Not in the paper.
        weights: None, or "imagenet" for VGG-16's convolutions (3 channels, `filters=64`, no `batch_norm`; downloaded by
            Keras). fc6, fc7 and the last layer are random.

    Returns:
        An uncompiled `keras.Model`: float images [n, height, width, channels] as `Normalize("imagenet")` makes them ->
        probabilities [n, height, width, classes], float32 under every precision. Weights do not depend on the size:
        `model.set_weights(other.get_weights())` carries them to a model for another one.

    Raises:
        InputError: numbers out of range, weights that do not fit, or a download that failed.
    """
    from keras import Input, Model, layers

    _check("deeplab_v1", input_shape, 8, classes=classes, filters=filters, dropout=dropout)
    if weights and (filters != 64 or batch_norm):
        raise InputError(
            f"weights={weights!r} are VGG-16's, got filters={filters}, batch_norm={batch_norm}; pass weights=None"
        )
    trained = application("VGG16", input_shape[2], weights) if weights else None

    def convolve(x: Any, width: int, size: int, rate: int, name: str) -> Any:
        x = layers.Conv2D(
            width,
            size,
            padding="same",
            dilation_rate=rate,
            use_bias=not batch_norm,
            kernel_initializer="he_normal",
            name=name,
        )(x)
        if batch_norm:
            x = layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_bn")(x)
        return layers.ReLU(name=f"{name}_relu")(x)

    images = Input(input_shape)
    x = images if trained is None else trained_pixels(images, "caffe")
    for block, (multiple, depth) in enumerate([(1, 2), (2, 2), (4, 3), (8, 3), (8, 3)], start=1):
        for number in range(1, depth + 1):
            x = convolve(x, filters * multiple, 3, 2 if block == 5 else 1, f"block{block}_conv{number}")
        size, strides = (2, 2) if block <= 3 else (3, 1)
        x = layers.MaxPooling2D(size, strides, padding="same", name=f"block{block}_pool")(x)
    x = layers.Dropout(dropout)(convolve(x, 16 * filters, 3, 12, "fc6"))
    x = layers.Dropout(dropout)(convolve(x, 16 * filters, 1, 1, "fc7"))
    model = Model(images, _probabilities(x, classes, 8, input_shape), name="deeplab_v1")
    if trained is not None:
        for layer in trained.layers:
            if layer.weights:
                model.get_layer(layer.name).set_weights(layer.get_weights())
        reverse_colours(model)
    return model


def deeplab_v3plus(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    backbone: str = "mobilenet_v2",
    alpha: float = 1.0,
    output_stride: int = 16,
    filters: int = 256,
    rates: Sequence[int] | None = None,
    separable: bool = True,
    dropout: float = 0.1,
    weights: str | None = None,
) -> keras.Model:
    """A compact DeepLab v3+ (arXiv 1802.02611): a backbone, atrous pooling at several rates, and a small decoder.

    Atrous spatial pyramid pooling joins a 1x1 convolution, three 3x3 ones at `rates` and the mean over the image. The
    decoder enlarges that to stride 4, joins it with the backbone's features there, cut to 48 channels, and refines with
    two 3x3 convolutions. Scores are enlarged by 4, bilinearly, before the softmax.

    Args:
        input_shape: (height, width, channels), sides of at least 32 pixels.
        classes: number of classes; 1 gives one sigmoid per pixel, for masks of 0 and 1.
        backbone: "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "resnet50" or "resnet101" of
            `keras.applications`, without the wide 1x1 layer at the end of the MobileNets; or "resnet18", which has no
            trained weights here.
        alpha: width of a MobileNet or of resnet18, as a multiple.
        output_stride: 16 or 8 by atrous convolution, or the backbone's own 32.
        filters: of the pooling and the decoder; the stride-4 features are cut to 48 / 256 as many.
        rates: of the three 3x3 convolutions, in steps of the last features; the default is 6, 12, 18 at output
            stride 16, twice these at 8, half at 32: the same distances in the image.
        separable: depthwise separable 3x3 convolutions in pooling and decoder, as in the paper; False: ordinary ones.
        dropout: share of the pooled features that is dropped in training.
        weights: None, or "imagenet" for the backbone (3 channels, an `alpha` that was trained; downloaded by Keras).

    Returns:
        An uncompiled `keras.Model`: float images [n, height, width, channels] as `Normalize("imagenet")` makes them ->
        probabilities [n, height, width, classes], float32 under every precision. Weights do not depend on the size:
        `model.set_weights(other.get_weights())` carries them to a model for another one.

    Raises:
        InputError: a backbone that is not there, numbers out of range, weights that do not fit, or a download that
            failed.
    """
    from keras import Input, Model, layers

    if backbone not in BACKBONES:
        raise InputError(f"there is no backbone {backbone!r}; choose one of {', '.join(BACKBONES)}")
    alphas, own = BACKBONES[backbone].alphas, BACKBONES[backbone].own
    if weights == "imagenet" and own:
        raise InputError(f"{backbone} has no trained weights here; pass weights=None, or choose another backbone")
    if not alphas and not own and alpha != 1:
        raise InputError(f"{backbone} has one width, got alpha={alpha}; leave it out or choose a MobileNet")
    if not alpha > 0:
        raise InputError(f"alpha={alpha} is not a width; it must be above 0, and is 1 for the published network")
    if weights == "imagenet" and alphas and alpha not in alphas:
        raise InputError(f"{backbone} of alpha={alpha} has no trained weights; choose one of {alphas}, or weights=None")
    if output_stride not in (8, 16, 32):
        raise InputError(f"output_stride={output_stride} is none of 8, 16, 32; 16 is the usual one")
    if rates is None:
        rates = [rate * 16 // output_stride for rate in (6, 12, 18)]
    if min(rates, default=1) < 1:
        raise InputError(f"rates={tuple(rates)} holds a number below 1; the paper's are (6, 12, 18)")
    _check("deeplab_v3plus", input_shape, 32, classes=classes, filters=filters, dropout=dropout)

    def finish(x: Any, name: str) -> Any:
        return layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_bn")(x))

    def convolve(x: Any, width: int, name: str) -> Any:
        return finish(layers.Conv2D(width, 1, use_bias=False, kernel_initializer="he_normal", name=name)(x), name)

    def look_around(x: Any, rate: int, name: str) -> Any:
        if separable:
            x = layers.DepthwiseConv2D(3, padding="same", dilation_rate=rate, use_bias=False, name=f"{name}_depthwise")(
                x
            )
            return convolve(finish(x, f"{name}_depthwise"), filters, name)
        x = layers.Conv2D(
            filters, 3, padding="same", dilation_rate=rate, use_bias=False, kernel_initializer="he_normal", name=name
        )(x)
        return finish(x, name)

    images = Input(input_shape)
    low, high = features(backbone, images, output_stride=output_stride, weights=weights, alpha=alpha)

    mean = layers.GlobalAveragePooling2D(keepdims=True, name="aspp_mean")(high)
    mean = convolve(mean, filters, "aspp_image")
    pooled = [convolve(high, filters, "aspp_1x1")]
    pooled += [look_around(high, rate, f"aspp_rate{number}") for number, rate in enumerate(rates, start=1)]
    # one 1x1 convolution of all, in two parts: that of the mean is the same everywhere, so it is added, not spread
    parts = [
        layers.Conv2D(filters, 1, use_bias=False, kernel_initializer="he_normal", name=name)(part)
        for name, part in (("aspp_project", layers.Concatenate(name="aspp")(pooled)), ("aspp_project_image", mean))
    ]
    x = layers.Dropout(dropout)(finish(layers.Add(name="aspp_sum")(parts), "aspp_project"))

    x = _enlarge(x, output_stride // 4, tuple(low.shape[1:3]))
    low = convolve(low, max(1, filters * 48 // 256), "decoder_low")
    x = layers.Concatenate(name="decoder")([x, low])
    x = look_around(look_around(x, 1, "decoder_conv1"), 1, "decoder_conv2")
    return Model(images, _probabilities(x, classes, 4, input_shape), name="deeplab_v3plus")


def _check(name: str, shape: tuple[int, int, int], least: int, *, classes: int, filters: int, dropout: float) -> None:
    if len(shape) != 3 or any(not isinstance(side, int) for side in shape) or min(shape[:2]) < least or shape[2] < 1:
        raise InputError(
            f"{name} needs input_shape=(height, width, channels) with sides of at least {least}, got {shape}; "
            "let the policy resize or crop"
        )
    if classes < 1 or filters < 1 or not 0 <= dropout < 1:
        raise InputError(
            f"{name}(classes={classes}, filters={filters}, dropout={dropout}): "
            "classes and filters must be at least 1, dropout in [0, 1)"
        )


def _enlarge(x: Any, times: int, size: tuple[int, ...]) -> Any:
    """Bilinearly `times` as many rows and columns, of which the first `size` are kept: what the features stand for."""
    from keras import layers

    if times > 1:
        x = layers.UpSampling2D(times, interpolation="bilinear")(x)
    extra = [have - want for have, want in zip(x.shape[1:3], size, strict=True)]
    return layers.Cropping2D(((0, extra[0]), (0, extra[1])))(x) if any(extra) else x


def _probabilities(x: Any, classes: int, times: int, input_shape: tuple[int, int, int]) -> Any:
    """Features -> scores per class -> enlarged -> probabilities: in float32, under mixed precision, too."""
    from keras import layers

    x = layers.Conv2D(classes, 1, dtype="float32", name="scores")(x)
    x = layers.UpSampling2D(times, interpolation="bilinear", dtype="float32", name="enlarged")(x)
    extra = [have - want for have, want in zip(x.shape[1:3], input_shape[:2], strict=True)]
    if any(extra):
        x = layers.Cropping2D(((0, extra[0]), (0, extra[1])), dtype="float32", name="cut")(x)
    return layers.Activation("sigmoid" if classes == 1 else "softmax", dtype="float32", name="probabilities")(x)
