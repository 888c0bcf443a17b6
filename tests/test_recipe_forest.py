"""The recipe of forest and CRF on a tiny CamVid: what it prints and writes, and that its scores are its labels'."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onewarp as ow
from data_helpers import encode, picture, pillow
from onewarp.segment import DenseCRF, PixelForest
from recipe_helpers import load

CRF = load("forest_crf")


@pytest.fixture(scope="module")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CamVid of four images of each split: sky above a road, a tree in between, a little void."""
    root = tmp_path_factory.mktemp("camvid")
    mask = np.zeros((360, 480), np.uint8)
    mask[180:], mask[100:300, 200:280], mask[:8] = 3, 5, 11
    colours = np.array([(120, 160, 220)] * 3 + [(90, 85, 90)] * 2 + [(50, 90, 40)] * 7, np.float64)
    for k, split in enumerate(("train", "val", "test")):
        for folder in (split, f"{split}annot"):
            (root / folder).mkdir()
        for number in range(4):
            rng = np.random.default_rng(10 * k + number)
            moved = np.roll(mask, 20 * number, 1)
            image = np.clip(colours[moved] + rng.normal(0, 40, (360, 480, 3)), 0, 255).astype(np.uint8)
            (root / split / f"{number}.jpg").write_bytes(encode(image, "JPEG", quality=92))
            (root / f"{split}annot" / f"{number}.png").write_bytes(encode(moved, "PNG"))
    return root


def test_forest_and_crf_from_folders_to_results(camvid: Path, tmp_path: Path, capsys: Any) -> None:
    options: dict[str, Any] = {"size": (36, 48), "trees": 3, "depth": 6, "pixels": 600, "passes": 2, "policy": None}
    CRF.main(data=camvid, **options, tuned_on=2, train_images=3, images=3, seed=0, out=tmp_path)
    said = capsys.readouterr().out
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["images"] == {"train": 3, "val": 2, "test": 3} and record["size"] == [36, 48]
    assert record["forest"].items() >= {"n_estimators": 3, "max_depth": 6, "seed": 0}.items()
    for variant in ("plain", "augmented"):
        before, after = record[variant]["forest"], record[variant]["after CRF"]
        assert before["accuracy"] > 0.9 and after["accuracy"] > 0.9 and set(before["boundary_f1"]) == {"1", "3", "5"}
        assert set(before["iou"]) == set(CRF.CLASSES) and before["iou"]["car"] is None
        assert f"**{after['miou']:.1%}**" in said
        assert pillow((tmp_path / f"{variant}.png").read_bytes()).shape[1] > 5 * 48
    assert record["augmented"]["policy"]["transforms"] != record["plain"]["policy"]["transforms"]
    assert re.search(r"\| IoU road \| \d+\.\d% \|", said) and "| IoU car | – |" in said


def test_a_policy_of_ones_own(camvid: Path, tmp_path: Path) -> None:
    ow.Policy([ow.Resize((36, 48)), ow.Invert(p=1.0)], mask_fill_value=11).to_yaml(tmp_path / "policy.yaml")
    options: dict[str, Any] = {"size": (36, 48), "trees": 2, "depth": 4, "pixels": 200, "passes": 1, "seed": 0}
    CRF.main(
        data=camvid, **options, policy=tmp_path / "policy.yaml", tuned_on=1, train_images=None, images=2, out=tmp_path
    )
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["augmented"]["forest"]["accuracy"] < record["plain"]["forest"]["accuracy"] - 0.1


def test_images_are_spread_evenly() -> None:
    assert CRF.spread(101, 3).tolist() == [0, 50, 100] and CRF.spread(2, 9).tolist() == [0, 1]


def test_judging_is_scoring_the_labels() -> None:
    rng = np.random.default_rng(0)
    test = [(picture(12, 16, k), rng.integers(0, 12, (12, 16)).astype(np.uint8)) for k in range(2)]
    forest = PixelForest(11, n_estimators=2).fit(([i for i, _ in test], [m for _, m in test]), void=11, pixels=300)
    crf = DenseCRF(gaussian=dict(sxy=1, compat=1), iterations=2)
    found = CRF.judge(forest, crf, test)
    probs = forest.predict(test[1][0])
    assert (found.before[1] == probs.argmax(-1)).all()
    assert (found.after[1] == crf(test[1][0], probs).argmax(-1)).all()
    counted = [mask != 11 for _, mask in test]
    right = [(labels == mask)[c] for labels, (_, mask), c in zip(found.after, test, counted, strict=True)]
    assert found.scores["after CRF"].accuracy == pytest.approx(np.concatenate(right).mean())
    errors = CRF.grid(test, found)
    assert ((errors == (220, 30, 30)).all(-1)).sum() == sum(int((~r).sum()) for r in right)  # only what counts is red
