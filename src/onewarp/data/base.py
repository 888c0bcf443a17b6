"""Sources: random access to samples, with labels and names at hand without decoding anything.

A sample is a dictionary in Keras' vocabulary: `images` [h, w, c], and where there are any `labels`,
`segmentation_masks` [h, w], `bounding_boxes` {"boxes" [k, 4], "labels" [k]} and `keypoints` [k, 2 or 3]. `Source` is
the base: a new kind of source gives `__len__`, `lazy` and `name`, and sets the attributes that differ from the
defaults below.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from onewarp.data.decode import EncodedImage, EncodedMask, LazyMask
from onewarp.errors import InputError

if TYPE_CHECKING:
    from onewarp.engine.outlines import Outline
    from onewarp.params import Params
    from onewarp.plan import Plan
SMALL = 1 << 16  # bytes: images up to this size are quicker copied into one array than handed on one by one
SPREAD = 64  # samples whose content goes into a source's stamps where nothing better is known

Sample = dict[str, Any]
Outputs = tuple[str | tuple[str, ...], ...]
TARGETS = ("labels", "segmentation_masks", "bounding_boxes", "keypoints")


class DrawnMask(LazyMask):
    """A mask that is drawn at the size of the result, from shapes that follow the geometry, instead of resampled."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(height, width, ...) of its photograph."""
        raise NotImplementedError

    def draw(self, plan: Plan, params: Params, slot: int) -> np.ndarray:
        """The mask after the warps of `plan` under the parameters of sample `slot`, [1, height, width, ...]."""
        raise NotImplementedError


class OutlinedBoxes(dict[str, Any]):
    """`bounding_boxes` of a sample whose objects have outlines, which tell more of a warped box than its corners do.

    outlines: called as outlines() -> an `Outline` or None for each box, where something is warped.
    """

    def __init__(self, boxes: Any, labels: Any, outlines: Callable[[], Sequence[Outline | None]]) -> None:
        super().__init__(boxes=boxes, labels=labels)
        self.outlines = outlines

    def decode(self) -> dict[str, Any]:
        """The boxes alone."""
        return dict(self)


