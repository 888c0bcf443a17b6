"""Several sources as one: data sets that are trained on together, stores that were prepared apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from onewarp.data.base import Sample, Source, checked_source, class_numbers, small
from onewarp.errors import InputError

LOOK = 1 << 20  # ids that are looked at together


class ConcatSource(Source):
    """The samples of several sources, one source after the other.

    Each sample has an id of its own, so two sources draw differently; those of the first source keep their ids. Class
    names may differ where they name labels alone: classes are then numbered anew, by name, in the order in which they
    come. `shuffle="windowed"` goes by the shards of all stores, and takes another source for one shard.

    Args:
        sources: at least one, with the same roles, dtype, value range and number of channels.

    Raises:
        InputError: sources that do not fit together, by the first one that does not.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        if not isinstance(sources, (list, tuple)) or not sources:
            raise InputError(f"ConcatSource({sources!r}) needs sources; pass a list of them")
        for number, source in enumerate(sources, 1):
            checked_source(source, f"source {number}")
        self.sources: tuple[Source, ...] = tuple(sources)
        first = self.sources[0]
        self._check()
        self._starts = np.cumsum([0, *map(len, sources)])
        self._first_ids = np.cumsum([0, *map(_ids_end, sources)])
        sides = zip(*(source.image_shape[:2] for source in sources), strict=True)
        height, width = (values[0] if len(set(values)) == 1 else None for values in sides)
        self.image_shape = (height, width, first.image_shape[2])
        self.dtype, self.value_range, self.ignore = first.dtype, first.value_range, first.ignore
        self.roles, self.outputs = first.roles, first.outputs
        self.class_names = self._names()
        self.labels = self._labels()
        if any(source.blocks is not None for source in sources):
            blocks = (np.array([0, len(one)]) if one.blocks is None else one.blocks for one in sources)
            parts = [part[:-1] + start for part, start in zip(blocks, self._starts, strict=False)]
            self.blocks = np.concatenate([*parts, self._starts[-1:]])
        equal = None not in self.image_shape and set(self.roles) <= {"images", "labels"}
        self.dense = equal and all(source.dense for source in sources)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def num_classes(self) -> int | None:
        if self.class_names is not None:
            return len(self.class_names)
        return max((found for source in self.sources if (found := source.num_classes) is not None), default=None)

    def lazy(self, index: int) -> Sample:
        return self.drawn(index, 0, 0, 0)

    def drawn(self, index: int, seed: int, epoch: int, occurrence: int) -> Sample:
        number, row = self._place(index)
        sample = self.sources[number].drawn(row, seed, epoch, occurrence)
        return sample if self.labels is None else {**sample, "labels": self.labels[index]}

    def mask(self, index: int) -> np.ndarray:
        number, row = self._place(self._checked(index))
        return self.sources[number].mask(row)

    def gather(self, indices: np.ndarray) -> Sample:
        if not self.dense:
            return super().gather(indices)
        images = np.empty((len(indices), *(side or 0 for side in self.image_shape)), self.dtype)
        for places, number in self._pieces(indices):
            images[places] = self.sources[number].gather(indices[places] - self._starts[number])["images"]
        return self._with_labels(images, indices)

    def views(self, indices: np.ndarray) -> Sample:
        if not self.dense or small(self):
            return self.gather(indices)
        images: list[Any] = [None] * len(indices)
        for places, number in self._pieces(indices):
            found = self.sources[number].views(indices[places] - self._starts[number])["images"]
            for place, image in zip(places.tolist(), found, strict=True):
                images[place] = image
        return self._with_labels(images, indices)

    def ids(self, indices: np.ndarray) -> np.ndarray:
        indices = np.asarray(indices, np.int64)
        found = np.empty(indices.shape, np.int64)
        for places, number in self._pieces(indices):
            rows = indices[places] - self._starts[number]
            found[places] = self.sources[number].ids(rows) + self._first_ids[number]
        return found

    def name(self, index: int) -> str:
        """What its source calls the sample, behind the number of that source, from 1 on."""
        number, row = self._place(index)
        return f"source {number + 1}, {self.sources[number].name(row)}"

    def most(self, role: str) -> int:
        return max(source.most(role) for source in self.sources)

    def stamps(self) -> Iterator[bytes]:
        for source in self.sources:
            yield f"{len(source)} {source.class_names}".encode()
            yield from source.stamps()

    def _place(self, index: int) -> tuple[int, int]:
        """The number of a sample's source, from 0 on, and which of its samples it is."""
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return number, int(index - self._starts[number])

    def _pieces(self, indices: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
        """(which of `indices` belong to it, number of the source), for each source that has any of them."""
        numbers = np.searchsorted(self._starts, indices, side="right") - 1
        return ((np.flatnonzero(numbers == number), int(number)) for number in np.unique(numbers))

    def _with_labels(self, images: Any, indices: np.ndarray) -> Sample:
        return {"images": images} if self.labels is None else {"images": images, "labels": self.labels[indices]}

    def _check(self) -> None:
        """Compare each source with the first."""
        for number, source in enumerate(self.sources[1:], 2):
            for what, remedy in (
                ("roles", "leave out what one of them lacks"),
                ("dtype", "make both of one dtype"),
                ("value_range", "give both the same"),
                ("channels", "make both grey or both RGB"),
                ("ignore", "give both masks the same ignore="),
                ("labels", "give both class numbers, or rows of one length"),
            ):
                mine, other = _aspect(self.sources[0], what), _aspect(source, what)
                if mine != other:
                    raise InputError(f"source {number} has {what} {other!r}, but source 1 has {mine!r}; {remedy}")

    def _names(self) -> tuple[str, ...] | None:
        """The class names of all sources, each once."""
        known = {source.class_names for source in self.sources}
        if len(known) == 1:
            return known.pop()
        named = None not in known and all(
            set(source.roles) == {"images", "labels"} and source.labels is not None and class_numbers(source.labels)
            for source in self.sources
        )
        if not named:
            number, other = next(
                (k, one) for k, one in enumerate(self.sources, 1) if one.class_names != self.sources[0].class_names
            )
            raise InputError(
                f"source {number} has class_names {other.class_names}, but source 1 has {self.sources[0].class_names}; "
                "give both the same (only class numbers that are labels, both with names, are numbered anew)"
            )
        return tuple(dict.fromkeys(name for source in self.sources for name in source.class_names or ()))

    def _labels(self) -> np.ndarray | None:
        """The labels of all sources, numbered by the names of all."""
        if self.sources[0].labels is None:
            return None
        parts: list[Any] = [source.labels for source in self.sources]
        if self.class_names is not None and any(source.class_names != self.class_names for source in self.sources):
            numbers = {name: number for number, name in enumerate(self.class_names)}
            tables = (np.array([numbers[name] for name in source.class_names or ()]) for source in self.sources)
            parts = [table[part] for table, part in zip(tables, parts, strict=True)]
        return np.concatenate(parts)


def _aspect(source: Source, what: str) -> Any:
    """What must be the same in all sources."""
    if what == "channels":
        return source.image_shape[2]
    if what == "roles":
        return tuple(sorted(source.roles))
    if what == "labels":
        if source.labels is None:
            return None
        return "class numbers" if class_numbers(source.labels) else source.labels.shape[1:]
    return getattr(source, what)


def _ids_end(source: Source) -> int:
    """One more than the highest id of a source."""
    n = len(source)
    return max((int(source.ids(np.arange(k, min(k + LOOK, n))).max()) for k in range(0, n, LOOK)), default=-1) + 1
