"""What can go wrong with a store while it is made, moved, kept and read; each is noticed and named, nothing is lost."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import onewarp.data as data
from data_helpers import encode, picture, same
from onewarp.data.store import layout, prepare, verify
from onewarp.data.store.job import begin
from onewarp.data.store.prepare import write_shard
from onewarp.errors import DataError, InputError
from store_helpers import content, everything, photos

SMALL = data.StoreSettings(short_side=20)


@pytest.fixture
def source(tmp_path: Path) -> data.FileSource:
    return everything(tmp_path, 9)


@pytest.fixture
def whole(source: data.FileSource, tmp_path: Path) -> Path:
    """A finished store of several shards."""
    prepare(source, tmp_path / "whole", SMALL, shard_size=700)
    assert len(list((tmp_path / "whole").glob("shard-*.bin"))) >= 3
    return tmp_path / "whole"


def shard_of(folder: Path, number: int) -> Path:
    return sorted(folder.glob("shard-*.bin"))[number]


def read_all(folder: Path) -> list[tuple]:
    """Everything that a reader can see of a store."""
    store = data.StoreSource(folder)
    return [
        (store.name(k), store[k], int(store.labels[k]), store.class_names, store.image_shape, store.value_range,
         store.roles, store.outputs, store.most("bounding_boxes"), store.most("keypoints"), store.num_classes)
        for k in range(len(store))
    ]  # fmt: skip


def equal(a: list[tuple], b: list[tuple]) -> bool:
    try:
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            same(one[1], other[1])
            assert (one[0], one[2:]) == (other[0], other[2:])
    except AssertionError:
        return False
    return True


# --- while it is made ---------------------------------------------------------------------------------------------

CHILD = """
import sys, time
import onewarp.data as data
from onewarp.data.store import prepare
slow = sys.modules["onewarp.data.store.job"]
whole = slow.record_of
def record_of(*args):
    time.sleep(0.02)
    return whole(*args)
