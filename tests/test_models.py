"""The reference models: their parameters counted by hand, their shapes, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from onewarp.errors import InputError  # noqa: E402
from onewarp.models import MODELS, build, lenet5  # noqa: E402


def convolution(size: int, inputs: int, outputs: int) -> int:
    return size * size * inputs * outputs + outputs


def lenet5_by_hand(classes: int) -> int:
    normalised = 6 + 6 + 16 + 16 + 120 + 84  # channels under batch normalisation, four numbers each
    weights = convolution(5, 3, 6) + convolution(5, 6, 16)
    return weights + (5 * 5 * 16 + 1) * 120 + (120 + 1) * 84 + (84 + 1) * classes + 4 * normalised


def resnet20_by_hand() -> int:
    total, channels = convolution(3, 3, 16) + 4 * 16, 16
    for filters in (16, 32, 64):
        for _ in range(3):
            total += convolution(3, channels, filters) + convolution(3, filters, filters) + 2 * 4 * filters
            if channels != filters:
                total += convolution(1, channels, filters)
            channels = filters
    return total + (64 + 1) * 10


def resnet29v2_by_hand() -> int:
    total, channels, narrow = convolution(3, 3, 16) + 4 * 16, 16, 16
    for wide in (64, 128, 256):
        for block in range(3):
            if channels != 16:  # the very first block's input is activated already
                total += 4 * channels
            total += convolution(1, channels, narrow) + 4 * narrow + convolution(3, narrow, narrow) + 4 * narrow
            total += convolution(1, narrow, wide)
            if block == 0:
                total += convolution(1, channels, wide)
            channels = wide
        narrow = wide
    return total + 4 * 256 + (256 + 1) * 10


@pytest.mark.parametrize(
    ("name", "published", "counted"),
    [
        ("lenet5", 62_998, lenet5_by_hand(10)),
        ("resnet20", 274_442, resnet20_by_hand()),
        ("resnet29v2", 849_002, resnet29v2_by_hand()),
    ],
)
def test_parameters(name: str, published: int, counted: int) -> None:
    """As published for 32x32x3 and 10 classes, and as counted from the description of the architecture."""
    assert counted == published
    assert build(name, (32, 32, 3), 10).count_params() == published


def test_lenet5_has_the_layers_that_the_recipe_lists() -> None:
    kinds = [type(layer).__name__ for layer in lenet5((32, 32, 3), 10).layers]
    normalised = ["BatchNormalization", "ReLU", "MaxPooling2D", "BatchNormalization"]
    dense = ["Dense", "BatchNormalization"]
    assert kinds == ["Conv2D", *normalised, "Conv2D", *normalised, "Flatten", *dense, *dense, "Dense"]


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("shape", [(32, 32, 3), (40, 28, 1)])
def test_gives_probabilities(name: str, shape: tuple[int, int, int], rng: np.random.Generator) -> None:
    """Also for images that are not square, of one channel, and for another number of classes."""
    model = build(name, shape, 7)
    probabilities = keras.ops.convert_to_numpy(model(rng.random((2, *shape), np.float32)))
    assert probabilities.shape == (2, 7)
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_global_pooling_equals_the_pooling_of_the_example(rng: np.random.Generator) -> None:
    """The example pools 8x8 and flattens; on 32x32 input the last frames are 8x8, so that a global mean is the same."""
    model = build("resnet20", (32, 32, 3), 10)
    pooling = next(layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D))
    assert tuple(pooling.input.shape[1:]) == (8, 8, 64)


def test_refusals() -> None:
    with pytest.raises(InputError, match="at least 16x16.*8, 8, 1.*resize"):
        lenet5((8, 8, 1), 10)
    with pytest.raises(InputError, match="no model 'vgg'; choose one of lenet5, resnet20, resnet29v2"):
        build("vgg", (32, 32, 3), 10)


@pytest.mark.parametrize(("classes", "end"), [(11, "softmax"), (1, "sigmoid")])
def test_unet_gives_probabilities_of_the_images_size(classes: int, end: str) -> None:
    from onewarp.models import unet

    model = unet((32, 48, 3), classes, filters=4, depth=2)
    result = np.asarray(model.predict(np.random.default_rng(0).random((2, 32, 48, 3), np.float32), verbose=0))
    assert result.shape == (2, 32, 48, classes) and (result >= 0).all() and (result <= 1).all()
    if end == "softmax":
        np.testing.assert_allclose(result.sum(-1), 1, atol=1e-5)


def test_unet_names_what_does_not_fit() -> None:
    from onewarp.models import unet

    with pytest.raises(InputError, match=r"needs sides divisible by 16, got \(360, 480, 3\)"):
        unet((360, 480, 3), 11)
    with pytest.raises(InputError, match="filters=0"):
        unet((32, 32, 3), 11, filters=0)
