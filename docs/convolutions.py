"""Make docs/convolutions.md and its pictures: every number on the page is measured on a Keras layer.

    python docs/convolutions.py            # the page and the pictures
    python docs/convolutions.py --check    # exit 1 if the page differs from the code (the tests run this)

The words of the page are in docs/convolutions.txt, with {NAMES} where numbers and tables go.

Weights and images are small whole numbers, so that results are exact and the same on every backend.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

HERE = Path(__file__).parent
CHANNELS, FILTERS = 16, 32  # of the layers whose weights are counted
PLAIN = {"use_bias": False}
STACKS = ((1, 1, 1), (2, 2, 2), (1, 2, 4))  # rates of three layers, one behind the other

KERNEL = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
IMAGE = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3], [5, 8, 9, 7, 9], [3, 2, 3, 8, 4], [6, 2, 6, 4, 3]])
SOBEL_COLUMN, SOBEL_ROW = np.array([1, 2, 1]), np.array([-1, 0, 1])


# --- what is measured ---------------------------------------------------------------------------------------------


def weights(*made: layers.Layer, channels: int = CHANNELS) -> int:
    """How many numbers the layers learn, one behind the other, on `channels` channels."""
    return keras.Sequential([keras.Input((None, None, channels)), *made]).count_params()


def run(images: Any, *made: layers.Layer, kernel: Any = None) -> np.ndarray:
    """Images [n, h, w] through layers of one channel, each with `kernel` (all 1 by default), as whole numbers."""
    images = np.asarray(images, np.float32)[..., None]
    model = keras.Sequential([keras.Input(images.shape[1:]), *made])
    for layer in made:
        given = np.ones(layer.kernel_size) if kernel is None else np.asarray(kernel)
        layer.set_weights([given.astype(np.float32).reshape(layer.get_weights()[0].shape)])
    return np.rint(np.asarray(keras.ops.convert_to_numpy(model(images)))[..., 0]).astype(int)


def units(height: int, width: int) -> np.ndarray:
    """One image for each pixel, in which that pixel is 1 and all others are 0."""
    return np.eye(height * width).reshape(-1, height, width)


def conv(rate: int = 1, size: Any = 3, **options: Any) -> layers.Layer:
    return layers.Conv2D(1, size, dilation_rate=rate, **PLAIN, **options)


def paths(*made: layers.Layer, size: int = 17) -> np.ndarray:
    """In how many ways each of size x size pixels reaches the one result of `made`: int, cut to the pixels that do."""
    middle = run(units(size, size), *made)
    ways = middle[:, middle.shape[1] // 2, middle.shape[2] // 2].reshape(size, size)
    rows = np.flatnonzero(ways.any(1))
    return ways[rows[0] : rows[-1] + 1, rows[0] : rows[-1] + 1]


def kernel_that_acts(rate: int, kernel: np.ndarray = KERNEL) -> np.ndarray:
    """The ordinary kernel that does what a layer of that rate does: what one pixel becomes, seen from the result."""
    side = 2 * rate + 1
    answer = run(units(4 * rate + 1, 4 * rate + 1)[[(4 * rate + 1) ** 2 // 2]], conv(rate), kernel=kernel)[0]
    assert answer.shape == (side, side)
    return answer[::-1, ::-1]


def matrix(layer: layers.Layer, size: int, kernel: np.ndarray = KERNEL) -> np.ndarray:
    """A layer on size x size pixels as a matrix [outputs, inputs]: column k is what it makes of pixel k alone."""
    return run(units(size, size), layer, kernel=kernel).reshape(size * size, -1).T


def field(model: keras.Model, last: str, rates: bool = True) -> tuple[int, int]:
    """(receptive field, stride) of a chain of layers up to `last`, in pixels; rates=False takes all rates for 1."""
    seen, step = 1, 1
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D | layers.MaxPooling2D):
            is_convolution = isinstance(layer, layers.Conv2D)
            size = layer.kernel_size[0] if is_convolution else layer.pool_size[0]
            rate = layer.dilation_rate[0] if is_convolution and rates else 1
            seen += (size - 1) * rate * step
            step *= layer.strides[0]
        if layer.name == last:
            break
    return seen, step


def photograph() -> np.ndarray:
    """Grey levels, whole numbers [h, w]."""
    import cv2
    from sklearn.datasets import load_sample_image

    small = cv2.resize(load_sample_image("china.jpg"), (240, 160), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(int)


def sobel() -> tuple[np.ndarray, np.ndarray]:
    """The photograph under Sobel's 3x3 kernel, and under its column and its row, one behind the other."""
    image = photograph()[None]
    whole = run(image, conv(), kernel=np.outer(SOBEL_COLUMN, SOBEL_ROW))
    down = run(image, conv(size=(3, 1)), kernel=SOBEL_COLUMN)
    return whole[0], run(down, conv(size=(1, 3)), kernel=SOBEL_ROW)[0]


# --- the page -----------------------------------------------------------------------------------------------------


