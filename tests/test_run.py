"""What a training is made of: schedules, tables, plots, files. Whole trainings: tests/backends/test_train.py."""

from __future__ import annotations

import csv
import math
import struct
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml

keras = pytest.importorskip("keras")

from onewarp.errors import InputError, MissingDependency  # noqa: E402
from onewarp.fit import board, folder  # noqa: E402
from onewarp.fit.describe import STATISTICS, describe, describe_markdown, markdown  # noqa: E402
from onewarp.fit.plots import plot_history  # noqa: E402
from onewarp.fit.progress import EpochRows, summary_line  # noqa: E402
from onewarp.fit.run import Result, Settings  # noqa: E402
from onewarp.fit.schedule import SCHEDULES, LearningRate, factor  # noqa: E402


def slow_factor(step: int, total: int, schedule: str, warmup: int) -> float:
    """The schedule in plain Python."""
    ramp = min(1.0, (step + 1) / warmup) if warmup else 1.0
    progress = min(max((step - warmup) / (total - warmup), 0.0), 1.0)
    if schedule == "cosine":
        return ramp * 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "poly":
        return ramp * (1 - progress) ** 0.9
    if schedule == "step":
        return ramp * 0.1 ** ((progress >= 0.5) + (progress >= 0.75))
    return ramp


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_schedules(schedule: str, warmup: int) -> None:
    total, base = 40, 0.02
    rate = LearningRate(base, total, schedule, warmup)
    expected = [base * slow_factor(step, total, schedule, warmup) for step in range(total)]
    for step in range(total):
        assert float(base * factor(step, total, schedule, warmup, np)) == pytest.approx(expected[step], rel=1e-6)
    inside = [float(keras.ops.convert_to_numpy(rate(keras.ops.convert_to_tensor(step)))) for step in range(total)]
    np.testing.assert_allclose(inside, expected, rtol=1e-5, atol=1e-9)
    assert max(expected) <= base and min(expected) > 0
    assert expected[0] == pytest.approx(base / max(warmup, 1))


def test_a_schedule_survives_serialisation() -> None:
    rate = LearningRate(0.1, 10, "step", 2)
    again = LearningRate.from_config(rate.get_config())
    assert again.get_config() == rate.get_config()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.1, 10, "linear"), "no schedule 'linear'; choose one of constant, step, cosine"),
        ((0.0, 10), "must be positive, got 0"),
        ((float("nan"), 10), "must be positive, got nan"),
        ((0.1, 10, "step", 10), "warm-up of 10 steps must be shorter than the run of 10"),
        ((0.1, 10, "step", -1), "warm-up of -1"),
    ],
)
def test_refused_schedules(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LearningRate(*arguments)


def test_refused_settings() -> None:
    with pytest.raises(InputError, match="epochs is 0"):
        Settings(epochs=0)
    with pytest.raises(InputError, match="batch_size is -1"):
        Settings(batch_size=-1)
    with pytest.raises(InputError, match="warm-up of 3 epochs must be shorter than the run of 3"):
        Settings(epochs=3, warmup=3)


def test_describe() -> None:
    """Against the definitions, and against what pandas prints for 1, 2, 3, 4."""
    table = describe([{"a": float(v), "b": 1.0} for v in (1, 2, 3, 4)])
    assert list(table["a"]) == list(STATISTICS)
    assert table["a"] == pytest.approx(
        {"count": 4, "mean": 2.5, "std": 1.2909944, "min": 1, "25%": 1.75, "50%": 2.5, "75%": 3.25, "max": 4}
    )
    assert table["b"]["std"] == 0
    gaps = describe([{"a": 1.0}, {"a": float("nan"), "b": 5.0}, {"a": 3.0, "b": float("inf")}])
    assert gaps["a"]["count"] == 2 and gaps["a"]["mean"] == 2
    assert gaps["b"]["count"] == 1 and gaps["b"]["mean"] == 5 and math.isnan(gaps["b"]["std"])
    nothing = describe([{"a": float("nan")}])
    assert nothing["a"]["count"] == 0 and math.isnan(nothing["a"]["mean"])
    assert describe([]) == {}


def test_markdown() -> None:
    text = markdown(["name", "x"], [["a", 1], ["b|c", "22222"]])
    assert text.splitlines() == [
        "| name |     x |",
        "|------|------:|",
        "| a    |     1 |",
        "| b\\|c | 22222 |",
    ]
    described = describe_markdown([{"loss": 0.5}, {"loss": 1.5}])
    assert described.splitlines()[2].split("|")[1:4] == [" loss ", "     2 ", "    1 "]


def rows(epochs: int, start: float = 2.0) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "loss": start / epoch,
            "accuracy": 1 - 0.5 / epoch,
            "val_loss": 1.2 * start / epoch,
            "val_accuracy": 1 - 0.6 / epoch,
            "data_wait": 0.01,
            "images_per_second": 1000.0 * epoch,
            "seconds": 10.0 / epoch,
        }
        for epoch in range(1, epochs + 1)
    ]


@pytest.mark.parametrize("epochs", [1, 2, 30])
@pytest.mark.parametrize("names", [["augmented"], ["plain", "augmented"], ["a", "b", "c", "d", "e", "f", "g"]])
def test_plot_history(epochs: int, names: list[str], tmp_path: Path) -> None:
    """A picture comes out whatever the number of epochs and trainings, and nothing is drawn on its border."""
    plot_history({name: rows(epochs) for name in names}, tmp_path / "h.png", "a title", {names[0]: 0.5})
    picture = cv2.imread(str(tmp_path / "h.png"))
    assert picture.shape[0] > 500 and picture.shape[1] > 1200
    assert (picture < 250).any(axis=2).mean() > 0.01
    for edge in (picture[:2], picture[-2:], picture[:, :2], picture[:, -2:]):
        assert (edge == 255).all()


