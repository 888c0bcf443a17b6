"""A store behind a URL: transfers that fail, stall or come back wrong, and a cache of bounded size."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import onewarp as ow
import onewarp.data as data
from data_helpers import check_source, same
from onewarp.data.batches import Batches
from onewarp.data.store import layout, prepare, remote, verify
from onewarp.data.store.places import parse_bytes
from onewarp.errors import DataError, InputError, MissingDependency
from store_helpers import everything

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAIT", 0.001)
    monkeypatch.setattr(remote, "PIECE", 1000)  # so that a shard takes several requests


@pytest.fixture
def store(tmp_path: Path) -> Path:
    prepare(everything(tmp_path, 12), tmp_path / "store", data.StoreSettings(short_side=20), shard_size=450)
    assert len(list((tmp_path / "store").glob("shard-*.bin"))) >= 4
    return tmp_path / "store"


@pytest.fixture
def memory(store: Path) -> Iterator[str]:
    files = fsspec.filesystem("memory")
    for path in store.iterdir():
        files.pipe_file(f"/stores/one/{path.name}", path.read_bytes())
    yield "memory://stores/one"
    files.rm("/stores", recursive=True)


class Server(BaseHTTPRequestHandler):
    """Serves a folder, with ranges; every so often it fails in one of the ways that servers have."""

    folder: Path
    ranges = True
    faults: tuple[str, ...] = ()
    count = 0
    served: ClassVar[Counter[str]] = Counter()
    lock = threading.Lock()

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        with Server.lock:
            Server.count += 1
            number = Server.count
        fault = Server.faults[number // 3 % len(Server.faults)] if Server.faults and number % 3 == 0 else ""
        path = Server.folder / self.path.rsplit("/", 1)[-1]
        if fault == "error":
            return self.send_error(503)
        if fault == "stall":
            time.sleep(1.0)
        if fault == "reset":
            self.connection.close()
            return None
        if not path.is_file():
            return self.send_error(404)
        content = path.read_bytes()
        size, status, extra = len(content), 200, ""
        wanted = self.headers.get("Range")
        if wanted and Server.ranges:
            first, last = wanted.removeprefix("bytes=").split("-")
            content, status = content[int(first) : int(last or size - 1) + 1], 206
            extra = f"bytes {first}-{int(first) + len(content) - 1}/{size}"
        if fault == "flip" and len(content) > 10:
            content = content[:10] + bytes([content[10] ^ 1]) + content[11:]
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        if Server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if extra:
            self.send_header("Content-Range", extra)
        self.end_headers()
        if fault == "short":
            content = content[: len(content) // 2]
        if body:
            with Server.lock:
                Server.served[path.name] += 1
            self.wfile.write(content)
        self.close_connection = True
        return None

    def log_message(self, *args: object) -> None:
        pass


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that gave up


@pytest.fixture
def http(store: Path) -> Iterator[str]:
    pytest.importorskip("aiohttp")
    Server.folder, Server.faults, Server.ranges, Server.count, Server.served = store, (), True, 0, Counter()
    server = QuietServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/store"
    server.shutdown()
    server.server_close()
    thread.join()


def test_memory(memory: str, store: Path, tmp_path: Path) -> None:
    here, there = data.StoreSource(store), data.StoreSource(memory, cache=tmp_path / "cache")
    check_source(there, 12)
    for k in range(12):
        same(there[k], here[k])
        assert there.name(k) == here.name(k)
    assert not list(verify(memory, cache=tmp_path / "other"))
    assert not list((tmp_path / "cache").rglob("*.tmp"))


@pytest.mark.parametrize("faults", [(), ("error", "reset"), ("short", "flip"), ("stall", "error", "flip", "short")])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_server_with_faults(http: str, store: Path, tmp_path: Path, faults: tuple[str, ...], ranges: bool) -> None:
    Server.faults, Server.ranges = faults, ranges
    here = data.StoreSource(store)
    there = data.StoreSource(http, cache=tmp_path / "cache", timeout=0.4, retries=12)
    policy = ow.Policy([ow.RandomResizedCrop(16), ow.Rotate(10)])
    a, b = (Batches(source, policy, 4, seed=2) for source in (here, there))
    for epoch in range(2):
        for index in range(3):
            same(b.batch(epoch, index), a.batch(epoch, index))


def test_nothing_is_transferred_twice(http: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PIECE", 1 << 20)
    there = data.StoreSource(http, cache=tmp_path / "cache")
    threads = [threading.Thread(target=lambda: [there[k] for k in range(12)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shards = {name: n for name, n in Server.served.items() if name.startswith("shard-")}
    assert len(shards) >= 4 and set(shards.values()) == {1}
    copy = pickle.loads(pickle.dumps(there))
    again = data.StoreSource(http, cache=tmp_path / "cache")
    assert copy[3]["images"].shape == again[3]["images"].shape
    assert Server.served[layout.shard_name(there.about, 0)] == 1  # what an earlier process fetched is used


def test_the_cache_keeps_its_bound(memory: str, store: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    here = data.StoreSource(store)
    sizes = here._shards["size"]
    limit = int(np.sort(sizes)[-2:].sum())
    there = data.StoreSource(memory, cache=tmp_path / "cache", cache_size=limit)
    most = 0
    for k in rng.integers(0, 12, 100):
        same(there[k], here[k])
        kept = [path.stat().st_size for path in (tmp_path / "cache").rglob("shard-*.bin")]
        most = max(most, sum(kept))
        assert sum(kept) <= limit and len(there._place._mapped) <= len(kept) + 1
    assert most > limit // 2
    with pytest.raises(InputError, match="cache_size=100 is less than one shard"):
        data.StoreSource(memory, cache=tmp_path / "tiny", cache_size=100)[0]


def test_a_batch_goes_through_each_shard_once(tmp_path: Path, rng: np.random.Generator) -> None:
    """Images and masks together: a cache smaller than the batch's shards would fetch them for each anew."""
    images, masks = (rng.integers(0, 9, shape, dtype=np.uint8) for shape in ((12, 8, 8, 3), (12, 8, 8)))
    source = data.ArraySource(images, segmentation_masks=masks)
    prepare(source, tmp_path / "store", data.StoreSettings(raw=True), shard_size=400)
    store = data.StoreSource(tmp_path / "store")
    assert store.dense and len(store._shards) >= 4
    visited: list[int] = []
    arrays = store._arrays
    store._arrays = lambda shard: (visited.append(shard), arrays(shard))[1]  # type: ignore[method-assign]
    rows = rng.permutation(12)
    same(store.gather(rows), source.gather(rows))
    assert visited == list(range(len(store._shards)))


