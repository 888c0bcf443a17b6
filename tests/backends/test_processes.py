"""Worker processes and faults of all kinds under `fit`: run once per backend, with KERAS_BACKEND set."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from loader_helpers import BACKEND, BATCH, POLICY, Recording, assert_same, fingerprint, model, source

import onewarp as ow
from onewarp.data.base import Sample, Source
from onewarp.data.files import FileSource
from onewarp.errors import DataError, InputError
from onewarp.fit.callbacks import PipelineMonitor
from onewarp.fit.loader import Loader

sys.path.insert(0, str(Path(__file__).parent.parent))
import worker_functions as functions

MIXED = ow.Policy([*POLICY.transforms, ow.MixUp()])

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside Keras


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_for_end(pids: list[int]) -> None:
    for _ in range(1500):
        if not any(map(running, pids)):
            return
        time.sleep(0.02)
    raise AssertionError(f"still there: {[pid for pid in pids if running(pid)]}")


def workers_of(loader: Loader) -> list[int]:
    assert loader._workers is not None
    return loader._workers.pids()


def test_twenty_epochs_with_processes_are_those_with_threads() -> None:
    """Training, validation and prediction; the same workers from beginning to end."""
    mapped = source().map(functions.noise, random=True)
    loader, threaded = (Recording(mapped, POLICY, BATCH, seed=3, **made) for made in ({"processes": 2}, {"threads": 2}))
    val = Recording(source(10), POLICY.deterministic(), BATCH, shuffle=False, processes=1)
    trained, twin = model(), model()
    trained.fit(loader, validation_data=val, epochs=1, verbose=0, callbacks=[PipelineMonitor()])
    pids = workers_of(loader)
    trained.fit(loader, validation_data=val, epochs=19, verbose=0, callbacks=[PipelineMonitor()])
    twin.fit(threaded, epochs=20, verbose=0, callbacks=[PipelineMonitor()])
    assert workers_of(loader) == pids and len(pids) == 2
    assert loader.ends == list(range(20)) and len(val.ends) == 20
    complete = [seen for seen in loader.passes if len(seen) == 6]
    assert complete == [loader.expected(epoch) for epoch in range(20)]
    assert_same(trained, twin)
    assert trained.predict(val, verbose=0).shape == (10, 3)
    pids += workers_of(val)
    for one in (loader, val):
        one._workers.close()
    wait_for_end(pids)


class KillWorkers(keras.callbacks.Callback):
    """Kills a worker in every epoch, idle or busy."""

    def __init__(self, loader: Loader) -> None:
        super().__init__()
        self.loader = loader
        self.killed: list[int] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 1:
            self.killed.append(workers_of(self.loader)[0])
            os.kill(self.killed[-1], signal.SIGKILL)


def test_killing_workers_under_fit_changes_nothing() -> None:
    mapped = source().map(functions.slow)
    loader, threaded = (Recording(mapped, POLICY, BATCH, seed=3, **made) for made in ({"processes": 2}, {"threads": 2}))
    trained, twin = model(), model()
    killer = KillWorkers(loader)
    with pytest.warns(UserWarning, match=r"worker process \d+ was ended by SIGKILL while it built"):
        trained.fit(loader, epochs=4, verbose=0, callbacks=[PipelineMonitor(), killer])
    twin.fit(threaded, epochs=4, verbose=0, callbacks=[PipelineMonitor()])
    assert len(killer.killed) == 4 and loader.ends == [0, 1, 2, 3]
    assert_same(trained, twin)
    loader._workers.close()


def test_leaving_a_loop_and_the_loader_ends_the_workers() -> None:
    loader = Loader(source().map(functions.slow), POLICY, BATCH, processes=2)
    for _ in loader:
        break
    expected = loader.batches.batch(0, 0)["images"]
    np.testing.assert_array_equal(next(iter(loader))[0], expected)  # the pass starts again, with the same workers
    pids = workers_of(loader)
    assert len(pids) == 2 and all(map(running, pids))
    del loader
    import gc

    gc.collect()
    wait_for_end(pids)


def test_another_policy_gives_new_workers() -> None:
    loader = Loader(source(), POLICY, BATCH, placement="auto", processes=1)
    next(iter(loader))
    before = workers_of(loader)
    loader.place("host")
    next(iter(loader))
    assert workers_of(loader) != before
    wait_for_end(before)
    loader._workers.close()


def test_what_is_reconfigured_reaches_the_workers() -> None:
    """Another policy gives new workers, and so does reusing frames."""
    loader = Recording(source(), POLICY, BATCH, processes=1)
    list(loader)
    before = workers_of(loader)
    loader.set_policy(ow.Policy([ow.CenterCrop(6), ow.Rescale(1 / 128)]))
    for (images, _), expected in zip(loader, loader.expected(1), strict=True):
        assert fingerprint(images) == expected
    assert workers_of(loader) != before
    wait_for_end(before)
    before = workers_of(loader)
    loader.reconfigure(reuse=2)
    for (images, _), expected in zip(loader, loader.expected(2), strict=True):
        assert fingerprint(images) == expected
    wait_for_end(before)
    before = workers_of(loader)
    loader.reconfigure(reuse=1)
    assert len(list(loader)) == 6 and len(workers_of(loader)) == 1
    wait_for_end(before)
    loader._workers.close()


def test_frames_made_by_processes_are_those_of_threads() -> None:
    """They are made by workers, also while an epoch reuses, and kept here; the same workers from beginning to end."""
    mapped = source().map(functions.noise, random=True)
    elsewhere = mapped.map(functions.Elsewhere(os.getpid()))
    options: dict[str, Any] = {"seed": 3, "reuse": 3, "labels": "one_hot"}
    loader, threaded = (
        Loader(samples, MIXED, BATCH, **made, **options)
        for samples, made in ((elsewhere, {"processes": 2}), (mapped, {"threads": 2}))
    )
    pids: list[int] = []
    for _ in range(8):
        for (x, y), (also_x, also_y) in zip(loader, threaded, strict=True):
            np.testing.assert_array_equal(x, also_x)
            np.testing.assert_array_equal(y, also_y)
        pids = pids or workers_of(loader)
    assert workers_of(loader) == pids
    assert [stats.frames for stats in loader.history] == [*["new", "reused", "reused"] * 2, "new", "reused"]
    loader._workers.close()


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="processes=0"):
        Loader(source(), POLICY, BATCH, processes=0)
    with pytest.raises(InputError, match=r"processes=2: the function .*<lambda> \(.*no lambda"):
        Loader(source().map(lambda sample: sample), POLICY, BATCH, processes=2)


def test_what_stays_in_one_process(tmp_path: Path) -> None:
    files = folder(tmp_path, 6)
    with pytest.raises(InputError, match="processes=2: a store is written in one process; .*prepare a store"):
        Loader(files, POLICY, BATCH, processes=2, store=tmp_path / "store")


SCRIPT = """
import signal, sys, threading, time
sys.path[:0] = {path}
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it, and its children with it
import keras
import worker_functions
from loader_helpers import BATCH, POLICY, model, source
from onewarp.fit.loader import Loader

