"""`onewarp coco`: what it prints, what it draws, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from coco_helpers import SQUARE, annotation, content, write
from onewarp.cli import main
from onewarp.cli.coco import indented


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["coco", *map(str, arguments)])
    return int(stop.value.code or 0)


def test_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    what = content()
    what["annotations"] += [annotation(20 + i, 55, 2, [SQUARE]) for i in range(3)]
    path = write(tmp_path, what)
    assert run("summary", path, "--out", tmp_path / "sum.png", "--problems", 2) == 0
    out = capsys.readouterr().out
    assert "3 images" in out and "1 images without annotations" in out and "1 crowds" in out
    assert "cat" in out and "dog" in out and "3 problems:" in out
    assert "annotation 21: there is no image 55" in out and "annotation 22" not in out and "and 1 more" in out
    assert cv2.imread(str(tmp_path / "sum.png")) is not None


def test_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path)
    assert run("show", path, "--image", 7) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["image"]["file_name"] == "a.png" and [one["id"] for one in found["annotations"]] == [11, 12]
    assert run("show", path, "--annotation", 11) == 0
    assert json.loads(capsys.readouterr().out)["note"] == "kept"
    assert run("show", path) == 2
    assert run("show", path, "--image", 8) == 2
    assert run("show", path, "--annotation", 8) == 2
    err = capsys.readouterr().err
    assert "give either --image ID or --annotation ID" in err and "no image 8" in err and "no annotation 8" in err


def test_indented_is_the_same_json() -> None:
    for value in ({}, [], {"a": [1, 2], "b": [[1, 2], [3]], "c": {"d": None, "e": "ü\n"}}, [{"x": []}, 5]):
        assert json.loads(indented(value)) == value
    assert indented({"a": [1, 2], "b": {"c": 3}}) == '{\n  "a": [1, 2],\n  "b": {\n    "c": 3\n  }\n}'


def test_preview(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert run("preview", path, "--images", tmp_path, "--out", tmp_path / "plain.png") == 0
    policy = tmp_path / "policy.yaml"
    policy.write_text("transforms: [HorizontalFlip]\n")
    wide = tmp_path / "drawn.png"
    assert run("preview", path, "--images", tmp_path, "--policy", policy, "--out", wide, "--draws", 2) == 0
    assert cv2.imread(str(wide)).shape[1] > 3 * 240
    assert run("preview", tmp_path / "none.json", "--images", tmp_path) == 2
