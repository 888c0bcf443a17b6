"""The sampling that a loader's arguments ask for, checked."""

from __future__ import annotations

import numpy as np

from onewarp.data.base import Source
from onewarp.data.sampling import Sampling, Shuffled, Windowed, blocks_of
from onewarp.errors import InputError

WINDOW = 16


def sampling_of(source: Source, seed: int, shuffle: bool | str, window: int | None = None) -> Sampling:
    """Which samples an epoch shows; the arguments are those of `Batches`.

    Raises:
        InputError: arguments that are out of range, or do not go together.
        DataError: a source whose blocks are none.
    """
    if shuffle not in (True, False, "windowed"):
        raise InputError(f'shuffle={shuffle!r} is not known; use True, False or "windowed"')
    if window is not None:
        if shuffle != "windowed":
            raise InputError(f'window={window!r} needs shuffle="windowed"; leave one out or add the other')
        if not isinstance(window, (int, np.integer)) or isinstance(window, bool) or window < 1:
            raise InputError(f"window={window!r} is not a positive number of blocks; leave it out for {WINDOW}")
    if shuffle == "windowed":
        return Windowed(len(source), seed, blocks_of(source), WINDOW if window is None else int(window))
    return Shuffled(len(source), seed) if shuffle else Sampling(len(source))