def table() -> list[str]:
    """The kinds of layer from 16 to 32 channels: their weights, and what one number of the result sees."""
    rows = [
        ("ordinary 3x3", [layers.Conv2D(FILTERS, 3, **PLAIN)], conv()),
        ("ordinary 5x5", [layers.Conv2D(FILTERS, 5, **PLAIN)], conv(size=5)),
        ("dilated 3x3, rate 2", [layers.Conv2D(FILTERS, 3, dilation_rate=2, **PLAIN)], conv(2)),
        ("dilated 3x3, rate 6", [layers.Conv2D(FILTERS, 3, dilation_rate=6, **PLAIN)], conv(6)),
        ("transposed 3x3, stride 2", [layers.Conv2DTranspose(FILTERS, 3, strides=2, **PLAIN)], None),
        ("depthwise separable 3x3", [layers.DepthwiseConv2D(3, **PLAIN), layers.Conv2D(FILTERS, 1, **PLAIN)], conv()),
    ]
    lines = ["| layer | weights | sees |", "| --- | --: | --: |"]
    for name, made, one in rows:
        parts = [weights(layer) for layer in made]
        counted = " + ".join(f"{part:,}" for part in parts) + (f" = {weights(*made):,}" if len(parts) > 1 else "")
        if one is None:
            inner = run(units(3, 3), layers.Conv2DTranspose(1, 3, strides=2, **PLAIN))[:, 2:5, 2:5]
            seen = (inner > 0).sum(0)
            sees = f"{seen.min()} to {seen.max()} pixels"
        else:
            side = len(paths(one))
            sees = f"{side}x{side}"
        lines.append(f"| {name} | {counted} | {sees} |")
    return lines


def stacks() -> list[str]:
    lines = ["| rates of three 3x3 layers | field | pixels seen in it |", "| --- | --: | --: |"]
    for rates in STACKS:
        ways = paths(*map(conv, rates))
        seen = f"{(ways > 0).sum()} of {ways.size}"
        lines.append(f"| {', '.join(map(str, rates))} | {len(ways)}x{len(ways)} | {seen} |")
    return lines


def deeplab() -> list[str]:
    """What a score of DeepLab v1 sees, beside VGG-16."""
    from onewarp.models import deeplab_v1

    vgg = keras.applications.VGG16(include_top=False, weights=None, input_shape=(224, 224, 3))
    ours = deeplab_v1((224, 224, 3), 21)
    rows = [
        ("VGG-16 up to its last pooling", field(vgg, "block5_pool")),
        ("the same with the last two strides at 1", field(ours, "block5_pool", rates=False)),
        ("and block 5 at rate 2", field(ours, "block5_pool")),
        ("and fc6 at rate 12: `deeplab_v1`", field(ours, "scores")),
    ]
    lines = ["| network | stride | field |", "| --- | --: | --: |"]
    return lines + [f"| {name} | {step} | {seen} |" for name, (seen, step) in rows]


def page() -> str:
    """docs/convolutions.md as text."""
    small, c = conv(strides=2), matrix(conv(strides=2), 5)
    y = run(IMAGE[None], small, kernel=KERNEL)[0]
    back = run(y[None], layers.Conv2DTranspose(1, 3, strides=2, **PLAIN), kernel=KERNEL)[0]
    whole, parts = sobel()
    ordinary, separable = layers.Conv2D(FILTERS, 3, **PLAIN), layers.SeparableConv2D(FILTERS, 3, **PLAIN)
    wide, narrow = layers.Conv2D(256, 3, **PLAIN), layers.SeparableConv2D(256, 3, **PLAIN)
    values = {
        "TABLE": "\n".join(table()),
        "STACKS": "\n".join(stacks()),
        "DEEPLAB": "\n".join(deeplab()),
        "MATRIX": f"{c.shape[0]}x{c.shape[1]}",
        "SMALL": f"{y.shape[0]}x{y.shape[1]}",
        "BACK": f"{back.shape[0]}x{back.shape[1]}",
        "SAME_AS_C": "equal" if (c @ IMAGE.reshape(-1) == y.reshape(-1)).all() else "DIFFERENT",
        "SAME_AS_CT": "equal" if (c.T @ y.reshape(-1) == back.reshape(-1)).all() else "DIFFERENT",
        "FIRST_BACK": f"{back[0, 0]:,}",
        "FIRST": str(IMAGE[0, 0]),
        "ZEROS": str((kernel_that_acts(2) == 0).sum()),
        "SHARE": f"{weights(separable) / weights(ordinary):.1%}",
        "SUM": f"{1 / FILTERS + 1 / 9:.1%}",
        "SOBEL_WHOLE": str(weights(conv(), channels=1)),
        "SOBEL_PARTS": str(weights(conv(size=(3, 1)), conv(size=(1, 3)), channels=1)),
        "SOBEL_DIFFERENCE": str(abs(whole - parts).max()),
        "WIDE": f"{weights(wide, channels=2048):,}",
        "NARROW": f"{weights(narrow, channels=2048):,}",
    }
    text = PAGE
    for name, value in values.items():
        assert f"{{{name}}}" in text, name
        text = text.replace(f"{{{name}}}", value)
    return text


PAGE = (HERE / "convolutions.txt").read_text(encoding="utf-8")


if __name__ == "__main__":
    target = HERE / "convolutions.md"
    if "--check" in sys.argv:
        sys.exit(target.read_text(encoding="utf-8") != page())
    target.write_text(page(), encoding="utf-8")
    from convolution_pictures import draw

    draw(HERE / "images")
