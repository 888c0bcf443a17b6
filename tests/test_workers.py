"""Functions before the policy, and worker processes: whoever is killed, the same batches, and nothing is left."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onewarp as ow
import worker_functions as functions
from data_helpers import check_source, class_folder, same
from onewarp.data import workers
from onewarp.data.batches import Batches
from onewarp.data.frames import FrameBatches
from onewarp.data.prefetch import prefetch_batches
from onewarp.data.store.storing import storing
from onewarp.errors import DataError, InputError

POLICY = ow.Policy([ow.RandomResizedCrop(8), ow.HorizontalFlip(), ow.Rescale(1 / 255)])
FOLDER = Path(__file__).parent


def source(n: int = 22) -> ow.ArraySource:
    images = np.random.default_rng(n).integers(0, 256, (n, 12, 14, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(n)
    return ow.ArraySource(images, np.arange(n) % 3)


@pytest.fixture
def pools() -> Iterator[Callable[..., workers.WorkerPool]]:
    """Makes pools, closes them, and sees that nothing is left of them."""
    made: list[workers.WorkerPool] = []

    def make(batches: Batches, count: int = 2) -> workers.WorkerPool:
        made.append(workers.WorkerPool(batches, count))
        return made[-1]

    files = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    yield make
    pids = [pid for pool in made for pid in pool.pids()]
    for pool in made:
        pool.close()
    assert not any(alive(pid) for pid in pids)
    del pool, made[:]
    gc.collect()
    if files:
        assert set(os.listdir("/proc/self/fd")) <= files


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended but was not waited for counts as running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")


# --- Source.map -----------------------------------------------------------------------------------------------------


def test_a_function_runs_before_the_policy() -> None:
    plain = source()
    mapped = plain.map(functions.invert)
    check_source(mapped, 22)
    inverted = ow.ArraySource(255 - plain.images, plain.labels)
    same(Batches(mapped, POLICY, 4).batch(1, 2), Batches(inverted, POLICY, 4).batch(1, 2))


def test_a_random_function_depends_on_seed_epoch_sample_and_occurrence_alone() -> None:
    keep = ow.Policy([])
    mapped = source().map(functions.noise, random=True)
    check_source(mapped, 22)
    batches = Batches(mapped, keep, 4, seed=7)

    def shown(batches: Batches, epoch: int) -> dict[tuple[int, int], bytes]:
        found: dict[tuple[int, int], bytes] = {}
        for index in range(len(batches)):
            rows, images = batches.indices(epoch, index), batches.batch(epoch, index)["images"]
            for row, image, position in zip(rows, images, batches.positions(index), strict=True):
                found[int(batches.source.ids(np.array([row]))[0]), int(position >= len(mapped))] = image.tobytes()
        return found

    first = shown(batches, 3)
    assert len(first) == len(set(first.values())) == 24  # two samples are shown twice, and differ
    assert first == {**first, **shown(Batches(mapped, keep, 11, seed=7), 3)}
    part = shown(Batches(mapped.subset([5, 9, 11]), keep, 3, seed=7), 3)
    assert part.items() <= first.items() and len(part) == 3
    for other in (shown(batches, 4), shown(Batches(mapped, keep, 4, seed=8), 3)):
        assert not set(other.values()) & set(first.values())


@pytest.mark.parametrize(
    ("function", "options", "says"),
    [
        (
            lambda sample: sample["images"],
            {},
            r"image 0 of the array: <lambda> \(.*test_workers.py:\d+\) gave ndarray; return a dict",
        ),
        (
            lambda sample: {"images": sample["images"]},
            {},
            "gave the entries images; return a dictionary with images, lab",
        ),
        (
            lambda sample: {**sample, "images": sample["images"] / 255},
            {},
            r"an image float64 \(12, 14, 3\); return uint8",
        ),
        (
            lambda sample: {**sample, "images": sample["images"][:6]},
            {},
            r"of 6x14 pixels, not 12x14; say .*image_size=",
        ),
        (lambda sample: 1 / 0, {}, "failed with ZeroDivisionError: division by zero; mend it"),
        (
            lambda sample: sample,
            {"random": True},
            "failed with TypeError: .*takes 1 positional argument but 2 were given",
        ),
    ],
)
def test_functions_that_give_something_else_are_named(function: Any, options: Any, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        source().map(function, **options)[0]
    assert "\n" not in str(caught.value)


def test_sizes_and_damage(tmp_path: Path) -> None:
    halves = source().map(lambda sample: {**sample, "images": sample["images"][::2, ::2]}, image_size=(6, 7))
    assert halves.image_shape == (6, 7, 3) and halves[0]["images"].shape == (6, 7, 3)
    folder = ow.FolderSource(class_folder(tmp_path / "photos", {"a": 4}))
    Path(folder.name(2)).write_bytes(b"")
    batches = Batches(folder.map(functions.invert), POLICY, 4, on_error="skip")
    assert "002.png" in batches.build(0, 0).skipped[0]
    with pytest.raises(InputError, match=r"map\(3\)"):
        source().map(3)  # type: ignore[arg-type]


def test_what_would_freeze_a_random_function_is_refused(tmp_path: Path) -> None:
    mapped = source().map(functions.noise, random=True)
    with pytest.raises(
        InputError, match=r"in_memory\(\) would keep one result of noise for good.*random=True\) behind"
    ):
        mapped.in_memory()
    with pytest.raises(InputError, match="a store would keep one result of noise"):
        storing(mapped.subset([1, 2, 3]), tmp_path / "store")
    assert source().map(functions.invert).in_memory().dense


# --- processes ------------------------------------------------------------------------------------------------------


def mapped_cases(tmp_path: Path) -> list[Batches]:
    rng = np.random.default_rng(0)
    boxes = {
        "boxes": [np.array([[1, 1, 5, 6]] * (k % 3)) for k in range(10)],
        "labels": [np.ones(k % 3) for k in range(10)],
    }
    photos = ow.FileSource(list(rng.integers(0, 256, (10, 12, 14, 3), dtype=np.uint8)), bounding_boxes=boxes)
    folder = ow.FolderSource(class_folder(tmp_path / "photos", {"a": 4, "b": 5}))
    large = ow.ArraySource(rng.integers(0, 256, (6, 200, 200, 3), dtype=np.uint8), rng.random((6, 2)))
    return [
        Batches(source().map(functions.noise, random=True), POLICY, 4, seed=5),
        Batches(source(), POLICY, 4, placement="device", class_weight={0: 2.0}),
        Batches(photos, POLICY, 4, shuffle=False),
        Batches(folder, POLICY, 4, labels="one_hot"),
        Batches(large, ow.Policy([ow.HorizontalFlip()]), 6),
    ]


@pytest.mark.parametrize("case", range(5))
def test_processes_give_the_bytes_of_threads(tmp_path: Path, case: int, pools: Any) -> None:
    batches = mapped_cases(tmp_path)[case]
    pool = pools(batches)
    for epoch in range(2):
        ahead = prefetch_batches(batches, epoch, 0, len(batches), 1, None, pool)
        for index in range(len(batches)):
            found = ahead.get().entries
            same(found, batches.batch(epoch, index))
            found["images"][...] = 0  # it is the caller's


def test_workers_import_no_backend_and_share_arrays(pools: Any) -> None:
    batches = Batches(source().map(functions.no_backend), POLICY, 4)
    head, buffers = workers.packed(batches)
    assert len(head) < 10_000 and sum(map(len, buffers)) > source().images.nbytes  # arrays are not in the pickle
    plain = Batches(source(), POLICY, 4)  # this process has imported them all
    same(pools(batches).build(0, 0).entries, plain.batch(0, 0))


@pytest.mark.parametrize("what", ["kill", "exit"])
def test_a_worker_that_ends_is_replaced_and_its_batch_built_again(tmp_path: Path, what: str, pools: Any) -> None:
    function = functions.Misbehaving(what, 9, tmp_path / "once")
    batches = Batches(source().map(function), POLICY, 4, shuffle=False)
    pool = pools(batches)
    how = "was ended by SIGKILL" if what == "kill" else "ended with exit code 3"
    with pytest.warns(UserWarning, match=rf"worker process \d+ {how} while it built batch 2 of epoch 0; another one"):
        found = [pool.build(0, index).entries for index in range(len(batches))]
    for index, entries in enumerate(found):
        same(entries, batches.batch(0, index))
    assert len(pool.pids()) == 2


def test_a_batch_that_ends_every_worker_is_an_error_on_itself(pools: Any) -> None:
    batches = Batches(source().map(functions.Misbehaving("kill", 9)), POLICY, 4, shuffle=False)
    ahead = prefetch_batches(batches, 0, 0, len(batches), 1, 3, pools(batches))
    with pytest.warns(UserWarning, match="another one does it again"):
        for index in range(len(batches)):
            if index != 2:
                assert len(ahead.get().entries["images"])
                continue
            with pytest.raises(
                DataError, match="SIGKILL while it built batch 2 of epoch 0, as 2 before it; .*fewer proc"
            ):
                ahead.get()


def test_all_workers_killed_while_idle_and_while_busy(pools: Any) -> None:
    batches = Batches(source().map(functions.slow), POLICY, 4)
    pool = pools(batches)
    expected = [batches.batch(0, index) for index in range(len(batches))]
    pool.build(0, 0)
    with pytest.warns(UserWarning, match="another one does it again"), ThreadPoolExecutor(2) as threads:
        for pid in pool.pids():
            os.kill(pid, signal.SIGKILL)
        building = [threads.submit(pool.build, 0, index) for index in range(len(batches))]
        time.sleep(0.05)
        for pid in pool.pids():
            os.kill(pid, signal.SIGKILL)
        for index, future in enumerate(building):
            same(future.result(60).entries, expected[index])


def test_errors_come_back_on_their_batch_with_where_they_arose(tmp_path: Path, pools: Any) -> None:
    folder = ow.FolderSource(class_folder(tmp_path / "photos", {"a": 6}))
    Path(folder.name(4)).write_bytes(b"")
    batches = Batches(folder, POLICY, 2, shuffle=False)
    ahead = prefetch_batches(batches, 0, 0, 3, 1, 3, pools(batches))
    ahead.get(), ahead.get()
    with pytest.raises(DataError, match=r"004\.png") as caught:
        ahead.get()
    assert "In a worker process:\nTraceback" in caught.value.__notes__[0]
    batches = Batches(source().map(functions.Misbehaving("raise", 1)), POLICY, 4, shuffle=False)
    with pytest.raises(DataError, match="image 1 of the array: Misbehaving failed with Local: a reason in two lines"):
        pools(batches, 1).build(0, 0)
    with pytest.raises(DataError, match="failed with Local") as caught:
        batches.batch(0, 0)
    assert "worker_functions.py" in caught.value.__notes__[0]


def test_frames_made_by_workers_are_kept_here(tmp_path: Path, pools: Any) -> None:
    """A worker that ends, and a file that cannot be read, are seen to as with threads."""
    options: dict[str, Any] = {"reuse": 2, "on_error": "skip", "seed": 1}
    folder = ow.FolderSource(class_folder(tmp_path / "photos", {"a": 6, "b": 5}))
    Path(folder.name(4)).write_bytes(b"")
    batches, twin = (FrameBatches(folder, POLICY, 4, **options) for _ in range(2))
    pool = pools(batches)
    for epoch in range(4):
        for index in range(len(batches)):
            found, expected = batches.build_by(pool, epoch, index), twin.build(epoch, index)
            same(found.entries, expected.entries)
            assert found.skipped == expected.skipped
        assert batches.frames(epoch) == twin.frames(epoch)
    function = functions.Misbehaving("kill", 9, tmp_path / "once")
    batches, twin = (FrameBatches(source().map(function), POLICY, 4, **options) for _ in range(2))
    with pytest.warns(UserWarning, match="SIGKILL while it made frames for epoch .; another one does it again"):
        pool = pools(batches)
        found = [batches.build_by(pool, 0, index) for index in range(len(batches))]
    for index, batch in enumerate(found):
        same(batch.entries, twin.batch(0, index))


def test_closing_ends_what_is_under_way(pools: Any) -> None:
    pool = pools(Batches(source().map(functions.for_ever), POLICY, 4))
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(pool.build, 0, index) for index in range(2)]
        time.sleep(0.3)
        pool.close()
        pool.close()
        for future in waiting:
            with pytest.raises(RuntimeError, match="have been ended"):
                future.result(60)


def test_a_pool_that_nobody_holds_ends() -> None:
    pool = workers.WorkerPool(Batches(source(), POLICY, 4), 2)
    pids = pool.pids()
    assert len(pids) == 2
    del pool
    gc.collect()
    wait_for(lambda: not any(map(alive, pids)))


def test_what_cannot_be_pickled_is_named() -> None:
    double = lambda sample: sample  # noqa: E731
    for made, says in [
        (
            source().map(double).subset([1, 2, 3, 4]),
            r"the function .*<lambda> \(.*test_workers.py:\d+\) cannot be pickled",
        ),
        (
            source().map(functions.invert).map(functions.Local("x").with_traceback),
            "the function .*with_traceback cannot",
        ),
    ]:
        with pytest.raises(InputError, match=rf"processes=2: {says}.*at the top of a module, no lambda") as caught:
            workers.check_picklable(Batches(made, POLICY, 2), 2)
        assert "\n" not in str(caught.value)
    workers.check_picklable(Batches(source().map(functions.invert), POLICY, 2), 2)


def test_what_a_worker_cannot_load_is_told(tmp_path: Path, pools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vanishing.py").write_text("def function(sample):\n    return sample\n")
    monkeypatch.syspath_prepend(tmp_path)
    import vanishing  # type: ignore[import-not-found]

    (tmp_path / "vanishing.py").unlink()
    pool = pools(Batches(source().map(vanishing.function), POLICY, 4), 1)
    for _ in range(2):
        with pytest.raises(DataError, match="could not load source and policy .ModuleNotFoundError: .*vanishing"):
            pool.build(0, 0)


# --- with the script that starts them -------------------------------------------------------------------------------

SCRIPT = """
import os, signal, sys, time
import numpy as np
import onewarp as ow
from onewarp.data.batches import Batches
from onewarp.data.workers import WorkerPool

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it, and its children with it

