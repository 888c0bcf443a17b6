"""Loader(store=): the same batches while the store is written, half written and complete."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import onewarp as ow
import onewarp.data as data
from data_helpers import same
from onewarp.data.batches import Batches
from onewarp.data.store import layout, prepare
from onewarp.data.store.storing import Journal, StoringSource, storing
from onewarp.errors import DataError, InputError
from store_helpers import content, everything, photos

POLICY = ow.Policy([ow.RandomResizedCrop(16), ow.Rotate(15), ow.HorizontalFlip(), ow.ColorJitter(0.2)])
SMALL = {"short_side": 20, "quality": 85}


def batches_of(source: data.Source, epochs: int = 2, **options) -> list:
    made = Batches(source, POLICY, 4, seed=3, **options)
    return [made.batch(epoch, index) for epoch in range(epochs) for index in range(len(made))]


@pytest.mark.parametrize("raw", [False, True])
def test_a_batch_is_the_same_before_and_after(tmp_path: Path, raw: bool) -> None:
    source = everything(tmp_path, 9)
    prepare(source, tmp_path / "prepared", data.StoreSettings(**SMALL, raw=raw))
    expected = batches_of(data.StoreSource(tmp_path / "prepared"))
    stored = storing(source, {"path": tmp_path / "store", **SMALL, "raw": raw})
    assert not stored.complete and stored.image_shape == (None, None, 3)
    same_lists(batches_of(stored), expected)
    stored.wait()
    assert stored.complete
    same_lists(batches_of(stored), expected)
    assert content(tmp_path / "store") == content(tmp_path / "prepared")  # and no journal is left
    again = storing(source, {"path": tmp_path / "store", **SMALL, "raw": raw})
    assert again.complete and again.image_shape == stored.image_shape and again.dense == stored.dense
    same_lists(batches_of(again), expected)


def same_lists(found: list, expected: list) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        same(a, b)


def test_without_settings_no_pixel_of_a_jpeg_changes(tmp_path: Path) -> None:
    source = everything(tmp_path)
    same_lists(batches_of(storing(source, tmp_path / "store")), batches_of(source))


def test_the_source_is_read_once(tmp_path: Path) -> None:
    source = data.FileSource(photos(tmp_path / "photos", 12))
    stored = storing(source, str(tmp_path / "store"))
    reads: list[int] = []
    lazy = source.lazy
    source.lazy = lambda index: (reads.append(index), lazy(index))[1]  # type: ignore[method-assign]
    for _ in range(3):
        batches_of(stored)
    assert sorted(reads) == list(range(12))


def test_a_raw_store_of_one_size_is_read_like_an_array_once_it_is_there(tmp_path: Path) -> None:
    files = photos(tmp_path / "photos", 11)
    source, how = data.FileSource(files, np.arange(11) % 3), {"size": 24, "raw": True}
    prepare(source, tmp_path / "prepared", data.StoreSettings(**how))
    stored = storing(source, {"path": tmp_path / "store", **how})
    assert not stored.dense and stored.image_shape == (24, 24, 3)
    with pytest.raises(InputError, match="sample by sample"):
        stored.views(np.arange(2))
    expected = batches_of(data.StoreSource(tmp_path / "prepared"))
    same_lists(batches_of(stored), expected)
    stored.wait()
    assert stored.dense and pickle.loads(pickle.dumps(stored)).dense
    stored.lazy = None  # type: ignore[assignment] # it is of no use any more
    same_lists(batches_of(stored), expected)
    for placed in (stored, storing(source, {"path": tmp_path / "device", **how})):  # written, and to be written
        found = batches_of(placed, 1, placement="device")
        same_lists(found, batches_of(data.StoreSource(tmp_path / "prepared"), 1, placement="device"))
    jpeg = storing(data.ArraySource(np.zeros((4, 24, 24, 3), np.uint8)), {"path": tmp_path / "jpeg", "short_side": 12})
    batches_of(jpeg, 1)
    jpeg.wait()
    assert jpeg.complete and not jpeg.dense and jpeg.image_shape == (12, 12, 3)


def test_a_store_may_be_finished_in_the_middle_of_a_batch(tmp_path: Path) -> None:
    source, how = data.FileSource(photos(tmp_path / "photos", 8)), {"size": 24, "raw": True}
    prepare(source, tmp_path / "prepared", data.StoreSettings(**how))
    stored = storing(source, {"path": tmp_path / "store", **how})
    lazy, states = stored.lazy, []

    def slow(index: int) -> dict:
        found = lazy(index)
        stored.wait()
        states.append(stored.dense)
        return found

    stored.lazy = slow  # type: ignore[method-assign]
    same_lists(batches_of(stored), batches_of(data.StoreSource(tmp_path / "prepared")))
    assert states == [False] * 7 + [True]


def test_it_can_be_pickled(tmp_path: Path) -> None:
    source = data.FileSource(photos(tmp_path / "photos", 6))
    stored = storing(source, tmp_path / "store")
    first = stored[2]
    same(pickle.loads(pickle.dumps(stored))[2], first)  # it reads the journal that the other one writes
    batches_of(stored)
    stored.wait()
    copy = pickle.loads(pickle.dumps(stored))
    assert copy.complete
    same(copy[2], first)


CHILD = """
import sys, time
import onewarp as ow, onewarp.data as data
from onewarp.data.batches import Batches
from onewarp.data.store.storing import storing
stored = storing(data.FileSource(sys.argv[2:]), {"path": sys.argv[1], "short_side": 20})
for index in (7, 2, 5, 0, 9, 4, 11):
    stored.lazy(index)
