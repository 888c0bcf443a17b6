"""A Python function over the samples of a source: what no policy has, Albumentations among it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from onewarp.data.base import Sample, Source
from onewarp.errors import DataError, InputError, OnewarpError

_KEY = 0x6F6E6577_6D617000  # "onewmap": keeps these random numbers apart from others under the same seed


class MapSource(Source):
    """The samples of a source after a Python function; made by `Source.map`, which says what the function may do."""

    def __init__(self, source: Source, function: Callable[..., Any], random: bool, image_size: Any) -> None:
        if not callable(function):
            raise InputError(f"map({function!r}): pass a function that takes a sample and returns one")
        self.source, self.function, self.random = source, function, random
        self.labels, self.class_names, self.ignore = source.labels, source.class_names, source.ignore
        self.dtype, self.value_range = source.dtype, source.value_range
        self.roles, self.outputs, self.blocks = source.roles, source.outputs, source.blocks
        size = source.image_shape[:2] if image_size == "same" else image_size or (None, None)
        self.image_shape = (size[0], size[1], source.image_shape[2])

    def __len__(self) -> int:
        return len(self.source)

    def lazy(self, index: int) -> Sample:
        return self.drawn(index, 0, 0, 0)

    def drawn(self, index: int, seed: int, epoch: int, occurrence: int) -> Sample:
        given = dict(self.source.drawn(index, seed, epoch, occurrence))
        for role, value in given.items():
            if hasattr(value, "decode"):
                given[role] = value.decode()
        generator = (self.generator(index, seed, epoch, occurrence),) if self.random else ()
        try:
            found = self.function(dict(given), *generator)
        except OnewarpError:
            raise
        except Exception as error:
            failed = DataError(
                f"{self.name(index)}: {called(self.function)} failed with {type(error).__name__}: "
                f"{' '.join(str(error).split())}; mend it, or leave the sample out"
            )
            failed.add_note(traceback.format_exc())
            raise failed from error
        return self._checked_sample(found, index)

    def generator(self, index: int, seed: int, epoch: int, occurrence: int) -> np.random.Generator:
        """Random numbers of one showing of one sample: a pure function of (seed, epoch, permanent id, occurrence)."""
        sample = int(self.source.ids(np.array([index]))[0]) & 0xFFFFFFFFFFFFFFFF
        counter = np.array([0, epoch, sample, occurrence], np.uint64)
        return np.random.Generator(np.random.Philox(key=np.array([seed, _KEY], np.uint64), counter=counter))

    def stamps(self) -> Iterator[bytes]:
        self._refuse_to_freeze("a store")
        return super().stamps()

    def in_memory(self, threads: int | None = None, progress: Any = None) -> Source:
        self._refuse_to_freeze("in_memory()")
        return super().in_memory(threads, progress)

    def _refuse_to_freeze(self, who: str) -> None:
        if self.random:
            raise InputError(
                f"{who} would keep one result of {called(self.function)} for good, though it is random; put "
                "map(..., random=True) behind it"
            )

    def name(self, index: int) -> str:
        return self.source.name(index)

    def ids(self, indices: np.ndarray) -> np.ndarray:
        return self.source.ids(indices)

    def most(self, role: str) -> int:
        return self.source.most(role)

    @property
    def num_classes(self) -> int | None:
        return self.source.num_classes

    def _checked_sample(self, found: Any, index: int) -> Sample:
        name, what = self.name(index), called(self.function)
        if not isinstance(found, dict) or set(found) != set(self.roles):
            gave = f"the entries {', '.join(map(str, found))}" if isinstance(found, dict) else type(found).__name__
            raise DataError(f"{name}: {what} gave {gave}; return a dictionary with {', '.join(self.roles)}")
        image = found["images"] = np.asarray(found["images"])
        height, width, channels = self.image_shape
        if image.ndim != 3 or image.shape[2] != channels or image.dtype != self.dtype:
            raise DataError(
                f"{name}: {what} gave an image {image.dtype} {image.shape}; "
                f"return {self.dtype} [height, width, {channels}]"
            )
        if (height not in (None, image.shape[0])) or (width not in (None, image.shape[1])):
            raise DataError(
                f"{name}: {what} gave an image of {image.shape[0]}x{image.shape[1]} pixels, not {height}x{width}; "
                "say what it gives with map(..., image_size=), None for different sizes"
            )
        return found


def called(function: Any) -> str:
    """What messages call a function: its name, and where it stands where the name says little."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    code = getattr(function, "__code__", None)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if "<" in name and code is not None else name
