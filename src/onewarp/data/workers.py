"""Batches built by processes, for Python functions that would keep threads waiting for each other.

Each worker is a fresh interpreter (`onewarp.data.worker`) that gets source and policy once and then batches by number,
or what frames are to be made of, which the parent keeps.
Arrays travel through memory that has no name (`memfd`, or an unlinked file): nothing is left behind, however a process
ends. A worker ends when its parent does. One that is killed is replaced, and its batch built again.
"""

from __future__ import annotations

import atexit
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
import weakref
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.connection import Connection
from socket import socketpair
from typing import Any

import numpy as np

import onewarp.data.prefetch  # noqa: F401 - imported first, so that its threads are ended after our processes
from onewarp.blocks import BLOCKS
from onewarp.data.base import Sample
from onewarp.data.batches import Batch, Batches
from onewarp.data.mapped import called
from onewarp.errors import DataError, InputError

TRIES = 3  # workers that a batch may end
MARK = "ONEWARP_WORKER"  # in the environment of a worker
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from onewarp.data.worker import main; main()"
_CHUNK = 1 << 30  # bytes read or written at once; the system's limit is 2 GiB


class Ended(Exception):
    """A worker process ended before it answered. Never leaves this module."""


class WorkerPool:
    """`count` processes that build batches of `batches`, which must not change meanwhile. Safe to use from threads.

    They start at once and stay until the pool is closed or dropped.

    Raises:
        InputError: source or policy that cannot be pickled; from `build`, ones that a worker cannot load.
    """

    def __init__(self, batches: Batches, count: int) -> None:
        if os.environ.get(MARK):
            raise InputError(
                "a worker process was about to start workers of its own, because it imports the script that started "
                'it; put what the script does under: if __name__ == "__main__":'
            )
        self.batches, self.count = batches, count
        head, buffers = packed(batches)
        main = _main_module() if b"__main__" in head else None
        self._payload = anonymous("onewarp-source")
        write(self._payload, [head, *buffers])
        self._order = (main, [len(head), *(len(buffer) for buffer in buffers)])
        self._workers: set[_Worker] = set()
        self._closed = threading.Event()
        self._finalizer = weakref.finalize(self, _close, self._workers, self._closed, self._payload)
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        _LIVE.add(self)
        for _ in range(count):
            self._idle.put(self._start())

    def build(self, epoch: int, index: int) -> Batch:
        """Batch `index` of `epoch`, built by the next worker that is free.

        Raises:
            DataError: a sample that cannot be used, or a batch that ended three workers.
            RuntimeError: the pool is closed.
        """
        batch: Batch = self._ask(f"built batch {index} of epoch {epoch}", "build", epoch, index)
        return batch

    def make(self, number: int, rows: np.ndarray, occurrence: np.ndarray, plain: np.ndarray | None) -> Sample:
        """Frames, for batches that keep some: `FrameBatches.make` by the next worker that is free.

        Raises:
            Unreadable, DataError, RuntimeError: as there, and as `build`.
        """
        frames: Sample = self._ask(f"made frames for epoch {number}", "make", number, rows, occurrence, plain)
        return frames

    def _ask(self, doing: str, method: str, *arguments: Any) -> Any:
        """What `batches.method(*arguments)` gives in a worker; doing: that in words."""
        worker = self._idle.get()
        try:
            for left in reversed(range(TRIES)):
                try:
                    return worker.ask(method, arguments)
                except Ended as ended:
                    if self._closed.is_set():
                        raise RuntimeError("the worker processes have been ended") from None
                    self._workers.discard(worker)
                    what = f"worker process {worker.process.pid} {ended} while it {doing}"
                    worker = self._start()
                    if not left:
                        raise DataError(
                            f"{what}, as {TRIES - 1} before it; where memory is short use fewer processes, else look "
                            "for the crash with processes=None"
                        ) from None
                    warnings.warn(f"{what}; another one does it again", stacklevel=3)
            raise AssertionError("unreachable")
        finally:
            self._idle.put(worker)

    def pids(self) -> list[int]:
        """The process ids of the workers."""
        return [worker.process.pid for worker in list(self._workers)]

    def close(self) -> None:
        """End the workers, in the middle of what they do. Safe to call twice, and from any thread."""
        self._finalizer()

    def _start(self) -> _Worker:
        worker = _Worker(self._payload, self._order)
        self._workers.add(worker)
        if self._closed.is_set():  # closed meanwhile
            worker.end()
        return worker


_LIVE: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