print("ready", flush=True)
time.sleep(60)
"""


def test_killed_it_goes_on(tmp_path: Path) -> None:
    files, folder = photos(tmp_path / "photos", 14), tmp_path / "store"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder), *files], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    journal = next(folder.glob("*.journal"))
    journal.write_bytes(journal.read_bytes()[:-7])  # the last entry is torn
    source = data.FileSource(files)
    stored = storing(source, {"path": folder, "short_side": 20})
    reads: list[int] = []
    lazy = source.lazy
    source.lazy = lambda index: (reads.append(index), lazy(index))[1]  # type: ignore[method-assign]
    found = batches_of(stored)
    assert sorted(reads) == [1, 3, 6, 8, 10, 11, 12, 13]
    stored.wait()
    prepare(source, tmp_path / "prepared", data.StoreSettings(20))
    assert content(folder) == content(tmp_path / "prepared")
    same_lists(found, batches_of(data.StoreSource(folder)))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_killed_while_the_shards_are_written_it_goes_on(tmp_path: Path, monkeypatch) -> None:
    from onewarp.data.store import storing as module

    source = data.FileSource(photos(tmp_path / "photos", 14))
    stop = {"at": 2}

    def write_shard(job, number, read=None):
        stop["at"] -= 1
        if stop["at"] < 0:
            raise SystemExit  # ends the thread as a kill would
        whole(job, number, read)

    whole = module.write_shard
    monkeypatch.setattr(module, "write_shard", write_shard)
    monkeypatch.setattr(sys.modules["onewarp.data.store.job"], "SHARD_SIZE", 900)
    stored = storing(source, {"path": tmp_path / "store", "short_side": 20})
    batches_of(stored, 1)
    stored.wait()
    assert not stored.complete and len(list((tmp_path / "store").glob("*.rows"))) == 2
    expected = batches_of(stored)
    stop["at"] = 1000
    again = storing(source, {"path": tmp_path / "store", "short_side": 20})
    again.wait()  # nothing has to be read again
    assert again.complete and not list((tmp_path / "store").glob("*.journal"))
    same_lists(batches_of(again), expected)


def test_damage_in_a_journal_is_noticed(tmp_path: Path) -> None:
    source = data.FileSource(photos(tmp_path / "photos", 5))
    stored = storing(source, tmp_path / "store")
    right = [stored[k] for k in range(4)]
    journal = next((tmp_path / "store").glob("*.journal"))
    whole = journal.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        journal.write_bytes(damaged)
        opened = StoringSource(source, tmp_path / "store", on_error="raise")
        for k in range(4):
            same(opened[k], right[k])
        for path in (tmp_path / "store").glob("*.journal"):
            if path != journal:
                path.unlink()


def test_a_disk_without_room_does_not_stop_a_training(tmp_path: Path, monkeypatch) -> None:
    source = data.FileSource(photos(tmp_path / "photos", 6))
    prepare(source, tmp_path / "prepared", data.StoreSettings(20))
    stored = storing(source, {"path": tmp_path / "store", "short_side": 20})
    import os

    written = 0

    def pwrite(file: int, content: bytes, at: int) -> int:
        nonlocal written
        written += 1
        if written > 2:
            raise OSError(28, "No space left on device")
        return whole(file, content, at)

    whole = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        with pytest.warns(UserWarning, match="no room is left.*read from their source"):
            found = batches_of(stored)
    same_lists(found, batches_of(data.StoreSource(tmp_path / "prepared")))
    assert not stored.complete
    later = storing(source, {"path": tmp_path / "store", "short_side": 20})
    batches_of(later)
    later.wait()
    assert later.complete


def test_unreadable_samples(tmp_path: Path) -> None:
    files = photos(tmp_path / "photos", 6)
    Path(files[1]).write_bytes(b"nothing of the kind")
    source = data.FileSource(files)
    with pytest.raises(DataError, match=r"01\.jpeg"):
        batches_of(storing(source, tmp_path / "a"))
    stored = storing(source, tmp_path / "b", on_error="skip")
    found = batches_of(stored, on_error="skip")
    stored.wait()
    assert stored.complete
    same_lists(found, batches_of(stored, on_error="skip"))


def test_another_process_finishes_first(tmp_path: Path, monkeypatch) -> None:
    from onewarp.data.store import storing as module

    monkeypatch.setattr(module, "LOOK", 2)
    source = data.FileSource(photos(tmp_path / "photos", 8))
    stored = storing(source, {"path": tmp_path / "store", "short_side": 20})
    stored.lazy(0)
    prepare(source, tmp_path / "store", data.StoreSettings(20))  # its journal is removed under it
    same(stored[0], data.StoreSource(tmp_path / "store")[0])
    stored.lazy(1)
    stored.wait()
    assert stored.complete and not list((tmp_path / "store").glob("*.journal"))


@pytest.mark.parametrize(
    ("store", "complaint"),
    [
        (3, "store=3 names no folder"),
        ({"short_side": 256}, "names no folder"),
        ({"path": "x", "width": 256}, "store has 'width'; it takes path, short_side, quality, raw, size"),
        ({"path": "x", "quality": 0}, "quality=0"),
    ],
)
def test_bad_arguments(store, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        storing(data.ArraySource(np.zeros((2, 4, 4, 3), np.uint8)), store)


def test_a_store_of_something_else(tmp_path: Path) -> None:
    source = data.FileSource(photos(tmp_path / "photos", 6))
    prepare(source, tmp_path / "store", data.StoreSettings(20))
    with pytest.raises(InputError, match="short_side=20, not 24"):
        storing(source, {"path": tmp_path / "store", "short_side": 24})
    with pytest.raises(InputError, match="6 samples when the store was made, now 5"):
        storing(source.subset(range(5)), {"path": tmp_path / "store", "short_side": 20})


def test_journals_of_other_builds_are_not_read(tmp_path: Path) -> None:
    source = data.FileSource(photos(tmp_path / "photos", 6))
    storing(source, {"path": tmp_path / "store", "short_side": 20}).lazy(0)
    stored = StoringSource(source, tmp_path / "store", data.StoreSettings(20))
    assert isinstance(stored._journal, Journal) and len(stored._journal) == 1
    (tmp_path / "store" / layout.BEGUN).unlink()
    with pytest.raises(InputError, match="not empty, and no store"):
        storing(source, {"path": tmp_path / "store", "short_side": 24})


def test_under_a_loader(tmp_path: Path) -> None:
    source = everything(tmp_path, 9)
    plain = ow.Loader(source, POLICY, 4, seed=3, outputs=("images", "labels"), threads=3)
    stored = ow.Loader(
        source, POLICY, 4, seed=3, outputs=("images", "labels"), store=tmp_path / "store", threads=3, prefetch=2
    )
    for epoch in range(3):
        for a, b in zip(plain, stored, strict=True):
            same(np.asarray(a[0]), np.asarray(b[0]))
            same(np.asarray(a[1]), np.asarray(b[1]))
        if epoch == 0:
            stored.source.wait()
            assert stored.source.complete
    state = stored.state()
    later = ow.Loader(source, POLICY, 4, seed=3, outputs=("images", "labels"), store=tmp_path / "store")
    later.restore(state)
    same(np.asarray(next(iter(later))[0]), np.asarray(next(iter(plain))[0]))


def test_the_folder_of_the_process_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = data.FileSource(photos(tmp_path / "photos", 6))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    stored = storing(source, "store")
    stored.lazy(0)
    monkeypatch.chdir(tmp_path / "elsewhere")
    batches_of(stored)
    stored.wait()
    assert stored.complete and not list((tmp_path / "elsewhere").iterdir())
    monkeypatch.chdir(tmp_path)
    opened = data.StoreSource("store")
    monkeypatch.chdir(tmp_path / "elsewhere")
    same(opened[1], stored[1])


def test_a_windowed_epoch_stays_within_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = data.FileSource(photos(tmp_path / "photos", 40))
    settings = data.StoreSettings(20)
    prepare(source, tmp_path / "store", settings, shard_size=900)
    store = data.StoreSource(tmp_path / "store")
    m = store.about["shard_samples"]
    assert store.blocks is not None and store.blocks.tolist() == [*range(0, 40, m), 40] and len(store.blocks) > 8
    stored = storing(source, {"path": tmp_path / "store", "short_side": 20})
    same(stored.blocks, store.blocks)
    windowed = Batches(store, POLICY, m, shuffle="windowed", window=2, seed=1)
    for index in range(len(windowed)):
        assert len({row // m for row in windowed.indices(0, index).tolist()}) <= 4  # of at most two windows
    assert sorted(np.concatenate([windowed.indices(0, k) for k in range(len(windowed))])[:40]) == list(range(40))
