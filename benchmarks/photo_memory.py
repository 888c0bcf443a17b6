"""Recipe: decoded photographs. 640x480 uint8 in memory -> RandomResizedCrop 224 (area 0.35 to 1), flip, rotate 15,
colour jitter 0.2, 0.2, 0.2, 0.1, normalise -> float32.

"cold" cycles over more photographs than the caches hold, as training does; "hot" reads the same two again and again.
Contestants that work image by image copy each into its place in a batch of 32.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.photos import MEAN, STD, channels_first, cold, photos
from benchmarks.recipe import Contestant, Pass, Rates, Setup, spread
from benchmarks.stats import against_peers

TITLE = "640x480 in memory -> RandomResizedCrop 224, flip, rotate 15, colour jitter, normalise, float32"
TASKS = ("cold", "hot")
BATCH, SIZE = 32, 224


def onewarp_policy(hue: str) -> Any:
    import onewarp as ow

    return ow.Policy(
        [
            ow.RandomResizedCrop(SIZE, scale=(0.35, 1.0)),
            ow.HorizontalFlip(),
            ow.Rotate(15),
            ow.ColorJitter(0.2, 0.2, 0.2, 0.1, hue_method=hue),
            ow.Normalize("imagenet"),
        ]
    )


def albumentations_transform() -> Any:
    A = peers.albumentations()
    return A.Compose(
        [
            A.RandomResizedCrop(size=(SIZE, SIZE), scale=(0.35, 1.0)),
            A.HorizontalFlip(p=0.5),
            A.Rotate(limit=15, p=1),
            A.ColorJitter(0.2, 0.2, 0.2, 0.1, p=1),
            A.Normalize(MEAN, STD),
        ]
    )


def torchvision_transform() -> Any:
    torch = peers.torch(1)
    v2 = peers.torchvision_v2()
    return v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, scale=(0.35, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomRotation(15, interpolation=v2.InterpolationMode.BILINEAR),
            v2.ColorJitter(0.2, 0.2, 0.2, 0.1),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )


def _batches(setup: Setup, task: str, arrange: Callable[[np.ndarray], Any] = lambda images: images) -> list[Any]:
    """Batches of 32 photographs; if hot, all of the same two."""
    images = photos(setup.photos, cold(BATCH, setup.quick))
    count = len(images) // BATCH
    if task == "hot":
        few = arrange(images[:2])
        return [[few[k % 2] for k in range(BATCH)]] * count
    every = arrange(images)
    return [every[start : start + BATCH] for start in range(0, len(images), BATCH)]


def _onewarp_call(hue: str, setup: Setup, task: str) -> Pass:
    batches, policy = _batches(setup, task), onewarp_policy(hue)

    def work() -> int:
        for batch in batches:
            policy(batch, threads=setup.threads)
        return BATCH * len(batches)

    return work


def _onewarp_loader(hue: str, setup: Setup, task: str) -> Pass:
    import onewarp as ow

    images = [image for batch in _batches(setup, task) for image in batch]
    policy = onewarp_policy(hue)
    loader = ow.Loader(ow.ArraySource(images), policy, batch_size=BATCH, threads=setup.threads)
    return lambda: sum(len(batch) for batch in loader)


def image_by_image(transform: Callable[[int], Any], count: int, out: Any, threads: int) -> Pass:
    """out[slot] = transform(k) for all k < count, by threads; `out` is a batch that is filled again and again."""
    pool = ThreadPoolExecutor(threads)

    def put(number: int) -> None:
        out[number % len(out)] = transform(number)

    def work() -> int:
        spread(pool, put, range(count), step=8)
        return count

    return work


def _each(batches: Sequence[Any], transform: Callable[[Any], Any], out: Any, threads: int) -> Pass:
    return image_by_image(
        lambda number: transform(batches[number // BATCH][number % BATCH]), BATCH * len(batches), out, threads
    )


def _albumentations(setup: Setup, task: str) -> Pass:
    transform = albumentations_transform()
    out = np.empty((BATCH, SIZE, SIZE, 3), np.float32)
    return _each(_batches(setup, task), lambda image: transform(image=image)["image"], out, setup.threads)


def _torchvision(setup: Setup, task: str) -> Pass:
    transform = torchvision_transform()
    torch = peers.torch(1)
    batches = _batches(setup, task, lambda images: torch.from_numpy(channels_first(images)))
    return _each(batches, transform, torch.empty((BATCH, 3, SIZE, SIZE)), setup.threads)


def _kornia_transform() -> Any:
    import kornia.augmentation as K
    import torch

    return K.AugmentationSequential(
        K.RandomResizedCrop((SIZE, SIZE), scale=(0.35, 1.0)),
        K.RandomHorizontalFlip(p=0.5),
        K.RandomRotation(15.0, p=1.0),
        K.ColorJitter(0.2, 0.2, 0.2, 0.1, p=1.0),
        K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
    )


def _kornia(setup: Setup, task: str) -> Pass:
    torch = peers.torch(setup.threads)
    transform = _kornia_transform()
    batches = _batches(setup, task, lambda images: torch.from_numpy(channels_first(images)))
    if task == "hot":
        batches = [torch.stack(batches[0])] * len(batches)

    def work() -> int:
        for batch in batches:
            transform(batch.float() / 255)
        return BATCH * len(batches)

    return work


def _kornia_threads(setup: Setup, task: str) -> Pass:
    torch = peers.torch(1)
    each = threading.local()  # its transforms keep the last draw on themselves

    def transform(image: Any) -> Any:
        if not hasattr(each, "transform"):
            each.transform = _kornia_transform()
        return each.transform(image[None].float() / 255)[0]

    batches = _batches(setup, task, lambda images: torch.from_numpy(channels_first(images)))
    return _each(batches, transform, torch.empty((BATCH, 3, SIZE, SIZE)), setup.threads)


CONTESTANTS = (
    Contestant("onewarp, linear hue, policy(x)", partial(_onewarp_call, "linear"), ours=True),
    Contestant("onewarp, HSV hue, policy(x)", partial(_onewarp_call, "hsv"), ours=True),
    Contestant("onewarp, linear hue, Loader", partial(_onewarp_loader, "linear"), ours=True),
    Contestant("onewarp, HSV hue, Loader", partial(_onewarp_loader, "hsv"), ours=True),
    Contestant("albumentations, threads", _albumentations, ("albumentations",)),
    Contestant("torchvision, threads", _torchvision, ("torch", "torchvision")),
    Contestant("kornia, batches", _kornia, ("torch", "kornia")),
    Contestant("kornia, one by one, threads", _kornia_threads, ("torch", "kornia")),
)
TEXTS = {
    "cold": "Cycling over more photographs than the caches hold:",
    "hot": "The same two photographs again and again, in the caches:",
}


def tables(rates: Rates) -> str:
    ours = [contestant.name for contestant in CONTESTANTS if contestant.ours]
    return "\n\n".join(f"{TEXTS[task]}\n\n{against_peers(rates[task], ours)}" for task in TASKS if rates.get(task))
