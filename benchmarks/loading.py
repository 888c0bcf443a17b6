"""Seconds per epoch by where the samples lie and who loads them, and the experiment behind a user's question.

python -m benchmarks.loading [--data FOLDER] [--only photos cifar question] [--out FILE.json]

FOLDER holds `coco_tiny` and `cifar10-train.tar`. Three parts, two threads, JAX:

photos     5,000 JPEG photographs of about 640x480 -> RandomResizedCrop 224, flip, rotate 15, colour jitter, normalise
cifar      CIFAR-10 as 50,000 JPEG files and as a tar -> flip, shift 0.1, rotate 10, float32, batch 128
question   25,000 JPEG photographs -> 32x32 -> flatten -> dense 3072-768-384-2: all in memory, resized on the fly and
           resized beforehand took 0, 36 and 13 s per epoch on a GTX 970

Each way is a process of its own that runs an epoch to warm up (it fills a store or keeps frames) and then some more, of
which the median counts. The photographs are those of coco_tiny under many names, so they are read from the
system's cache by everybody; the other libraries resize and augment each epoch anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.machine import machine, versions
from benchmarks.photos import jpeg_files

BATCH = {"photos": 32, "cifar": 128, "question": 64}
Epoch = Callable[[], int]  # runs an epoch, returns how many images it showed


def photo_policy() -> Any:
    from benchmarks.photo_memory import onewarp_policy

    return onewarp_policy("linear")


def small_policy() -> Any:
    import onewarp as ow

    return ow.Policy([ow.HorizontalFlip(), ow.Rotate(10), ow.Translate(0.1), ow.Rescale(1 / 255)])


def question_policy() -> Any:
    import onewarp as ow

    return ow.Policy([ow.Resize(32), ow.Rescale(1 / 255)])


POLICIES = {"photos": photo_policy, "cifar": small_policy, "question": question_policy}


def classes_of(files: list[str]) -> np.ndarray:
    return np.arange(len(files)) % 2


def model_of(part: str, kind: str) -> Any:
    """Compiled; "small" costs little beside loading, "large" is what loading should hide behind."""
    import keras

    layers = keras.layers
    if part == "question":
        body: list[Any] = [layers.Flatten(), layers.Dense(768, "relu"), layers.Dense(384, "relu")]
        model = keras.Sequential([keras.Input((32, 32, 3)), *body, layers.Dense(2)])
    elif kind == "small":
        shape = (224, 224, 3) if part == "photos" else (32, 32, 3)
        body = [layers.AveragePooling2D(8 if part == "photos" else 2), layers.Conv2D(16, 3, activation="relu")]
        model = keras.Sequential([keras.Input(shape), *body, layers.GlobalAveragePooling2D(), layers.Dense(10)])
    else:
        shape = (224, 224, 3) if part == "photos" else (32, 32, 3)
        model = keras.applications.MobileNetV2(shape, alpha=0.35, weights=None, classes=10, classifier_activation=None)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=keras.backend.backend() != "torch")
    return model


def trained(loader: Any, part: str, kind: str) -> Epoch:
    """An epoch of `fit`, or of the loader alone."""
    if kind == "none":
        return lambda: sum(len(batch[0]) for batch in loader)
    model = model_of(part, kind)
    count = len(loader) * BATCH[part]

    def epoch() -> int:
        model.fit(loader, epochs=1, verbose=0)
        return count

    return epoch


def onewarp(part: str, way: str, kind: str, folder: Path, threads: int) -> Epoch:
    import onewarp as ow

    paths = sorted(str(path) for path in (folder / "files").rglob("*.jpg"))
    options: dict[str, Any] = {"batch_size": BATCH[part], "threads": threads}
    if way == "tar":
        source: Any = ow.TarSource(folder / "cifar10-train.tar")
    else:
        source = ow.FileSource(paths, classes_of(paths), image_size=(32, 32) if part == "cifar" else None)
    if way == "in memory":
        if part == "cifar":
            source = source.in_memory()
        elif part == "question":  # resized once, as the user did
            pixels = np.concatenate([x for x, _ in ow.Loader(source, ow.Policy([ow.Resize(32)]), 64, shuffle=False)])
            source = ow.ArraySource(pixels[: len(paths)], classes_of(paths))
        else:
            source = ow.FileSource([source[i]["images"] for i in range(len(source))], classes_of(paths))
    elif way.endswith("store"):
        source = ow.StoreSource(folder / way.replace(" ", "-"))
    elif way == "frames":
        options["reuse"] = 1000
    return trained(ow.Loader(source, POLICIES[part](), **options), part, kind)


def prepare(part: str, folder: Path, threads: int) -> dict[str, float]:
    """The stores of a part; seconds that each took to make."""
    import onewarp as ow
    from onewarp.data.store import prepare as make

    how: dict[str, Any] = {"photos": {"short_side": 256}, "cifar": {}, "question": {"size": 32}}[part]
    paths = sorted(str(path) for path in (folder / "files").rglob("*.jpg"))
    found = {}
    for name, raw in (("jpeg-store", False), ("raw-store", True)):
        start = time.perf_counter()
        source = ow.FileSource(paths, classes_of(paths))
        make(source, folder / name, ow.StoreSettings(**how, quality=90, raw=raw), threads=threads)
        found[name] = time.perf_counter() - start
    return found


def albumentations_on(part: str) -> Callable[[str], np.ndarray]:
    """Read, decode and augment one file as a PyTorch or grain user of Albumentations does."""
    import cv2

    A = peers.albumentations()
    if part == "photos":
        from benchmarks.photo_memory import albumentations_transform

        transform = albumentations_transform()
    elif part == "cifar":
        steps = [A.HorizontalFlip(), A.Affine(rotate=(-10, 10), translate_percent=(-0.1, 0.1), p=1.0)]
        transform = A.Compose([*steps, A.Normalize(mean=(0, 0, 0), std=(1, 1, 1))])
    else:
        transform = A.Compose([A.Resize(32, 32), A.Normalize(mean=(0, 0, 0), std=(1, 1, 1))])

    def one(path: str) -> np.ndarray:
        image = cv2.cvtColor(cv2.imread(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        return np.asarray(transform(image=image)["image"])

    return one


class Rows:
    """Paths -> (image, label), for torch's and grain's loaders and their processes."""

    def __init__(self, part: str, paths: list[str]) -> None:
        self.part, self.paths, self._one = part, paths, None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> tuple[np.ndarray, int]:
        if self._one is None:
            self._one = albumentations_on(self.part)
        return self._one(self.paths[int(index)]), int(index) % 2


def _fitted(batches: Callable[[], Iterator[Any]], part: str, kind: str, count: int) -> Epoch:
    if kind == "none":
        return lambda: sum(len(batch[0]) for batch in batches())
    model = model_of(part, kind)

    def epoch() -> int:
        for x, y in batches():
            model.train_on_batch(np.asarray(x), np.asarray(y))
        return count

    return epoch


def torch_loader(part: str, way: str, kind: str, folder: Path, threads: int) -> Epoch:
    import torch

    paths = sorted(str(path) for path in (folder / "files").rglob("*.jpg"))
    loader = torch.utils.data.DataLoader(
        Rows(part, paths), BATCH[part], shuffle=True, num_workers=threads, drop_last=True, persistent_workers=True
    )
    return _fitted(lambda: iter(loader), part, kind, len(loader) * BATCH[part])


def grain_loader(part: str, way: str, kind: str, folder: Path, threads: int) -> Epoch:
    import grain

    paths = sorted(str(path) for path in (folder / "files").rglob("*.jpg"))
    seed = [0]

    def batches() -> Iterator[Any]:
        seed[0] += 1
        data = grain.MapDataset.source(Rows(part, paths)).shuffle(seed=seed[0])
        data = data.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4 * BATCH[part]))
        return iter(data.batch(BATCH[part], drop_remainder=True))

    return _fitted(batches, part, kind, len(paths) // BATCH[part] * BATCH[part])


def tf_data(part: str, way: str, kind: str, folder: Path, threads: int) -> Epoch:
    tf = peers.tensorflow(threads)
    import keras

    from benchmarks.photos import MEAN, STD

    layers, paths = keras.layers, sorted(str(path) for path in (folder / "files").rglob("*.jpg"))
    size = 224 if part == "photos" else 32
    flip = layers.RandomFlip("horizontal")
    if part == "photos":
        turn = layers.RandomRotation(15 / 360, fill_mode="constant")
        colours = layers.RandomColorJitter((0, 255), 0.2, 0.2, (0.4, 0.6), 0.1)
        end = layers.Normalization(mean=[255 * m for m in MEAN], variance=[(255 * s) ** 2 for s in STD])
        steps = [layers.RandomCrop(size, size), flip, turn, colours, end]
    elif part == "cifar":
        steps = [flip, layers.RandomRotation(10 / 360), layers.RandomTranslation(0.1, 0.1), layers.Rescaling(1 / 255)]
    else:
        steps = [layers.Rescaling(1 / 255)]
    augment = keras.Sequential(steps)

    def read(path: Any, label: Any) -> Any:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        if part == "photos":
            image = tf.image.resize(image, (256, 341))
        elif part == "question":
            image = tf.image.resize(image, (32, 32))
        return image, label

    auto = tf.data.AUTOTUNE
    data = tf.data.Dataset.from_tensor_slices((paths, classes_of(paths))).shuffle(len(paths))
    data = data.map(read, num_parallel_calls=auto).batch(BATCH[part], drop_remainder=True)
    data = data.map(lambda x, y: (augment(x, training=True), y), num_parallel_calls=auto).prefetch(4)
    return _fitted(lambda: iter(data), part, kind, len(data) * BATCH[part])


WAYS = {
    "onewarp, in memory": (onewarp, "in memory", "jax"),
    "onewarp, raw store": (onewarp, "raw store", "jax"),
    "onewarp, JPEG store": (onewarp, "jpeg store", "jax"),
    "onewarp, frames": (onewarp, "frames", "jax"),
    "onewarp, files": (onewarp, "files", "jax"),
    "onewarp, tar": (onewarp, "tar", "jax"),
    "tf.data + Keras layers": (tf_data, "files", "tensorflow"),
    "torch DataLoader + Albumentations": (torch_loader, "files", "jax"),
    "grain + Albumentations": (grain_loader, "files", "jax"),
}
MODELS = {"photos": ("none", "small"), "cifar": ("none", "small"), "question": ("small",)}


def files_of(part: str, data: Path, folder: Path, photographs: int) -> None:
    """The part's samples as files of their own below folder/files."""
    (folder / "files").mkdir(parents=True)
    if part == "cifar":
        shutil.copy(data / "cifar10-train.tar", folder / "cifar10-train.tar")
        with tarfile.open(folder / "cifar10-train.tar") as tar:
            tar.extractall(folder / "files", filter="data")
        return
    files = jpeg_files(data / "coco_tiny")
    for number in range(photographs):
        os.symlink(os.path.abspath(files[number % len(files)]), folder / "files" / f"{number:06d}.jpg")


