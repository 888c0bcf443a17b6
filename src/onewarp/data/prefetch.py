"""Work ahead, in order: a small pool of threads that builds items 0, 1, 2 ... before they are asked for.

Bounded: no item further than `depth` ahead of the one wanted next is started. An error in item k is raised by the k-th
`get`, not earlier and not later. The threads hold no reference to the `Prefetcher`, so dropping it ends them. They
turn OpenCV's own pool off, process-wide.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import cv2

from onewarp.data.batches import Batch, Batches

if TYPE_CHECKING:
    from onewarp.data.workers import WorkerPool

T = TypeVar("T")


class _Shared(Generic[T]):
    """What the threads and the consumer share."""

    def __init__(self, build: Callable[[int], T], count: int, depth: int, pool: ThreadPoolExecutor | None) -> None:
        self.build, self.count, self.depth, self.pool = build, count, depth, pool
        self.changed = threading.Condition()
        self.claimed = 0  # items that some thread has begun
        self.wanted = 0  # the item that `get` returns next
        self.done: dict[int, tuple[T | None, BaseException | None]] = {}
        self.closed = False
        self.threads: list[threading.Thread] = []

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.done.clear()
            self.changed.notify_all()
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)


_LIVE: weakref.WeakSet[_Shared[Any]] = weakref.WeakSet()


@atexit.register
def _end() -> None:
    """Native code must not be running in a thread when the interpreter goes away."""
    for shared in list(_LIVE):
        shared.close()
        for thread in shared.threads:
            thread.join(10.0)


def _work(shared: _Shared[T]) -> None:
    cv2.setNumThreads(0)  # OpenCV's own pool would only fight with ours
    while True:
        with shared.changed:
            while (
                not shared.closed and shared.claimed < shared.count and shared.claimed >= shared.wanted + shared.depth
            ):
                shared.changed.wait()
            if shared.closed or shared.claimed >= shared.count:
                return
            index = shared.claimed
            shared.claimed += 1
        result: tuple[T | None, BaseException | None]
        try:
            result = (shared.build(index), None)
        except BaseException as error:  # whatever it is, it belongs to whoever asks for this item
            result = (None, error)
        with shared.changed:
            if not shared.closed:
                shared.done[index] = result
                shared.changed.notify_all()


class Prefetcher(Generic[T]):
    """build(0), build(1) ... build(count - 1) by `threads` threads, at most `depth` items ahead, handed out in order.

    Ends its threads when it is closed, dropped, or exhausted; an item under construction is finished first. A `pool`
    that `build` uses is shut down with it.
    """

    def __init__(
        self,
        build: Callable[[int], T],
        count: int,
        threads: int,
        depth: int,
        pool: ThreadPoolExecutor | None = None,
    ) -> None:
        self._shared = _Shared(build, count, max(depth, 1), pool)
        self._finalizer = weakref.finalize(self, self._shared.close)
        self._shared.threads = [
            threading.Thread(target=_work, args=(self._shared,), name=f"onewarp-batch-{number}", daemon=True)
            for number in range(min(threads, count))
        ]
        _LIVE.add(self._shared)
        for thread in self._shared.threads:
            thread.start()

    def get(self) -> T:
        """The next item, waiting for it if need be; raises what `build` raised for it, and RuntimeError once closed."""
        shared = self._shared
        with shared.changed:
            index = shared.wanted
            while index not in shared.done:
                if shared.closed or index >= shared.count:
                    raise RuntimeError("there is nothing more to get: the prefetcher is closed or exhausted")
                shared.changed.wait()
            item, error = shared.done.pop(index)
            shared.wanted += 1
            shared.changed.notify_all()
        if error is not None:
            raise error
        return item  # type: ignore[return-value]

    def close(self) -> None:
        """End the threads and drop what is ready. Safe to call twice, and from any thread."""
        self._finalizer()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the threads have ended (after `close`, or once everything was built)."""
        for thread in self._shared.threads:
            thread.join(timeout)


def prefetch_batches(
    batches: Batches,
    epoch: int,
    start: int,
    count: int,
    threads: int,
    depth: int | None,
    workers: WorkerPool | None = None,
) -> Prefetcher[Batch]:
    """Batches start, start + 1, ... of an epoch, built ahead by `threads` threads, or by processes where there are any.

    Samples in arrays are one engine call per batch, so each thread builds batches of its own; so it is with files and
    one or two threads, but for the last batch, which the two share: else one would wait for the other. More threads
    read and decode files for one batch together, which needs less memory and gives the first batch sooner; two further
    ones see to what happens once per batch, so that one batch is drawn for while another is decoded.

    Args:
        depth: how many batches may be under way or ready; None for threads + 2, and 4 for files.
    """
    batches.begin(epoch)
    if workers is not None:
        pool_of, waiting = workers, workers.count  # a thread waits for each process
        return Prefetcher(
            lambda item: batches.build_by(pool_of, epoch, start + item), count, waiting, depth or waiting + 2
        )
    if batches.source.dense or threads == 1:
        return Prefetcher(lambda item: batches.build(epoch, start + item), count, threads, depth or threads + 2)
    pool = ThreadPoolExecutor(threads, "onewarp-image", initializer=cv2.setNumThreads, initargs=(0,))
    if threads == 2:

        def build(item: int) -> Batch:
            return batches.build(epoch, start + item, pool if item == count - 1 else None)

        return Prefetcher(build, count, threads, depth or threads + 2, pool)
    return Prefetcher(lambda item: batches.build(epoch, start + item, pool), count, 2, depth or 4, pool)
