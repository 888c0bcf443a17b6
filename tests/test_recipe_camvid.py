"""The CamVid recipe on made-up streets: its files, its scores against a count by hand, its pictures, its mistakes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

keras = pytest.importorskip("keras")

import onewarp as ow  # noqa: E402
from onewarp.errors import InputError  # noqa: E402
from onewarp.fit.segmenter import Segmenter, enlarged, read_task  # noqa: E402
from onewarp.segment import DenseCRF  # noqa: E402
from recipe_helpers import load  # noqa: E402
from street_helpers import CAR, ROAD, SKY, VOID, camvid  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside Keras


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    return load("camvid_deeplab")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return camvid(tmp_path_factory.mktemp("camvid"), {"train": 8, "val": 6, "test": 3})


OPTIONS: dict[str, Any] = {"model": "unet", "filters": 4, "size": (32, 48), "crf": True}


@pytest.fixture(scope="module")
def run(recipe: ModuleType, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "augmented"
    recipe.main(data=data, out=out, epochs=12, batch_size=2, learning_rate=0.01, **OPTIONS)
    return out


def test_the_run_folder(recipe: ModuleType, run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names == {
        *("config.yaml", "history.csv", "history.png", "samples.png", "predictions.png"),
        *("results.json", "summary.md", "model.keras"),
    }
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert ow.Policy.from_dict(config["policy"]) == recipe.augmented(32, 48)
    assert config["seed"] == 0 and config["balance"] == 0.5 and len(config["class_weights"]) == 11
    assert config["segmentation"]["crf"]["iterations"] == 10
    with (run / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [*range(1, 13)]
    assert {"loss", "mean_iou", "val_mean_iou", "data_wait", "learning_rate"} <= set(rows[0])
    results = json.loads((run / "results.json").read_text())
    assert set(results["test"]) == set(results["val"]) == {"before", "after"}
    text = (run / "summary.md").read_text(encoding="utf-8")
    for part in ("val, before the CRF", "test, after the CRF", "| boundary F1, 5 px", "| IoU, bicyclist", "SegNet"):
        assert part in text
    for picture in ("history.png", "samples.png", "predictions.png"):
        assert cv2.imread(str(run / picture)).std() > 10


def test_scores_are_those_of_a_count_by_hand(recipe: ModuleType, run: Path, data: Path) -> None:
    """mIoU at the labels' size, from intersections and unions over the whole split, void left out."""
    segmenter = Segmenter.load(run)
    inside, union = np.zeros(11), np.zeros(11)
    for path in sorted((data / "test").iterdir()):
        image = cv2.imread(str(path))[..., ::-1]
        truth = cv2.imread(str(data / "testannot" / path.name), cv2.IMREAD_GRAYSCALE)
        guess = segmenter.probabilities(image).argmax(-1)
        assert guess.shape == truth.shape == (48, 64)
        for label in range(11):
            a, b = (truth == label) & (truth != VOID), (guess == label) & (truth != VOID)
            inside[label] += (a & b).sum()
            union[label] += (a | b).sum()
    iou = inside[union > 0] / union[union > 0]
    found = json.loads((run / "results.json").read_text())["test"]["before"]
    assert found["miou"] == pytest.approx(iou.mean(), abs=1e-6)
    assert 0 < found["miou"] < 1
    assert [name for name, value in found["iou"].items() if value is not None] == [
        name for name, pixels in zip(recipe.CLASSES, union, strict=True) if pixels
    ]


def test_the_report_can_be_made_again(recipe: ModuleType, run: Path, data: Path) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    (run / "summary.md").unlink()
    (run / "results.json").unlink()
    recipe.main(data=data, out=run, report=True, crf=True)
    changed, same = (
        json.loads(text, parse_float=lambda digits: round(float(digits), 5))
        for text in ((run / "results.json").read_text(), before["results.json"])
    )
    assert [changed[split] for split in ("val", "test")] == [same[split] for split in ("val", "test")]
    assert (run / "model.keras").read_bytes() == before["model.keras"]
    assert (run / "predictions.png").read_bytes() == before["predictions.png"]