def one(part: str, name: str, kind: str, folder: Path, threads: int, epochs: int) -> None:
    """In a process of its own: seconds of each epoch after the first, as JSON."""
    make, way, _ = WAYS[name]
    epoch = make(part, way, kind, folder, threads)
    first = time.perf_counter()
    count = epoch()
    seconds = [time.perf_counter() - first]
    for _ in range(epochs):
        start = time.perf_counter()
        epoch()
        seconds.append(time.perf_counter() - start)
    print("RESULT " + json.dumps({"images": count, "first": seconds[0], "seconds": seconds[1:]}))


def measure(part: str, given: argparse.Namespace, found: dict[str, Any], keep: Callable[[], None]) -> None:
    models = (*MODELS[part], "large") if given.large else MODELS[part]
    with tempfile.TemporaryDirectory(dir=given.scratch) as place:
        folder = Path(place)
        files_of(part, Path(given.data), folder, 25_000 if part == "question" else given.photographs)
        found["seconds to prepare"] = prepare(part, folder, given.threads)
        print(f"\n{part}: seconds per epoch ({', '.join(models)})", flush=True)
        for name, (_, way, backend) in WAYS.items():
            if (way == "tar") != (part == "cifar") and way == "tar":
                continue
            row = {}
            for kind in models:
                if (kind == "large" or kind != MODELS[part][0]) and not name.startswith("onewarp"):
                    continue
                command = [sys.executable, "-m", "benchmarks.loading", "--one", part, name, kind, str(folder)]
                command += ["--threads", str(given.threads), "--epochs", str(1 if kind == "large" else given.epochs)]
                environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
                done = subprocess.run(command, capture_output=True, text=True, env=environment)
                lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
                if not lines:
                    row[kind] = {"error": (done.stderr.strip().splitlines() or ["no output"])[-1]}
                    continue
                row[kind] = json.loads(lines[-1].removeprefix("RESULT "))
            found[name] = row
            keep()
            texts = [
                f"{statistics.median(one['seconds']):8.2f}" if "seconds" in one else f"{one['error'][:60]:>8}"
                for one in row.values()
            ]
            print(f"{name:>36} {' '.join(texts)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("ONEWARP_DATA"))
    parser.add_argument("--only", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--photographs", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3, help="after the first")
    parser.add_argument("--large", action="store_true", help="also under a MobileNet, which hides all loading")
    parser.add_argument("--scratch", help="a folder with some gigabytes of room")
    parser.add_argument("--out", type=Path, help="keep the figures as JSON")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(*given.one[:3], Path(given.one[3]), given.threads, given.epochs)
        return
    results: dict[str, Any] = {"machine": machine(), "versions": versions()}

    def keep() -> None:
        if given.out:
            given.out.write_text(json.dumps(results, indent=1) + "\n")

    for part in given.only:
        results[part] = {}
        measure(part, given, results[part], keep)


if __name__ == "__main__":
    main()