class Tell(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            print(*loader._workers.pids(), flush=True)

if __name__ == "__main__":
    loader = Loader(source().map(worker_functions.slow), POLICY, BATCH, processes=2)
    try:
        model().fit(loader, epochs=10_000, verbose=0, callbacks=[Tell()])
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.parametrize("how", ["SIGINT", "group", "SIGKILL"])
def test_ctrl_c_and_kill_leave_nobody(tmp_path: Path, how: str) -> None:
    """SIGINT to the process, as `kill -INT` sends it; to its whole group, as a terminal does; SIGKILL."""
    here = Path(__file__).parent
    (tmp_path / "train.py").write_text(SCRIPT.format(path=[str(here), str(here.parent)]))
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "train.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2 and all(map(running, pids))
        for _ in range(4):  # Python drops an interrupt that arrives inside a finalizer; people press again, too
            if how == "group":
                os.killpg(parent.pid, signal.SIGINT)
            else:
                parent.send_signal(getattr(signal, how))
            try:
                out, err = parent.communicate(timeout=30)
                break
            except subprocess.TimeoutExpired:
                continue
    wait_for_end(pids)
    if how != "SIGKILL":
        assert parent.returncode == 0 and "interrupted" in out
        assert "worker.py" not in err and "KeyboardInterrupt" not in err  # no worker complains
        assert BACKEND == "tensorflow" or "Traceback" not in err  # which tells of its data set's end


# --- threads and files ----------------------------------------------------------------------------------------------


class Failing(Source):
    """A source whose sample `bad` raises what no source should, in a worker thread."""

    def __init__(self, bad: int) -> None:
        self.origin, self.bad = source(), bad
        self.labels, self.image_shape, self.roles, self.outputs = (
            self.origin.labels,
            self.origin.image_shape,
            self.origin.roles,
            self.origin.outputs,
        )
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.origin)

    def lazy(self, index: int) -> Sample:
        self.asked.append(index)
        if index == self.bad:
            raise ZeroDivisionError(f"in a thread, at sample {index}")
        return self.origin.lazy(index)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_thread_that_raises_surfaces_on_its_batch(threads: int) -> None:
    """Batches before it are trained on, it raises what it raised, nothing hangs, and the loader is good for more."""
    loader = Recording(Failing(13), POLICY, BATCH, shuffle=False, threads=threads)
    good, seen = Recording(source(), POLICY, BATCH, shuffle=False).expected(0), []
    with pytest.raises(ZeroDivisionError, match="sample 13"):
        for batch in loader:
            seen.append(batch)
    assert len(seen) == 3
    trained = model()
    with pytest.raises(Exception) as caught:
        trained.fit(loader, epochs=3, verbose=0)
    if BACKEND != "tensorflow":  # which buries it
        assert isinstance(caught.value, ZeroDivisionError)
    assert isinstance(loader.error, ZeroDivisionError) and "sample 13" in str(loader.error)
    assert loader.passes[-1] == good[:3] and loader.ends == []
    del caught
    loader.rest()
    for _ in range(500):
        if not [thread for thread in threading.enumerate() if thread.name.startswith("onewarp")]:
            break
        time.sleep(0.02)
    else:
        raise AssertionError("a thread goes on")
    loader.source.bad = -1
    trained.fit(loader, epochs=1, verbose=0)
    assert loader.ends == [0] and all(np.isfinite(array).all() for array in trained.get_weights())