class Source:
    """Random access to samples. Sources are picklable and safe to read from several threads.

    Attributes:
        labels: one row per sample ([n] class numbers, or [n, ...] anything else), or None. Never needs decoding.
        class_names: name of each class number, or None.
        ignore: what pixels without a class are worth in the masks; None where that is not known.
        image_shape: (height, width, channels) of the samples; None for a side that differs among them.
        dtype: "uint8", "uint16" or "float32".
        value_range: (low, high) of the image values.
        roles: the entries that a sample has, `images` first.
        outputs: which entries become (x, y, sample_weight); a tuple of names inside it becomes a dictionary.
        dense: whether the samples lie in arrays of equal sizes, so that `gather` takes a batch at once; it becomes true
            later where a store is being written.
        blocks: int [m + 1], rows at which the pieces begin that are best read together (the shards of a store), and the
            number of samples at the end; None where there are none. For `shuffle="windowed"`.
    """

    labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    ignore: int | None = None
    image_shape: tuple[int | None, int | None, int] = (None, None, 3)
    dtype: str = "uint8"
    value_range: tuple[float, float] = (0.0, 255.0)
    roles: tuple[str, ...] = ("images",)
    outputs: Outputs = ("images",)
    dense: bool = False
    blocks: np.ndarray | None = None

    def __len__(self) -> int:
        raise NotImplementedError

    def lazy(self, index: int) -> Sample:
        """Sample `index`; where it comes from files, undecoded as `EncodedImage` and `LazyMask`."""
        raise NotImplementedError

    def name(self, index: int) -> str:
        """What error messages call sample `index`: its path, or the number of its row."""
        return f"sample {index}"

    def __getitem__(self, index: int) -> Sample:
        sample = dict(self.lazy(self._checked(index)))
        for role, value in sample.items():
            if isinstance(value, (EncodedImage, LazyMask, OutlinedBoxes)):
                sample[role] = value.decode()
        return sample

    def mask(self, index: int) -> np.ndarray:
        """The mask of sample `index` alone, whole numbers [h, w]; its image is not decoded."""
        if "segmentation_masks" not in self.roles:
            raise InputError(f"{type(self).__name__} has no masks, only {', '.join(self.roles)}; see PairSource")
        value = self.lazy(self._checked(index))["segmentation_masks"]
        return np.asarray(value.decode() if isinstance(value, LazyMask) else value)

    def gather(self, indices: np.ndarray) -> Sample:
        """Samples `indices` as one batch of arrays; only where `dense`."""
        raise InputError(
            f"{type(self).__name__} holds no arrays of equal sizes; read it sample by sample, or call in_memory()"
        )

    def views(self, indices: np.ndarray) -> Sample:
        """`gather` for reading only: images may be a list of arrays where they are, uncopied."""
        return self.gather(indices)

    def ids(self, indices: np.ndarray) -> np.ndarray:
        """Permanent sample ids, int64: the key of a sample's draws. A subset keeps the ids of its origin."""
        return np.asarray(indices, np.int64)

    @property
    def num_classes(self) -> int | None:
        """Number of classes: from the names, else one more than the highest integer label; None without either."""
        if self.class_names is not None:
            return len(self.class_names)
        if self.labels is None or not class_numbers(self.labels) or not len(self.labels):
            return None
        return int(self.labels.max()) + 1

    def most(self, role: str) -> int:
        """How many "bounding_boxes" or "keypoints" a sample has at most; found without decoding."""
        raise InputError(f"{type(self).__name__} does not know how many {role} a sample has at most; pass max_boxes=")

    def stamps(self) -> Iterator[bytes]:
        """What tells this source from another, or from itself after a change, at little cost: see `fingerprint`.

        Here names, labels and the content of some samples; a source that knows better, such as the size and time of
        files, adds it.
        """
        n = len(self)
        yield repr((n, self.roles, self.image_shape, self.dtype, self.value_range, self.class_names)).encode()
        if self.labels is not None:
            yield np.ascontiguousarray(self.labels).tobytes()
        yield from self._content(np.unique(np.linspace(0, n - 1, min(n, SPREAD)).astype(np.int64)))

    def _content(self, indices: np.ndarray) -> Iterator[bytes]:
        """Names and content of the samples `indices`, as stamps."""
        for index in indices:
            yield self.name(int(index)).encode()
            yield from _bytes_of(self.lazy(int(index)))

    def subset(self, indices: Sequence[int] | np.ndarray) -> Source:
        """The samples `indices`, in that order, as a source of its own that keeps their ids."""
        return SubsetSource(self, indices)

    def map(self, function: Callable[..., Any], *, random: bool = False, image_size: Any = "same") -> Source:
        """The samples of this source after a Python function, which runs before the policy, on decoded samples.

        Args:
            function: function(sample) -> sample, a dictionary with the same entries: images [h, w, c] of the same dtype
                and channels, masks [h, w], boxes and keypoints as in the source. It may change sizes and drop boxes,
                not labels. Called from several threads at once, or in processes with `Loader(processes=)`.
            random: whether it is called as function(sample, generator) with a `numpy.random.Generator` whose numbers
                depend on (seed, epoch, sample, occurrence) alone; outside a Loader on seed 0 and epoch 0.
            image_size: (height, width) of every image that it returns; "same": those of the source; None: they differ.
        """
        from onewarp.data.mapped import MapSource

        return MapSource(self, function, random, image_size)

    def drawn(self, index: int, seed: int, epoch: int, occurrence: int) -> Sample:
        """`lazy(index)` as an epoch shows it; it differs only below a `map(..., random=True)`."""
        return self.lazy(index)

    def in_memory(self, threads: int | None = None, progress: Any = None) -> Source:
        """All samples decoded into one array; for sources whose images have one size.

        Args:
            threads: decoding threads; the processors at hand by default.
            progress: called as progress(done, total) after each block of images.
        """
        from onewarp.data.memory import in_memory

        return in_memory(self, threads, progress)

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of a source of {len(self)} samples")
        return int(index) % len(self)

    def __repr__(self) -> str:
        classes = f", {len(self.class_names)} classes" if self.class_names is not None else ""
        shape = " x ".join("?" if side is None else str(side) for side in self.image_shape)
        return f"{type(self).__name__}({len(self)} samples, {shape} {self.dtype}{classes})"


