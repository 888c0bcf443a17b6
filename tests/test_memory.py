"""What a Loader keeps in memory: nothing more from one epoch to the next, and of a file no more than its name.

The bounds are far above what an allocator keeps for itself and far below the smallest thing that could pile up; each
check is shown to fail on a source that does pile something up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("keras")

import onewarp as ow
from data_helpers import encode, picture
from onewarp.data.order import _sorted
from onewarp.data.store import prepare

MIB = 2**20

# Over 27 epochs of 256 images, keeping one decoded image per batch would be 20 MiB, the files as they are (7 KB each)
# 47 MiB, every batch 81 MiB. With nothing kept, the allocator alone was seen to move by 1.8 MiB over 17.
EPOCHS, FILES, SIDE, BATCH = 30, 256, 128, 16
FLAT = 6 * MIB

# Per file beside its name: a reference (8 bytes) and a label (8), and the orders of up to eight epochs (8 each).
PER_FILE = 128


class Hoarder(ow.FileSource):
    """A source that keeps what it has read."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.kept: list[Any] = []

    def lazy(self, index: int) -> Any:
        sample = super().lazy(index)
        self.kept.append(bytes(bytearray(sample["images"].data)))  # a copy: what is read from a disk is not shared
        return sample


def sources(photos: Sequence[str], folder: Path) -> Iterator[tuple[str, ow.Source]]:
    """Kinds of sources by name; the stores are made in `folder`."""
    labels = np.arange(len(photos)) % 4
    yield "files", ow.FileSource(photos, labels)
    for name, raw in (("JPEG store", False), ("raw store", True)):
        prepare(ow.FileSource(photos, labels), folder / name, ow.StoreSettings(raw=raw), shard_size=1 << 20)
        yield name, ow.StoreSource(folder / name)
    yield "hoarder", Hoarder(photos, labels)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A few hundred JPEG files of 128x128 pixels."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(FILES):
        (folder / f"{number:03d}.jpg").write_bytes(encode(picture(SIDE, SIDE, number), "JPEG", quality=85))
    return sorted(map(str, folder.iterdir()))


def some_policy() -> ow.Policy:
    return ow.Policy([ow.RandomResizedCrop(32), ow.HorizontalFlip(), ow.ColorJitter(brightness=0.2), ow.Rescale()])


def some_loader(source: ow.Source) -> ow.Loader:
    return ow.Loader(source, some_policy(), batch_size=BATCH, threads=4)


def growth_over_epochs(loader: ow.Loader) -> int:
    """Bytes by which resident memory after the last epoch exceeds that after the third, the pages of files included."""
    after = []
    for _ in range(EPOCHS):
        assert sum(len(images) for images, _ in loader) == FILES
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        after.append(pages * os.sysconf("SC_PAGE_SIZE"))
    assert loader.epoch == EPOCHS
    return after[-1] - after[2]


@pytest.fixture(scope="module")
def growth(photos: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Kind of source -> `growth_over_epochs`, in a process of its own: no memory that other tests freed hides it."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("the system has no /proc/self/statm to read the resident memory from")
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path_factory.mktemp("stores")), *photos],
        env=os.environ | {"KERAS_BACKEND": "numpy"},  # trains nothing, so the lightest will do
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("kind", ["files", "JPEG store", "raw store"])
def test_epochs_leave_nothing_behind(kind: str, growth: dict[str, int]) -> None:
    assert growth[kind] < FLAT


def test_what_epochs_leave_behind_is_seen(growth: dict[str, int]) -> None:
    assert growth["hoarder"] > FLAT


def test_epochs_leave_no_threads_behind(photos: list[str]) -> None:
    before = set(threading.enumerate())
    loader = some_loader(ow.FileSource(photos, np.arange(FILES) % 4))
    for _ in range(3):
        for _batch in loader:
            pass
    deadline = time.monotonic() + 10
    while left := [thread for thread in threading.enumerate() if thread not in before and thread.is_alive()]:
        assert time.monotonic() < deadline, f"{left} still run"
        time.sleep(0.01)


def bytes_per_file(kind: type[ow.FileSource], folder: Path, few: int, many: int) -> float:
    """What a Loader keeps after an epoch, per file beyond its name: from `few` and `many` names of one small file."""
    one = folder / "one.jpg"
    one.write_bytes(encode(picture(16, 16), "JPEG"))
    names = [str(folder / f"{number:05d}.jpg") for number in range(many)]
    for name in names:
        os.symlink(one, name)
    return (kept_after_an_epoch(kind, names) - kept_after_an_epoch(kind, names[:few])) / (many - few)


def kept_after_an_epoch(kind: type[ow.FileSource], names: Sequence[str]) -> int:
    """Bytes that a Loader over `names`, which exist already, holds after an epoch and the beginnings of nine more."""
    _sorted.cache_clear()
    policy = ow.Policy([ow.Resize(8)])
    labels = np.arange(len(names)) % 4
    tracemalloc.start()
    try:
        loader = ow.Loader(kind(names, labels), policy, batch_size=500, threads=2)
        for _batch in loader:
            pass
        for epoch in range(1, 10):
            loader.batches.batch(epoch, 0)
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_a_file_costs_its_name(tmp_path: Path) -> None:
    assert bytes_per_file(ow.FileSource, tmp_path, 1000, 10000) < PER_FILE


def test_a_file_that_costs_more_is_seen(tmp_path: Path) -> None:
    assert bytes_per_file(Hoarder, tmp_path, 500, 3000) > PER_FILE


if __name__ == "__main__":
    made = sources(sys.argv[2:], Path(sys.argv[1]))
    print(json.dumps({name: growth_over_epochs(some_loader(source)) for name, source in made}))
