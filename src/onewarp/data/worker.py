"""What a worker process of `onewarp.data.workers` does: batches by number, until its parent is gone."""

from __future__ import annotations

import os
import pickle
import runpy
import select
import signal
import sys
import threading
import traceback
from mmap import ACCESS_READ, mmap
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

import cv2

from onewarp.data.batches import Batches
from onewarp.data.workers import packed, write
from onewarp.errors import DataError


def main() -> None:
    """The arguments, behind the module path: descriptors of the line, the source, the results; the parent's number."""
    line, payload, memory, parent = map(int, sys.argv[2:6])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(line, parent), daemon=True).start()
    cv2.setNumThreads(0)  # the processes are the threads here
    link = Connection(line)
    try:
        batches = _load(payload, *link.recv())
    except EOFError:
        return
    except BaseException as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        note = DataError(f"a worker process could not load source and policy ({text}); see the note below for where")
        note.add_note(traceback.format_exc())
        link.send((False, note))
        return
    link.send((True, None))
    while True:
        try:
            method, arguments = link.recv()
        except (EOFError, OSError):
            return
        try:
            head, buffers = packed(getattr(batches, method)(*arguments))
            write(memory, buffers)
            answer: Any = (True, (head, [len(buffer) for buffer in buffers]))
        except Exception as error:
            answer = (False, _portable(error))
        link.send(answer)


def _load(payload: int, main: tuple[str, str] | None, sizes: list[int]) -> Batches:
    """Source and policy; their arrays are read where they lie, in memory that all workers share."""
    if main is not None:
        _import_main(*main)
    parts, at = [], 0
    whole = memoryview(mmap(payload, sum(sizes), access=ACCESS_READ))
    for size in sizes:
        parts.append(whole[at : at + size])
        at += size
    batches: Batches = pickle.loads(parts[0], buffers=parts[1:])
    return batches


def _import_main(kind: str, where: str) -> None:
    """Run the parent's script as a module, as `multiprocessing` does, so that what it defines can be unpickled."""
    module = ModuleType("__mp_main__")
    run = runpy.run_module if kind == "module" else runpy.run_path
    module.__dict__.update(run(where, run_name="__mp_main__"))
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module


def _watch(line: int, parent: int) -> None:
    """End this process when the parent's end of the line closes, or the parent is another."""
    poll = select.poll()
    poll.register(line, 0)  # 0: hanging up alone
    while True:
        if poll.poll(1000.0) or os.getppid() != parent:
            os._exit(0)


def _portable(error: Exception) -> Exception:
    """An error that can be pickled, with a note that says where it came from."""
    error.add_note(f"In a worker process:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        other = DataError(f"{type(error).__name__}: {' '.join(str(error).split())}")
        other.add_note(error.__notes__[-1])
        return other
    return error
