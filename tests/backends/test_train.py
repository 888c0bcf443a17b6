"""Trainings as `onewarp train` does them, on every backend: small, but from the source to the saved model."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml
from rich.console import Console

import onewarp as ow
from data_helpers import class_folder
from onewarp.cli.policies import DIGITS
from onewarp.errors import DataError, InputError, PolicyError
from onewarp.fit.experiment import run_experiment
from onewarp.fit.run import Data, Settings, train

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")  # Keras' model.save
POLICY = ow.Policy.from_dict(DIGITS)
QUICK = Settings(epochs=2, batch_size=32, schedule="cosine", warmup=1, threads=2)


def console() -> Console:
    return Console(file=io.StringIO(), width=100)


def digits(count: int = 160) -> Data:
    source = ow.DigitsSource()
    parts = np.split(np.arange(count * 2), [count, count + count // 2])
    return Data("digits", *(source.subset(part) for part in parts))


def test_a_run_writes_everything(tmp_path: Path) -> None:
    screen = console()
    folder, results = run_experiment(
        digits(),
        {"plain": POLICY.deterministic(), "augmented": POLICY},
        QUICK,
        keras.backend.backend(),
        "onewarp train digits",
        screen,
        tensorboard=True,
        out=tmp_path / "run",
    )
    assert folder == tmp_path / "run"
    names = {path.name for path in folder.iterdir()}
    files = {"config.yaml", "history.csv", "history.png", "samples.png", "summary.md", "plain.keras", "augmented.keras"}
    assert names == files | {"tensorboard"}
    assert {path.name for path in (folder / "tensorboard").iterdir()} == {"plain", "augmented"}

    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert ow.Policy.from_dict(config["policy"]) == POLICY
    assert config["versions"]["keras"] == keras.__version__ and "unknown" not in config["versions"].values()
    assert (config["epochs"], config["schedule"], config["backend"]) == (2, "cosine", keras.backend.backend())

    with (folder / "history.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["training"], line["epoch"]) for line in lines] == [
        (name, str(epoch)) for name in ("plain", "augmented") for epoch in (1, 2)
    ]
    for line in lines:
        assert 0 <= float(line["data_wait"]) <= 1 and float(line["images_per_second"]) > 0
        assert float(line["seconds"]) > 0 and float(line["learning_rate"]) <= 1e-3

    logged = b"".join(path.read_bytes() for path in (folder / "tensorboard" / "plain").iterdir())
    assert b"data_wait" in logged and b"images_per_second" in logged

    printed = screen.file.getvalue()  # type: ignore[attr-defined]
    for result in results:
        assert f"{result.test_accuracy:.2%}" in printed
        assert f"{result.test_accuracy:.2%}" in (folder / "summary.md").read_text()
        assert len(result.rows) == 2 and 0 < result.test_loss < 10
    assert str(folder) in printed.replace("\n", "")


def test_the_saved_model_is_the_trained_one(tmp_path: Path) -> None:
    """Plain Keras loads it, and it predicts what the trained one predicts."""
    data = digits(96)
    folder, (result,) = run_experiment(
        data, {"augmented": POLICY}, QUICK, "any", "command", console(), out=tmp_path / "run"
    )
    loaded = keras.models.load_model(folder / "augmented.keras")
    x = data.test.gather(np.arange(8))["images"]
    x = POLICY.deterministic()(x)
    np.testing.assert_allclose(loaded.predict(x, verbose=0), result.model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_training_is_repeatable() -> None:
    """The same seed gives the same losses; another one does not."""
    losses = [
        [row["loss"] for row in train("x", POLICY, digits(96), Settings(epochs=2, seed=seed), console()).rows]
        for seed in (3, 3, 4)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    assert abs(losses[0][0] - losses[2][0]) > 1e-3


def test_it_learns() -> None:
    """Digits that it has not seen, clearly better than chance after a few epochs."""
    source = ow.DigitsSource()
    rest, test = ow.split(source, 0.2, seed=0, stratify=True)
    data = Data("digits", *ow.split(rest, 0.2, seed=1, stratify=True), test)
    result = train("augmented", POLICY, data, Settings(epochs=8, batch_size=16, schedule="cosine"), console())
    assert result.test_accuracy > 0.9


def test_mixing_trains() -> None:
    """MixUp and CutMix give fractional labels, which the loss takes."""
    policy = ow.Policy([*POLICY.transforms, ow.OneOf([ow.MixUp(), ow.CutMix()])])
    result = train("mixed", policy, digits(96), Settings(epochs=1), console())
    assert np.isfinite(result.rows[0]["loss"])


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """Whatever the backend makes of an error in the middle of an epoch, the user reads which file it was."""
    root = class_folder(tmp_path / "photos", {"a": 24, "b": 24}, size=(20, 20))
    source = ow.FolderSource(root)
    bad = root / "b" / "007.png"
    bad.write_bytes(bad.read_bytes()[:40])
    policy = ow.Policy([ow.Rotate(5), ow.Resize(20), ow.Rescale()])
    data = Data("photos", source, source.subset(range(8)), source.subset(range(8)))
    seen: list[Any] = []
    with pytest.raises(DataError, match=r"b.007\.png"):
        train("x", policy, data, Settings(epochs=2, batch_size=4), console(), seen.append)
    assert seen == []


@pytest.mark.parametrize(
    ("policy", "error", "message"),
    [
        (ow.Policy([ow.Rotate(5)]), InputError, "lenet5 needs images of at least 16x16.*let the policy resize"),
        (ow.Policy([ow.Resize(32)], data_format="channels_first"), PolicyError, "channels_last"),
    ],
)
def test_policies_that_do_not_fit(policy: ow.Policy, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        train("x", policy, digits(40), Settings(epochs=1), console())


def test_a_source_without_classes() -> None:
    source = ow.ArraySource(np.zeros((8, 32, 32, 1), np.uint8))
    with pytest.raises((InputError, DataError), match="class numbers"):
        train("x", ow.Policy([ow.Rescale()]), Data("x", source, source, source), Settings(epochs=1), console())
