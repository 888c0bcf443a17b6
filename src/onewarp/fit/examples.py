"""SaveExamples: pictures of what the model is being trained on, written while it trains."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np

from onewarp.boxes import to_corners
from onewarp.data.base import Sample
from onewarp.data.batches import Batches
from onewarp.data.frames import remade
from onewarp.errors import InputError
from onewarp.fit.loader import Loader
from onewarp.picture import render, write_png
from onewarp.random import uniforms
from onewarp.samples import shown

_KEY = ("onewarp.examples", 0)
_NAME = re.compile(r"e\d{4,}-b\d{6,}-\d{3,}(-.*)?\.png")


class SaveExamples(keras.callbacks.Callback):
    """Writes some of the augmented samples of a training on a `Loader` as PNG, each with its mask, boxes and points.

    A picture shows what the model got, without the Normalize or Rescale at the end. Which samples are written depends
    on (seed, epoch, place in the epoch) alone, so a resumed run writes the same. Files are named
    eEPOCH-bBATCH-ROW-CLASS.png, numbers from 0. A batch with a chosen sample is made once more, on the host, also where
    the device augments; a small probability costs next to nothing.

    Args:
        folder: where pictures go; it is made.
        loader: the Loader that `fit` trains on.
        probability: in [0, 1], of each sample to be written; may be changed on the way.
        n_files: how many pictures are kept, the latest; None keeps all, with probability=1 every sample of the run.
        side: pixels of a picture's longer side; None for the pixels as they are.

    Raises:
        InputError: arguments that cannot be.
    """

    def __init__(
        self,
        folder: str | Path,
        loader: Loader,
        probability: float = 0.001,
        n_files: int | None = 100,
        *,
        side: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(loader, Loader):
            raise InputError(f"SaveExamples(loader={loader!r}): pass the Loader that fit trains on")
        for name, value in (("n_files", n_files), ("side", side)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(f"{name}={value!r} is not a positive whole number, nor None")
        self.folder, self.loader, self.n_files, self.side = Path(folder), loader, n_files, side
        self.probability = probability
        self._at = 0, 0  # epoch and first batch of the pass
        self._looked: tuple[Batches, Batches] | None = None

    @property
    def probability(self) -> float:
        return self._probability

    @probability.setter
    def probability(self, value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
            raise InputError(f"probability={value!r} must be a number in [0, 1]")
        self._probability = float(value)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._at = self.loader.epoch, self.loader.start

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        epoch, start = self._at
        rows = self.chosen(epoch, start + batch)
        if len(rows):
            self.save(epoch, start + batch, rows)

    def chosen(self, epoch: int, index: int) -> np.ndarray:
        """The rows of batch `index` of `epoch` that are written."""
        batches = self.loader.batches
        places = batches.positions(index)
        return np.flatnonzero(uniforms(batches.seed, epoch, places, None, _KEY, 1)[:, 0] < self.probability)

    def save_now(self, batch: int) -> list[Path]:
        """Write the batch that `fit` calls number `batch` of the running pass, `n_files` of its samples at most."""
        epoch, start = self._at
        rows = np.arange(len(self.loader.batches.positions(start + batch)))
        return self.save(epoch, start + batch, rows if self.n_files is None else rows[: self.n_files])

    def save(self, epoch: int, index: int, rows: np.ndarray) -> list[Path]:
        """Write rows of batch `index` of `epoch`; returns the files, the oldest of which may be gone again."""
        batches = self._visible()
        entries = batches.batch(epoch, index)
        files = []
        for row in rows:
            sample = _sample(entries, int(row), batches.assemble.bounding_box_format)
            height, width = sample["images"].shape[:2]
            name = f"e{epoch:04d}-b{index:06d}-{row:03d}{self._label(sample)}.png"
            picture = render(sample, self.side or max(height, width), self.loader.source.value_range)
            write_png(self.folder / name, picture)
            files.append(self.folder / name)
        self._forget()
        return files

    def _visible(self) -> Batches:
        """The loader's batches as they can be looked at, made on the host."""
        batches = self.loader.batches
        if self._looked is None or self._looked[0] is not batches:
            self._looked = batches, _looked_at(batches)
        return self._looked[1]

    def _label(self, sample: Sample) -> str:
        """-CLASS of a sample with one class; of a mixed one that of the larger part."""
        label: Any = np.asarray(sample.get("labels", ()))
        if label.ndim == 1 and label.size and label.dtype.kind == "f":
            label = label.argmax()
        if np.ndim(label) or np.size(label) != 1 or np.asarray(label).dtype.kind not in "uib":
            return ""
        names = self.loader.source.class_names
        text = names[int(label)] if names is not None else str(int(label))
        return "-" + re.sub(r"[^\w.-]+", "_", text)[:60]

    def _forget(self) -> None:
        """Remove the oldest pictures beyond `n_files`."""
        if self.n_files is None:
            return
        found = sorted(
            (path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)),
            key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)[:3]],
        )
        for path in found[: -self.n_files]:
            path.unlink(missing_ok=True)


def _looked_at(batches: Batches) -> Batches:
    """The batches made on the host, with pixels that can be looked at; frames of a loader with reuse are not kept."""
    then = batches.options.get("then")
    policies = {"policy": shown(batches.policy), "then": None if then is None else shown(then)}
    return remade(batches.placed("host"), keep=False, **policies)


def _sample(entries: Sample, row: int, box_format: str) -> Sample:
    """One row of a batch, boxes as corners."""
    sample = {role: value[row] for role, value in entries.items() if role != "bounding_boxes"}
    if "bounding_boxes" in entries:
        boxes = entries["bounding_boxes"]
        height, width = (np.array([float(side)]) for side in sample["images"].shape[:2])
        corners = to_corners(boxes["boxes"][row : row + 1].astype(np.float64), box_format, height, width, np)
        sample["bounding_boxes"] = {"boxes": corners[0], "labels": boxes["labels"][row]}
    return sample
