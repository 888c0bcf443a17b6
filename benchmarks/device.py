"""The device engine: a fused plan inside a compiled step, on whatever device the backends use. One command:

    python -m benchmarks.device                     # [256, 224, 224, 3] on an accelerator, less on a CPU
    python -m benchmarks.device --batch 256 --size 224 --resnet
    python -m benchmarks.device --only onewarp-jax --dtype bfloat16

Each contestant runs in a process of its own. Measured: the median time of a call, and images per second, for

    photo   uint8 [batch, size, size, 3] -> flip, rotate 15, scale, shift, colour jitter, normalise -> --dtype
    cifar   uint8 [128, 32, 32, 3] -> flip, rotate 10, shift 0.1, rescale -> float32

and what can be counted without an accelerator (JAX): gathers per pixel of the result, bytes that the compiled program
touches against the least possible, number of fusions. With --resnet a ResNet-50 train step is timed with the policy in
it and without. The rate of copying memory is measured in the same run; the share of it that a plan reaches is printed.

The result is kept as benchmarks/results/device-DATE.json. For the other libraries see the head of `benchmarks/cpu.py`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cifar import fuse_steps, kornia_steps
from benchmarks.machine import machine, versions
from benchmarks.photos import MEAN, STD
from benchmarks.rounds import ROOT

CONTESTANTS = ("onewarp-jax", "onewarp-tensorflow", "onewarp-torch", "keras-jax", "keras-tensorflow", "kornia", "fuse")


def policies(dtype: str) -> dict[str, Any]:
    import onewarp as ow

    jitter = ow.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
    geometry = [ow.HorizontalFlip(), ow.Rotate(15), ow.Scale((0.8, 1.2)), ow.Translate(0.1)]
    small = [ow.HorizontalFlip(), ow.Rotate(10), ow.Translate(0.1), ow.Rescale(1 / 255)]
    return {"photo": ow.Policy([*geometry, jitter, ow.Normalize("imagenet")], dtype=dtype), "cifar": ow.Policy(small)}


def shapes(given: argparse.Namespace) -> dict[str, tuple[int, int, int, int]]:
    return {"photo": (given.batch, given.size, given.size, 3), "cifar": (128, 32, 32, 3)}


def images(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def median_time(call: Callable[[], Any], wait: Callable[[Any], Any], seconds: float = 3.0) -> float:
    """Median seconds of a call, waited for, after warming up."""
    for _ in range(2):
        wait(call())
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < 5:
        start = time.perf_counter()
        wait(call())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def onewarp_step(policy: Any, shape: tuple[int, ...]) -> tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]:
    """draws(step number) -> arrays, and augment(images, arrays) -> images."""
    from keras import ops

    import onewarp as ow
    from onewarp.draw import draw_arrays
    from onewarp.engine import device

    plan = policy.plan(ow.Spec(images=shape[1:]))
    n = shape[0]

    def draws(number: Any) -> Any:
        height, width = (ops.full((n,), float(side)) for side in shape[1:3])
        return draw_arrays(plan, 0, number, ops.arange(n, dtype="int32"), None, height, width, n, ops)

    return draws, lambda x, arrays: device.run(plan, arrays, {"images": x})["images"]


def torch_device() -> tuple[str, Callable[[], None]]:
    """Where torch computes, and what waits until it has."""
    import torch

    return ("cuda", torch.cuda.synchronize) if torch.cuda.is_available() else ("cpu", lambda: None)


def compiled(
    backend: str, draws: Callable[[Any], Any], augment: Callable[..., Any], shape: tuple[int, ...]
) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """(call, wait) of the compiled step on one resident batch. On torch draws, and on its CPU all, are eager."""

    def step(x: Any, number: Any) -> Any:
        return augment(x, draws(number))

    if backend == "jax":
        import jax

        x, run = jax.device_put(images(shape)), jax.jit(step)
        return (lambda: run(x, np.int32(1))), jax.block_until_ready
    if backend == "tensorflow":
        import tensorflow as tf

        x, run = tf.constant(images(shape)), tf.function(step, jit_compile=True)
        return (lambda: run(x, tf.constant(1))), lambda result: result[0, 0, 0, 0].numpy()
    import torch

    where, done = torch_device()
    x = torch.from_numpy(images(shape)).to(where)
    # Inductor's code for the CPU takes seconds for a plan with a mean, so there it is eager, as under Keras.
    run = torch.compile(augment, fullgraph=True, dynamic=False) if where == "cuda" else augment
    number = torch.tensor(1, dtype=torch.int32, device=where)

    def call() -> Any:
        with torch.no_grad():
            return run(x, draws(number))

    return call, lambda result: done()


def counts(
    draws: Callable[[Any], Any], augment: Callable[..., Any], shape: tuple[int, ...], item: int
) -> dict[str, float]:
    """What the compiled JAX program does: gathers per pixel, bytes against the least possible, fusions."""
    import jax

    x = jax.ShapeDtypeStruct(shape, "uint8")
    lowered = jax.jit(lambda x, number: augment(x, draws(number))).lower(x, jax.ShapeDtypeStruct((), "int32"))
    program = lowered.compile()
    cost = program.cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    least = float(np.prod(shape)) * (1 + item)
    pixels = float(np.prod(shape[:3]))
    text = lowered.as_text()
    gathered = sum(
        float(np.prod([int(side) for side in found.split("x")[:-1]])) / shape[3]
        for found in re.findall(r"stablehlo\.gather.*-> tensor<([0-9x]+x(?:ui8|f32|i32))>", text)
        if found.count("x") >= 2
    )
    entry = program.as_text().split("ENTRY")[-1]
    return {
        "gathers_per_pixel": round(gathered / pixels, 2),
        "bytes_accessed": cost.get("bytes accessed", float("nan")),
        "bytes_least": least,
        "bytes_ratio": round(cost.get("bytes accessed", float("nan")) / least, 2),
        "fusions": len(re.findall(r" fusion\(", entry)),
        "instructions": entry.count(" = "),
    }


def copy_rate(backend: str) -> float:
    """GB/s of reading and writing memory by the backend's own copy."""
    size = 1 << 28
    if backend == "jax":
        import jax

        x, run = jax.numpy.zeros((size,), "uint8"), jax.jit(lambda x: x + np.uint8(1))
        return 2 * size / median_time(lambda: run(x), jax.block_until_ready, 1.0) / 1e9
    import torch

    where, wait = torch_device()
    a, b = torch.zeros(size, dtype=torch.uint8, device=where), torch.empty(size, dtype=torch.uint8, device=where)
    return 2 * size / median_time(lambda: b.copy_(a), lambda _: wait(), 1.0) / 1e9


