"""A made-up CamVid: sky, road and a car of different colours, with a rim that is void; and a model that knows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

SKY, ROAD, CAR, VOID = 0, 3, 8, 11
COLOURS = {SKY: (120, 160, 240), ROAD: (90, 90, 90), CAR: (200, 30, 30), VOID: (0, 0, 0)}


def street(number: int, height: int = 48, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 [h, w, 3] and labels uint8 [h, w]."""
    rng = np.random.default_rng(number)
    mask = np.full((height, width), ROAD, np.uint8)
    mask[: rng.integers(height // 4, height // 2)] = SKY
    x = rng.integers(4, width // 2)
    mask[height // 2 : height * 3 // 4, x : x + width // 4] = CAR
    mask[:, -2:] = VOID
    image = np.zeros((height, width, 3), np.float64)
    for label, colour in COLOURS.items():
        image[mask == label] = colour
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8), mask


def camvid(root: Path, counts: dict[str, int]) -> Path:
    """The folder of a data set: train, trainannot, ..., with so many images each."""
    for split, count in counts.items():
        for kind in (split, f"{split}annot"):
            (root / kind).mkdir(parents=True)
        for number in range(count):
            image, mask = street(len(split) * 100 + number)
            cv2.imwrite(str(root / split / f"{number:03d}.png"), image[..., ::-1])
            cv2.imwrite(str(root / f"{split}annot" / f"{number:03d}.png"), mask)
    return root


NAMES = ("sky", "road", "car")  # of the three classes that `nearest_colour` knows
SHADES = ((128, 128, 128), (128, 64, 128), (64, 0, 128))
CRF = {"gaussian": {"sxy": 2.0, "compat": 2.0}, "bilateral": {"sxy": 10.0, "srgb": 20.0, "compat": 3.0}}


def three_classes(mask: np.ndarray) -> np.ndarray:
    """Labels of `street` as those of `NAMES`; void stays 11."""
    table = np.full(12, VOID, np.uint8)
    table[[SKY, ROAD, CAR]] = (0, 1, 2)
    return table[mask]


def nearest_colour(images: np.ndarray) -> np.ndarray:
    """Probabilities [n, h, w, 3] of images in [0, 1]: a softmax of minus 20 times the squared distance in colour."""
    means = np.array([COLOURS[label] for label in (SKY, ROAD, CAR)]) / 255
    logits = -20 * ((images[..., None, :] - means) ** 2).sum(-1)
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def run_folder(folder: Path, size: tuple[int, int] = (24, 32), crf: Any = None) -> Path:
    """A run folder whose model is `nearest_colour`, as a convolution of one pixel."""
    import keras

    import onewarp as ow
    from onewarp.fit.segmenter import Task

    inputs = keras.Input((*size, 3))
    layer = keras.layers.Conv2D(3, 1, activation="softmax")
    model = keras.Model(inputs, layer(inputs))
    means = np.array([COLOURS[label] for label in (SKY, ROAD, CAR)]) / 255
    layer.set_weights([40 * means.T[None, None], -20 * (means**2).sum(1)])
    folder.mkdir(parents=True)
    model.save(folder / "model.keras")
    task = Task(NAMES, SHADES, ow.Policy([ow.Resize(size), ow.Rescale()]), crf)
    (folder / "config.yaml").write_text(yaml.safe_dump({"segmentation": task.to_dict()}), encoding="utf-8")
    return folder
