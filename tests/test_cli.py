"""The command line: its help, its errors, what its commands write. In this process where that is enough."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import onewarp as ow
from data_helpers import class_folder, encode, picture, tar_of
from onewarp.cli import app, main
from onewarp.cli.options import choose_backend, parse_size
from onewarp.cli.policies import CIFAR10, DIGITS
from onewarp.cli.preview import open_source, read_annotations
from onewarp.errors import DataError, InputError, MissingDependency

RECIPES = Path(__file__).parent.parent / "recipes" / "policies"
SAVING = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")  # Keras, in model.save
COMMANDS = [
    ["train", "digits"],
    ["train", "cifar10"],
    ["preview"],
    ["plan"],
    ["prepare"],
    ["verify"],
    ["segment"],
    ["doctor"],
    ["coco", "summary"],
    ["coco", "show"],
    ["coco", "preview"],
]


def run(*arguments: object) -> int:
    """The exit status of `onewarp ARGUMENTS`, in this process."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def written(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    captured = capsys.readouterr()
    return captured.out, captured.err


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text("transforms:\n  - HorizontalFlip\n  - Rotate: 20\n  - Resize: [24, 32]\n  - Rescale\n")
    return path


def fresh(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python code in a process of its own."""
    clean = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**clean, **environment})


def test_help_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command shows an example, and every one of its options says what it is for."""
    assert run("--help") == 0
    top = written(capsys)[0]
    assert all(word in top for word in ("train", "preview", "plan", "onewarp train digits"))
    for command in COMMANDS:
        assert run(*command, "--help") == 0
        text = written(capsys)[0]
        assert f"Example: onewarp {' '.join(command)}" in text


def test_every_option_has_a_help_text() -> None:
    import typer

    def walk(group: object) -> None:
        for command in getattr(group, "commands", {}).values():
            walk(command)
            for parameter in command.params:
                assert getattr(parameter, "help", None), (command.name, parameter.name)

    walk(typer.main.get_command(app))


def test_commands_without_arguments_show_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["train"]):
        assert run(*arguments) == 2
        assert "Usage: onewarp" in "".join(written(capsys))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert written(capsys)[0] == f"onewarp {ow.__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    """No backend, no Keras, no OpenCV, no plotting before a command needs them."""
    heavy = "('keras', 'jax', 'tensorflow', 'torch', 'cv2', 'matplotlib', 'sklearn', 'scipy', 'PIL')"
    lines = [
        "import sys",
        "from onewarp.cli import main",
        "try: main(['--help'])",
        "except SystemExit: pass",
        f"print([name for name in {heavy} if name in sys.modules])",
    ]
    watch = "\n".join(lines)
    done = fresh(watch)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
    assert fresh(watch.replace("import sys", "import sys, cv2")).stdout.splitlines()[-1] == "['cv2']"  # it can fail


@pytest.mark.parametrize(
    ("asked", "set_to", "expected"),
    [(None, "", "jax"), (None, "torch", "torch"), ("tensorflow", "torch", "tensorflow")],
)
def test_backend(asked: str | None, set_to: str, expected: str) -> None:
    """What is asked for, else what is set, else jax; set before Keras is there."""
    code = "import os\nfrom onewarp.cli.options import choose_backend\n"
    code += f"print(choose_backend({asked!r}), os.environ['KERAS_BACKEND'])"
    everything = "import importlib.util; importlib.util.find_spec = lambda name: True\n"
    assert fresh(everything + code, KERAS_BACKEND=set_to).stdout.split() == [expected, expected]


def test_backends_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    with pytest.raises(InputError, match="KERAS_BACKEND is 'numpy'; set it to jax, tensorflow or torch"):
        choose_backend(None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"torch is not installed; .*pip install 'onewarp\[torch\]'"):
        choose_backend("torch")


def test_plan(policy_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "--policy", policy_file, "--size", "480x640") == 0
    out = written(capsys)[0]
    assert "1 warp: HorizontalFlip, Rotate, Resize -> 24x32" in out
    assert "result: 24 x 32 x 3, float32" in out
    assert run("plan", "--policy", policy_file, "--channels", 1, "--dtype", "uint16") == 0
    assert "24 x 32 x 1" in written(capsys)[0]


@pytest.mark.parametrize(("text", "size"), [("480x640", (480, 640)), (" 8 X 9 ", (8, 9)), ("1×2", (1, 2))])
def test_sizes(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["480", "480x", "0x5", "axb", "-1x5", "3x4x5", ""])
def test_refused_sizes(text: str) -> None:
    with pytest.raises(InputError, match="HEIGHTxWIDTH.*480x640"):
        parse_size(text)


@pytest.mark.parametrize(
    ("yaml_text", "parts"),
    [
        ("transforms: [Rotte]", ["no transform 'Rotte'", "did you mean 'Rotate'", "HorizontalFlip"]),
        ("transforms:\n- Rotate: {angle: 3}", ["Rotate has no argument 'angle'", "degrees"]),
        ("transforms:\n- Rotate: 500", ["Rotate", "degrees", "500"]),
        ("fill: 3\ntransforms: []", ["no setting 'fill'", "fill_mode"]),
        ("just a text", ["a policy is", "transforms"]),
        ("a: [", ["not YAML"]),
    ],
)
def test_policies_that_are_none(
    yaml_text: str, parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that names the file, what is wrong in it, and what there is; status 2; no traceback."""
    path = tmp_path / "bad.yaml"
    path.write_text(yaml_text)
    for command in (["plan"], ["preview", "digits"], ["train", "digits"]):
        assert run(*command, "--policy", path) == 2
        out, err = written(capsys)
        assert not out and err.count("\n") == 1 and err.startswith(f"error: {path}")
        assert all(part in err for part in parts), err