def measure_onewarp(backend: str, given: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    item = 2 if given.dtype == "bfloat16" else 4
    if backend != "tensorflow":
        found["copy_gb_s"] = round(copy_rate(backend), 1)
    for name, policy in policies(given.dtype).items():
        shape = shapes(given)[name]
        draws, augment = onewarp_step(policy, shape)
        began = time.perf_counter()
        call, wait = compiled(backend, draws, augment, shape)
        wait(call())
        built = time.perf_counter() - began
        seconds = median_time(call, wait)
        moved = float(np.prod(shape)) * (1 + (item if name == "photo" else 4))
        found[name] = {
            "ms": round(1e3 * seconds, 3),
            "images_per_second": round(shape[0] / seconds),
            "compile_s": round(built, 1),
            "gb_s": round(moved / seconds / 1e9, 2),
        }
        if backend == "jax":
            found[name].update(counts(draws, augment, shape, item if name == "photo" else 4))
    if given.resnet:
        found["resnet50"] = resnet(given)
    return found


def resnet(given: argparse.Namespace) -> dict[str, float]:
    """ms of a ResNet-50 train step on one resident batch: without a policy, and with it in the step."""
    import keras

    import onewarp as ow

    shape = shapes(given)["photo"]
    y = np.zeros(shape[0], np.int32)
    times = {}
    for name in ("without", "with"):
        keras.backend.clear_session()
        model: Any = keras.applications.ResNet50(weights=None, input_shape=shape[1:], classes=1000)
        x: Any = images(shape) if name == "with" else images(shape).astype(np.float32) / 255
        if name == "with":
            model = ow.AugmentedModel(model, policies("float32")["photo"])
        model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=keras.backend.backend() != "torch")
        x = keras.ops.convert_to_tensor(x)
        times[name] = 1e3 * median_time(lambda model=model, x=x: model.train_on_batch(x, y), float, 10.0)
    return {key: round(value, 2) for key, value in times.items()} | {
        "share": round(times["with"] / times["without"] - 1, 4)
    }


def keras_layers(name: str) -> Any:
    import keras

    layers = keras.layers
    flip, shift = layers.RandomFlip("horizontal"), layers.RandomTranslation(0.1, 0.1, fill_mode="constant")
    if name == "cifar":
        return keras.Sequential(
            [flip, layers.RandomRotation(10 / 360, fill_mode="constant"), shift, layers.Rescaling(1 / 255)]
        )
    turn, zoom = layers.RandomRotation(15 / 360, fill_mode="constant"), layers.RandomZoom(0.2, fill_mode="constant")
    jitter = layers.RandomColorJitter((0, 255), 0.2, 0.2, (0.4, 0.6), 0.1)
    scale = layers.Normalization(mean=[255 * m for m in MEAN], variance=[(255 * s) ** 2 for s in STD])
    return keras.Sequential([flip, turn, zoom, shift, jitter, scale])


