"""A Loader's batches for other libraries' loops: what `to_grain`, `to_torch` and `to_tf` share.

The three modules beside this one, `export_grain`, `export_torch` and `export_tf`, each import their library; they are
imported when they are asked for.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import cv2

from onewarp.data.batches import Batches
from onewarp.errors import InputError, MissingDependency

_INSTALL = {"grain": "onewarp[grain]", "torch": "onewarp[torch]", "tensorflow": "onewarp[tensorflow]"}


class Stream:
    """The batches of a loader from where it stands, as a pure function of (epoch, index). Picklable.

    Attributes:
        batches: the function.
        epoch, start: number of the first epoch, and how many of its batches are behind already.
        threads, prefetch: of the loader.
    """

    def __init__(self, batches: Batches, epoch: int, start: int, threads: int, prefetch: int | None) -> None:
        self.batches, self.epoch, self.start = batches, epoch, start
        self.threads, self.prefetch = threads, prefetch

    def __getstate__(self) -> dict[str, Any]:
        if getattr(self.batches, "reuse", 1) > 1:
            raise InputError(
                "reuse= keeps frames in one process; read the loader without worker processes, or without reuse"
            )
        return self.__dict__

    @property
    def length(self) -> int:
        """Batches of a full epoch."""
        return len(self.batches)

    def first(self, epoch: int) -> int:
        """The index at which an epoch begins: 0, but for the first one of a restored loader."""
        return self.start if epoch == self.epoch else 0

    def build(self, epoch: int, index: int) -> Any:
        """Batch `index` of `epoch` as x, (x, y) or (x, y, sample_weight), built in the calling thread."""
        cv2.setNumThreads(0)  # its own pool would only fight with the caller's
        return self.hand_over(self.batches.build(epoch, index), epoch, index)

    def hand_over(self, batch: Any, epoch: int, index: int) -> Any:
        """What was built, as the loop gets it; samples that were replaced are told."""
        if batch.skipped:
            warnings.warn(
                f"epoch {epoch}, batch {index}: {len(batch.skipped)} unreadable samples were replaced, the first: "
                f"{batch.skipped[0]}",
                stacklevel=3,
            )
        return self.batches.xyw(batch.entries)


def exporter(library: str, placement: str) -> Any:
    """The module that exports to `library`.

    Raises:
        MissingDependency: the library is not installed.
        InputError: a loader that leaves the policy to an `AugmentedModel`, which no other loop has.
    """
    name = "tf" if library == "tensorflow" else library
    if placement != "host":
        raise InputError(
            f'to_{name}() with placement={placement!r}: nothing would run the policy; make the Loader with "host"'
        )
    try:
        importlib.import_module(library)
    except ImportError:
        raise MissingDependency(
            f"to_{name}() needs {library}; install it with: pip install {_INSTALL[library]}"
        ) from None
    return importlib.import_module(f"onewarp.fit.export_{name}")