def own(sample):
    {body}
    return sample

source = ow.ArraySource(np.zeros((8, 9, 9, 3), np.uint8)).map(own)
def run():
    pool = WorkerPool(Batches(source, ow.Policy([ow.RandomCrop(8)]), 4), 2)
    print(*pool.pids(), flush=True)
    print(pool.build(0, 0).entries["images"].shape, flush=True)
    {then}
{guard}run()
"""


def script(tmp_path: Path, body: str = "pass", then: str = "pass", guard: str = 'if __name__ == "__main__": ') -> Any:
    (tmp_path / "script.py").write_text(SCRIPT.format(body=body, then=then, guard=guard))
    return subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_functions_of_the_script_itself(tmp_path: Path) -> None:
    running = script(tmp_path)
    out, err = running.communicate(timeout=120)
    pids, shape = out.splitlines()
    assert shape == "(4, 8, 8, 3)" and not err and running.returncode == 0
    assert not any(alive(int(pid)) for pid in pids.split())


def test_a_script_without_a_guard_is_told(tmp_path: Path) -> None:
    running = script(tmp_path, guard="")
    _, err = running.communicate(timeout=120)
    assert running.returncode == 1 and 'put what the script does under: if __name__ == "__main__":' in err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_its_parent(tmp_path: Path, number: int) -> None:
    """Whether it computes in Python, or waits for the next batch."""
    for body, then in [("print('busy', flush=True); time.sleep(600)", "pass"), ("pass", "time.sleep(600)")]:
        running = script(tmp_path, body, then)
        pids = [int(pid) for pid in running.stdout.readline().split()]
        assert running.stdout.readline() == ("busy\n" if then == "pass" else "(4, 8, 8, 3)\n")
        assert all(map(alive, pids))
        running.send_signal(number)
        running.communicate(timeout=60)
        wait_for(lambda pids=pids: not any(running_process(pid) for pid in pids))


def running_process(pid: int) -> bool:
    """Whether a process runs; one that nobody waited for, because its parent was killed, does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_nothing_of_a_pool_has_a_name() -> None:
    """So there is nothing to remove when all of its processes are killed at once."""
    before = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    pool = workers.WorkerPool(Batches(source(), POLICY, 4), 1)
    pool.build(0, 0)
    links = [
        os.readlink(f"/proc/self/fd/{name}")
        for name in os.listdir("/proc/self/fd")
        if os.path.islink(f"/proc/self/fd/{name}")
    ]
    assert sum("onewarp-" in link and "(deleted)" in link for link in links) == 2
    assert not before or {name for name in os.listdir("/dev/shm") if "onewarp" in name} <= before
    pool.close()