slow.record_of = record_of
prepare(data.FileSource(sys.argv[2:]), sys.argv[1], data.StoreSettings(short_side=20), threads=1, shard_size=700)
"""


def test_a_killed_preparation_goes_on(tmp_path: Path) -> None:
    files = photos(tmp_path / "photos", 60)
    folder = tmp_path / "store"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder), *files])
    deadline = time.monotonic() + 60
    while len(list(folder.glob("*.rows"))) < 3:
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    rows = {path.name: path.read_bytes() for path in folder.glob("shard-*")}
    assert not (folder / layout.MANIFEST).exists()
    with pytest.raises(DataError, match="store: this store is not finished.*goes on"):
        data.StoreSource(folder)
    source, seen = data.FileSource(files), []
    reads = counting(source)
    prepare(source, folder, SMALL, shard_size=700, progress=lambda done, total: seen.append(done))
    assert 0 < seen[0] < 60 and seen[-1] == 60  # it went on, and did not begin again
    assert len(reads) <= 60 - seen[0] + 16  # 16: to judge how many samples go into a shard
    for name, before in rows.items():
        if name.endswith(".bin"):
            assert (folder / name).read_bytes() == before
    prepare(source, tmp_path / "undisturbed", SMALL, shard_size=700)
    assert content(folder) == content(tmp_path / "undisturbed")


def counting(source: data.Source) -> list[int]:
    """The samples that are read from now on."""
    reads: list[int] = []
    lazy = source.lazy

    def counted(index: int):
        reads.append(index)
        return lazy(index)

    source.lazy = counted  # type: ignore[method-assign]
    return reads


@pytest.mark.parametrize("at", range(9))
def test_what_a_crash_leaves_is_never_read(source, tmp_path: Path, monkeypatch, at: int) -> None:
    """Stop at every write, rename and synchronisation in turn; what is there then is used or made again."""
    calls = 0

    class Crash(BaseException):
        pass

    def crashing(function):
        def called(*args):
            nonlocal calls
            calls += 1
            if calls == 3 * at + 1:
                raise Crash
            return function(*args)

        return called

    folder = tmp_path / "store"
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crashing(os.replace))
        patch.setattr(os, "fsync", crashing(os.fsync))
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)  # a crash tidies nothing up
        with pytest.raises(Crash):
            prepare(source, folder, SMALL, threads=1, shard_size=700)
    prepare(source, folder, SMALL, threads=1, shard_size=700)
    prepare(source, tmp_path / "undisturbed", SMALL, shard_size=700)
    kept = {name: data for name, data in content(folder).items() if not name.endswith(".tmp")}
    assert kept == content(tmp_path / "undisturbed")


def test_a_torn_part_of_the_index_is_made_again(source, tmp_path: Path) -> None:
    job = begin(source, tmp_path / "store", SMALL, shard_size=700)
    for number in range(2):
        write_shard(job, number)
    piece = tmp_path / "store" / layout.piece_name(job.about, 0)
    piece.write_bytes(piece.read_bytes()[:-9])
    assert 0 in job.missing() and 1 not in job.missing()
    prepare(source, tmp_path / "store", SMALL, shard_size=700)
    assert not list(verify(tmp_path / "store"))


class FullDisk:
    """A file that takes `room` bytes in all and then none."""

    room = 0

    def __init__(self, path, mode: str = "r") -> None:
        self.file = open(path, mode)  # noqa: SIM115

    def write(self, part) -> int:
        FullDisk.room -= len(part)
        if FullDisk.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(part)

    def __getattr__(self, name: str):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *args) -> None:
        self.file.close()


@pytest.mark.parametrize("room", [0, 900, 2500, 4000, 6000, 7000, 9000])
def test_a_disk_without_room(source, whole: Path, tmp_path: Path, monkeypatch, room: int) -> None:
    folder = tmp_path / "store"
    with monkeypatch.context() as patch:
        for module in (layout, sys.modules["onewarp.data.store.prepare"]):
            patch.setattr(module, "open", FullDisk, raising=False)
        FullDisk.room = room
        with pytest.raises(DataError, match="no room is left .*goes on"):
            prepare(source, folder, SMALL, shard_size=700)
    assert not list(folder.glob("*.tmp")) and not list(folder.glob(".*.tmp"))  # gives its room back
    assert not (folder / layout.MANIFEST).exists()
    prepare(source, folder, SMALL, shard_size=700)
    assert content(folder) == content(whole)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs the right to mount a small tmpfs")
def test_a_small_file_system_that_is_full(tmp_path: Path) -> None:
    source = data.FileSource(photos(tmp_path / "photos", 200))
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(DataError, match="no room is left"):
            prepare(source, disk / "store", data.StoreSettings(raw=True, short_side=20), shard_size=20_000)
        assert len(list((disk / "store").glob("*.rows"))) >= 2
        subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
        prepare(source, disk / "store", data.StoreSettings(raw=True, short_side=20), shard_size=20_000)
        assert not list(verify(disk / "store"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_files_that_vanish_while_the_store_is_made(tmp_path: Path) -> None:
    files = photos(tmp_path / "photos", 30)
    source, seen = data.FileSource(files), []

    def progress(done: int, total: int) -> None:
        seen.append(done)
        if done == 8:
            shutil.rmtree(tmp_path / "photos")

    with pytest.raises(DataError, match=r"\d\d\.jpeg: no such file"):
        prepare(source, tmp_path / "store", SMALL, threads=1, shard_size=700, progress=progress)
    assert not (tmp_path / "store" / layout.MANIFEST).exists()
    with pytest.raises(DataError, match=r"00\.jpeg"):  # they are named at the start of the next attempt
        prepare(source, tmp_path / "store", SMALL, shard_size=700)


# --- another source, other settings, another version --------------------------------------------------------------


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"short_side": 22}, "short_side=20, not 22"),
        ({"short_side": 20, "quality": 80}, "quality=90, not 80"),
        ({"short_side": 20, "raw": True}, "raw=False, not True"),
    ],
)
def test_a_store_of_other_settings(source, tmp_path: Path, settings: dict, complaint: str, finished: bool) -> None:
    folder = tmp_path / "store"
    if finished:
        prepare(source, folder, SMALL, shard_size=700)
    else:
        write_shard(begin(source, folder, SMALL, shard_size=700), 0)
    before = content(folder)
    with pytest.raises(InputError, match=complaint):
        prepare(source, folder, data.StoreSettings(**settings))
    assert content(folder) == before
    prepare(source, folder, data.StoreSettings(**settings), overwrite=True)
    prepare(source, tmp_path / "fresh", data.StoreSettings(**settings))
    assert content(folder) == content(tmp_path / "fresh")


def test_a_source_that_changed(source, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    prepare(source, folder, SMALL)
    prepare(source, folder, SMALL)  # no change
    os.utime(source.items[4], ns=(1, 1))
    with pytest.raises(InputError, match="the source has changed since the store was made"):
        prepare(source, folder, SMALL)
    assert "the source has changed" in next(verify(folder, source))
    prepare(source, folder, SMALL, overwrite=True)
    assert not list(verify(folder, source))
    Path(source.items[2]).write_bytes(encode(picture(20, 20, seed=77), "JPEG"))
    with pytest.raises(InputError, match="the source has changed"):
        prepare(source, folder, SMALL)
    with pytest.raises(InputError, match="9 samples when the store was made, now 8"):
        prepare(source.subset(range(8)), folder, SMALL)
    source.labels[0] += 1  # type: ignore[index]
    with pytest.raises(InputError, match="the source has changed"):
        prepare(source, folder, SMALL)


def test_a_moved_source_has_not_changed(tmp_path: Path) -> None:
    files = photos(tmp_path / "here")
    prepare(data.FileSource(files), tmp_path / "store", SMALL)
    (tmp_path / "here").rename(tmp_path / "there")
    prepare(data.FileSource([file.replace("/here/", "/there/") for file in files]), tmp_path / "store", SMALL)


def test_changed_arrays_are_noticed() -> None:
    images = np.zeros((5, 4, 4, 3), np.uint8)
    before = data.store.settings.fingerprint(data.ArraySource(images))  # type: ignore[attr-defined]
    images[3, 1, 2, 0] = 1
    assert data.store.settings.fingerprint(data.ArraySource(images)) != before  # type: ignore[attr-defined]


def test_a_store_of_another_version(whole: Path) -> None:
    manifest = whole / layout.MANIFEST
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(DataError, match="store.json: a store of version 2, this onewarp reads version 1"):
        data.StoreSource(whole)


# --- damage -------------------------------------------------------------------------------------------------------


def test_a_deleted_and_a_truncated_shard(source, whole: Path) -> None:
    before = content(whole)
    first, last = shard_of(whole, 0), shard_of(whole, -1)
    first.unlink()
    last.write_bytes(last.read_bytes()[:-20])
    store = data.StoreSource(whole)
    with pytest.raises(DataError, match=f"{first.name}: missing; prepare the store again"):
        store[0]
    with pytest.raises(DataError, match=rf"{last.name}: \d+ bytes, the index says \d+ \(truncated\)"):
        store[8]
    assert store[4]["images"].shape[2] == 3
    found = list(verify(whole))
    assert len(found) == 2 and first.name in found[0] and last.name in found[1]
    prepare(source, whole, SMALL)  # makes what is missing, and nothing else
    assert content(whole) == before


def test_a_flipped_bit_in_a_sample(source, whole: Path) -> None:
    before = content(whole)
    store = data.StoreSource(whole)
    second = shard_of(whole, 1)
    index = store.about["shard_samples"] + 1
    damaged = bytearray(second.read_bytes())
    damaged[int(store._rows[index]["offset"]) + 30] ^= 4
    second.write_bytes(damaged)
    store = data.StoreSource(whole)
    with pytest.raises(DataError, match=f"{second.name}: sample {index} is damaged"):
        store[index]
    assert store[index - 1] and store[0]
    found = list(verify(whole))
    assert len(found) == 1 and f"sample {index} is damaged" in found[0]
    second.unlink()
    prepare(source, whole, SMALL)
    assert content(whole) == before


def test_a_thousand_flipped_bits(tmp_path: Path) -> None:
    """Wherever a bit flips, it is noticed, or what is read is the same."""
    rng = np.random.default_rng(11)
    detected = harmless = 0
    for raw in (False, True):
        source = everything(tmp_path / str(raw), 5) if not raw else everything(tmp_path / str(raw), 5, same_size=True)
        folder = tmp_path / f"store-{raw}"
        prepare(source, folder, data.StoreSettings(short_side=16, raw=raw), shard_size=1500)
        right = read_all(folder)
        files = sorted(folder.iterdir())
        sizes = np.array([path.stat().st_size for path in files])
        for number in range(500):
            # Half of them anywhere, half of them spread evenly over the files: the manifest and the index are small.
            at = rng.choice(len(files), p=sizes / sizes.sum()) if number % 2 else number // 2 % len(files)
            before = files[at].read_bytes()
            flipped = bytearray(before)
            flipped[rng.integers(len(before))] ^= 1 << int(rng.integers(8))
            files[at].write_bytes(flipped)
            try:
                seen = read_all(folder)
            except DataError as error:
                assert str(folder) in str(error)
                detected += 1
            else:
                assert equal(seen, right), f"a flipped bit in {files[at].name} goes unnoticed"
                harmless += 1
            files[at].write_bytes(before)
    assert detected + harmless == 1000 and detected > 800
    print(f"{detected} detected, {harmless} harmless")


@pytest.mark.parametrize("what", ["index", "index deleted", "manifest"])
def test_a_damaged_index_or_manifest_is_made_again(source, whole: Path, what: str) -> None:
    before = content(whole)
    path = whole / layout.MANIFEST if what == "manifest" else next(whole.glob("index-*.bin"))
    damaged = bytearray(path.read_bytes())
    damaged[40] ^= 1
    path.write_bytes(damaged)
    if what == "index deleted":
        path.unlink()
    with pytest.raises(DataError, match=f"{path.name}: .*(damaged|missing).*prepare"):
        data.StoreSource(whole)
    if what == "manifest":
        with pytest.raises(DataError, match="damaged.*with overwrite"):
            prepare(source, whole, SMALL)
    prepare(source, whole, SMALL, overwrite=what == "manifest", shard_size=700)
    assert content(whole) == before


def test_verify_without_a_store(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no store here"):
        list(verify(tmp_path))


# --- a store that changes under a reader --------------------------------------------------------------------------


def test_a_reader_of_a_store_that_is_being_rebuilt(source, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    prepare(source, folder, SMALL, shard_size=700)
    old, late = data.StoreSource(folder), data.StoreSource(folder)
    before = [old[k] for k in range(9)]

    def watching(done: int, total: int) -> None:
        if done < total:
            fresh = data.StoreSource(folder)  # whoever opens it meanwhile gets the old one, whole
            for reader in (old, fresh):
                same(reader[done], before[done])

    prepare(source, folder, data.StoreSettings(short_side=12), overwrite=True, progress=watching, shard_size=700)
    for k in range(9):
        same(old[k], before[k])  # what is mapped stays
    with pytest.raises(DataError, match="the store was made anew since it was opened; open it again"):
        late[0]
    new = data.StoreSource(folder)
    assert min(new[0]["images"].shape[:2]) == 12
    assert not [name for name in content(folder) if new.about["build"] not in name and name != layout.MANIFEST]


def test_an_unfinished_rebuild_leaves_the_old_store(source, whole: Path) -> None:
    before = read_all(whole)
    job = begin(source, whole, data.StoreSettings(short_side=12), shard_size=700, overwrite=True)
    write_shard(job, 0)
    assert equal(read_all(whole), before)