def test_bad_input_is_one_line(tmp_path: Path, policy_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.jpg").write_text("not a picture")
    (tmp_path / "a.tar").write_text("not a tar")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    preview = ["preview", "--policy", policy_file, "--out", tmp_path / "p.png"]
    cases = [
        ([*preview, tmp_path / "nowhere"], "nowhere: no such file or folder"),
        ([*preview, tmp_path / "empty"], "empty.*no image"),
        ([*preview, tmp_path / "text"], r"a\.jpg.*not an image"),
        ([*preview, tmp_path / "a.tar"], r"a\.tar"),
        ([*preview, policy_file], "policy.yaml: not an image by its extension"),
        ([*preview, tmp_path / "text", "--masks", tmp_path / "empty"], "there is no mask for a"),
        ([*preview, "digits", "--masks", tmp_path / "empty"], "digits have no masks"),
        ([*preview, "digits", "--out", tmp_path / "a.tar" / "p.png"], "cannot be written"),
        (["plan", "--policy", tmp_path / "none.yaml"], "none.yaml.*cannot be read"),
        (["plan", "--policy", policy_file, "--size", "5"], "'5' is not a size"),
        (["train", "digits", "--epochs", 2, "--warmup", 2], "warm-up of 2 epochs"),
        (["train", "digits", "--out", tmp_path / "full"], "full is not empty"),
        (["train", "cifar10", "--data", tmp_path / "empty"], "there is no CIFAR-10"),
        (["train", "cifar10", "--data", tmp_path / "a.tar"], "one tar cannot be training and test set"),
    ]
    for arguments, message in cases:
        assert run(*arguments) == 2, arguments
        err = written(capsys)[1]
        assert err.count("\n") == 1 and err.startswith("error: ") and re.search(message, err), err
    assert not (tmp_path / "p.png").exists()
    assert (tmp_path / "full" / "x").read_text() == "x"


@pytest.fixture(autouse=True)
def same_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that run in this process take the Keras that is there, if it is, and leave the environment alone."""
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", ""))
    if "keras" in sys.modules:
        monkeypatch.setenv("KERAS_BACKEND", sys.modules["keras"].config.backend())
    for name in ("OMP_WAIT_POLICY", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


def test_debug_shows_where_it_happened(policy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEWARP_DEBUG", "1")
    with pytest.raises(DataError, match="no such file"):
        main(["preview", "nowhere", "--policy", str(policy_file)])


def test_preview_of_every_kind_of_place(tmp_path: Path, policy_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = class_folder(tmp_path / "photos", {"cat": 3, "dog": 2})
    flat = tmp_path / "flat"
    flat.mkdir()
    for i, size in enumerate(((20, 30), (31, 22))):
        (flat / f"{i}.png").write_bytes(encode(picture(*size, seed=i), "PNG"))
    for place in ("digits", photos, flat, flat / "0.png", tar_of(photos, tmp_path / "photos.tar")):
        out = tmp_path / "pictures" / "preview.png"
        assert run("preview", place, "--policy", policy_file, "--out", out, "--draws", 2, "--samples", 3) == 0
        assert str(out) in written(capsys)[0]
        assert cv2.imread(str(out)).shape[1] > 3 * 100
        out.unlink()


def test_preview_draws_masks_boxes_and_points(tmp_path: Path, policy_file: Path) -> None:
    """Each of them changes the picture; without a policy that moves anything they lie where they were put."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    grey = np.full((40, 60, 3), 120, np.uint8)
    for name in ("a", "b"):
        (images / f"{name}.png").write_bytes(encode(grey, "PNG"))
        (masks / f"{name}.png").write_bytes(encode(np.pad(np.full((10, 10), 3, np.uint8), ((5, 25), (5, 45))), "PNG"))
    notes = tmp_path / "notes.json"
    notes.write_text(json.dumps({"a.png": {"boxes": [[30, 20, 50, 35]], "keypoints": [[20.5, 30.5]]}}))
    shown = {}
    for what, more in {
        "nothing": [], "masks": ["--masks", masks], "annotations": ["--annotations", notes],
        "both": ["--masks", masks, "--annotations", notes],
    }.items():  # fmt: skip
        out = tmp_path / f"{what}.png"
        assert run("preview", images, "--policy", policy_file, "--out", out, "--side", 60, *more) == 0
        shown[what] = cv2.imread(str(out))
    for what in ("masks", "annotations", "both"):
        assert (shown[what] != shown["nothing"]).any(axis=2).sum() > 100
    assert (shown["both"] != shown["masks"]).any(axis=2).sum() > 100


def test_annotations(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("a.jpg", "sub/b.jpg", "c.jpg")]
    notes = tmp_path / "notes.json"
    notes.write_text(json.dumps({
        "a.jpg": {"boxes": [[1, 2, 3, 4], [5, 6, 7, 8]], "labels": [3, 4], "keypoints": [[1, 2], [3, 4]]},
        "sub/b.jpg": {"boxes": [[1, 1, 2, 2]], "keypoints": [[9, 9, 1]]},
    }))  # fmt: skip
    found = read_annotations(notes, files)
    assert [len(rows) for rows in found["bounding_boxes"]["boxes"]] == [2, 1, 0]
    assert [rows.tolist() for rows in found["bounding_boxes"]["labels"]] == [[3, 4], [0], []]
    assert [rows.tolist() for rows in found["keypoints"]] == [
        [[1, 2, 2], [3, 4, 2]], [[9, 9, 1], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]],
    ]  # fmt: skip
    for text, message in (
        ('{"x.jpg": {}}', "names x.jpg, which is not among the 3 images"),
        ('{"a.jpg": {"boxes": [[1, 2, 3]]}}', "rows of 4 numbers"),
        ('{"a.jpg": {"boxes": 5}}', "rows of 4 numbers"),
        ("[1]", "expected"),
        ("{", "not JSON"),
    ):
        notes.write_text(text)
        with pytest.raises((DataError, InputError), match=message):
            read_annotations(notes, files)
    with pytest.raises(DataError, match="cannot be read"):
        read_annotations(tmp_path / "none.json", files)


