"""A run that was killed goes on and ends as if nothing had been: run once per backend, with KERAS_BACKEND set."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from augmented_helpers import ignore_inside_keras
from loader_helpers import BATCH, POLICY, StopAfter, model, source
from resume_child import EPOCHS, make, network, rate, train

import onewarp as ow
from onewarp.fit.snapshot import Snapshot

pytestmark = ignore_inside_keras
HERE = Path(__file__).parent


def child(folder: Path, kind: str, moment: str, killed: bool = True) -> None:
    """Run resume_child.py; it must end by SIGKILL at its moment."""
    command = [sys.executable, str(HERE / "resume_child.py"), str(folder), kind, moment]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if moment.startswith("wait"):
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == -signal.SIGKILL, errors[-3000:]


def everything(of: keras.Model) -> list[np.ndarray]:
    variables = [*of.variables, *of.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables]


def pixels(folder: Path) -> list[str]:
    """What Keras got for its steps since the last call. Before a fit it has a look at a batch or two, a short pass."""
    path = folder / "pixels.txt"
    passes = [line.split() for line in path.read_text().splitlines()]
    path.unlink()
    looks = [mine == other[: len(mine)] for mine, other in pairwise(passes)]
    return [batch for line, look in zip(passes, [*looks, False], strict=True) if not look for batch in line]


def assert_ended_alike(resumed: Any, straight: Any) -> None:
    """(model, history, loader) of two runs: weights, seeds, optimizer and history, to the last bit."""
    for mine, other in zip(everything(resumed[0]), everything(straight[0]), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert resumed[1].epoch == straight[1].epoch == list(range(EPOCHS))
    assert resumed[1].history == straight[1].history
    assert resumed[2].state() == straight[2].state()


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The undisturbed runs, and the batches that they saw."""
    found = {}
    for kind in ("plain", "augmented"):
        folder = tmp_path_factory.mktemp(kind)
        found[kind] = (train(folder, kind), pixels(folder))
    return found


@pytest.mark.parametrize("kind", ["plain", "augmented"])
def test_killed_in_mid_epoch_and_while_writing_it_ends_alike(kind: str, straight: Any, tmp_path: Path) -> None:
    whole, batches = straight[kind]
    child(tmp_path, kind, "wait 1 4")  # backup: epoch 1, batch 4
    seen = pixels(tmp_path)
    # TensorFlow asks ahead; what Keras got is a beginning of the undisturbed run
    assert len(seen) >= 11 and seen == batches[: len(seen)]
    child(tmp_path, kind, "write 3")  # the rest of epoch 1, its end; epoch 2, batch 2 stays
    assert (tmp_path / "backup.npz.part").exists()
    seen = pixels(tmp_path)
    assert seen == batches[10 : 10 + len(seen)] and len(seen) >= 6
    finished = train(tmp_path, kind)
    assert pixels(tmp_path) == batches[14:]
    assert_ended_alike(finished, whole)


def test_killed_between_epochs_it_ends_alike(straight: Any, tmp_path: Path) -> None:
    whole, batches = straight["plain"]
    child(tmp_path, "plain", "end 0")  # validated, but the end of the epoch is not in the backup: batch 4 is
    child(tmp_path, "plain", "begin 2")
    pixels(tmp_path)
    finished = train(tmp_path, "plain")
    assert pixels(tmp_path) == batches[12:]
    assert_ended_alike(finished, whole)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = train(tmp_path, "plain")
    assert len(pixels(tmp_path)) == 24
    again = train(tmp_path, "plain")
    assert not (tmp_path / "pixels.txt").exists()
    assert_ended_alike(again, first)
    assert again[0].optimizer.built


def test_a_polite_stop_in_mid_epoch_is_kept_and_gone_on_with(straight: Any, tmp_path: Path) -> None:
    """Also beside Keras' own fit: the Backup is a callback like any other, and counts the batches itself."""
    trained, loader, validation = make("plain")
    backup = ow.Backup(tmp_path / "backup.npz", loader, save_every=None)
    scheduler = keras.callbacks.LearningRateScheduler(rate)
    trained.fit(
        loader,
        epochs=EPOCHS,
        validation_data=validation,
        callbacks=[StopAfter(3, epoch=1), scheduler, backup],
        verbose=0,
    )
    found = Snapshot.load(tmp_path / "backup.npz")
    assert (found.epoch, found.state["epoch"], found.state["batch"]) == (1, 1, 3) and found.under_way
    assert_ended_alike(train(tmp_path, "plain"), straight["plain"][0])


