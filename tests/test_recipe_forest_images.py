"""The recipe of forests on whole images: its training sets, its descriptions, and what it prints and writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import onewarp as ow
from data_helpers import class_folder, picture
from onewarp.data.batches import Batches
from onewarp.data.named import CIFAR10_CLASSES
from recipe_helpers import RECIPES, load

IMAGES = load("forest_images")


def test_a_training_set_is_what_a_loader_shows() -> None:
    images = np.stack([picture(8, 8, k)[..., :1] for k in range(6)])
    source = ow.ArraySource(images, np.arange(6)).subset([4, 1, 5])
    policy = ow.Policy([ow.Rotate(30), ow.Resize(32)])
    shown = IMAGES.drawn(source, policy, 2, seed=7)
    assert shown.shape == (3, 32, 32, 3) and shown.dtype == np.uint8
    expected = Batches(source, policy, 3, shuffle=False, seed=7).batch(2, 0)["images"]
    np.testing.assert_array_equal(shown, np.repeat(expected, 3, -1))


def test_descriptions_are_means_over_cells() -> None:
    images = np.stack([picture(32, 32, k) for k in range(3)])
    pixels = IMAGES.DESCRIPTIONS["pixels"](images)
    assert pixels.shape == (3, 16 * 16 * 3) and pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[1].reshape(16, 16, 3)[2, 5], images[1, 4:6, 10:12].mean((0, 1)), rtol=1e-5)
    many = np.concatenate([images] * 400)
    np.testing.assert_array_equal(IMAGES.described(many, IMAGES.gradients)[-3:], IMAGES.gradients(images))
    upright = np.zeros((1, 32, 32, 3), np.uint8)
    upright[:, :, 14:18] = 255  # edges along x alone
    by_direction = IMAGES.cells(IMAGES.EDGES, 4, upright).reshape(16, 8).sum(0)
    assert by_direction[0] > 100 * by_direction[1:].sum()


def test_digits_are_compared_with_lenet(tmp_path: Path, capsys: Any) -> None:
    IMAGES.digits(passes=1, trees=5, seed=0, out=tmp_path)
    said = capsys.readouterr().out
    record = json.loads((tmp_path / "digits.json").read_text())
    assert record["test"] == 359 and set(record["accuracy"]) == {"pixels", "gradients"}
    assert all(0.7 < value < 1 for scores in record["accuracy"].values() for value in scores.values())
    assert "pixels, plain: " in said and ", 1150 x 768, " in said
    assert "| LeNet-5 | 98.05% | 99.16% |" in said


def test_lenets_figures_are_those_of_the_readme() -> None:
    readme = (RECIPES.parent / "README.md").read_text(encoding="utf-8")
    for scores, digits in ((IMAGES.LENET["digits"], 2), (IMAGES.LENET["cifar10"], 1)):
        assert (
            f"{100 * scores['plain']:.{digits}f} % plain, {100 * scores['augmented']:.{digits}f} % augmented" in readme
        )


def test_cifar10_is_read_and_compared(tmp_path: Path) -> None:
    for split, count in (("train", 5), ("test", 2)):
        class_folder(tmp_path / "cifar10" / split, dict.fromkeys(CIFAR10_CLASSES, count), "JPEG", (32, 32))
    IMAGES.cifar10(data=tmp_path / "cifar10", passes=2, trees=2, seed=0, out=tmp_path)
    record = json.loads((tmp_path / "cifar10.json").read_text())
    assert record["test"] == 20 and record["passes"] == 2