def test_targets_that_do_not_go_with_the_place(tmp_path: Path) -> None:
    photos = class_folder(tmp_path / "photos", {"cat": 1})
    tar = tar_of(photos, tmp_path / "photos.tar")
    with pytest.raises(InputError, match="not with a tar"):
        open_source(tar, photos, None)
    with pytest.raises(InputError, match="name the mask of 000.png"):
        open_source(photos / "cat" / "000.png", photos, None)


def test_the_default_policies_are_those_of_the_recipes() -> None:
    assert ow.Policy.from_yaml(RECIPES / "digits.yaml") == ow.Policy.from_dict(DIGITS)
    assert ow.Policy.from_yaml(RECIPES / "cifar10.yaml") == ow.Policy.from_dict(CIFAR10)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_plan_and_survive_a_round_trip(path: Path, tmp_path: Path) -> None:
    policy = ow.Policy.from_yaml(path)
    channels = 1 if path.stem == "digits" else 3
    plan = policy.plan(ow.Spec((32, 32, channels)))
    assert plan.output_dtype == "float32" and None not in plan.output_shape
    assert policy.deterministic().plan(ow.Spec((32, 32, channels))).output_shape == plan.output_shape
    policy.to_yaml(tmp_path / "again.yaml")
    assert ow.Policy.from_yaml(tmp_path / "again.yaml") == policy


