"""DeepLab: parameters counted by hand, output strides, what a score sees, which pixels go in, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

import onewarp as ow  # noqa: E402
from onewarp.errors import InputError  # noqa: E402
from onewarp.models import deeplab_v1, deeplab_v3plus  # noqa: E402
from onewarp.models.backbones import BACKBONES, features  # noqa: E402


def convolution(size: int, inputs: int, outputs: int) -> int:
    return size * size * inputs * outputs + outputs


def v1_by_hand(classes: int, filters: int = 64) -> int:
    total, channels = 0, 3
    for multiple, depth in [(1, 2), (2, 2), (4, 3), (8, 3), (8, 3)]:
        for _ in range(depth):
            total += convolution(3, channels, filters * multiple)
            channels = filters * multiple
    wide = 16 * filters
    return total + convolution(3, channels, wide) + convolution(1, wide, wide) + convolution(1, wide, classes)


def test_v1_has_the_parameters_of_the_paper() -> None:
    """14,714,688 in VGG-16's convolutions; the paper says 20.5 M in all (Table 2), for the 21 classes of VOC."""
    assert v1_by_hand(21) == 14_714_688 + 4_719_616 + 1_049_600 + 21_525 == 20_505_429
    assert deeplab_v1((64, 64, 3), 21).count_params() == 20_505_429
    assert deeplab_v1((64, 64, 3), 11, filters=8).count_params() == v1_by_hand(11, 8)


# What is left of a network up to the layer that is used: its published number of parameters, less the classifier and
# the wide 1x1 layer before it (weights and four numbers of normalisation per channel). Then its channels there and at
# stride 4, where MobileNets are taken after the expansion.
MEASURES = {
    "mobilenet_v2": (3_538_984 - (1280 + 1) * 1000 - (320 * 1280 + 4 * 1280), 320, 144),
    "mobilenet_v3_small": (939_120 - (96 * 576 + 4 * 576), 96, 72),
    "mobilenet_v3_large": (2_996_352 - (160 * 960 + 4 * 960), 160, 72),
    "resnet18": (11_689_512 + 2 * 4800 - (512 + 1) * 1000, 512, 64),  # torchvision's number lacks the moving averages
    "resnet50": (25_636_712 - (2048 + 1) * 1000, 2048, 256),
    "resnet101": (44_707_176 - (2048 + 1) * 1000, 2048, 256),
}


def v3plus_by_hand(backbone: str, classes: int, filters: int, separable: bool) -> int:
    own, high, low = MEASURES[backbone]

    def one(inputs: int, outputs: int) -> int:
        return inputs * outputs + 4 * outputs

    def three(inputs: int) -> int:
        return 9 * inputs + 4 * inputs + one(inputs, filters) if separable else one(9 * inputs, filters)

    pooling = 2 * one(high, filters) + 3 * three(high) + one(5 * filters, filters)
    cut = filters * 48 // 256
    decoder = one(low, cut) + three(filters + cut) + three(filters)
    return own + pooling + decoder + convolution(1, filters, classes)


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_v3plus_has_the_parameters_of_its_description(backbone: str) -> None:
    for separable in (True, False) if backbone == "resnet50" else (True,):
        model = deeplab_v3plus((64, 64, 3), 21, backbone=backbone, separable=separable)
        assert model.count_params() == v3plus_by_hand(backbone, 21, 256, separable)
    assert MEASURES.keys() == BACKBONES.keys()


