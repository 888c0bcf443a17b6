"""A store behind a URL: its files come whole, in pieces, into a local folder of bounded size, and are mapped there.

A transfer that fails, stalls or comes back with other bytes than the index says is tried again after waiting 0.1, 0.2,
0.4 ... seconds. A file appears in the cache only when its size and checksum are right, so nothing of a broken transfer
is ever read. Several processes may share a cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
import zlib
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

from onewarp.data.store import layout
from onewarp.data.store.places import Place, parse_bytes
from onewarp.errors import DataError, InputError, MissingDependency

PIECE = 1 << 23  # bytes that are asked for at a time
WAIT, LONGEST = 0.1, 30.0  # seconds before the first repetition; it doubles each time up to the longest


class RemotePlace(Place):
    """A store at a URL.

    Args: url, and the others as in `StoreSource`.
    """

    lasting = False

    def __init__(
        self,
        url: str,
        cache: str | Path | None = None,
        cache_size: str | int = "10GB",
        retries: int = 5,
        timeout: float = 60.0,
    ) -> None:
        try:
            import fsspec
        except ImportError:
            raise MissingDependency(
                f"{url}: a store behind a URL needs fsspec; install it with: pip install 'onewarp[remote]'"
            ) from None
        if not isinstance(retries, int) or retries < 0 or not timeout > 0:
            raise InputError(f"retries={retries!r}, timeout={timeout!r}: pass a count and seconds, e.g. 5 and 60.0")
        home = Path(cache) if cache is not None else Path.home() / ".cache" / "onewarp"
        folder = home / hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
        super().__init__(url, folder)
        self.limit, self.retries, self.timeout = parse_bytes(cache_size), retries, timeout
        try:
            self._files, self._root = fsspec.url_to_fs(url.rstrip("/"))
        except (ImportError, ValueError) as error:  # fsspec says which package a protocol needs
            raise MissingDependency(f"{url}: {error}") from None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise layout.writing_failed(folder / "x", error) from None
        layout.sweep(folder)
        self._used: OrderedDict[str, int] = OrderedDict()  # size of each cached shard, the one used longest ago first
        self._fetching: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        shards = [(path.stat().st_mtime, path) for path in folder.glob("shard-*.bin")]
        for _, path in sorted(shards):
            self._used[path.name] = path.stat().st_size

    def read(self, name: str) -> bytes:
        content: bytes = self._trying(name, lambda: self._get(name, None, None))
        return content

    def map(self, name: str, size: int, crc: int) -> memoryview:
        view = self._mapped.get(name)
        if view is None:
            with self._fetching[name]:
                view = self._mapped.get(name)
                if view is None:
                    view = self._mapped[name] = self._local(name, size, crc)
        if name in self._used:
            with self._lock, contextlib.suppress(KeyError):  # another thread may have made room just now
                self._used.move_to_end(name)
        return view

    def forget(self, name: str) -> None:
        super().forget(name)
        with self._lock:
            self._used.pop(name, None)
        (self.folder / name).unlink(missing_ok=True)

    def _local(self, name: str, size: int, crc: int) -> memoryview:
        """The file in the cache, brought there if need be."""
        try:
            view = self._map(name, size)
            if zlib.crc32(view) == crc:
                return view
        except (FileNotFoundError, DataError):
            pass
        counted = name.startswith("shard-")
        if counted:
            self._make_room(name, size)
        try:
            view = self._trying(name, lambda: self._transfer(name, size, crc))
        except BaseException:
            self._used.pop(name, None)
            raise
        if counted and name not in self._used:  # another thread needed the room meanwhile
            (self.folder / name).unlink(missing_ok=True)
        assert isinstance(view, memoryview)
        return view

    def _transfer(self, name: str, size: int, crc: int) -> memoryview:
        """Bring a file into the cache, or leave nothing there. It is mapped before anybody can remove it again."""
        path = self.folder / name
        temporary = layout.temporary_name(path)
        found = 0
        try:
            with open(temporary, "wb") as file:
                start = 0
                while start < size:
                    stop = min(start + PIECE, size)
                    piece = self._trying(name, lambda start=start, stop=stop: self._get(name, start, stop))
                    if len(piece) == size and stop - start < size and start == 0:
                        stop = size  # a server that knows no ranges has sent everything
                    if len(piece) != stop - start:
                        raise OSError(f"{len(piece)} bytes came instead of {stop - start}")
                    found = zlib.crc32(piece, found)
                    self._store(file, piece, path)
                    start = stop
            if found != crc:
                raise OSError("what came has another checksum than the index says")
            view = self._map(temporary.name, size)
            os.replace(temporary, path)
            return view
        finally:
            temporary.unlink(missing_ok=True)

    def _store(self, file: Any, piece: bytes, path: Path) -> None:
        try:
            file.write(piece)
            file.flush()
        except OSError as error:
            raise layout.writing_failed(path, error) from None

    def _make_room(self, name: str, size: int) -> None:
        """Remove the shards that were used longest ago until this one fits."""
        if size > self.limit:
            raise InputError(
                f"cache_size={self.limit} is less than one shard of {self.name} ({size} bytes); raise cache_size"
            )
        with self._lock:
            self._used.pop(name, None)
            while self._used and sum(self._used.values()) + size > self.limit:
                oldest, _ = self._used.popitem(last=False)
                self._mapped.pop(oldest, None)  # its memory goes when nobody holds a view of it any more
                (self.folder / oldest).unlink(missing_ok=True)
            self._used[name] = size

    def _get(self, name: str, start: int | None, stop: int | None) -> bytes:
        """One request, given up after `timeout` seconds, whatever the protocol thinks about it."""
        answer: list[Any] = []

        def ask() -> None:
            try:
                answer.append(self._files.cat_file(f"{self._root}/{name}", start=start, end=stop))
            except BaseException as error:
                answer.append(error)

        thread = threading.Thread(target=ask, name="onewarp-transfer", daemon=True)
        thread.start()
        thread.join(self.timeout)
        if not answer:
            raise TimeoutError(f"no answer in {self.timeout:g} seconds")
        if isinstance(answer[0], BaseException):
            raise answer[0]
        content: bytes = answer[0]
        return content

    def _trying(self, name: str, action: Any) -> Any:
        """action(), repeated while it fails in a way that may pass."""
        for attempt in range(self.retries + 1):
            try:
                return action()
            except (FileNotFoundError, DataError, InputError):
                raise
            except Exception as error:  # every protocol has errors of its own
                fault = error
            if attempt < self.retries:
                time.sleep(min(WAIT * 2**attempt, LONGEST))
        raise DataError(
            f"{self.path(name)}: cannot be fetched, tried {self.retries + 1} times "
            f"({type(fault).__name__}: {str(fault).splitlines()[0] if str(fault) else 'no reason given'}); "
            "check the connection, or raise retries and timeout"
        ) from None
