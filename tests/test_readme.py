"""What the documentation shows runs: every ```python block of README.md and docs/*.md, and the whole user's code.

The blocks of a file share one namespace, as a reader would type them, and run in a folder with a few small images in
photos/train and photos/val, and a COCO file in coco. A block below the comment `<!-- not run: reason -->` is left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from coco_helpers import write as write_coco
from data_helpers import class_folder

PROJECT = Path(__file__).parent.parent
PAGES = sorted(path for path in (PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")) if path.exists())

_BLOCK = re.compile(r"(?P<skip><!-- *not run:(?P<reason>[^>]*)-->\s*\n)?^```python\n(?P<code>.*?)^```$", re.M | re.S)


class Block(NamedTuple):
    """A block of code: its first line's number in the page, its text, and why it is not run (or None)."""

    line: int
    code: str
    reason: str | None


def blocks(text: str) -> list[Block]:
    return [
        Block(
            text.count("\n", 0, found.start("code")), found["code"], found["reason"].strip() if found["skip"] else None
        )
        for found in _BLOCK.finditer(text)
    ]


def run_page(path: Path, names: dict[str, Any]) -> int:
    """Run the blocks of a page in one namespace; returns how many. Errors point to the lines of the page."""
    ready = [block for block in blocks(path.read_text(encoding="utf-8")) if block.reason is None]
    for block in ready:
        exec(compile("\n" * block.line + block.code, str(path), "exec"), names)
    return len(ready)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with photos/train and photos/val, two classes each, as the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    class_folder(tmp_path / "photos" / "train", {"cat": 4, "dog": 4}, size=(40, 52))
    class_folder(tmp_path / "photos" / "val", {"cat": 2, "dog": 2}, size=(36, 30))
    (tmp_path / "coco" / "images").mkdir(parents=True)
    write_coco(tmp_path / "coco" / "images").rename(tmp_path / "coco" / "instances.json")
    return tmp_path


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside Keras
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_code_of_a_page_runs(path, folder) -> None:
    run_page(path, {"__name__": "__page__"})