@SAVING
def test_train_digits_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One epoch each, in this process; the trainings are tested on every backend in tests/backends/test_train.py."""
    pytest.importorskip("keras")
    out = tmp_path / "run"
    main_arguments = ["train", "digits", "--epochs", 1, "--batch-size", 128, "--threads", 1, "--out", out]
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in main_arguments])
    assert not stop.value.code
    printed = written(capsys)[0]
    assert "1,150 samples to train, 288 to validate, 359 to test" in printed
    assert "plain" in printed and "augmented" in printed and "test accuracy" in printed
    assert {path.suffix for path in out.iterdir()} == {".yaml", ".csv", ".png", ".md", ".keras"}


@SAVING
def test_train_cifar10_from_tars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Training and test tar side by side, named by the training tar or by their folder; a stand-in for CIFAR-10."""
    pytest.importorskip("keras")
    from onewarp.data import CIFAR10_CLASSES

    for split, count in (("train", 4), ("test", 2)):
        root = class_folder(tmp_path / split, dict.fromkeys(CIFAR10_CLASSES, count), size=(32, 32))
        tar_of(root, tmp_path / f"cifar10-{split}.tar")
    options = ["--epochs", 1, "--batch-size", 16, "--no-compare", "--model", "lenet5"]
    for number, place in enumerate((tmp_path / "cifar10-train.tar", tmp_path)):
        assert run("train", "cifar10", "--data", place, *options, "--out", tmp_path / f"run{number}") == 0
        assert "36 samples to train, 4 to validate, 20 to test" in written(capsys)[0]
    histories = [(tmp_path / f"run{number}" / "history.csv").read_text().split(",")[11:13] for number in (0, 1)]
    assert histories[0] == histories[1]


def test_cifar10_that_is_its_own_test_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with the classes alone would be read twice: accuracy on what was trained on is refused."""
    from onewarp.data import CIFAR10_CLASSES

    root = class_folder(tmp_path / "cifar10", dict.fromkeys(CIFAR10_CLASSES, 2), size=(32, 32))
    assert run("train", "cifar10", "--data", root) == 2
    assert "the same images for training and test" in written(capsys)[1]


def test_bench_placement_prints_both_placements_and_the_resident_batch(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", "placement", "--steps", 1, "--batch-size", 8) == 0
    printed = capsys.readouterr().out
    for row in ("resident batch", "on the host", "on the device", "times as fast per step"):
        assert row in printed


def test_bench_placement_wants_masks_for_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", "placement", "--images", tmp_path) == 2
    assert "both --images and --masks" in " ".join(capsys.readouterr().err.split())
