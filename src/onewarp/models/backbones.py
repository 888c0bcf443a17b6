"""Networks of `keras.applications`, and a ResNet-18, as feature extractors with a chosen output stride.

The output stride is how many pixels of the image lie between two neighbours of the last features: 32 in a network for
classification. Atrous convolution (Chen et al. 2015) makes it 16 or 8: a layer that would stride beyond it has stride 1
instead, and every filter after it reads its input at a rate, 2 for each stride that was taken out, so that it sees what
it was trained for. `keras.models.clone_model` rebuilds the network that way, layer by layer, names and weights kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onewarp.errors import InputError
from onewarp.models.resnet18 import resnet18

if TYPE_CHECKING:
    import keras

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation, as in Normalize("imagenet")
CAFFE = (123.68, 116.779, 103.939)  # mean of red, green, blue, as in keras.applications
TRACED = 224  # the side at which strides are read off; all halvings down to 1/32 are exact
MOMENTUM = (
    0.99  # of batch normalisation; MobileNets have 0.999, whose averages lag behind in runs of some hundred steps
)


@dataclass(frozen=True)
class Backbone:
    """Where a network is found, and what is used of it.

    Attributes:
        application: its name in `keras.applications`.
        end: the layer whose output is used: the last block, before the wide 1x1 layer that only serves classification.
        pixels: what its weights were trained with: "tf" is [-1, 1], "caffe" is blue, green, red minus their means.
        alphas: the widths whose ImageNet weights exist; empty where the width is fixed.
        options: further arguments of the application.
        own: built here, of any width, without trained weights.
    """

    application: str
    end: str
    pixels: str
    alphas: tuple[float, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    own: bool = False


V3 = (("include_preprocessing", False),)
BACKBONES = {
    "mobilenet_v2": Backbone("MobileNetV2", "block_16_project_BN", "tf", (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)),
    "mobilenet_v3_small": Backbone("MobileNetV3Small", "expanded_conv_10_add", "tf", (0.75, 1.0), V3),
    "mobilenet_v3_large": Backbone("MobileNetV3Large", "expanded_conv_14_add", "tf", (0.75, 1.0), V3),
    "resnet18": Backbone("resnet18", "stage4_block2_out", "tf", own=True),
    "resnet50": Backbone("ResNet50", "conv5_block3_out", "caffe"),
    "resnet101": Backbone("ResNet101", "conv5_block3_out", "caffe"),
}


def features(name: str, images: Any, *, output_stride: int, weights: str | None, alpha: float) -> tuple[Any, Any]:
    """The stride-4 features and the last ones of a backbone, as Keras tensors that hang on `images`.

    Args:
        name: one of `BACKBONES`.
        images: `keras.Input` of shape (height, width, channels): pixels of `Normalize("imagenet")`.
        output_stride: 8, 16 or 32.
        weights: None for random ones, or "imagenet".
        alpha: width of a MobileNet or the ResNet-18.

    Returns:
        [n, ceil(h / 4), ceil(w / 4), c] and [n, ceil(h / output_stride), ceil(w / output_stride), d].
    """
    from keras import Model, models

    backbone = BACKBONES[name]
    channels = images.shape[-1]
    if backbone.own:
        whole = resnet18((TRACED, TRACED, channels), alpha)
    else:
        options = dict(backbone.options, **({"alpha": alpha} if backbone.alphas else {}))
        whole = application(backbone.application, channels, weights, **options)
    low = next(layer for layer in reversed(whole.layers) if tuple(layer.output.shape[1:3]) == (TRACED // 4,) * 2)
    traced = Model(whole.input, [low.output, whole.get_layer(backbone.end).output])
    pixels = images if weights is None else trained_pixels(images, backbone.pixels)
    copy = models.clone_model(
        traced,
        input_tensors=images,
        clone_function=_Atrous(traced, output_stride).layer,
        call_function=lambda layer, x, *more, **options: layer(pixels if x is images else x, *more, **options),
    )
    copy.set_weights(traced.get_weights())
    if weights is not None and backbone.pixels == "caffe":
        reverse_colours(copy)
    return tuple(copy.outputs)


def application(kind: str, channels: int, weights: str | None, **options: Any) -> keras.Model:
    """A network of `keras.applications` without its classifier, for images of 224x224."""
    import keras

    if weights not in (None, "imagenet"):
        raise InputError(
            f"weights={weights!r} is neither None nor 'imagenet'; load a file with model.load_weights(path)"
        )
    if weights and channels != 3:
        raise InputError(f"weights='imagenet' are for 3 channels, got {channels}; pass weights=None")
    build = getattr(keras.applications, kind)
    shape = (TRACED, TRACED, channels)
    try:
        return build(include_top=False, weights=weights, input_shape=shape, **options)
    except Exception as error:  # a failed download is raised as a bare Exception
        if weights is None:
            raise
        raise InputError(
            f"weights='imagenet' of {kind} could not be had ({error}); connect to the network, "
            "put the file into ~/.keras/models, or pass weights=None"
        ) from error


def trained_pixels(images: Any, pixels: str) -> Any:
    """Pixels of `Normalize("imagenet")` -> those that weights of `keras.applications` were trained with, still RGB."""
    from keras import layers

    mean, std = IMAGENET
    if pixels == "tf":
        scale, offset = [2 * s for s in std], [2 * m - 1 for m in mean]
    else:
        scale, offset = [255 * s for s in std], [255 * m - c for m, c in zip(mean, CAFFE, strict=True)]
    return layers.Rescaling(scale, offset, name="trained_pixels")(images)


def reverse_colours(model: keras.Model) -> None:
    """Turn a first convolution that was trained on blue, green, red into one for red, green, blue, in place."""
    from keras import layers

    first = next(layer for layer in model.layers if isinstance(layer, layers.Conv2D))
    kernel, *bias = first.get_weights()
    first.set_weights([kernel[:, :, ::-1], *bias])


class _Atrous:
    """The `clone_function` that gives a network another output stride, and pads as 'same' where it pads by hand."""

    def __init__(self, traced: keras.Model, output_stride: int) -> None:
        from keras import layers

        self.output_stride = output_stride
        # MobileNets pad by hand for the one size they are built for; with 'same' it is right for every size
        self.pads = [
            x for x in traced.layers if isinstance(x, layers.ZeroPadding2D) and x.padding[0][0] != x.padding[0][1]
        ]

    def layer(self, layer: keras.layers.Layer) -> keras.layers.Layer:
        from keras import layers

        config = layer.get_config()
        if isinstance(layer, layers.BatchNormalization):
            config["momentum"] = MOMENTUM
        elif layer in self.pads:
            return layers.Identity.from_config({key: config[key] for key in ("name", "trainable", "dtype")})
        elif isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            stride = 2 ** round(math.log2(TRACED / layer.input.shape[1]))  # of its input, in the original network
            rate = max(1, stride // self.output_stride)
            if any(layer.input is pad.output for pad in self.pads):
                config["padding"] = "same"
            if stride * layer.strides[0] > self.output_stride:
                config["strides"] = (1, 1)
            if rate > 1 and max(layer.kernel_size) > 1:
                config["dilation_rate"] = (rate, rate)
        return layer.__class__.from_config(config)