def measure_keras(backend: str, given: argparse.Namespace) -> dict[str, Any]:
    """Keras' own layers, called as in a data pipeline or a model that is not compiled: six of them refuse to be."""
    import keras

    found = {}
    for name, shape in shapes(given).items():
        model, x = keras_layers(name), keras.ops.convert_to_tensor(images(shape))
        x = keras.ops.cast(x, "float32")
        seconds = median_time(
            lambda model=model, x=x: model(x, training=True), lambda result: np.asarray(result[0, 0, 0, 0])
        )
        found[name] = {"ms": round(1e3 * seconds, 3), "images_per_second": round(shape[0] / seconds)}
    return found


def measure_torch(library: str, given: argparse.Namespace) -> dict[str, Any]:
    import torch

    where, wait = torch_device()
    found = {}
    for name, shape in shapes(given).items():
        x = torch.from_numpy(images(shape)).permute(0, 3, 1, 2).contiguous().to(where)
        transform = torch_transform(library, name)

        def call(x: Any = x, transform: Any = transform) -> Any:
            with torch.no_grad():
                return transform(x.float() / 255)

        seconds = median_time(call, lambda result: wait())
        found[name] = {"ms": round(1e3 * seconds, 3), "images_per_second": round(shape[0] / seconds)}
    return found


def torch_transform(library: str, name: str) -> Any:
    if name == "cifar":
        return (kornia_steps if library == "kornia" else fuse_steps)()
    import kornia.augmentation as K
    import torch

    affine = [K.RandomRotation(15.0, p=1.0), K.RandomAffine(0.0, translate=(0.1, 0.1), scale=(0.8, 1.2), p=1.0)]
    jitter = K.ColorJitter(0.2, 0.2, 0.2, 0.1, p=1.0)
    steps = [K.RandomHorizontalFlip(p=0.5), *affine, jitter, K.Normalize(torch.tensor(MEAN), torch.tensor(STD))]
    if library == "kornia":
        return K.AugmentationSequential(*steps)
    from benchmarks import peers

    peers.torchvision_v2()
    from fuse_aug import Compose

    return Compose(steps)


def worker(name: str, given: argparse.Namespace) -> dict[str, Any]:
    library, _, backend = name.partition("-")
    if library == "onewarp":
        return measure_onewarp(backend, given)
    return measure_keras(backend, given) if library == "keras" else measure_torch(library, given)


def on_accelerator() -> bool:
    """Whether an NVIDIA GPU is there, without starting a backend."""
    return os.path.exists("/dev/nvidia0")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=(__doc__ or "").splitlines()[0])
    gpu = on_accelerator()
    parser.add_argument("--batch", type=int, default=256 if gpu else 16, help="images of `photo` (256; 16 on a CPU)")
    parser.add_argument("--size", type=int, default=224, help="side of `photo` (224)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="result of `photo`")
    parser.add_argument("--only", action="append", choices=CONTESTANTS, help="this contestant; may be repeated")
    parser.add_argument("--resnet", action="store_true", help="also time a ResNet-50 step with and without the policy")
    parser.add_argument("--output", default=str(ROOT / "benchmarks" / "results"), help="folder of the results")
    parser.add_argument("--worker", choices=CONTESTANTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print("RESULT " + json.dumps(worker(given.worker, given)))
        return 0
    date, found = datetime.date.today().isoformat(), {}
    for name in given.only or CONTESTANTS:
        backend = name.partition("-")[2] or "torch"
        command = [sys.executable, "-m", "benchmarks.device", "--worker", name, "--batch", str(given.batch)]
        command += ["--size", str(given.size), "--dtype", given.dtype, *(["--resnet"] if given.resnet else [])]
        env = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=ROOT)
        lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        if done.returncode or not lines:
            why = (done.stderr.strip().splitlines() or ["no output"])[-1]
            print(f"{name}: left out: {why}", flush=True)
            continue
        found[name] = json.loads(lines[0].removeprefix("RESULT "))
        print(f"{name}: {json.dumps(found[name])}", flush=True)
    for task in ("photo", "cifar"):
        rates = {name: result[task]["images_per_second"] for name, result in found.items() if task in result}
        peers = {name: rate for name, rate in rates.items() if not name.startswith("onewarp")}
        if peers:
            best = max(peers, key=lambda name: peers[name])
            ratios = ", ".join(f"{n} {r / peers[best]:.1f}x" for n, r in rates.items() if n.startswith("onewarp"))
            print(f"{task}: beside {best} ({peers[best]}/s): {ratios}")
    settings = {name: getattr(given, name) for name in ("batch", "size", "dtype", "resnet")}
    result = {"date": date, "machine": machine(), "versions": versions(), "settings": settings, "found": found}
    path = os.path.join(given.output, f"device-{date}.json")
    os.makedirs(given.output, exist_ok=True)
    with open(path, "w") as file:
        json.dump(result, file, indent=1)
    print(f"kept in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