def test_there_is_code_to_run() -> None:
    assert PAGES and any(blocks(path.read_text(encoding="utf-8")) for path in PAGES)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_block_of_python_is_found_and_what_is_not_run_says_why(path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(re.findall(r"^\s*(?:```|~~~)\s*(?:python|py|pycon)\b", text, re.M)) == len(blocks(text))
    for block in blocks(text):
        assert block.reason is None or len(block.reason) > 5, f"{path.name}, line {block.line}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


PAGE = """# A page
```python
a = 1
```
<!-- not run: it needs a network -->
```python
raise RuntimeError
```
```bash
make demo
```
```python
assert a == 2
```
"""


def test_a_block_that_fails_is_reported_with_its_line(tmp_path) -> None:
    (tmp_path / "page.md").write_text(PAGE)
    assert [(block.line, block.reason) for block in blocks(PAGE)] == [(2, None), (6, "it needs a network"), (12, None)]
    with pytest.raises(AssertionError) as failure:
        run_page(tmp_path / "page.md", {})
    assert failure.traceback[-1].lineno == 12  # counted from 0: the thirteenth line
    (tmp_path / "page.md").write_text(PAGE.replace("a == 2", "a == 1"))
    assert run_page(tmp_path / "page.md", {}) == 2


# --- the user's code ----------------------------------------------------------------------------------------------

USERS_CODE = """
import numpy as np, keras, onewarp as ow

policy = ow.Policy([
    ow.RandomResizedCrop(224, scale=(0.35, 1.0)),          # an int is a square, (height, width) otherwise
    ow.HorizontalFlip(),                                    # p=0.5
    ow.Rotate(15), ow.Shear(10), ow.Scale((0.8, 1.2)), ow.Translate(0.1),
    ow.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1),
    ow.RandomErasing(p=0.5),
    ow.Normalize("imagenet"),                               # or mean=, std=; ow.Rescale(1/255)
], fill_mode="reflect")
print(policy.plan(ow.Spec(images=(480, 640, 3))))           # what will run, stage by stage

images = policy(x)                                          # a fresh random draw each call, as people expect
images = policy(x, seed=0, epoch=3, ids=np.arange(len(x)))  # or keyed: the same every time
                                                            # NumPy in, NumPy out; a backend tensor in, a backend tensor out
batch = policy({"images": x, "labels": y, "segmentation_masks": m,
                "bounding_boxes": {"boxes": b, "labels": l}, "keypoints": k}, seed=0, epoch=3, ids=ids,
               bounding_box_format="xyxy")                  # xyxy is the default
params = policy.draw(x, seed=0, epoch=3, ids=ids)           # from a batch or a Spec; policy(x, params=params) replays

train = ow.Loader(ow.FolderSource("photos/train"), policy, batch_size=64, seed=0, threads=8)
val = ow.Loader(ow.FolderSource("photos/val"), policy.deterministic(), batch_size=64, shuffle=False)
model.fit(train, validation_data=val, epochs=EPOCHS, callbacks=[ow.PipelineMonitor()])
for images, labels in train: ...                            # an epoch; the next loop is the next epoch
state = train.state(); train.restore(state)                 # then iterating gives the rest of that epoch

policy.to_yaml("policy.yaml"); ow.Policy.from_yaml("policy.yaml")
"""  # noqa: E501


@pytest.fixture
def users_names() -> dict[str, Any]:
    """The names that the user's code takes for granted: images with all their targets, and a model."""
    import keras

    rng = np.random.default_rng(0)
    n, height, width = 4, 60, 80
    model = keras.Sequential([keras.layers.Input((224, 224, 3)), keras.layers.AveragePooling2D(32)])
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dense(2))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return {
        "x": rng.integers(0, 256, (n, height, width, 3), dtype=np.uint8),
        "y": np.arange(n) % 2,
        "m": rng.integers(0, 5, (n, height, width), dtype=np.uint8),
        "b": np.tile(np.array([[(10, 5, 50, 40), (0, 0, 0, 0)]], np.float32), (n, 1, 1)),
        "l": np.tile([[1, -1]], (n, 1)),
        "k": rng.uniform(0, 60, (n, 3, 3)).astype(np.float32),
        "ids": np.arange(n),
        "model": model,
        "EPOCHS": 2,
    }


def test_the_users_code_runs_as_it_stands(folder, users_names, capsys) -> None:
    names = users_names
    exec(compile(USERS_CODE, "the user's code", "exec"), names)
    said = capsys.readouterr().out
    assert "1 warp: RandomResizedCrop, HorizontalFlip, Rotate, Shear, Scale, Translate -> 224x224 bilinear" in said
    ow, policy, x = names["ow"], names["policy"], names["x"]
    batch = names["batch"]
    assert batch["images"].shape == (4, 224, 224, 3) and batch["images"].dtype == np.float32
    assert batch["segmentation_masks"].shape == (4, 224, 224) and batch["bounding_boxes"]["boxes"].shape == (4, 2, 4)
    np.testing.assert_array_equal(policy(x, params=names["params"]), batch["images"])
    assert not np.array_equal(policy(x), policy(x))  # a fresh draw each call
    assert isinstance(names["images"], np.ndarray) and names["images"].shape == (64, 224, 224, 3)
    assert ow.Policy.from_yaml("policy.yaml") == policy
    assert names["state"]


def test_the_command_line_says_what_it_can_do() -> None:
    """The command that the documentation tells to type is there."""
    command = Path(sys.executable).parent / "onewarp"
    if not command.exists():
        pytest.skip("the package is not installed with its command")
    done = subprocess.run([command, "--help"], capture_output=True, text=True, env={**os.environ, "COLUMNS": "100"})
    assert done.returncode == 0, done.stderr
    for name in ("train", "preview"):
        assert name in done.stdout
