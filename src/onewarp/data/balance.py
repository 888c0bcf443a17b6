"""Epochs with as many samples of each class as asked for, and samples that are shown plain.

Every class is one endless row of showings: its images in an order drawn from (seed, epoch), then the same images again,
under other draws. An epoch takes the first so-and-so many of each. A *rich* class has at least as many images as the
epoch shows of it, so none comes twice; of a *scarce* class each image is shown once before any is shown again.
"""

from __future__ import annotations

import zlib
from functools import partial
from typing import Any

import numpy as np

from onewarp.data.alike import Showings
from onewarp.data.base import Source
from onewarp.data.order import feistel, permuted, rounds_for
from onewarp.data.sampling import Chosen, Sampling, recent
from onewarp.random import uniforms

WRAPPED = 1 << 31  # occurrence numbers of images shown again only to complete the last batch start here


class Balanced(Sampling):
    """`counts[c]` samples of each class c, in an order drawn from (seed, epoch).

    Args:
        source: with class numbers as labels.
        seed: behind the order, and which images of a class are shown.
        counts: int64 [classes]; 0 for a class that has no images.
        originals: whether an image of a scarce class is shown plain the first time.
        showings: tells under which occurrence numbers the showings of an image differ.

    Attributes:
        scarce: booleans [classes], of which classes an epoch shows more samples than there are images.
    """

    counted = True

    def __init__(self, source: Source, seed: int, counts: np.ndarray, originals: bool, showings: Showings) -> None:
        super().__init__(int(counts.sum()))
        assert source.labels is not None
        self.source, self.seed, self.counts, self.originals = source, seed, counts, originals
        self._showings = showings
        self._images = np.bincount(source.labels, minlength=len(counts))
        self._members = np.argsort(source.labels, kind="stable")
        self._first = np.cumsum(self._images) - self._images  # of a class, in `_members`
        self._begin = np.cumsum(counts) - counts  # of a class, in the epoch before it is shuffled
        self.scarce = counts > self._images
        self.plains = originals and bool(self.scarce.any())
        self._rounds = rounds_for(int(self._images[counts > 0].min()))
        # Where the occurrence numbers of a scarce class stand in a table: `_times` for each of its images.
        self._times = np.where(self.scarce, -(-counts // np.maximum(self._images, 1)), 0)
        self._known_at = np.cumsum(self._images * self.scarce) - self._images * self.scarce
        self._numbers_at = np.cumsum(self._images * self._times) - self._images * self._times
        self._tables: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tables": {}}

    @property
    def key(self) -> str:
        shown = set(self.counts[self.counts > 0].tolist())
        counts = f"{shown.pop()} each" if len(shown) == 1 else f"{zlib.crc32(self.counts.tobytes()):08x}"
        return f"balanced, {counts} of {np.count_nonzero(self.counts)} classes" + (
            "" if self.originals else ", no originals"
        )

    def at(self, epoch: int, positions: np.ndarray) -> Chosen:
        lap, place = np.divmod(positions, self.size)
        of, showing = self._showing(epoch, place, lap)
        time, image = np.divmod(showing, self._images[of])
        image = self._shuffled(epoch, of, image)
        rows = self._row(of, image)
        occurrence = np.where((lap > 0) & (time > 0), WRAPPED + time, time)
        again = np.flatnonzero((lap == 0) & (time > 0))
        if len(again):
            occurrence[again] = self._numbers(epoch, of[again], image[again], time[again])
        plain = self.scarce[of] & (time == 0) if self.plains else None
        return Chosen(rows, occurrence, plain)

    def instead(self, epoch: int, position: int, tries: int) -> int:
        """A sample of the same class: first those that the epoch does not show, then half the class further."""
        lap, place = divmod(position, self.size)
        of, showing = self._showing(epoch, np.array([place]), np.array([lap]))
        images, shown = int(self._images[of[0]]), int(self.counts[of[0]])
        spare = max(images - shown, 0) if lap == 0 else 0
        if tries > spare + images:
            return super().instead(epoch, position, tries - spare - images)
        if tries <= spare:
            image = shown + (int(showing[0]) + tries - 1) % spare
        else:
            image = (int(showing[0]) + images // 2 + tries - spare - 1) % images
        return int(self._row(of, self._shuffled(epoch, of, np.array([image])))[0])

    def check(self, epoch: int) -> None:
        """Raise InputError where the policy cannot give enough showings of an image of the class that needs the most;
        found with one image.
        """
        of = np.array([np.argmax(self._times)])
        if self._times[of[0]] > 1:
            self._numbers(epoch, of, np.zeros(1, np.int64), np.ones(1, np.int64))

    def _showing(self, epoch: int, place: np.ndarray, lap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(class, number of the showing within it), each [n]; later laps go on where the epoch ended."""
        slot = permuted(self.seed, epoch, self.size, place)
        of = np.searchsorted(self._begin + self.counts, slot, side="right")
        return of, slot - self._begin[of] + lap * self.counts[of]

    def _shuffled(self, epoch: int, of: np.ndarray, image: np.ndarray) -> np.ndarray:
        return feistel(self.seed, epoch, "onewarp.classes", self._images[of], image, of, self._rounds)

    def _row(self, of: np.ndarray, image: np.ndarray) -> np.ndarray:
        rows: np.ndarray = self._members[self._first[of] + image]
        return rows

    def _numbers(self, epoch: int, of: np.ndarray, image: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Occurrence numbers of the `time`-th showings of images; found once per epoch and image."""
        known, numbers = recent(self._tables, epoch, self._table)
        key = self._known_at[of] + image
        missing = np.flatnonzero(~known[key])
        missing = missing[np.unique(key[missing], return_index=True)[1]]
        for times in np.unique(self._times[of[missing]]).tolist():
            some = missing[self._times[of[missing]] == times]
            rows = self._row(of[some], image[some])
            found = self._showings.numbers(
                epoch, self.source.ids(rows), times, self.originals, partial(self._name, rows)
            )
            where = self._numbers_at[of[some]] + image[some] * times
            numbers[where[:, None] + np.arange(times)] = found
            known[key[some]] = True
        chosen: np.ndarray = numbers[self._numbers_at[of] + image * self._times[of] + time]
        return chosen

    def _table(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Which images are done, and the occurrence numbers of those that are."""
        return (
            np.zeros(int((self._images * self.scarce).sum()), bool),
            np.zeros(int((self._images * self._times).sum()), np.int32),
        )

    def _name(self, rows: np.ndarray, place: int) -> str:
        return self.source.name(int(rows[place]))


class Mild(Sampling):
    """Another sampling, some of whose samples are shown plain.

    Args:
        inner: which samples.
        source, seed: whose labels and ids, and what is drawn from.
        probability: float64 [classes], with which a sample of a class is augmented; or one number for all.
    """

    plains = counted = True

    def __init__(self, inner: Sampling, source: Source, seed: int, probability: np.ndarray) -> None:
        super().__init__(len(inner))
        self.inner, self.source, self.seed, self.probability = inner, source, seed, probability
        self.spans = inner.spans

    @property
    def key(self) -> str:
        values = np.unique(self.probability)
        text = f"{values[0]:g}" if len(values) == 1 else f"{zlib.crc32(self.probability.tobytes()):08x}"
        return f"{self.inner.key}, augmented with {text}"

    def at(self, epoch: int, positions: np.ndarray) -> Chosen:
        chosen = self.inner.at(epoch, positions)
        ids, slot = self.source.ids(chosen.rows), ("onewarp.plain", 0)
        u = uniforms(self.seed, epoch, ids, chosen.occurrence, slot, 1)[:, 0]
        labels = self.source.labels
        limit = (
            self.probability if self.probability.ndim == 0 or labels is None else self.probability[labels[chosen.rows]]
        )
        plain = u >= limit
        return Chosen(chosen.rows, chosen.occurrence, plain if chosen.plain is None else plain | chosen.plain)

    def instead(self, epoch: int, position: int, tries: int) -> int:
        return self.inner.instead(epoch, position, tries)
