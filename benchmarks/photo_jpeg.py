"""Recipe: photographs from JPEG files. Decode, then as in `photo_memory.py`; what counts is the share of the rate
of decoding alone, which is the bound for everybody who decodes exactly.

Decoding alone is simplejpeg with the accurate DCT and upsampling, from bytes in memory, in the same number of
threads, into an array that is used again and again: nothing but the decoder. onewarp, DALI and tf.data read files.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.cifar import TENSORFLOW
from benchmarks.photo_memory import (
    BATCH,
    SIZE,
    albumentations_transform,
    image_by_image,
    onewarp_policy,
    torchvision_transform,
)
from benchmarks.photos import MEAN, STD, blobs, jpeg_files
from benchmarks.recipe import Contestant, Pass, Rates, Setup, spread
from benchmarks.stats import side_by_side

TITLE = "640x480 JPEG -> RandomResizedCrop 224, flip, rotate 15, colour jitter, normalise, float32"
TASKS = ("",)
DECODE = "decoding alone, exact"


def _count(setup: Setup, files: int) -> int:
    """Images of a pass: whole batches."""
    return (files if setup.quick else 4 * files) // BATCH * BATCH


def _decode(options: dict[str, Any], setup: Setup, task: str) -> Pass:
    import simplejpeg

    data = blobs(setup.photos)
    headers = [simplejpeg.decode_jpeg_header(blob) for blob in data]
    largest = max(height * width * 3 for height, width, *_ in headers)
    own = threading.local()

    def decode(number: int) -> None:
        if not hasattr(own, "buffer"):
            own.buffer = np.empty(largest, np.uint8)
        simplejpeg.decode_jpeg(data[number % len(data)], buffer=own.buffer, **options)

    return _spread_over(setup, decode, _count(setup, len(data)))


def _spread_over(setup: Setup, function: Callable[[int], object], count: int) -> Pass:
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(setup.threads)

    def work() -> int:
        spread(pool, function, range(count), step=8)
        return count

    return work


def _opencv(data: bytes) -> np.ndarray:
    import cv2

    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _decode_opencv(setup: Setup, task: str) -> Pass:
    import cv2

    cv2.setNumThreads(0)
    data = blobs(setup.photos)
    return _spread_over(setup, lambda number: _opencv(data[number % len(data)]), _count(setup, len(data)))


def _onewarp(hue: str, decode: str, setup: Setup, task: str) -> Pass | None:
    import onewarp as ow

    files = jpeg_files(setup.photos)
    chosen = [files[k % len(files)] for k in range(_count(setup, len(files)))]
    options = {"batch_size": BATCH, "threads": setup.threads}
    if decode == "exact":
        source = ow.FileSource(chosen)
    elif "decode" in inspect.signature(ow.FileSource).parameters:
        source = ow.FileSource(chosen, decode=decode)
    elif "decode" in inspect.signature(ow.Loader).parameters:
        source, options["decode"] = ow.FileSource(chosen), decode
    else:
        return None
    loader = ow.Loader(source, onewarp_policy(hue), **options)
    return lambda: sum(len(batch) for batch in loader)


def _albumentations(setup: Setup, task: str) -> Pass:
    transform, data = albumentations_transform(), blobs(setup.photos)
    out = np.empty((BATCH, SIZE, SIZE, 3), np.float32)
    return image_by_image(
        lambda number: transform(image=_opencv(data[number % len(data)]))["image"],
        _count(setup, len(data)),
        out,
        setup.threads,
    )


def _torchvision(setup: Setup, task: str) -> Pass:
    transform, data = torchvision_transform(), blobs(setup.photos)
    torch = peers.torch(1)

    def one(number: int) -> Any:
        return transform(torch.from_numpy(_opencv(data[number % len(data)])).permute(2, 0, 1).contiguous())

    return image_by_image(one, _count(setup, len(data)), torch.empty((BATCH, 3, SIZE, SIZE)), setup.threads)


def _dali(setup: Setup, task: str) -> Pass:
    from nvidia.dali import fn, pipeline_def, types

    files = list(jpeg_files(setup.photos))

    @pipeline_def(batch_size=BATCH, num_threads=setup.threads, device_id=None)
    def pipeline() -> Any:
        data, _ = fn.readers.file(files=files, random_shuffle=True, name="reader")
        image = fn.decoders.image_random_crop(
            data, random_area=[0.35, 1.0], random_aspect_ratio=[3 / 4, 4 / 3], output_type=types.RGB, device="cpu"
        )
        image = fn.resize(image, size=(SIZE, SIZE))
        image = fn.rotate(image, angle=fn.random.uniform(range=(-15.0, 15.0)), keep_size=True, fill_value=0)
        factors = {name: fn.random.uniform(range=(0.8, 1.2)) for name in ("brightness", "contrast", "saturation")}
        image = fn.color_twist(image, hue=fn.random.uniform(range=(-36.0, 36.0)), **factors)
        return fn.crop_mirror_normalize(
            image,
            mirror=fn.random.coin_flip(),
            mean=[255 * value for value in MEAN],
            std=[255 * value for value in STD],
            dtype=types.FLOAT,
            output_layout="HWC",
        )

    running = pipeline()
    running.build()
    count = _count(setup, len(files))

    def work() -> int:
        for _ in range(count // BATCH):
            running.run()
        return count

    return work


def _tf_data(setup: Setup, task: str) -> Pass:
    tf = peers.tensorflow(setup.threads)
    import keras

    layers = keras.layers
    augment = keras.Sequential(
        [
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(15 / 360, fill_mode="constant"),
            layers.RandomColorJitter((0, 255), 0.2, 0.2, (0.4, 0.6), 0.1),
            layers.Normalization(mean=[255 * m for m in MEAN], variance=[(255 * s) ** 2 for s in STD]),
        ]
    )

    def cropped(path: Any) -> Any:
        """Decodes nothing but the crop, as fast ImageNet pipelines do."""
        data = tf.io.read_file(path)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(data),
            tf.zeros((1, 0, 4)),
            area_range=(0.35, 1.0),
            aspect_ratio_range=(3 / 4, 4 / 3),
            use_image_if_no_bounding_boxes=True,
        )
        window = tf.stack([begin[0], begin[1], size[0], size[1]])
        return tf.image.resize(tf.image.decode_and_crop_jpeg(data, window, channels=3), (SIZE, SIZE))

    files = jpeg_files(setup.photos)
    chosen = [files[k % len(files)] for k in range(_count(setup, len(files)))]
    data = tf.data.Dataset.from_tensor_slices(chosen).map(cropped, num_parallel_calls=tf.data.AUTOTUNE)
    data = data.batch(BATCH, drop_remainder=True)
    data = data.map(lambda x: augment(x, training=True), num_parallel_calls=tf.data.AUTOTUNE).prefetch(4)
    return lambda: sum(len(batch) for batch in data)


FAST = {"fastdct": True, "fastupsample": True}
CONTESTANTS = (
    Contestant(DECODE, partial(_decode, {})),
    Contestant("decoding alone, fast DCT and upsampling", partial(_decode, FAST)),
    Contestant("decoding alone, OpenCV", _decode_opencv),
    Contestant("onewarp, linear hue", partial(_onewarp, "linear", "exact"), ours=True),
    Contestant("onewarp, HSV hue", partial(_onewarp, "hsv", "exact"), ours=True),
    Contestant('onewarp, linear hue, decode="fast"', partial(_onewarp, "linear", "fast"), ours=True),
    Contestant("albumentations, OpenCV, threads", _albumentations, ("albumentations",)),
    Contestant("torchvision, OpenCV, threads", _torchvision, ("torch", "torchvision")),
    Contestant("DALI, CPU", _dali, ("nvidia.dali",)),
    Contestant("Keras layers in tf.data", _tf_data, ("tensorflow",), TENSORFLOW),
)


def tables(rates: Rates) -> str:
    measured = rates[""]
    ours = [contestant.name for contestant in CONTESTANTS if contestant.ours]
    return side_by_side(measured, ours, DECODE if DECODE in measured else None, "decoding alone")
