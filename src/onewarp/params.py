"""Params: the drawn numbers of one batch, as a value that travels with it, can be saved, and replayed.

The arrays of a plan's stage number s have names that start with "s.":
    warp    matrix [n, f+1, 3, 3], field0... [n, gh, gw, 2], frames [n, f, 2] (where there are fields), reduction [n]
    colour  op0... [n, c, 2c+1] (map), [n, nodes, c or 1] (table), [n] (hue); active0... [n]
    filter  weights [n, k] or std [n] and keys [n, 2]; active [n]
    erase   erase0... [n, m, 4] or [n, 6]; keys0... [n, 2]; active0... [n]
    mix     weight [n], partner [n], rect [n, 4]; active [n]
All are float32, or int32 where they count (on the host uint8 for `active` and uint32 for keys). `active` is 1 where a
transform fires.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from onewarp.errors import InputError
from onewarp.plan import Plan


@dataclass(frozen=True, eq=False)
class Params:
    """The drawn numbers of one batch: what `policy.draw` gives and `policy(batch, params=...)` replays.

    arrays: name -> array, leading dimension n. sizes: [n, 2] (height, width) of the images it was drawn for.
    plan: fingerprint of the plan; a replay under another plan is refused.
    """

    arrays: Mapping[str, np.ndarray]
    sizes: np.ndarray
    plan: str

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.sizes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Params):
            return NotImplemented
        return (
            self.plan == other.plan
            and np.array_equal(self.sizes, other.sizes)
            and self.arrays.keys() == other.arrays.keys()
            and all(np.array_equal(value, other.arrays[name]) for name, value in self.arrays.items())
        )

    def take(self, indices: Any) -> Params:
        """The parameters of some of the samples, in that order."""
        return Params({name: value[indices] for name, value in self.arrays.items()}, self.sizes[indices], self.plan)

    def save(self, path: str | Path) -> None:
        """Write to an .npz file."""
        buffer = io.BytesIO()
        np.savez(buffer, __sizes__=self.sizes, __plan__=np.array(self.plan), **self.arrays)  # type: ignore[arg-type]
        Path(path).write_bytes(buffer.getvalue())

    @staticmethod
    def load(path: str | Path) -> Params:
        """Read what `save` wrote. Raises InputError for any other file."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = dict(stored)
            return Params(arrays, arrays.pop("__sizes__"), str(arrays.pop("__plan__")))
        except (OSError, ValueError, KeyError) as fault:
            raise InputError(f"{path} is not a file that Params.save wrote ({fault}); draw and save it again") from None


@lru_cache(maxsize=256)
def fingerprint(plan: Plan) -> str:
    """Eight hex digits that tell plans of different policies, settings or kinds (not sizes) of image apart."""
    text = json.dumps([repr(plan.places), repr(plan.settings), plan.spec.channels, plan.spec.dtype, plan.spec.range])
    return f"{zlib.crc32(text.encode()):08x}"
