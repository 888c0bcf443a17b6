"""The training set of a pixel classifier: pixels drawn from images and masks that one policy has augmented together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import NoneType
from typing import Any

import numpy as np

from onewarp import random
from onewarp.arguments import thread_count
from onewarp.data.base import Source
from onewarp.data.batches import Batches
from onewarp.data.sources import ArraySource
from onewarp.errors import InputError
from onewarp.policy import Policy
from onewarp.segment.features import PixelFeatures

SLOT = ("sample_pixels", 0)  # of the random numbers that choose pixels
TOGETHER = 8  # images in memory at a time; a constant, because a mix depends on its batch


def sample_pixels(
    source: Any,
    policy: Policy | None = None,
    *,
    classes: int,
    features: PixelFeatures | None = None,
    pixels: int = 200_000,
    passes: int = 1,
    balance: float = 0.5,
    void: int | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels to learn from: their features and their classes.

    A pass shows every image once, augmented by `policy` as epoch 0, 1, ... of a Loader with the same seed would. Every
    showing gives as many pixels, fewer where it has fewer that count. Which ones is drawn from (seed, pass, id) alone:
    order, batches and threads do not matter.

    Args:
        source: a `Source` with segmentation masks, such as `PairSource`; or a pair (images uint8 [n, h, w, 3], masks
            [n, h, w]).
        policy: acts on image and mask together; it must leave images uint8 and make them one size. None: as they are.
        classes: labels are 0 to classes - 1.
        features: what describes a pixel; `PixelFeatures()` by default.
        pixels: of all showings together, at most. Memory: 4 bytes x pixels x features, and that of eight images.
        passes: how often each image is shown, each time under another draw.
        balance: how the pixels of a showing are shared by the classes in it, in [0, 1]: by their number of pixels to
            the power of 1 - balance. 0: as many as their area; 1: equally many, as far as there are.
        void: label of pixels that are left out. Give it to the policy as mask_fill_value=, too.
        seed: whole number in [0, 2**64).
        threads: all cores by default.

    Returns:
        float32 [m, features] and int64 [m], by pass, image and place in the image; m <= pixels.

    Raises:
        InputError: a source without masks, labels outside [0, classes) that are not void, images that are not uint8 RGB
            after the policy, numbers out of range, or no pixel to learn from.
    """
    _check_counts(classes=classes, pixels=pixels, passes=passes)
    if isinstance(balance, bool) or not isinstance(balance, (int, float)) or not 0 <= balance <= 1:
        raise InputError(f"balance={balance!r} must be a number in [0, 1]")
    described = PixelFeatures() if features is None else features
    if not isinstance(described, PixelFeatures):
        raise InputError(f"features={features!r} must be a PixelFeatures")
    if not isinstance(policy, (Policy, NoneType)):
        raise InputError(f"policy={policy!r} must be a Policy, or None")
    read = _as_source(source)
    batches = Batches(read, Policy([]) if policy is None else policy, TOGETHER, shuffle=False, seed=seed)
    showing = _Showing(read, described, classes, float(balance), void, seed)
    ends = np.arange(passes * len(read) + 1) * pixels // (passes * len(read))  # a showing gives what lies between two
    found: list[tuple[np.ndarray, np.ndarray]] = []
    with ThreadPoolExecutor(thread_count(threads)) as pool:
        for epoch in range(passes):
            for index in range(len(batches)):
                entries = batches.build(epoch, index, pool).entries
                images, rows = _checked_images(entries["images"]), batches.indices(epoch, index)
                masks = entries["segmentation_masks"].reshape(images.shape[:3])
                first = epoch * len(read) + int(rows[0])
                quotas = np.diff(ends[first : first + len(rows) + 1])
                found += pool.map(partial(showing.pixels, epoch), rows, quotas, images, masks)
    if not any(len(y) for _, y in found):
        raise InputError(f"there is no pixel to learn from: in all {len(read)} masks everything is void ({void})")
    return np.concatenate([x for x, _ in found]), np.concatenate([y for _, y in found])