@pytest.mark.parametrize("size", [(64, 96), (60, 45), (33, 49)])
def test_output_strides_and_sizes(size: tuple[int, int]) -> None:
    """Features have a row for every `stride` rows that were begun; probabilities have the size of the image."""

    def begun(stride: int) -> tuple[int, int]:
        return -(-size[0] // stride), -(-size[1] // stride)

    model = deeplab_v1((*size, 3), 5, filters=2)
    assert tuple(model.get_layer("scores").output.shape[1:3]) == begun(8)
    assert model.output_shape == (None, *size, 5)
    for stride in (8, 16, 32):
        model = deeplab_v3plus((*size, 3), 5, backbone="mobilenet_v3_small", output_stride=stride, filters=16)
        assert tuple(model.get_layer("aspp").output.shape[1:3]) == begun(stride)
        assert tuple(model.get_layer("decoder").output.shape[1:3]) == begun(4)
        assert model.output_shape == (None, *size, 5)
        assert model.get_layer("aspp_rate3_depthwise").dilation_rate == (18 * 16 // stride,) * 2


def test_a_score_of_v1_sees_412_pixels() -> None:
    """By hand: 3x3 layers at stride s and rate r add 2 s r, poolings their size less 1; measured: one column at a time.

    All weights are 1, so that nothing is lost on the way.
    """
    blocks = [(2, 1, 1, 2), (2, 2, 1, 2), (3, 4, 1, 2), (3, 8, 1, 3), (3, 8, 2, 3)]  # layers, stride, rate, pooling
    by_hand = 1 + sum(layers * 2 * stride * rate + (pool - 1) * stride for layers, stride, rate, pool in blocks)
    by_hand += 2 * 8 * 12
    assert by_hand == 412
    model = deeplab_v1((8, 560, 1), 1, filters=1)
    model.set_weights([np.ones_like(w) if w.ndim == 4 else np.zeros_like(w) for w in model.get_weights()])
    scores = keras.Model(model.input, model.get_layer("scores").output)
    columns = np.zeros((560, 8, 560, 1), np.float32)
    columns[np.arange(560), :, np.arange(560)] = 1
    seen = np.flatnonzero(scores.predict(columns, batch_size=80, verbose=0)[:, 0, 35, 0])
    assert len(seen) == by_hand and seen[-1] - seen[0] + 1 == by_hand  # and no holes


def scaled(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Kernels of which values neither grow nor vanish through the network, also those of one input channel."""
    if weights.ndim != 4:
        return weights
    inputs = weights.shape[0] * weights.shape[1] * (weights.shape[2] if weights.shape[3] > 1 else 1)
    return rng.normal(size=weights.shape).astype(np.float32) * np.float32((2 / inputs) ** 0.5)


@pytest.mark.parametrize(("backbone", "first"), [("mobilenet_v2", (1, 3)), ("resnet50", (0, 0))])
def test_atrous_features_are_those_of_the_network_at_more_places(
    backbone: str, first: tuple[int, int], rng: np.random.Generator
) -> None:
    """Every 2nd (4th) of them is what the network itself gives: a MobileNet's strides begin at 1, a ResNet's at 0."""
    images = rng.normal(size=(1, 64, 96, 3)).astype(np.float32)
    alpha = 0.35 if backbone == "mobilenet_v2" else 1.0
    weights, found = None, {}
    for stride in (32, 16, 8):
        inputs = keras.Input((64, 96, 3))
        model = keras.Model(inputs, features(backbone, inputs, output_stride=stride, weights=None, alpha=alpha))
        weights = weights or [scaled(w, rng) for w in model.get_weights()]
        model.set_weights(weights)
        found[stride] = [np.asarray(keras.ops.convert_to_numpy(x)) for x in model(images, training=False)]
    for times, start in zip((2, 4), first, strict=True):
        low, high = found[32 // times]
        for ours, own in ((high[:, start::times, start::times], found[32][1]), (low, found[32][0])):
            np.testing.assert_allclose(ours, own, atol=1e-5 * np.abs(own).max())
    assert np.abs(found[32][1]).max() > 0.01


def published(monkeypatch: pytest.MonkeyPatch, kind: str) -> list[Any]:
    """Let `keras.applications` make random weights where it is asked for ImageNet's; the networks that it made."""
    build: Callable[..., Any] = getattr(keras.applications, kind)
    made = []

    def instead(weights: str, **options: Any) -> Any:
        assert weights == "imagenet"
        made.append(build(weights=None, **options))
        return made[-1]

    monkeypatch.setattr(keras.applications, kind, instead)
    return made


def pixels_of(kind: str, images: np.ndarray) -> np.ndarray:
    """uint8 -> what the weights of that application were trained with, by Keras' own functions."""
    if "V3" in kind:  # theirs leaves it to the network, which we ask not to
        return images.astype(np.float32) / 127.5 - 1
    module = {"MobileNetV2": "mobilenet_v2", "ResNet50": "resnet50", "VGG16": "vgg16"}[kind]
    return getattr(keras.applications, module).preprocess_input(images.astype(np.float32))


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "mobilenet_v3_small", "resnet50"])
def test_trained_weights_get_the_pixels_that_they_know(
    backbone: str, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """Pixels of Normalize("imagenet") in ours, Keras' preprocess_input in Keras' network: the same features."""
    kind = BACKBONES[backbone].application
    made = published(monkeypatch, kind)
    images = rng.integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    inputs = keras.Input((224, 224, 3))
    _, ours = features(backbone, inputs, output_stride=32, weights="imagenet", alpha=1.0)
    theirs = keras.Model(made[0].input, made[0].get_layer(BACKBONES[backbone].end).output)
    normalised = ow.Policy([ow.Normalize("imagenet")])(images)
    got = keras.Model(inputs, ours).predict(normalised, verbose=0)
    expected = theirs.predict(pixels_of(kind, images), verbose=0)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_v1_takes_the_convolutions_of_vgg16(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    made = published(monkeypatch, "VGG16")
    images = rng.integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    model = deeplab_v1((224, 224, 3), 5, weights="imagenet")
    assert model.count_params() == v1_by_hand(5)
    ours = keras.Model(model.input, model.get_layer("block3_conv3_relu").output)  # up to here strides are VGG's
    theirs = keras.Model(made[0].input, made[0].get_layer("block3_conv3").output)
    expected = theirs.predict(pixels_of("VGG16", images), verbose=0)
    got = ours.predict(ow.Policy([ow.Normalize("imagenet")])(images), verbose=0)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    for number in (1, 2, 3):
        for mine, other in zip(
            *(m.get_layer(f"block5_conv{number}").get_weights() for m in (model, made[0])), strict=True
        ):
            assert (mine == other).all()


def test_a_download_that_fails_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**options: Any) -> None:
        raise Exception("URL fetch failure on https://there/vgg16.h5: None -- [Errno -2] Name or service not known")

    monkeypatch.setattr(keras.applications, "VGG16", fail)
    monkeypatch.setattr(keras.applications, "MobileNetV2", fail)
    for build in (deeplab_v1, deeplab_v3plus):
        with pytest.raises(
            InputError, match="imagenet.*could not be had.*Name or service not known.*weights=None"
        ) as e:
            build((64, 64, 3), 5, weights="imagenet")
        assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("build", "shape", "options", "words"),
    [
        (deeplab_v1, (7, 64, 3), {}, r"sides of at least 8, got \(7, 64, 3\)"),
        (deeplab_v1, (None, None, 3), {}, r"got \(None, None, 3\)"),
        (deeplab_v1, (64, 64), {}, "height, width, channels"),
        (deeplab_v1, (64, 64, 3), {"classes": 0}, "classes=0"),
        (deeplab_v1, (64, 64, 3), {"filters": 0}, "filters=0"),
        (deeplab_v1, (64, 64, 3), {"dropout": 1.0}, r"dropout=1.0.*\[0, 1\)"),
        (deeplab_v1, (64, 64, 3), {"filters": 32, "weights": "imagenet"}, "filters=32.*weights=None"),
        (deeplab_v1, (64, 64, 3), {"batch_norm": True, "weights": "imagenet"}, "batch_norm=True"),
        (deeplab_v1, (64, 64, 1), {"weights": "imagenet"}, "3 channels, got 1"),
        (deeplab_v1, (64, 64, 3), {"weights": "vgg.h5"}, "'vgg.h5' is neither None nor 'imagenet'.*load_weights"),
        (deeplab_v3plus, (31, 64, 3), {}, "at least 32"),
        (deeplab_v3plus, (64, 64, 3), {"backbone": "xception"}, "no backbone 'xception'; choose one of mobilenet_v2"),
        (deeplab_v3plus, (64, 64, 3), {"backbone": "resnet50", "alpha": 0.5}, "one width, got alpha=0.5"),
        (deeplab_v3plus, (64, 64, 3), {"alpha": 0}, "alpha=0 is not a width"),
        (
            deeplab_v3plus,
            (64, 64, 3),
            {"backbone": "resnet18", "weights": "imagenet"},
            "resnet18 has no trained weights",
        ),
        (deeplab_v3plus, (64, 64, 3), {"alpha": 0.6, "weights": "imagenet"}, r"alpha=0.6.*0\.35, 0\.5"),
        (deeplab_v3plus, (64, 64, 3), {"output_stride": 4}, "output_stride=4 is none of 8, 16, 32"),
        (deeplab_v3plus, (64, 64, 3), {"rates": (6, 0)}, r"rates=\(6, 0\)"),
        (deeplab_v3plus, (64, 64, 3), {"weights": "coco"}, "'coco' is neither"),
    ],
)
def test_refusals(build: Any, shape: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build(shape, **{"classes": 5, **options})
