"""Files of a batch, decoded and warped into their slots: as far as they are shown, and while they are in the cache.

JPEGs are decoded and warped by one native call. What that leaves, and all other files, are decoded one by one into
memory of the thread's own; small neighbours are warped by one call, which by itself takes as long as the warp of a
32x32 image.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from onewarp.data.base import DrawnMask
from onewarp.data.decode import EncodedImage, LazyMask
from onewarp.data.slots import each, pieces, runs, spread
from onewarp.engine import host
from onewarp.engine.visited import visited
from onewarp.errors import DataError
from onewarp.params import Params
from onewarp.plan import Plan

RUN = 1 << 18  # bytes of decoded images that are warped by one call; they are to stay in a core's cache


class FileWarp:
    """What it takes to fill the slots of one batch.

    Args:
        plan, params: what is done to each sample.
        images: of each slot, `EncodedImage` or an array [h, w, c]. masks: likewise, `LazyMask` or an array; or None.
        sizes: (height, width) of each image, [n, 2].
        out: where the warped images go, [n, *plan.output_shape].
        fast: whether JPEGs may be decoded fast, and at the scale to which the warp would reduce them anyway.
    """

    def __init__(
        self,
        plan: Plan,
        params: Params,
        images: Sequence[Any],
        masks: Sequence[Any] | None,
        sizes: np.ndarray,
        out: np.ndarray,
        fast: bool,
    ) -> None:
        self.plan, self.params, self.images, self.masks, self.out, self.fast = plan, params, images, masks, out, fast
        self.streamed, self.parts = host.streams(out), visited(plan, params, sizes)
        self.scales = [self._scale(slot) for slot in range(len(images))]
        self.places = np.concatenate([sizes, self.parts, np.reshape(self.scales, (-1, 1))], axis=1, dtype=np.int32)

    def __call__(self, pool: Executor | None, name: Callable[[int], str]) -> list[np.ndarray] | None:
        """Fill `out`; returns the warped masks, [1, h, w] of each, or None. `name`: what errors call a slot.

        Raises:
            Unreadable: with every sample that is to blame.
        """
        found: list[np.ndarray] = [self.out] * len(self.images)
        direct = host.takes_jpegs(self.plan)

        def work(piece: range) -> None:
            left = self._warp_jpegs(piece) if direct else piece
            spread(self._warp, runs(left, self._room, RUN))
            if self.masks is not None:
                masks = self.masks
                spread(lambda run: self._warp_masks(masks, run, name, found), runs(piece, self._room, RUN))

        spread(work, pieces(len(self.images), pool), pool)
        return None if self.masks is None else found

    def _scale(self, slot: int) -> int:
        """By how much the first warp reduces an image before it samples it, where the decoder can do that."""
        if not self.fast or not isinstance(self.images[slot], EncodedImage):
            return 1
        r = host.reduction(self.plan, self.params, slot)
        return r if self.images[slot].scales(r) else 1

    def _room(self, slot: int) -> int:
        """Bytes that an image takes when it is decoded, in whole lines of the cache; one that the decoder reduces goes
        alone.
        """
        if self.scales[slot] > 1:
            return RUN
        image = self.images[slot]
        size: int = math.prod(image.shape) * np.dtype(image.dtype).itemsize
        return size + -size % 64

    def _warp_jpegs(self, piece: range) -> list[int]:
        """Decode and warp what is a plain JPEG; returns the other slots."""
        own = slice(piece.start, piece.stop)
        jpegs = [image.data if _straight(image) else b"" for image in self.images[own]]
        options: dict[str, Any] = {"start": piece.start, "streamed": self.streamed, "fast": self.fast}
        left = host.run_jpegs(self.plan, self.params, jpegs, self.places[own], self.out[own], **options)
        return [piece[number] for number in left]

    def _warp(self, run: range) -> None:
        own, start, r = self.params, run.start, self.scales[run.start]
        if r > 1:
            own, start = host.reduced_source(self.plan, own, start, r), 0
        pixels, out = self._decoded(run, r), self.out[run.start : run.stop]
        host.run_images(self.plan, own, pixels, out, start=start, streamed=self.streamed)

    def _decoded(self, run: range, reduction: int) -> list[np.ndarray]:
        """The images of a run, one behind the other in memory that the thread's next run takes again."""
        pixels: list[np.ndarray] = []
        memory, at = None, 0

        def decode(slot: int) -> None:
            nonlocal memory, at
            image = self.images[slot]
            if not isinstance(image, EncodedImage):
                pixels.append(image)
                return
            shape, kind = image.scaled(reduction), np.dtype(image.dtype)
            size = math.prod(shape) * kind.itemsize
            if memory is None:
                memory = _scratch(max(size, RUN))
            place = memory[at : at + size].view(kind).reshape(shape)
            at += size + -size % 64
            top, left, bottom, right = self.parts[slot].tolist()
            part = top, left, bottom, right
            pixels.append(image.decode(place, fast=self.fast, reduction=reduction, part=part))

        each(decode, run)
        return pixels

    def _warp_masks(
        self, masks: Sequence[Any], run: range, name: Callable[[int], str], found: list[np.ndarray]
    ) -> None:
        """Decode and warp the masks of a run; found[slot] becomes [1, h, w]."""
        decoded: dict[int, np.ndarray] = {}

        def mask(slot: int) -> None:
            given = masks[slot]
            if isinstance(given, LazyMask) and not isinstance(given, DrawnMask):
                given = given.decode()
            image = self.images[slot].shape
            if given.shape[:2] != image[:2]:
                raise DataError(
                    f"{name(slot)}: the image has {image[0]}x{image[1]} pixels (EXIF orientation applied), its "
                    f"segmentation mask {given.shape[0]}x{given.shape[1]}; give it the image's size"
                )
            if isinstance(given, DrawnMask):
                found[slot] = given.draw(self.plan, self.params, slot)
            else:
                decoded[slot] = given

        each(mask, run)
        if len(decoded) == len(run) and len({(given.dtype, given.shape[2:]) for given in decoded.values()}) == 1:
            together = host.run_masks(self.plan, self.params, list(decoded.values()), start=run.start)
            found[run.start : run.stop] = np.split(together, len(run))
        else:  # 8-bit and 16-bit files may meet in a batch
            for slot, given in decoded.items():
                found[slot] = host.run_masks(self.plan, self.params, [given], start=slot)


_memory = threading.local()  # .bytes: where a thread decodes one run after the other; fresh memory costs page faults


def _scratch(size: int) -> np.ndarray:
    """Bytes of this thread's own to decode into; good until the thread's next run."""
    if getattr(_memory, "bytes", np.empty(0)).size < size:
        _memory.bytes = np.empty(size, np.uint8)
    memory: np.ndarray = _memory.bytes
    return memory


def _straight(image: Any) -> bool:
    return isinstance(image, EncodedImage) and image.straight
