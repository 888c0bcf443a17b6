"""The prefetcher, and unreadable samples on their way through batches."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import onewarp as ow
import onewarp.data as data
from data_helpers import class_folder, same
from onewarp.data.batches import Batches
from onewarp.data.prefetch import Prefetcher, prefetch_batches
from onewarp.errors import DataError

POLICY = ow.Policy([ow.RandomResizedCrop(8), ow.HorizontalFlip(), ow.Brightness(0.3), ow.RandomErasing(p=0.5)])


@pytest.fixture
def folder(tmp_path: Path) -> data.FolderSource:
    return data.FolderSource(class_folder(tmp_path / "photos", {"a": 4, "b": 5}, size=(10, 14)))


class TestUnreadable:
    """One file of nine is damaged, in turn in its header and in its data."""

    @pytest.fixture(params=["header", "data"])
    def broken(self, request: pytest.FixtureRequest, folder: data.FolderSource) -> data.FolderSource:
        path = Path(folder.name(4))
        content = path.read_bytes()
        path.write_bytes(b"" if request.param == "header" else content[: len(content) // 2])
        return folder

    def test_raises_by_name(self, broken: data.FolderSource) -> None:
        batches = Batches(broken, POLICY, 3, shuffle=False)
        batches.batch(0, 0)
        with pytest.raises(DataError, match=r"photos.b.000\.png"):
            batches.batch(0, 1)

    def test_skip_replaces_only_the_bad_sample(self, broken: data.FolderSource) -> None:
        batches = Batches(broken, POLICY, 3, shuffle=False, on_error="skip")
        built = batches.build(0, 1)
        assert len(built.skipped) == 1 and "000.png" in built.skipped[0]
        stand_in = 4 + 9 // 2
        good = Batches(broken.subset([3, stand_in, 5]), POLICY, 3, shuffle=False).batch(0, 0)
        assert built.entries["labels"].tolist() == good["labels"].tolist()
        np.testing.assert_array_equal(built.entries["images"][[0, 2]], good["images"][[0, 2]])
        assert not np.array_equal(built.entries["images"][1], good["images"][1])  # it has a draw of its own
        assert batches.build(0, 0).skipped == ()

    def test_skipping_is_pure(self, broken: data.FolderSource) -> None:
        """Another order of asking, another instance, threads: the same bytes, although failures are remembered."""
        first, second = (Batches(broken, POLICY, 3, seed=2, on_error="skip") for _ in range(2))
        forwards = [first.batch(epoch, index) for epoch in range(3) for index in range(3)]
        with ThreadPoolExecutor(4) as pool:
            built = [second.build(epoch, index, pool) for epoch in (2, 1, 0) for index in (2, 1, 0)]
        for a, b in zip(forwards, built[::-1], strict=True):
            same(a, b.entries)
        for epoch in range(3):  # it shows in every epoch, not only when it was found
            assert sum(len(built[3 * epoch + index].skipped) for index in range(3)) == 1

    def test_nothing_left(self, tmp_path: Path) -> None:
        for k in range(3):
            (tmp_path / f"{k}.png").write_bytes(b"")
        source = data.FileSource([tmp_path / f"{k}.png" for k in range(3)])
        with pytest.raises(DataError, match="none of the 3 samples"):
            Batches(source, POLICY, 2, on_error="skip").batch(0, 0)


def wait_for(condition: Callable[[], bool]) -> None:
    """Until something that must happen has happened; a deadlock fails instead of hanging."""
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within 5 seconds")


class TestPrefetcher:
    @pytest.mark.parametrize("threads", [1, 2, 5])
    @pytest.mark.parametrize("depth", [1, 3, 50])
    def test_order_and_bound(self, threads: int, depth: int) -> None:
        begun: list[int] = []
        taken = 0
        furthest = 0

        def build(index: int) -> int:
            nonlocal furthest
            begun.append(index)
            furthest = max(furthest, index - taken)
            return index * index

        ahead = Prefetcher(build, 40, threads, depth)
        for index in range(40):
            assert ahead.get() == index * index
            taken = index + 1
        assert sorted(begun) == list(range(40)) and furthest <= depth
        ahead.join(5)
        with pytest.raises(RuntimeError, match="exhausted"):
            ahead.get()

    def test_an_error_comes_at_its_turn_and_only_there(self) -> None:
        def build(index: int) -> int:
            if index == 2:
                raise DataError("item 2")
            return index

        ahead = Prefetcher(build, 5, 3, 5)
        assert [ahead.get(), ahead.get()] == [0, 1]
        with pytest.raises(DataError, match="item 2"):
            ahead.get()
        assert [ahead.get(), ahead.get()] == [3, 4]

    def test_closing_ends_the_threads_and_whoever_waits(self) -> None:
        gate = threading.Event()
        ahead = Prefetcher(lambda index: gate.wait(5), 100, 3, 4)
        waiter: list[BaseException] = []

        def wait() -> None:
            try:
                ahead.get()
            except RuntimeError as error:
                waiter.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        ahead.close()
        ahead.close()
        thread.join(5)
        assert len(waiter) == 1 and "closed" in str(waiter[0])
        gate.set()
        ahead.join(5)
        assert not any(thread.is_alive() for thread in ahead._shared.threads)

    def test_dropping_it_ends_the_threads(self) -> None:
        ahead = Prefetcher(lambda index: index, 100, 3, 4)
        threads = ahead._shared.threads
        assert ahead.get() == 0 and any(thread.is_alive() for thread in threads)
        del ahead
        gc.collect()
        wait_for(lambda: not any(thread.is_alive() for thread in threads))

    def test_a_failing_batch_does_not_stop_the_pool(self, folder: data.FolderSource) -> None:
        Path(folder.name(4)).write_bytes(b"")
        ahead = prefetch_batches(Batches(folder, POLICY, 3, shuffle=False), 0, 0, 3, 4, None)
        ahead.get()
        with pytest.raises(DataError, match="empty"):
            ahead.get()
        assert len(ahead.get().entries["images"]) == 3
        ahead.join(5)