@atexit.register
def _end() -> None:
    """Before the threads that wait for them."""
    for pool in list(_LIVE):
        pool.close()


def _close(workers: set[_Worker], closed: threading.Event, payload: int) -> None:
    closed.set()
    for worker in list(workers):
        worker.process.kill()
    for worker in list(workers):
        worker.end()
    os.close(payload)


class _Worker:
    """A worker process and the line to it. Used by one thread at a time, but for `end`."""

    def __init__(self, payload: int, order: Any) -> None:
        mine, other = socketpair()
        self.memory = anonymous("onewarp-batch")
        with other:
            passed = (other.fileno(), payload, self.memory)
            self.process = subprocess.Popen(
                [sys.executable, "-c", _START, json.dumps(sys.path), *map(str, passed), str(os.getpid())],
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for the parent
                env={**os.environ, MARK: "1"},
            )
        weakref.finalize(self, os.close, self.memory).atexit = False
        self.link = Connection(mine.detach())
        self.ready = False
        self.broken: Exception | None = None  # why it cannot load source and policy
        with suppress(OSError):  # it has ended already, as the first question will tell
            self.link.send(order)

    def ask(self, method: str, arguments: tuple[Any, ...]) -> Any:
        if self.broken is not None:
            raise self.broken
        if not self.ready:
            try:
                self._answer()
            except DataError as error:
                self.broken = error
                raise
            self.ready = True
        head, sizes = self._answer((method, arguments))
        return pickle.loads(head, buffers=read(self.memory, sizes))

    def _answer(self, question: Any = None) -> Any:
        try:
            if question is not None:
                self.link.send(question)
            good, answer = self.link.recv()
        except (EOFError, OSError):
            raise Ended(self._how()) from None
        if not good:
            raise answer
        return answer

    def _how(self) -> str:
        code = self.process.wait()
        if code >= 0:
            return f"ended with exit code {code}"
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


# --- arrays in memory without a name --------------------------------------------------------------------------------


def anonymous(name: str) -> int:
    """The descriptor of a file in memory that no path leads to."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    with tempfile.TemporaryFile() as file:  # elsewhere than on Linux
        return os.dup(file.fileno())


def packed(value: Any) -> tuple[bytes, list[memoryview]]:
    """A value as (pickle, the memory of its arrays), nothing of that copied."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return head, [buffer.raw() for buffer in buffers]


def write(file: int, parts: Iterable[bytes | memoryview]) -> None:
    """Put the parts into a file, one behind the other."""
    at = 0
    for part in parts:
        view, done = memoryview(part).cast("B"), 0
        while done < len(view):
            done += os.pwrite(file, view[done : done + _CHUNK], at + done)
        at += len(view)


def read(file: int, sizes: Iterable[int]) -> list[np.ndarray]:
    """The parts of these sizes, in memory that may be written to."""
    found, at = [], 0
    for size in sizes:
        part, done = BLOCKS.empty((size,), np.uint8), 0
        while done < size:
            more = os.preadv(file, [part[done : done + _CHUNK].data], at + done)
            if not more:
                raise RuntimeError(f"a batch ends after {at + done} bytes")
            done += more
        found.append(part)
        at += size
    return found


# --- what can travel ------------------------------------------------------------------------------------------------


def check_picklable(batches: Batches, processes: int) -> None:
    """Raise InputError, naming what is to blame, unless worker processes can be given source and policy."""
    try:
        packed(batches)
    except Exception as error:
        source: Any = batches.source
        blamed = f"the policy {batches.policy!r}" if not _pickles(batches.policy) else f"the source {source!r}"
        while source is not None:
            if not _pickles(getattr(source, "function", None)):
                blamed = f"the function {called(source.function)}"
            source = getattr(source, "source", None)
        raise InputError(
            f"processes={processes}: {' '.join(blamed.split())} cannot be pickled, as worker processes need "
            f"({' '.join(str(error).split())}); define functions and classes at the top of a module, no lambda"
        ) from None


def _pickles(value: Any) -> bool:
    try:
        packed(value)
    except Exception:
        return False
    return True


def _main_module() -> tuple[str, str]:
    """How a worker gets the functions that the running script defines: ("module", name) or ("path", file)."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return "module", spec.name
    path = getattr(main, "__file__", None)
    if path is None or not os.path.isfile(path):
        raise InputError(
            "processes need functions and classes that they can import, but some were defined in an interactive "
            "session; put them into a module"
        )
    return "path", os.path.abspath(path)