class Vanish(keras.callbacks.Callback):
    """Removes files after the first batch of an epoch."""

    def __init__(self, paths: list[Path], epoch: int) -> None:
        super().__init__()
        self.paths, self.when, self.epoch = paths, epoch, -1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.epoch == self.when and batch == 0:
            for path in self.paths:
                path.unlink(missing_ok=True)


def folder(tmp_path: Path, n: int = 60) -> FileSource:
    """Sixty files; the loader reads at most a few batches ahead."""
    paths = [tmp_path / f"{k:02d}.png" for k in range(n)]
    for k, path in enumerate(paths):
        keras.utils.save_img(path, source(n).images[k])
    return FileSource(paths, np.arange(n) % 3)


@pytest.mark.parametrize("made", [{"threads": 1}, {"threads": 4}, {"processes": 1}])
def test_files_that_vanish_in_mid_epoch_raise_by_name(tmp_path: Path, made: dict[str, int]) -> None:
    files = folder(tmp_path)
    gone = [Path(files.name(k)) for k in range(40, 60)]
    loader, trained = Recording(files, POLICY, BATCH, shuffle=False, prefetch=2, **made), model()
    epoch_1 = loader.expected(1)
    with pytest.raises(Exception) as caught:
        trained.fit(loader, epochs=3, verbose=0, callbacks=[PipelineMonitor(), Vanish(gone, 1)])
    if BACKEND != "tensorflow":
        assert isinstance(caught.value, DataError)
    assert isinstance(loader.error, DataError) and "40.png: no such file" in str(loader.error)
    assert loader.ends == [0] and loader.passes[-1] == epoch_1[:10]
    for path in gone:
        keras.utils.save_img(path, source(60).images[int(path.stem)])
    trained.fit(loader, epochs=1, verbose=0, callbacks=[PipelineMonitor()])  # once they are back, the epoch again
    assert loader.ends == [0, 1] and loader.passes[-1] == loader.expected(1)


@pytest.mark.parametrize("made", [{"threads": 1}, {"threads": 4}, {"processes": 1}])
def test_files_that_vanish_in_mid_epoch_are_replaced(tmp_path: Path, made: dict[str, int]) -> None:
    files = folder(tmp_path)
    gone = [Path(files.name(k)) for k in range(40, 60)]
    loader, trained = Recording(files, POLICY, BATCH, shuffle=False, prefetch=2, on_error="skip", **made), model()
    with pytest.warns(UserWarning) as caught:
        trained.fit(loader, epochs=3, verbose=0, callbacks=[PipelineMonitor(), Vanish(gone, 1)])
    texts = [str(warning.message) for warning in caught]  # the backend may have said something, too
    first, second = (text for text in texts if "unreadable" in text)
    assert first.startswith("epoch 1: 20 unreadable samples were replaced, the first: ") and "no such file" in first
    assert second.startswith("epoch 2: 20 unreadable samples")
    assert loader.ends == [0, 1, 2] and [len(stats.skipped) for stats in loader.history] == [0, 20, 20]
    assert loader.passes[-1] == loader.expected(2) and len(loader.passes[-1]) == 15


def test_a_folder_that_vanishes_whole(tmp_path: Path) -> None:
    """With nothing left to read, skipping ends in an error, too."""
    files = folder(tmp_path)
    loader = Loader(files, POLICY, BATCH, prefetch=2, threads=1, on_error="skip")
    gone = [Path(files.name(k)) for k in range(60)]
    with pytest.raises(Exception):  # noqa: B017 - TensorFlow has an error of its own
        model().fit(loader, epochs=3, verbose=0, callbacks=[PipelineMonitor(), Vanish(gone, 1)])
    assert isinstance(loader.error, DataError) and "none of the 60 samples can be read" in str(loader.error)
