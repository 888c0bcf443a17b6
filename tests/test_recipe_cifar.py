"""The LeNet-5 recipe: its split, its model, its files, and that watching a training does not change it."""

from __future__ import annotations

import csv
import json
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

import onewarp as ow  # noqa: E402
from data_helpers import class_folder  # noqa: E402
from onewarp.data import Cifar10Source  # noqa: E402
from onewarp.data.named import CIFAR10_CLASSES  # noqa: E402
from recipe_helpers import load  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside Keras


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    return load("cifar10_lenet5")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CIFAR-10 of 300 training and 50 test images."""
    root = tmp_path_factory.mktemp("cifar10")
    for split, count in (("train", 30), ("test", 5)):
        class_folder(root / split, dict.fromkeys(CIFAR10_CLASSES, count), "JPEG", (32, 32))
    return root


def values(x: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(x))


def test_the_first_fifth_of_each_class_validates(recipe: ModuleType) -> None:
    labels = np.array([0] * 10 + [1] * 20 + [0] * 5)
    source = ow.ArraySource(np.zeros((35, 2, 2, 3), np.uint8), labels)
    training, validation = recipe.first_fifth(source)
    np.testing.assert_array_equal(validation.ids(np.arange(7)), [0, 1, 2, 10, 11, 12, 13])
    np.testing.assert_array_equal(training.ids(np.arange(28)), [*range(3, 10), *range(14, 35)])


def test_the_folded_layers_are_the_same_function(recipe: ModuleType, rng: np.random.Generator) -> None:
    plain, folded = recipe.lenet5(folded=False), recipe.lenet5()
    assert plain.count_params() == folded.count_params() == 62998
    swapped = [type(layer).__name__ for layer in folded.layers if type(layer).__name__.startswith("Folded")]
    assert swapped == ["FoldedConv2D", "FoldedMaxPooling2D", "FoldedConv2DBy2", "FoldedMaxPooling2D"]
    folded.set_weights(plain.get_weights())
    x = rng.random((4, 32, 32, 3), np.float32)
    np.testing.assert_allclose(values(folded(x)), values(plain(x)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(values(folded(x, training=True)), values(plain(x, training=True)), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("width", [5, 6, 8, 9, 32])
@pytest.mark.parametrize("kind", ["FoldedConv2D", "FoldedConv2DBy2"])
def test_a_folded_convolution_of_any_width(recipe: ModuleType, rng: np.random.Generator, kind: str, width: int) -> None:
    folded, plain = getattr(recipe, kind)(7, 5), keras.layers.Conv2D(7, 5)
    x = rng.random((2, 6, width, 3), np.float32)
    for layer in (folded, plain):
        layer.build(x.shape)
    weights = [rng.standard_normal(shape).astype(np.float32) for shape in ((5, 5, 3, 7), (7,))]
    folded.set_weights(weights)
    plain.set_weights(weights)
    assert folded.compute_output_shape(x.shape) == folded(x).shape == plain(x).shape
    np.testing.assert_allclose(values(folded(x)), values(plain(x)), rtol=1e-4, atol=1e-4)


def test_watching_does_not_change_the_training(recipe: ModuleType, small: Path, tmp_path: Path) -> None:
    training, validation = recipe.first_fifth(Cifar10Source(small, "train"))
    policy = ow.Policy.from_yaml(recipe.POLICY)

    def train(together: int, watch: bool) -> tuple[list[np.ndarray], Any]:
        keras.utils.set_random_seed(3)
        loader = ow.Loader(training, policy, batch_size=16, seed=3)
        watched = {"clean": recipe.evaluation(validation, policy.deterministic(), 3)}
        watched["augmented"] = recipe.evaluation(validation, policy, 3)
        model = recipe.lenet5()
        recipe.compile_model(model, together)
        rows = recipe.EpochRows(watched if watch else {}, tmp_path / "rows.csv", "test", 2)
        model.fit(loader, epochs=2, verbose=0, callbacks=[rows])
        if watch:
            assert [watcher.epoch for watcher in watched.values()] == [2, 2]  # a draw of its own for each epoch
        return model.get_weights(), rows.rows

    (unwatched, _), (watched, rows), (together, same_rows) = train(1, False), train(1, True), train(5, True)
    for expected, found, other in zip(unwatched, watched, together, strict=True):
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(other, expected)
    scores = ("clean_accuracy", "augmented_accuracy", "clean_loss", "augmented_loss")
    assert [[row[name] for name in scores] for row in rows] == [[row[name] for name in scores] for row in same_rows]
    assert rows[0]["clean_loss"] != rows[0]["augmented_loss"]


def test_runs_are_written_and_not_repeated(recipe: ModuleType, small: Path, tmp_path: Path, capfd: Any) -> None:
    out = tmp_path / "runs"
    options: dict[str, Any] = {"data": small, "seeds": 1, "epochs": 2, "out": out, "plot": False, "timing": False}
    recipe.main(**options)
    printed = capfd.readouterr().out
    assert "plain, seed 0: epoch 2/2" in printed and "augmented, seed 0: epoch 2/2" in printed
    assert sorted(path.name for path in out.iterdir()) == [
        "augmented-0.csv",
        "augmented-0.json",
        "history.png",
        "plain-0.csv",
        "plain-0.json",
    ]
    record = json.loads((out / "augmented-0.json").read_text())
    assert record["samples"] == {"training": 240, "validation": 60, "test": 50}
    assert [row["epoch"] for row in record["history"]] == [1, 2]
    assert record["test_accuracy"] == record["history"][-1]["test_accuracy"]
    with (out / "augmented-0.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    plain = json.loads((out / "plain-0.json").read_text())["history"][-1]
    assert "validation_accuracy" in plain and "validation_augmented_accuracy" not in plain
    assert struct.unpack(">II", (out / "history.png").read_bytes()[16:24])[0] > 1000
    before = (out / "plain-0.json").stat().st_mtime_ns
    recipe.main(**options)
    assert "is there already" in capfd.readouterr().out
    assert (out / "plain-0.json").stat().st_mtime_ns == before
    recipe.main(**{**options, "plot": True})
    assert "69.00 %" in capfd.readouterr().out


def test_the_table(recipe: ModuleType) -> None:
    def record(variant: str, seed: int, test: list[float], **validation: list[float]) -> dict[str, Any]:
        rows = [
            {"test_accuracy": found, "cpu_seconds": 1.0, **{f"{name}_accuracy": v[i] for name, v in validation.items()}}
            for i, found in enumerate(test)
        ]
        return {"variant": variant, "seed": seed, "test_accuracy": test[-1], "history": rows}

    table = recipe.results_table(
        [
            record("plain", 0, [0.5, 0.6], validation=[0.7, 0.6]),
            record("plain", 1, [0.5, 0.62], validation=[0.5, 0.6]),
            record("augmented", 0, [0.65, 0.7], validation=[0.7, 0.6], validation_augmented=[0.5, 0.6]),
        ]
    )
    plain, augmented = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:])
    assert plain == ["plain", "62.70 %", "61.00 ± 1.41 %", "56.00 ± 8.49 %", "56.00 ± 8.49 %", "2", "1.0"]
    assert augmented == ["augmented", "69.00 %", "70.00 %", "70.00 %", "65.00 %", "1", "1.0"]
