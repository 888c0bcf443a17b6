"""Does this machine's device give the host's pixels? Prints pass or fail for each trap, on the active backend:

    KERAS_BACKEND=jax python -m benchmarks.device_check        # or tensorflow, torch; on a GPU or without

What a CPU cannot show: products that keep 10 bits of mantissa (TF32), casts and gathers out of range, fused
multiply-adds in coordinates, a train step that is no longer compiled. The tests hold the rest.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import onewarp as ow
from onewarp.draw import draw_arrays
from onewarp.engine import device
from onewarp.random import uniforms_by_operations

N, SIDE = 16, 224
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 512, 640, 3), dtype=np.uint8)
SMOOTH = keras.ops.convert_to_numpy(keras.ops.image.resize(IMAGES[:, ::32, ::32].astype("float32"), (512, 640)))


def agree(policy: ow.Policy, images: np.ndarray) -> str | None:
    """None where host and device agree: at most 0.1 % of the values more than a level (1e-3 of the range) apart."""
    params = policy.draw(images, seed=1, epoch=2)
    expected = policy(images, params=params).astype(np.float64)
    plan = policy.plan(ow.Spec.of(images))
    arrays = {name: keras.ops.convert_to_tensor(value) for name, value in params.arrays.items()}
    found = device.run(plan, arrays, {"images": keras.ops.convert_to_tensor(images)})["images"]
    values = np.asarray(keras.ops.convert_to_numpy(found), np.float64)
    unit = 1.0 if plan.output_dtype == "uint8" else 1e-3 * max(float(np.ptp(expected)), 1e-6)
    apart = float(np.mean(np.abs(values - expected) > unit))
    return None if apart <= 1e-3 else f"{apart:.3%} of the values are further apart than {unit:.3g}"


def uniforms_are_bit_equal() -> str | None:
    slots = [(("Rotate", 0), 3), (("Gamma", 1), 2)]
    ids = np.arange(1000)
    there = uniforms_by_operations(7, 3, keras.ops.arange(1000, dtype="int32"), None, slots, keras.ops)
    here = uniforms_by_operations(7, 3, ids, None, slots, np)
    same = all(
        np.array_equal(keras.ops.convert_to_numpy(a), b.astype(np.float32)) for a, b in zip(there, here, strict=True)
    )
    return None if same else "the uniforms differ"


def parameters_are_close() -> str | None:
    policy = ow.Policy([ow.RandomResizedCrop(SIDE), ow.Rotate(30), ow.ColorJitter(0.3, 0.3, 0.3, 0.1), ow.Gamma()])
    plan = policy.plan(ow.Spec(images=(512, 640, 3)))
    height, width = (keras.ops.full((N,), float(side)) for side in (512, 640))
    there = draw_arrays(plan, 5, 0, keras.ops.arange(N, dtype="int32"), None, height, width, N, keras.ops)
    here = policy.draw(ow.Spec(images=(512, 640, 3)), seed=5, ids=np.arange(N)).arrays
    for name, value in there.items():
        expected = np.asarray(here[name], np.float64)
        error = np.abs(keras.ops.convert_to_numpy(value) - expected).max() / max(np.abs(expected).max(), 1e-9)
        if error > 1e-5:
            return f"{name} is off by {error:.1e} of its largest entry"
    return None


def a_train_step_is_compiled() -> str | None:
    policy = ow.Policy([ow.Resize(32), ow.Rotate(20), ow.Rescale(1 / 255)])
    inner = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model: Any = ow.AugmentedModel(inner, policy)
    model.compile("sgd", "mse", jit_compile=keras.backend.backend() != "torch")
    loss = model.fit(IMAGES, np.zeros((N, 2), np.float32), batch_size=8, verbose=0).history["loss"][0]
    compiled = model.jit_compile or keras.backend.backend() == "torch"
    return None if np.isfinite(loss) and compiled else f"loss {loss}, jit_compile={model.jit_compile}"


GEOMETRY = [ow.RandomResizedCrop(SIDE, scale=(0.3, 1.0)), ow.Rotate(40), ow.Perspective(0.3, p=1.0)]
CHECKS: dict[str, Callable[[], str | None]] = {
    "uniforms are bit-equal": uniforms_are_bit_equal,
    "parameters to 1e-5": parameters_are_close,
    "coordinates keep float32 (TF32)": lambda: agree(ow.Policy(GEOMETRY), SMOOTH.astype(np.uint8)),
    "colour maps keep float32 (TF32)": lambda: agree(
        ow.Policy([ow.Resize(SIDE), ow.ColorJitter(0.5, 0.5, 0.5, 0.3)]), SMOOTH.astype(np.uint8)
    ),
    "values saturate before the cast": lambda: agree(ow.Policy([ow.Resize(SIDE), ow.Brightness((3, 5))]), IMAGES),
    "gathers far outside the image": lambda: agree(
        ow.Policy([ow.Translate(0.9), ow.Scale((0.05, 0.1)), ow.Resize(SIDE)], fill_mode="reflect"), IMAGES
    ),
    "bicubic": lambda: agree(ow.Policy(GEOMETRY, interpolation="bicubic"), SMOOTH.astype(np.uint8)),
    "noise from the same key": lambda: agree(ow.Policy([ow.Resize(64), ow.GaussianNoise((0.1, 0.1), p=1.0)]), IMAGES),
    "equalize, autocontrast": lambda: agree(ow.Policy([ow.Resize(64), ow.Equalize(p=1.0)]), IMAGES),
    "a train step is compiled": a_train_step_is_compiled,
}


def main() -> int:
    failed = 0
    print(f"{keras.backend.backend()}, keras {keras.__version__}")
    for name, check in CHECKS.items():
        try:
            why = check()
        except Exception as error:
            why = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        failed += why is not None
        print(f"{'pass' if why is None else 'FAIL'}  {name}" + (f": {why}" if why else ""), flush=True)
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} pass")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