def test_many_threads_and_a_small_cache(memory: str, store: Path, tmp_path: Path) -> None:
    here = data.StoreSource(store)
    limit = int(here._shards["size"].max())
    there = data.StoreSource(memory, cache=tmp_path / "cache", cache_size=limit)
    wrong: list[BaseException] = []

    def read(seed: int) -> None:
        try:
            for k in np.random.default_rng(seed).integers(0, 12, 60):
                same(there[k], here[k])
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[0]
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("shard-*.bin")) <= limit


def test_a_shard_that_another_thread_removes_at_once(
    memory: str, store: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """Between the end of a transfer and its use the cache may have made room for something else."""
    there, replace = data.StoreSource(memory, cache=tmp_path / "cache"), os.replace

    def removed(old: Any, new: Any) -> None:
        replace(old, new)
        if Path(new).name.startswith("shard-"):
            Path(new).unlink()

    monkeypatch.setattr(os, "replace", removed)
    same(there[3], data.StoreSource(store)[3])


def test_a_server_that_is_down(http: str, tmp_path: Path) -> None:
    there = data.StoreSource(http, cache=tmp_path / "cache", retries=2)
    Server.faults = ("error",)
    answer = Server.answer
    try:
        Server.answer = lambda self, body: self.send_error(503)  # type: ignore[method-assign]
        with pytest.raises(DataError, match="shard-.*: cannot be fetched, tried 3 times .*503.*; check the connection"):
            there[0]
    finally:
        Server.answer = answer  # type: ignore[method-assign]
    assert there[0]["images"].ndim == 3  # and when it is back, so are the samples
    assert not list((tmp_path / "cache").rglob("*.tmp"))


def test_a_server_that_hangs(http: str, tmp_path: Path) -> None:
    there = data.StoreSource(http, cache=tmp_path / "cache", retries=1, timeout=0.2)
    Server.faults, Server.count = ("stall",), 2
    answer = Server.answer
    try:
        Server.answer = lambda self, body: time.sleep(0.6)  # type: ignore[method-assign]
        with pytest.raises(DataError, match=r"tried 2 times \(TimeoutError: no answer in 0.2 seconds\)"):
            there[0]
    finally:
        Server.answer = answer  # type: ignore[method-assign]


def test_what_is_not_there(memory: str, store: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="memory://stores/two: no store here"):
        data.StoreSource("memory://stores/two", cache=tmp_path / "cache")
    files = fsspec.filesystem("memory")
    there = data.StoreSource(memory, cache=tmp_path / "cache")
    files.rm(f"/stores/one/{layout.shard_name(there.about, 1)}")
    with pytest.raises(DataError, match=r"memory://stores/one/shard-\w+-00001.bin: missing"):
        list(there[k] for k in range(12))


def test_damage_at_the_other_end(memory: str, store: Path, tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    there = data.StoreSource(memory, cache=tmp_path / "cache", retries=1)
    name = layout.shard_name(there.about, 0)
    damaged = bytearray((store / name).read_bytes())
    damaged[7] ^= 1
    files.pipe_file(f"/stores/one/{name}", bytes(damaged))
    with pytest.raises(DataError, match=f"{name}: cannot be fetched.*another checksum than the index says"):
        there[0]


def test_damage_in_the_cache_is_mended(memory: str, store: Path, tmp_path: Path) -> None:
    there = data.StoreSource(memory, cache=tmp_path / "cache")
    there[0]
    cached = next((tmp_path / "cache").rglob(layout.shard_name(there.about, 0)))
    cached.write_bytes(bytes(len(cached.read_bytes())))
    same(data.StoreSource(memory, cache=tmp_path / "cache")[0], data.StoreSource(store)[0])


def test_s3(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs where s3fs and moto[server] are installed; they bring more packages than all other tests need."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0)
    for name, value in (("ACCESS_KEY_ID", "none"), ("SECRET_ACCESS_KEY", "none"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    server.start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        files = fsspec.filesystem("s3")
        files.mkdir("photos")
        for path in store.iterdir():
            files.pipe_file(f"photos/one/{path.name}", path.read_bytes())
        there, here = data.StoreSource("s3://photos/one", cache=tmp_path / "cache"), data.StoreSource(store)
        for k in range(12):
            for role, value in there[k].items():
                same(value, here[k][role])
        assert not list(verify("s3://photos/one", cache=tmp_path / "cache"))
        with pytest.raises(DataError, match="s3://photos/two: no store here"):
            data.StoreSource("s3://photos/two", cache=tmp_path / "cache")
    finally:
        server.stop()


def test_without_fsspec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingDependency, match=r"pip install 'onewarp\[remote\]'"):
        data.StoreSource("memory://x", cache=tmp_path)
    monkeypatch.undo()
    with pytest.raises(MissingDependency, match="nosuch"):
        data.StoreSource("nosuch://x", cache=tmp_path)


def test_sizes_as_text() -> None:
    assert [parse_bytes(text) for text in ("10GB", "500 mb", "1.5k", 77, "2T")] == [
        10**10, 5 * 10**8, 1500, 77, 2 * 10**12,
    ]  # fmt: skip
    for wrong in ("", "ten", "-1", 0, "5XB"):
        with pytest.raises(InputError, match="is not a size"):
            parse_bytes(wrong)
