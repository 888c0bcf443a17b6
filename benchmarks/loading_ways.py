"""What `benchmarks.loading` runs: the three parts' policies and models, onewarp's ways to hold samples, other loaders.

    python -m benchmarks.loading_ways PART GROUP FOLDER THREADS

answers tasks, one JSON line each, with the seconds of an epoch. A group is a process of its own: onewarp with all its
ways, so that a model is compiled once, or another library.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers

BATCH = {"photos": 32, "cifar": 128, "question": 64}
KINDS = {"photos": ("none", "small"), "cifar": ("none", "small"), "question": ("small",)}
LARGE = {"photos": 256, "cifar": 1024}  # images of an epoch with the large model
WAYS = {
    "in memory": ("photos", "cifar", "question"),
    "frames": ("photos", "cifar", "question"),
    "raw store": ("photos", "cifar", "question"),
    "JPEG store": ("photos", "cifar", "question"),
    "files": ("photos", "cifar", "question"),
    "files, fast decoding": ("photos", "question"),
    "tar": ("cifar",),
}
PEERS = {  # name -> backend of Keras
    "tf.data + Keras layers": "tensorflow",
    "torch DataLoader + Albumentations": "jax",
    "grain + Albumentations": "jax",
}
WARM = 20  # batches of another library before its first epoch that counts; it keeps nothing from one to the next
Epoch = Callable[[int | None], int]  # runs an epoch, or its first batches; returns how many images it showed


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


def files_in(folder: Path) -> list[str]:
    return sorted(str(path) for path in (folder / "files").rglob("*.jpg"))


def classes_of(files: list[str]) -> np.ndarray:
    return np.arange(len(files)) % 2


@cache
def model_of(part: str, kind: str) -> Any:
    """Compiled; "small" costs little beside loading, "large" is what loading should hide behind."""
    import keras

    layers = keras.layers
    shape = (224, 224, 3) if part == "photos" else (32, 32, 3)
    if part == "question":
        body: list[Any] = [layers.Flatten(), layers.Dense(768, "relu"), layers.Dense(384, "relu")]
        model = keras.Sequential([keras.Input(shape), *body, layers.Dense(2)])
    elif kind == "small":
        body = [layers.AveragePooling2D(8 if part == "photos" else 2), layers.Conv2D(16, 3, activation="relu")]
        model = keras.Sequential([keras.Input(shape), *body, layers.GlobalAveragePooling2D(), layers.Dense(10)])
    elif part == "cifar":  # ResNet-20, 41 million multiplications an image
        from onewarp.models import resnet20

        inside = resnet20(shape, 10)
        model = keras.Model(inside.input, layers.Dense(10)(inside.layers[-2].output))
    else:  # plain convolutions, 360 million: XLA's depthwise ones take seconds on a CPU
        body = [layers.Conv2D(32, 7, 4, "same", activation="relu")]
        for width, stride in ((64, 1), (64, 1), (128, 2), (128, 1)):
            body += [layers.Conv2D(width, 3, stride, "same", use_bias=False), layers.BatchNormalization()]
            body.append(layers.ReLU())
        model = keras.Sequential([keras.Input(shape), *body, layers.GlobalAveragePooling2D(), layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=keras.backend.backend() != "torch")
    return model


class Onewarp:
    """onewarp's ways to hold the samples of a part; a Loader for each is made when it is first asked for."""

    def __init__(self, part: str, folder: Path, threads: int) -> None:
        self.part, self.folder, self.threads = part, folder, threads
        self.source = cache(self._source)
        self.loader = cache(self._loader)

    def epoch(self, way: str, kind: str) -> int:
        """Run one; how many images it showed."""
        loader = self.loader(way, kind == "large")
        if kind == "none":
            return sum(len(batch[0]) for batch in loader)
        model_of(self.part, kind).fit(loader, epochs=1, verbose=0)
        return len(loader) * BATCH[self.part]

    def _loader(self, way: str, large: bool) -> Any:
        import onewarp as ow

        source = self.source(way)
        if large:
            source = source.subset(range(min(LARGE[self.part], len(source))))
        options: dict[str, Any] = {"reuse": 1000} if way == "frames" else {}
        if way.endswith("fast decoding"):
            options["decode"] = "fast"
        return ow.Loader(source, POLICIES[self.part](), BATCH[self.part], threads=self.threads, **options)

    def _source(self, way: str) -> Any:
        import onewarp as ow

        paths = files_in(self.folder)
        labels = classes_of(paths)
        files = ow.FileSource(paths, labels, image_size=(32, 32) if self.part == "cifar" else None)
        if way == "tar":
            return ow.TarSource(self.folder / "cifar10-train.tar", image_size=(32, 32))
        if way.endswith("store"):
            return ow.StoreSource(self.folder / way)
        if way != "in memory":
            return files
        if self.part == "cifar":
            return files.in_memory()
        if self.part == "photos":
            return ow.ArraySource([files[i]["images"] for i in range(len(files))], labels)
        small = ow.Loader(files, ow.Policy([ow.Resize(32)]), 64, shuffle=False)  # resized once, as the user did
        return ow.ArraySource(np.concatenate([x for x, _ in small]), labels)


