"""Recipe: small images in memory. 32x32 uint8 -> flip, rotate up to 10 degrees, shift up to 0.1, rescale -> float32.

Every contestant makes batches of 128 of all images. Those that work image by image copy each into its place in the
batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.recipe import Contestant, Pass, Rates, Setup, spread
from benchmarks.stats import against_peers

TITLE = "32x32 in memory: flip, rotate 10, shift 0.1, rescale, float32, batch 128"
TASKS = ("",)
BATCH = 128


def _images(setup: Setup) -> np.ndarray:
    """Random pixels: none of the contestants looks at them."""
    count = 2560 if setup.quick else 10240
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def _labels(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 10, count)


def _policy() -> Any:
    import onewarp as ow

    return ow.Policy([ow.HorizontalFlip(), ow.Rotate(10), ow.Translate(0.1), ow.Rescale(1 / 255)])


def _onewarp_call(setup: Setup, task: str) -> Pass:
    images, policy = _images(setup), _policy()

    def work() -> int:
        for start in range(0, len(images), BATCH):
            policy(images[start : start + BATCH], threads=setup.threads)
        return len(images)

    return work


def _onewarp_loader(setup: Setup, task: str) -> Pass:
    import onewarp as ow

    images = _images(setup)
    source = ow.ArraySource(images, _labels(len(images)))
    loader = ow.Loader(source, _policy(), batch_size=BATCH, threads=setup.threads)
    return lambda: sum(len(batch) for batch, _ in loader)


def _image_by_image(
    images: Any, transform: Callable[[Any], Any], shape: tuple[int, ...], setup: Setup, empty: Callable[..., Any]
) -> Pass:
    """Threads that each fill a batch with what transform(image) gives; the batches are made once and used again."""
    pool = ThreadPoolExecutor(setup.threads)
    batches = [empty((BATCH, *shape)) for _ in range(len(images) // BATCH)]

    def fill(number: int) -> None:
        for slot, image in enumerate(images[number * BATCH : (number + 1) * BATCH]):
            batches[number][slot] = transform(image)

    def work() -> int:
        spread(pool, fill, range(len(batches)))
        return len(images)

    return work


def _albumentations_transform() -> Any:
    A = peers.albumentations()
    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.Affine(rotate=(-10, 10), translate_percent=(-0.1, 0.1), p=1),
            A.ToFloat(max_value=255),
        ]
    )


def _albumentations(setup: Setup, task: str) -> Pass:
    transform = _albumentations_transform()
    return _image_by_image(
        _images(setup), lambda image: transform(image=image)["image"], (32, 32, 3), setup, _float_array
    )


def _float_array(shape: tuple[int, ...]) -> np.ndarray:
    return np.empty(shape, np.float32)


class _AugmentedOnRead:
    """A map-style data set for torch's DataLoader; its processes get a copy."""

    def __init__(self, images: np.ndarray) -> None:
        self.images, self.labels, self.transform = images, _labels(len(images)), _albumentations_transform()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.transform(image=self.images[index])["image"], self.labels[index]


def _albumentations_processes(setup: Setup, task: str) -> Pass:
    torch = peers.torch(1)
    data = _AugmentedOnRead(_images(setup))
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH, num_workers=setup.threads, persistent_workers=True)
    return lambda: sum(len(images) for images, _ in loader)


def _torchvision(setup: Setup, task: str) -> Pass:
    torch = peers.torch(1)
    v2 = peers.torchvision_v2()
    transform = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(10, translate=(0.1, 0.1), interpolation=v2.InterpolationMode.BILINEAR),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    images = torch.from_numpy(_images(setup)).permute(0, 3, 1, 2).contiguous()
    return _image_by_image(images, transform, (3, 32, 32), setup, torch.empty)


def _by_batch(make: Callable[[], Any], pooled: bool, setup: Setup, task: str) -> Pass:
    """torch: whole batches [n, 3, 32, 32] from uint8 to float in [0, 1] and through make().

    pooled: threads of ours with a batch each; else torch's threads within every operation.
    """
    torch = peers.torch(1 if pooled else setup.threads)
    images = torch.from_numpy(_images(setup)).permute(0, 3, 1, 2).contiguous()
    pool, each = ThreadPoolExecutor(setup.threads if pooled else 1), threading.local()

    def batch(start: int) -> None:
        if not hasattr(each, "transform"):
            each.transform = make()  # it keeps its last draw on itself
        each.transform(images[start : start + BATCH].float() / 255)

    def work() -> int:
        spread(pool, batch, range(0, len(images), BATCH))
        return len(images)

    return work