def test_a_model_that_is_not_built_yet_goes_on(tmp_path: Path) -> None:
    def run(epochs: int, stop: bool) -> keras.Model:
        loader, trained = ow.Loader(source(), POLICY, BATCH), model(built=False)
        callbacks = [StopAfter(2, epoch=1)] if stop else []
        ow.resume_fit(trained, loader, tmp_path / "b.npz", epochs=epochs, callbacks=callbacks, verbose=0)
        return trained

    run(3, stop=True)
    resumed = run(3, stop=False)
    straight = model(built=False)
    straight.fit(ow.Loader(source(), POLICY, BATCH), epochs=3, verbose=0)
    for mine, other in zip(everything(resumed), everything(straight), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_it_says_where_it_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loader = ow.Loader(source(), POLICY, BATCH)
    ow.resume_fit(model(), loader, tmp_path / "b.npz", epochs=2, callbacks=[StopAfter(2, epoch=1)], verbose=0)
    again = ow.Loader(source(), POLICY, BATCH)
    history = ow.resume_fit(model(), again, tmp_path / "b.npz", epochs=2, verbose=2)
    assert "b.npz: going on in epoch 2, 2 of its batches are done" in capsys.readouterr().out
    assert history.epoch == [0, 1] and len(history.history["loss"]) == 2


def stopped(folder: Path, **options: Any) -> Path:
    """A backup of a plain run, in the middle of its first epoch."""
    loader = ow.Loader(source(), POLICY, BATCH, **options)
    ow.resume_fit(model(), loader, folder / "b.npz", epochs=2, callbacks=[StopAfter(2)], verbose=0)
    return folder / "b.npz"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seed": 1}, "seed=0, this loader has 1"),
        ({"batch_size": 5}, "batch_size=4, this loader has 5"),
        ({"shuffle": False, "last_batch": "wrap"}, "shuffle=true, this Loader has false"),
        (
            {"policy": ow.Policy([ow.CenterCrop(6), ow.Rescale(1 / 255)])},
            "written with policy=.*RandomCrop.*CenterCrop",
        ),
    ],
)
def test_a_backup_of_another_loader_is_refused(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = stopped(tmp_path)
    own = {"policy": POLICY, "batch_size": BATCH, **options}
    fresh, loader = model(seed=9), ow.Loader(source(), own.pop("policy"), own.pop("batch_size"), **own)
    before = everything(fresh)
    with pytest.raises(ow.InputError, match=says) as caught:
        ow.resume_fit(fresh, loader, path, epochs=2, verbose=0)
    assert "\n" not in str(caught.value) and "b.npz" in str(caught.value)
    for mine, other in zip(everything(fresh), before, strict=False):
        np.testing.assert_array_equal(mine, other)
    assert loader.epoch == loader.start == 0


def test_a_backup_of_another_model_is_refused(tmp_path: Path) -> None:
    path = stopped(tmp_path)
    loader, other = ow.Loader(source(), POLICY, BATCH), network()
    other.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ow.InputError, match="backup of another model: it holds 2 variables, the model has") as caught:
        ow.resume_fit(other, loader, path, epochs=2, verbose=0)
    assert "\n" not in str(caught.value)
    with pytest.raises(ow.InputError, match="another model: .* optimizer variables"):
        ow.resume_fit(model(optimizer=keras.optimizers.Adam(0.1)), loader, path, epochs=2, verbose=0)


def test_other_metrics_cover_the_rest_of_the_epoch_and_say_so(tmp_path: Path) -> None:
    path = stopped(tmp_path)
    with pytest.warns(UserWarning, match="cover the rest"):
        history = ow.resume_fit(model(metrics=[]), ow.Loader(source(), POLICY, BATCH), path, epochs=2, verbose=0)
    assert history.epoch == [0, 1] and set(history.history) == {"loss"}


def test_a_damaged_file_is_one_clear_line(tmp_path: Path) -> None:
    path = stopped(tmp_path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    loader = ow.Loader(source(), POLICY, BATCH)
    for damage in (content[: len(content) // 2], b"", b"hello", flipped(content, int(rng.integers(100, 400)))):
        path.write_bytes(damage)
        with pytest.raises(ow.InputError, match="b.npz is not a whole backup") as caught:
            ow.resume_fit(model(), loader, path, epochs=2, verbose=0)
        assert "\n" not in str(caught.value)
    path.write_bytes(content)
    ow.resume_fit(model(), loader, path, epochs=2, verbose=0)


def flipped(content: bytes, place: int) -> bytes:
    """One bit of the numbers of the first variable, or of what is told about them, is another."""
    start = content.index(b"model.0.npy") + place
    return content[:start] + bytes([content[start] ^ 4]) + content[start + 1 :]


def test_a_backup_that_cannot_be_written_warns_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stopped(tmp_path)
    content = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left on device; the one before it stays; make room"):
        history = ow.resume_fit(model(), ow.Loader(source(), POLICY, BATCH), path, epochs=2, verbose=0)
    assert history.epoch == [0, 1]
    assert path.read_bytes() == content and not path.with_name("b.npz.part").exists()


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    loader, other, path = ow.Loader(source(), POLICY, BATCH), ow.Loader(source(), POLICY, BATCH), tmp_path / "b.npz"
    for save_every in (0, -1, 2.5, True, "often"):
        with pytest.raises(ow.InputError, match="save_every"):
            ow.Backup(path, loader, save_every=save_every)
    with pytest.raises(ow.InputError, match="is a folder"):
        ow.Backup(tmp_path, loader)
    with pytest.raises(ow.InputError, match="pass the Loader"):
        ow.Backup(path, source())
    with pytest.raises(ow.InputError, match="another Loader"):
        ow.resume_fit(model(), loader, ow.Backup(path, other), epochs=1, verbose=0)
    with pytest.raises(ow.InputError, match="initial_epoch"):
        ow.resume_fit(model(), loader, path, epochs=1, initial_epoch=3, verbose=0)
    for callback in (ow.Backup(path, loader), keras.callbacks.BackupAndRestore(tmp_path / "k")):
        with pytest.raises(ow.InputError, match="a backup of its own"):
            ow.resume_fit(model(), loader, path, epochs=1, callbacks=[callback], verbose=0)
    with pytest.raises(ow.InputError, match="another Loader than the one that fit trains on"):
        model().fit(loader, verbose=0, callbacks=[ow.Backup(path, other)])
