"""TensorBoard through tensorboardX: the numbers of every epoch, and what the augmented samples look like."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from onewarp.errors import MissingDependency


def require_tensorboard() -> None:
    """Raise MissingDependency unless tensorboardX is installed; before a training, not after it."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise MissingDependency("--tensorboard needs tensorboardX; install it with: pip install 'onewarp[tensorboard]'")


def tensorboard_writer(folder: Path, picture: Callable[[int], np.ndarray] | None) -> tuple[Callable, Callable]:
    """(write, close): `write(row)` logs the numbers of an epoch, and the picture of its samples, below `folder`.

    Args:
        folder: made if missing; TensorBoard shows each of its sub-folders as a run.
        picture: epoch (from 0) -> uint8 RGB [h, w, 3], or None for numbers alone.

    Raises:
        MissingDependency: tensorboardX is not installed.
    """
    require_tensorboard()
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(str(folder))

    def write(row: Mapping[str, float]) -> None:
        epoch = int(row["epoch"])
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(name, value, epoch)
        if picture is not None:
            writer.add_image("samples", picture(epoch - 1), epoch, dataformats="HWC")
        writer.flush()

    return write, writer.close