def kornia_steps() -> Any:
    import kornia.augmentation as K

    affine = K.RandomAffine(10.0, translate=(0.1, 0.1), p=1.0)  # its p is 0.5 unless told
    return K.AugmentationSequential(K.RandomHorizontalFlip(p=0.5), affine)


def fuse_steps() -> Any:
    peers.torchvision_v2()
    import kornia.augmentation as K
    from fuse_aug import Compose

    flip, rotate = K.RandomHorizontalFlip(p=0.5), K.RandomRotation(10.0, p=1.0)
    return Compose([flip, rotate, K.RandomAffine(0.0, translate=(0.1, 0.1), p=1.0)])


def _dali(setup: Setup, task: str) -> Pass:
    from nvidia.dali import fn, pipeline_def, types

    images = _images(setup)

    def batches() -> Any:
        while True:
            for start in range(0, len(images), BATCH):
                yield images[start : start + BATCH]

    @pipeline_def(batch_size=BATCH, num_threads=setup.threads, device_id=None)
    def pipeline() -> Any:
        image = fn.external_source(source=batches(), layout="HWC", dtype=types.UINT8)
        matrix = fn.transforms.rotation(angle=fn.random.uniform(range=(-10.0, 10.0)), center=[16, 16])
        matrix = fn.transforms.translation(matrix, offset=fn.random.uniform(range=(-3.2, 3.2), shape=2))
        image = fn.warp_affine(image, matrix=matrix, fill_value=0)
        return fn.crop_mirror_normalize(
            image,
            mirror=fn.random.coin_flip(),
            mean=[0.0] * 3,
            std=[255.0] * 3,
            dtype=types.FLOAT,
            output_layout="HWC",
        )

    running = pipeline()
    running.build()

    def work() -> int:
        for _ in range(len(images) // BATCH):
            running.run()
        return len(images)

    return work


def _keras_layers(setup: Setup, task: str) -> Pass:
    tf = peers.tensorflow(setup.threads)
    import keras

    layers = keras.layers
    augment = keras.Sequential(
        [
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(10 / 360, fill_mode="constant"),
            layers.RandomTranslation(0.1, 0.1, fill_mode="constant"),
            layers.Rescaling(1 / 255),
        ]
    )
    images = _images(setup)
    data = tf.data.Dataset.from_tensor_slices((images, _labels(len(images)))).batch(BATCH, drop_remainder=True)
    data = data.map(
        lambda x, y: (augment(tf.cast(x, tf.float32), training=True), y), num_parallel_calls=tf.data.AUTOTUNE
    ).prefetch(4)
    return lambda: sum(len(batch) for batch, _ in data)


def _image_data_generator(setup: Setup, task: str) -> Pass:
    tf = peers.tensorflow(setup.threads)
    generator = tf.keras.preprocessing.image.ImageDataGenerator(
        rotation_range=10, width_shift_range=0.1, height_shift_range=0.1, horizontal_flip=True, rescale=1 / 255
    )
    images = _images(setup)
    flow = generator.flow(images, _labels(len(images)), batch_size=BATCH)
    return lambda: sum(len(flow[index][0]) for index in range(len(flow)))


KORNIA, FUSE = ("torch", "kornia"), ("torch", "torchvision", "kornia", "fuse_aug")
TENSORFLOW = {"KERAS_BACKEND": "tensorflow"}
CONTESTANTS = (
    Contestant("onewarp, policy(x)", _onewarp_call, ours=True),
    Contestant("onewarp, Loader", _onewarp_loader, ours=True),
    Contestant("albumentations, threads", _albumentations, ("albumentations",)),
    Contestant("albumentations, processes", _albumentations_processes, ("torch", "albumentations")),
    Contestant("torchvision, threads", _torchvision, ("torch", "torchvision")),
    Contestant("kornia", partial(_by_batch, kornia_steps, False), KORNIA),
    Contestant("kornia, a batch per thread", partial(_by_batch, kornia_steps, True), KORNIA),
    Contestant("fuse-augmentations", partial(_by_batch, fuse_steps, False), FUSE),
    Contestant("fuse-augmentations, a batch per thread", partial(_by_batch, fuse_steps, True), FUSE),
    Contestant("DALI, CPU", _dali, ("nvidia.dali",)),
    Contestant("Keras layers in tf.data", _keras_layers, ("tensorflow",), TENSORFLOW),
    Contestant("ImageDataGenerator", _image_data_generator, ("tensorflow", "scipy"), TENSORFLOW),
)


def tables(rates: Rates) -> str:
    return against_peers(rates[""], [contestant.name for contestant in CONTESTANTS if contestant.ours])
