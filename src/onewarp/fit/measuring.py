"""Measures the parts of a training one by one: reading, decoding, augmenting, copying, the step, and all together."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import keras
import numpy as np

from onewarp.data.base import DrawnMask, Source, SubsetSource
from onewarp.data.batches import Batches, has_class_numbers
from onewarp.data.decode import EncodedImage, LazyMask
from onewarp.data.frames import FrameBatches
from onewarp.data.memory import processors
from onewarp.data.prefetch import prefetch_batches
from onewarp.draw import draw
from onewarp.errors import OnewarpError
from onewarp.fit.diagnose import OnDevice, Parts
from onewarp.fit.loader import Loader
from onewarp.fit.model import AugmentedModel
from onewarp.fit.placement import WARM_UP
from onewarp.plan import WarpStage
from onewarp.policy import Policy
from onewarp.segment import PixelCrossentropy

LOOKED_AT = 64  # samples whose sizes are taken for those of all
KEPT = 4  # batches of frames


def measure_parts(
    source: Source,
    policy: Policy,
    model: Any,
    *,
    target: str = "labels",
    batch_size: int = 32,
    threads: int | None = None,
    seconds: float = 1.0,
    watch: Callable[[str], Any] = lambda part: None,
) -> Parts:
    """Measure a training of `model`, uncompiled. Its weights are of no use afterwards.

    Args:
        target: "labels", of two classes in turn where the source has no class numbers; or "segmentation_masks".
        seconds: what each measurement takes, at least; a batch is always finished.
        watch: called with the name of what is measured next.
    """
    options: dict[str, Any] = {"batch_size": batch_size, "last_batch": "wrap", "outputs": ("images", target)}
    masks = target == "segmentation_masks"
    if not masks and not has_class_numbers(source):
        source = TwoClasses(source)
    options |= {} if masks else {"labels": "one_hot"}
    loss = PixelCrossentropy(void=source.ignore) if masks else "categorical_crossentropy"
    loader = Loader(source, policy, threads=threads, placement="auto", **options)
    batches = loader.placed("host")
    augmented = AugmentedModel(model, policy, targets=target, num_classes=source.num_classes)
    augmented.compile(keras.optimizers.Adam(1e-3), loss)

    watch("reading and decoding")
    read, decode, copied = _reading(batches, masks, seconds)
    watch("augmenting")
    work = _per_batch(batches, seconds)
    watch("the loader alone")
    feed = _feed(batches, loader.threads, seconds)
    watch("copying and the step")
    copy, step = _step(augmented, batches, seconds)
    watch("the training as it is")
    together, data_wait = _together(augmented, batches, loader.threads, seconds)
    watch("what would change")
    short, shrunk = _sizes(source, batches)
    return Parts(
        batch_size=batch_size,
        threads=loader.threads,
        processors=processors(),
        read=read,
        decode=decode,
        augment=max(work - read - decode, 0.0),
        feed=feed,
        copy=copy,
        step=step,
        together=together,
        data_wait=data_wait,
        frame=_frames(source, policy, options, seconds),
        on_device=_on_device(augmented, loader, seconds),
        fast=_per_batch(Batches(source, policy, decode="fast", **options), seconds) if decode > 0 else None,
        copied=copied if decode > 0 else None,
        short_side=short,
        shrunk=shrunk,
    )


class TwoClasses(SubsetSource):
    """The samples of a source without class numbers, of two classes in turn: what a step takes is the same."""

    def __init__(self, source: Source) -> None:
        super().__init__(source, np.arange(len(source)))
        self.labels, self.class_names = np.arange(len(source)) % 2, None
        self.roles = ("images", "labels", *(role for role in source.roles if role not in ("images", "labels")))
        self.outputs = ("images", "labels")

    @property
    def num_classes(self) -> int:
        return 2


def timed(action: Callable[[Any], Any], items: Iterator[Any], seconds: float) -> float:
    """The median time of action(item), over at least three items and `seconds`; the first is to warm up."""
    action(next(items))
    found: list[float] = []
    until = time.perf_counter() + seconds
    while len(found) < 3 or time.perf_counter() < until:
        item = next(items)
        began = time.perf_counter()
        action(item)
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def places(batches: Batches) -> Iterator[tuple[int, int]]:
    """(epoch, index) of one batch after the other, without end."""
    return ((epoch, index) for epoch in count() for index in range(len(batches)))


def _reading(batches: Batches, masks: bool, seconds: float) -> tuple[float, float, float]:
    """Seconds per batch, of one thread, to read samples, to decode them (their `masks`, too, but for those that are
    drawn when they are warped), and to copy what was decoded.
    """
    source = batches.source
    if source.dense:
        return timed(lambda at: source.views(batches.indices(*at)), places(batches), seconds), 0.0, 0.0
    samples: list[Any] = []
    pixels: list[np.ndarray] = []

    def read(at: tuple[int, int]) -> None:
        found = [source.lazy(int(row)) for row in batches.indices(*at)]
        for sample in found:
            _ = sample["images"].shape  # the header
        samples[:] = [sample["images"] for sample in found]
        samples.extend(sample["segmentation_masks"] for sample in found if masks)

    def decode(given: list[Any]) -> None:
        pixels[:] = [
            one.decode() if isinstance(one, (EncodedImage, LazyMask)) and not isinstance(one, DrawnMask) else one
            for one in given
        ]

    def read_first(at: tuple[int, int]) -> list[Any]:
        read(at)
        return list(samples)

    reading = timed(read, places(batches), seconds)
    if not isinstance(samples[0], EncodedImage):
        return reading, 0.0, 0.0
    decoding = timed(decode, (read_first(at) for at in places(batches)), seconds)
    decoded = [one for one in pixels if isinstance(one, np.ndarray)]
    return reading, decoding, timed(lambda _: [one.copy() for one in decoded], count(), seconds / 4)


def _per_batch(batches: Batches, seconds: float) -> float:
    """Seconds per batch of one thread, from reading to what the model gets."""
    return timed(lambda at: batches.build(*at), places(batches), seconds)


class _Endless:
    """Batches of one epoch after the other as if they were one: the ends of short epochs are not what is measured."""

    def __init__(self, batches: Batches) -> None:
        self.batches, self.source = batches, batches.source

    def begin(self, epoch: int) -> None:
        self.batches.begin(epoch)

    def build(self, epoch: int, index: int, pool: Any = None) -> Any:
        return self.batches.build(*divmod(index, len(self.batches)), pool)


def _feed(batches: Batches, threads: int, seconds: float) -> float:
    """Seconds from batch to batch of the loader alone, once it is under way."""
    endless: Any = _Endless(batches)
    ahead = prefetch_batches(endless, 0, 0, 1 << 30, threads, None)
    try:
        for _ in range(threads + 2):  # the first ones come together
            ahead.get()
        began, done = time.perf_counter(), 0
        while done < 2 * threads or time.perf_counter() < began + seconds:
            ahead.get()
            done += 1
        return (time.perf_counter() - began) / done
    finally:
        ahead.close()
        ahead.join(60)


def _step(model: AugmentedModel, batches: Batches, seconds: float) -> tuple[float, float]:
    """Seconds to copy a batch to the device, and of a train step on it when it lies there."""
    batch = batches.xyw(batches.batch(0, 0))

    def copy(batch: Any) -> Any:
        tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, batch)
        for tensor in keras.tree.flatten(tensors):  # wait until it is there
            keras.ops.convert_to_numpy(keras.ops.ravel(tensor)[:1])
        return tensors

    def fresh() -> Iterator[Any]:
        while True:
            yield keras.tree.map_structure(np.array, batch)

    copying = timed(copy, fresh(), seconds / 4)
    resident = copy(batch)
    for _ in range(WARM_UP):
        model.train_on_batch(*resident)
    return copying, timed(lambda _: model.train_on_batch(*resident), count(), seconds)


def _together(model: AugmentedModel, batches: Batches, threads: int, seconds: float) -> tuple[float, float]:
    """Seconds from step to step of a training that is under way, and the fraction in which the step waited for data."""
    endless: Any = _Endless(batches)
    ahead = prefetch_batches(endless, 0, 0, 1 << 30, threads, None)
    began, waited, done = 0.0, 0.0, -WARM_UP - threads
    try:
        while done < 3 or time.perf_counter() < began + seconds:
            asked = time.perf_counter()
            if done == 0:
                began, waited = asked, 0.0
            batch = batches.xyw(ahead.get().entries)
            waited += time.perf_counter() - asked
            model.train_on_batch(*batch)
            done += 1
        took = time.perf_counter() - began
        return took / done, waited / took
    finally:
        ahead.close()
        ahead.join(60)


def _on_device(model: AugmentedModel, loader: Loader, seconds: float) -> OnDevice | None:
    """The same with the policy in the step; None where it cannot run there."""
    try:
        batches = loader.placed("device")
        return OnDevice(_per_batch(batches, seconds), *_step(model, batches, seconds))
    except OnewarpError:
        return None


def _frames(source: Source, policy: Policy, options: dict[str, Any], seconds: float) -> float:
    """Seconds per batch of one thread for frames that are kept."""
    some = source.subset(range(min(len(source), KEPT * options["batch_size"])))
    batches = FrameBatches(some, policy, reuse=1 << 20, **options)  # so many epochs that none are made ahead
    for index in range(len(batches)):
        batches.build(0, index)
    return timed(lambda at: batches.build(at[0] + 1, at[1]), places(batches), seconds / 2)


def _sizes(source: Source, batches: Batches) -> tuple[int | None, float]:
    """To which short side a store can reduce the images before the policy would have to enlarge more than a tenth of
    them, and what share of their pixels is left; None, 1 where that is not worth while.
    """
    plan = batches.assemble.plan
    rows = np.unique(np.linspace(0, len(source) - 1, min(len(source), LOOKED_AT)).round().astype(int))
    images = [source.lazy(int(row))["images"] for row in rows]
    if not isinstance(images[0], EncodedImage) or not isinstance(plan.stages[0], WarpStage):
        return None, 1.0
    sizes = np.array([image.shape[:2] for image in images])
    matrices = draw(plan, batches.seed, 0, source.ids(rows), None, sizes).arrays["0.matrix"]
    steps = [np.sqrt(np.abs(np.linalg.det(np.linalg.multi_dot([*m, np.eye(3)])[:2, :2]))) for m in matrices]
    short = sizes.min(axis=1)
    wanted = 8 * math.ceil(np.percentile(short / steps, 90) / 8)
    left = np.minimum(wanted / short, 1.0) ** 2
    shrunk = float((sizes.prod(axis=1) * left).sum() / sizes.prod(axis=1).sum())
    return (wanted, shrunk) if shrunk < 0.8 else (None, 1.0)