def test_plotting_leaves_matplotlib_as_it_is(tmp_path: Path) -> None:
    """No figure of pyplot's, and no backend switched: a notebook's own plots are not disturbed."""
    import matplotlib

    before = dict(matplotlib.rcParams)
    plot_history({"a": rows(3)}, tmp_path / "h.png", "t")
    assert dict(matplotlib.rcParams) == before


def test_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = [folder.new_folder(None, "digits") for _ in range(3)]
    assert made == [Path("runs/digits"), Path("runs/digits-2"), Path("runs/digits-3")]
    assert folder.new_folder(tmp_path / "mine" / "own", "digits") == tmp_path / "mine" / "own"
    assert folder.new_folder(tmp_path / "mine" / "own", "digits").is_dir()  # empty: still free
    (tmp_path / "mine" / "own" / "x").write_text("precious")
    with pytest.raises(InputError, match="own is not empty; choose another --out"):
        folder.new_folder(tmp_path / "mine" / "own", "digits")
    with pytest.raises(InputError, match="no folder can be made"):
        folder.new_folder(tmp_path / "mine" / "own" / "x", "digits")
    assert (tmp_path / "mine" / "own" / "x").read_text() == "precious"


def test_history_is_written_epoch_by_epoch(tmp_path: Path) -> None:
    for name in ("plain", "augmented"):
        for row in rows(2):
            folder.append_history(tmp_path, name, row)
    with (tmp_path / "history.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [line["training"] for line in read] == ["plain"] * 2 + ["augmented"] * 2
    assert [float(line["loss"]) for line in read] == [2, 1, 2, 1]
    assert list(read[0]) == ["training", *rows(1)[0]]


def test_config_and_summary(tmp_path: Path) -> None:
    folder.write_config(tmp_path, {"policy": {"transforms": ["HorizontalFlip"]}, "name": "ä"})
    assert yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8"))["name"] == "ä"
    result = Result("plain", None, rows(3), 2.5, 0.1, 0.9876)
    folder.write_summary(tmp_path, "title", "onewarp train digits", "1 warp: Rotate", [result])
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    for part in ("# title", "`onewarp train digits`", "98.76%", "2.5 s", "1 warp: Rotate", "| val_accuracy", "75%"):
        assert part in text


def test_typical_numbers_leave_out_the_epoch_that_compiles() -> None:
    assert Result("a", None, rows(1), 0.0, 0.0, 0.0).typical("seconds") == 10
    assert Result("a", None, rows(3), 0.0, 0.0, 0.0).typical("seconds") == pytest.approx((10 / 2 + 10 / 3) / 2)
    assert math.isnan(Result("a", None, rows(3), 0.0, 0.0, 0.0).typical("missing"))


def test_epoch_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first step of 5 s among steps of 1 s: 4 s of compiling."""
    now = 0.0
    monkeypatch.setattr("onewarp.fit.progress.time", SimpleNamespace(perf_counter=lambda: now))
    seen: list[dict[str, float]] = []
    callback = EpochRows(lambda step: step / 10, seen.append)
    assert math.isnan(callback.compile_seconds)
    for epoch in range(2):
        callback.on_epoch_begin(epoch)
        for step in range(3):
            callback.on_train_batch_begin(step)
            now += 5 if (epoch, step) == (0, 0) else 1
            callback.on_train_batch_end(step)
        callback.on_epoch_end(epoch, {"val_loss": 3, "other": 4, "loss": 2})
    assert callback.compile_seconds == 4
    assert [row["seconds"] for row in seen] == [7, 3]
    assert [row["learning_rate"] for row in seen] == [0.2, 0.5]
    assert list(seen[0]) == ["epoch", "loss", "val_loss", "other", "learning_rate", "seconds"]
    assert seen == callback.rows


def test_summary_line() -> None:
    assert (
        summary_line({"loss": 0.5, "accuracy": 0.25, "val_accuracy": 1})
        == "loss 0.5000, accuracy 25.0%, validation 100.0%"
    )
    assert summary_line({}) == ""


def logged(folder_of_one: Path) -> list[tuple[str, int, object]]:
    """(tag, step, value) of everything in a TensorBoard file: records of length, checksum, an Event, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    (path,) = folder_of_one.iterdir()
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        found += [(value.tag, event.step, value) for value in event.summary.value]
        at += 12 + length + 4
    return found


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    write, close = board.tensorboard_writer(tmp_path / "plain", lambda epoch: np.full((4, 6, 3), epoch, np.uint8))
    for row in rows(2):
        write(row)
    close()
    found = logged(tmp_path / "plain")
    losses = [(step, value.simple_value) for tag, step, value in found if tag == "loss"]
    assert losses == [(1, 2.0), (2, 1.0)]
    pictures = [(step, value.image) for tag, step, value in found if tag == "samples"]
    assert [step for step, _ in pictures] == [1, 2]
    second = cv2.imdecode(np.frombuffer(pictures[1][1].encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert second.shape == (4, 6, 3) and (second == 1).all()  # epoch 1 draws what the second row was trained on


def test_tensorboard_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"pip install 'onewarp\[tensorboard\]'"):
        board.require_tensorboard()