@dataclass(frozen=True)
class _Showing:
    """What stays the same from one showing of an image to the next."""

    source: Source
    features: PixelFeatures
    classes: int
    balance: float
    void: int | None
    seed: int

    def pixels(
        self, epoch: int, row: int, quota: int, image: np.ndarray, mask: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features and classes of the pixels that one showing gives."""
        labels, ids = mask.reshape(-1), self.source.ids(np.array([row]))
        u = random.uniforms(self.seed, epoch, ids, None, SLOT, labels.size)[0]
        name = self.source.name(int(row))
        places = choose(labels, u, int(quota), self.classes, self.balance, self.void, name)
        x = self.features(image, threads=1).reshape(-1, len(self.features))
        return x[places], labels[places].astype(np.int64)


def choose(
    labels: np.ndarray, u: np.ndarray, total: int, classes: int, balance: float, void: int | None, name: str
) -> np.ndarray:
    """Places, ascending, of the pixels of one showing that are learnt from.

    Args:
        labels: [pixels]. u: [pixels], uniform numbers; of each class the pixels with the lowest are taken.
        total: how many; fewer where fewer count.
        name: of the image, for errors.
    """
    counts = labels != void if void is not None else np.ones(labels.shape, bool)
    wrong = counts & ((labels < 0) | (labels >= classes))
    if wrong.any():
        raise InputError(
            f"{name}: its mask has the label {labels[wrong][0]}, which is not in [0, {classes}); name it with void= "
            "if it does not count"
        )
    areas = np.bincount(labels[counts].astype(np.int64), minlength=classes)
    chosen = []
    for label, quota in enumerate(quotas_of(areas, total, balance)):
        if quota:
            places = np.flatnonzero(labels == label)
            chosen.append(places[np.argpartition(u[places], quota - 1)[:quota]])
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)


def quotas_of(areas: np.ndarray, total: int, balance: float) -> np.ndarray:
    """How many of `total` pixels each class gives: in proportion to areas ** (1 - balance), at most its area.

    What a small class cannot give, the others do. Rounded so that the sum is `total`, the largest remainders up.
    """
    total = min(total, int(areas.sum()))
    weights = np.where(areas > 0, areas.astype(np.float64) ** (1 - balance), 0.0)
    share = np.zeros(len(areas))
    full = areas == 0
    while not full.all():
        rest = total - areas[full].sum()
        share = np.where(full, areas, weights * (rest / weights[~full].sum()))
        more = ~full & (share > areas)
        if not more.any():
            break
        full |= more
    found = np.minimum(np.floor(share + 1e-9).astype(np.int64), areas)
    missing = total - int(found.sum())
    order = np.argsort(found - share, kind="stable")
    found[order[:missing]] += 1
    return found


def _check_counts(**counts: Any) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise InputError(f"{name}={value!r} must be a whole number >= 1")


def _as_source(source: Any) -> Source:
    if isinstance(source, tuple) and len(source) == 2:
        source = ArraySource(source[0], segmentation_masks=source[1])
    if not isinstance(source, Source):
        raise InputError(f"source is {type(source).__name__}; pass a Source or a pair (images, masks)")
    if "segmentation_masks" not in source.roles:
        raise InputError(f"{source!r} has no segmentation masks, only {', '.join(source.roles)}; use PairSource")
    return source


def _checked_images(images: np.ndarray) -> np.ndarray:
    """Images as the features want them: what the policy made of them, uint8 [n, h, w, 3]."""
    if images.dtype != np.uint8:
        raise InputError(
            f"images are {images.dtype} after the policy; leave Normalize and Rescale out, pixels stay uint8"
        )
    if images.ndim != 4 or images.shape[-1] != 3:
        raise InputError(f"images have shape {images.shape} after the policy; pixel features need [n, h, w, 3], RGB")
    return images