def prepare(part: str, folder: Path, threads: int) -> dict[str, float]:
    """The stores of a part; seconds that each took to make."""
    import onewarp as ow
    from onewarp.data.store import prepare as make

    how: dict[str, Any] = {"photos": {"short_side": 256}, "cifar": {}, "question": {"size": 32}}[part]
    paths = files_in(folder)
    found = {}
    for name, raw in (("JPEG store", False), ("raw store", True)):
        start = time.perf_counter()
        source = ow.FileSource(paths, classes_of(paths))
        make(source, folder / name, ow.StoreSettings(**how, quality=90, raw=raw), threads=threads)
        found[name] = time.perf_counter() - start
    return found


# --- others ---------------------------------------------------------------------------------------------------------


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


def _fitted(batches: Callable[[], Iterator[Any]], part: str, kind: str) -> Epoch:
    """An epoch of training on what a loader gives, or of the loader alone."""

    def epoch(most: int | None) -> int:
        model = None if kind == "none" else model_of(part, kind)
        count = 0
        for number, (x, y) in enumerate(batches()):
            if number == most:
                break
            if model is not None:
                model.train_on_batch(np.asarray(x), np.asarray(y))
            count += len(x)
        return count

    return epoch


def torch_loader(part: str, kind: str, folder: Path, threads: int) -> Epoch:
    import torch

    rows = Rows(part, files_in(folder))
    loader = torch.utils.data.DataLoader(
        rows, BATCH[part], shuffle=True, num_workers=threads, drop_last=True, persistent_workers=True
    )
    return _fitted(lambda: iter(loader), part, kind)


def grain_loader(part: str, kind: str, folder: Path, threads: int) -> Epoch:
    import grain

    rows, seed = Rows(part, files_in(folder)), [0]

    def batches() -> Iterator[Any]:
        seed[0] += 1
        data = grain.MapDataset.source(rows).shuffle(seed=seed[0])
        data = data.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4 * BATCH[part]))
        return iter(data.batch(BATCH[part], drop_remainder=True))

    return _fitted(batches, part, kind)


def tf_data(part: str, kind: str, folder: Path, threads: int) -> Epoch:
    tf = peers.tensorflow(threads)
    import keras

    from benchmarks.photos import MEAN, STD

    layers, paths = keras.layers, files_in(folder)
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
    return _fitted(lambda: iter(data), part, kind)


_OTHERS = {
    "tf.data + Keras layers": tf_data,
    "torch DataLoader + Albumentations": torch_loader,
    "grain + Albumentations": grain_loader,
}


def main() -> None:
    part, group, folder, threads = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
    ours = Onewarp(part, folder, threads) if group == "onewarp" else None
    epochs: dict[str, Epoch] = {}

    def answer(way: str, kind: str, warm: bool) -> dict[str, Any]:
        if ours is not None:
            ours.loader(way, kind == "large")  # samples are read into memory here
        elif kind not in epochs:
            epochs[kind] = _OTHERS[group](part, kind, folder, threads)
        start = time.perf_counter()
        count = ours.epoch(way, kind) if ours is not None else epochs[kind](WARM if warm else None)
        return {"images": count, "seconds": time.perf_counter() - start}

    for line in sys.stdin:
        try:
            found = answer(**json.loads(line))
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}"}
        print("RESULT " + json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
