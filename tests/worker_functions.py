"""What worker processes are told to do in tests; a module of its own, which they can import."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np


def invert(sample: dict[str, Any]) -> dict[str, Any]:
    return {**sample, "images": 255 - sample["images"]}


def noise(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {**sample, "images": rng.integers(0, 256, sample["images"].shape, dtype=np.uint8)}


def slow(sample: dict[str, Any]) -> dict[str, Any]:
    time.sleep(0.02)
    return sample


def for_ever(sample: dict[str, Any]) -> dict[str, Any]:
    while True:
        time.sleep(0.1)


def no_backend(sample: dict[str, Any]) -> dict[str, Any]:
    """Fails where the process that runs it has imported a deep learning library."""
    heavy = {"keras", "jax", "tensorflow", "torch", "matplotlib", "sklearn"} & set(sys.modules)
    assert not heavy, f"imported: {heavy}"
    return sample


class Elsewhere:
    """Fails in the process that has this number."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        assert os.getpid() != self.pid
        return sample


class Misbehaving:
    """Does something to the process when it meets an image whose first value is `at`; once, if `once` names a file."""

    def __init__(self, what: str, at: int, once: Path | None = None) -> None:
        self.what, self.at, self.once = what, at, once

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        if int(sample["images"][0, 0, 0]) == self.at and not (self.once is not None and self.once.exists()):
            if self.once is not None:
                self.once.touch()
            if self.what == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.what == "exit":
                os._exit(3)
            elif self.what == "raise":
                raise Local("a reason\nin two lines")
        return sample


class Local(Exception):
    """Cannot be pickled: it holds a lock."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()