class SubsetSource(Source):
    """Some samples of another source, in a given order, under their permanent ids."""

    def __init__(self, source: Source, indices: Sequence[int] | np.ndarray) -> None:
        chosen = np.asarray(indices)
        if chosen.ndim != 1 or (chosen.size and not np.issubdtype(chosen.dtype, np.integer)):
            raise InputError(
                f"indices must be a list of whole numbers, got {chosen.dtype} of shape {chosen.shape}; pass [i, j, ...]"
            )
        if chosen.size and not (-len(source) <= chosen.min() and chosen.max() < len(source)):
            raise InputError(
                f"indices reach from {chosen.min()} to {chosen.max()}, but the source has {len(source)} samples"
            )
        self.source, self.indices = source, chosen.astype(np.int64) % max(len(source), 1)
        self.labels = None if source.labels is None else source.labels[self.indices]
        self.image_shape, self.dtype, self.value_range = source.image_shape, source.dtype, source.value_range
        self.class_names, self.ignore, self.dense = source.class_names, source.ignore, source.dense
        self.roles, self.outputs = source.roles, source.outputs
        if source.blocks is not None and (np.diff(self.indices) >= 0).all():  # in the order of the origin
            self.blocks = np.searchsorted(self.indices, source.blocks)

    def __len__(self) -> int:
        return len(self.indices)

    def lazy(self, index: int) -> Sample:
        return self.source.lazy(int(self.indices[index]))

    def drawn(self, index: int, seed: int, epoch: int, occurrence: int) -> Sample:
        return self.source.drawn(int(self.indices[index]), seed, epoch, occurrence)

    def mask(self, index: int) -> np.ndarray:
        return self.source.mask(int(self.indices[self._checked(index)]))

    def name(self, index: int) -> str:
        return self.source.name(int(self.indices[index]))

    def gather(self, indices: np.ndarray) -> Sample:
        return self.source.gather(self.indices[indices])

    def views(self, indices: np.ndarray) -> Sample:
        return self.source.views(self.indices[indices])

    def ids(self, indices: np.ndarray) -> np.ndarray:
        return self.source.ids(self.indices[indices])

    def most(self, role: str) -> int:
        return self.source.most(role)

    def stamps(self) -> Iterator[bytes]:
        yield from self.source.stamps()
        yield self.indices.tobytes()

    @property
    def num_classes(self) -> int | None:
        return self.source.num_classes  # a class that this subset happens to lack is still a class


def checked_source(value: Any, name: str = "the source") -> Source:
    """`value`, where it is a source. Raises InputError, which says how to make one of what it is."""
    if isinstance(value, Source):
        return value
    if isinstance(value, (str, os.PathLike)):
        remedy = f"open it, e.g. by ow.FolderSource({os.fspath(value)!r}) or ow.StoreSource({os.fspath(value)!r})"
    elif isinstance(value, (list, tuple)) and value and all(isinstance(one, Source) for one in value):
        remedy = "join them by ow.ConcatSource([...])"
    else:
        remedy = "pass e.g. ow.ArraySource(images, labels)"
    raise InputError(f"{name} is a {type(value).__name__}; {remedy}")


def small(source: Source) -> bool:
    """Whether images, all of one size, have at most `SMALL` bytes."""
    return math.prod(side or 1 for side in source.image_shape) * np.dtype(source.dtype).itemsize <= SMALL


def _bytes_of(value: Any) -> Iterator[bytes]:
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _bytes_of(value[key])
    elif isinstance(value, (EncodedImage, EncodedMask)):
        yield bytes(value.data)
    elif isinstance(value, LazyMask):
        yield from _bytes_of(value.decode())
    else:
        yield np.ascontiguousarray(value).tobytes()


def class_numbers(labels: np.ndarray) -> bool:
    """Whether labels are class numbers: integers, one per sample."""
    return labels.ndim == 1 and labels.dtype.kind in "uib"


def checked_labels(labels: Any, n: int, class_names: tuple[str, ...] | None) -> np.ndarray:
    """Labels as an array with one row per sample; class numbers must have a name where there are names."""
    values = np.asarray(labels)
    if values.dtype.kind not in "uibf":
        raise InputError(f"labels are {values.dtype}; pass class numbers, and the names as class_names=")
    rows = len(values) if values.ndim else 1
    if values.ndim == 0 or rows != n:
        raise InputError(f"there are {n} images but {rows} labels; give each image one label")
    if values.ndim == 2 and values.shape[1] == 1 and values.dtype.kind in "ui":
        values = values[:, 0]  # as keras.datasets give them
    if class_names is not None and class_numbers(values) and n:
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= len(class_names):
            raise InputError(
                f"labels reach from {low} to {high}, but class_names has {len(class_names)} names; name every class"
            )
    return values


def checked_outputs(outputs: Outputs | None, present: Sequence[str]) -> Outputs:
    """What the user says, or (images, the one target), or (images, a dictionary of the targets)."""
    if outputs is None:
        targets = tuple(name for name in TARGETS if name in present)
        return ("images",) if not targets else ("images", targets[0] if len(targets) == 1 else targets)
    for entry in outputs:
        for name in (entry,) if isinstance(entry, str) else entry:
            if name not in present:
                raise InputError(f"outputs names {name!r}, but a sample has {', '.join(present)}; choose among them")
    if not 1 <= len(outputs) <= 3:
        raise InputError(f"outputs has {len(outputs)} entries; Keras takes (x,), (x, y) or (x, y, sample_weight)")
    return tuple(entry if isinstance(entry, str) else tuple(entry) for entry in outputs)