def test_on_the_device_without_augmentation_crf_and_balance(
    recipe: ModuleType, run: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "plain"
    options = {**OPTIONS, "epochs": 1, "crf": False, "augment": False, "balance": 0.0, "schedule": "poly"}
    recipe.main(data=data, out=out, placement="device", batch_size=4, **options)
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["class_weights"] is None and config["segmentation"]["crf"] is None
    assert ow.Policy.from_dict(config["policy"]) == recipe.plain(32, 48)
    assert recipe.history(out)[0] == "plain" and recipe.history(run)[0] == "augmented"
    alone = (out / "history.png").read_bytes()
    recipe.main(data=data, out=out, report=True, beside=run)
    assert (out / "history.png").read_bytes() != alone
    assert set(json.loads((out / "results.json").read_text())["test"]) == {"before"}
    assert "CRF:" not in (out / "summary.md").read_text()


def test_it_learns(run: Path) -> None:
    """Three classes of clear colours are told apart after some steps, where batch norm has the batch's statistics."""
    with (run / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["mean_iou"]) > 0.5 > 2 * float(rows[0]["mean_iou"])
    assert float(rows[-1]["loss"]) < 0.6 * float(rows[0]["loss"])


def test_the_grid(recipe: ModuleType, data: Path) -> None:
    """Truth and prediction in the colours of their classes; red where they differ."""
    images = recipe.source(data, "test")
    found = np.stack([np.eye(12, dtype=np.float32)[recipe.pair(images, i)[1]][..., :11] for i in range(3)])
    found[..., 0] += found.sum(-1) == 0  # void
    red = (214, 39, 40)
    perfect = recipe.grid(found, images, None, rows=2)
    assert not (perfect == red).all(-1).any()
    for label in (SKY, ROAD, CAR):
        assert (perfect == list(recipe.CLASSES.values())[label]).all(-1).any()
    wrong = recipe.grid(np.roll(found, 1, -1), images, DenseCRF(gaussian={"sxy": 1, "compat": 0.1}), rows=2)
    assert (wrong == red).all(-1).sum() > 1000 and wrong.shape[1] > perfect.shape[1]


def test_enlarging_is_bilinear_between_pixel_centres() -> None:
    small = np.array([[[0.0], [1.0]]], np.float32)
    np.testing.assert_allclose(enlarged(small, (2, 4))[..., 0], [[0, 0.25, 0.75, 1]] * 2, atol=1e-6)


def test_run_folders_that_are_none(run: Path, tmp_path: Path) -> None:
    def broken(**changes: Any) -> Path:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["segmentation"] = {**config["segmentation"], **changes}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        return folder

    with pytest.raises(InputError, match="there is no model.keras in it"):
        Segmenter.load(tmp_path)
    with pytest.raises(InputError, match="nowhere: no such file"):
        Segmenter.load(tmp_path / "nowhere")
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "model.keras").write_bytes((run / "model.keras").read_bytes())
    with pytest.raises(InputError, match=r"config.yaml: no such file; keep the model in the run folder"):
        Segmenter.load(alone / "model.keras")
    for text, message in (("a: [", "cannot be read"), ("a: 1", "has no entry segmentation")):
        (alone / "config.yaml").write_text(text)
        with pytest.raises(InputError, match=message):
            Segmenter.load(alone)
    for changes, message in (
        ({"class_names": ["a"]}, "1 class names and 11 colours"),
        ({"colours": [1]}, "segmentation: "),
        ({"preprocess": {"transforms": ["Rotat"]}}, "Rotat"),
        ({"crf": {"gaussian": {"sxy": 0, "compat": 1}}}, "sxy"),
    ):
        with pytest.raises(InputError, match=message):
            read_task(broken(**changes))
    folder = broken(class_names=["a", "b"], colours=[[1, 2, 3], [4, 5, 6]])
    (folder / "model.keras").write_bytes((run / "model.keras").read_bytes())
    with pytest.raises(InputError, match="names 2 classes; put the model beside its own config"):
        Segmenter.load(folder)
    (folder / "model.keras").write_bytes(b"PK nothing")
    with pytest.raises(InputError, match="not a Keras model"):
        Segmenter.load(folder)
