"""Draws computed with one array namespace: NumPy here, or `keras.ops` in a process of its own (see test_draw_backends).

As a program, `python draw_child.py OUT.npz`, it writes what it gets on the backend that KERAS_BACKEND names.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import onewarp as ow
from onewarp.draw import draw_arrays, partners
from onewarp.random import Slots, beta_table, float_dtype, integer, lookup, normal, uniforms, uniforms_of
from onewarp.transforms import vocabulary

N = 12
SEED, EPOCH = (5 << 33) + 0xDEADBEEF, 0xF0000001  # both words of the seed and the sign bit of the epoch are in use
IDS = np.array([0, 1, 2, 3, 77, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**40 + 3, 2**63 - 1])
TIMES = np.array([0, 1, 2, 0, 0, 0, 5, 0, 0, 2**31 - 1, 0, 1])
SIZES = np.array([[24, 24], [24, 24]] * (N // 2), dtype=np.float64)
A_FEW = ("SomeOf", "fused")
SLOTS = Slots.of([(("Rotate", 0), 3), (("Rotate", 1), 1), (("name:mine", 0), 8)])


def policies() -> dict[str, ow.Policy]:
    """Every transform by itself, once certain and once with a probability, and the combinators."""
    found = {}
    for name, cls in vocabulary().items():
        if name in ("OneOf", "SomeOf", "Sometimes"):
            continue
        sized = {"size": 16} if "size" in cls.__dataclass_fields__ else {}
        sized = {"padding": 3} if name == "Pad" else sized
        always = {} if name in ("Normalize", "Rescale") else {"p": 1.0}
        found[name] = ow.Policy([cls(**sized, **always)])
        if always:
            found[f"{name}, sometimes"] = ow.Policy([cls(**sized, p=0.5)])
    inner = [ow.Rotate(20), ow.Brightness(0.3), ow.HorizontalFlip()]
    found["OneOf"] = ow.Policy([ow.OneOf(inner, weights=(1, 2, 3))])
    found["SomeOf"] = ow.Policy([ow.SomeOf(inner, n=(0, 2), p=0.8)])
    found["Sometimes"] = ow.Policy([ow.Sometimes([ow.OneOf(inner), ow.Gamma()], p=0.5)])
    found["hsv"] = ow.Policy([ow.ColorJitter(0.2, 0.2, 0.2, 0.1, hue_method="hsv")])
    found["posterized"] = ow.Policy([ow.Posterize((2, 6), p=1), ow.Solarize((0.2, 0.8), p=1), ow.Gamma()])
    found["fields"] = ow.Policy(
        [ow.Rotate(9), ow.ElasticTransform(p=0.5), ow.Scale(), ow.GridDistortion(), ow.Resize(20)]
    )
    found["fused"] = ow.Policy([ow.RandomResizedCrop(16), ow.D4(), ow.Rotate(9), ow.Contrast(), ow.Hue(), ow.CutMix()])
    return found


def _words(values: np.ndarray, xp: Any) -> Any:
    """64-bit numbers as `xp` takes them: NumPy as they are, others as two int32 words."""
    if xp is np:
        return values
    wide = values.astype(np.uint64)
    halves = (wide & np.uint64(0xFFFFFFFF)).astype(np.uint32), (wide >> np.uint64(32)).astype(np.uint32)
    return tuple(xp.array(half.view(np.int32), dtype="int32") for half in halves)


def exact(ids: Any, times: Any, xp: Any) -> dict[str, Any]:
    """What must be equal to the last bit."""
    found = {f"uniforms {k}": u for k, u in enumerate(uniforms_of(SEED, EPOCH, ids, times, SLOTS, xp))}
    found["uniforms without occurrence"] = uniforms(0, 0, ids, None, ("Shear", 0), 5, xp)
    u = found["uniforms 2"]
    for count in (2, 3, 7, 1000, 4095):
        found[f"integer {count}"] = integer(u, float(count), xp)
    for valid in (1, 5, N):
        found[f"partners {valid}"] = partners(u[:, 0], valid, xp)
    return found


def near(plans: dict[str, Any], ids: Any, times: Any, height: Any, width: Any, xp: Any) -> dict[str, Any]:
    """What must be equal up to rounding: parameters, by policy and name."""
    u = uniforms(SEED, EPOCH, ids, times, ("name:mine", 0), 64, xp)
    found = {"normal": normal(u, xp)}
    for alpha in (0.2, 1.0, 8.0):
        found[f"beta {alpha}"] = lookup(beta_table(alpha), u, xp)
    for label, plan in plans.items():
        for name, value in draw_arrays(plan, SEED, EPOCH, ids, times, height, width, N, xp).items():
            found[f"{label}: {name}"] = value
    return found


def as_is(function: Any) -> Any:
    return function


def everything(
    xp: Any, compile_exact: Callable[[Any], Any] = as_is, compile_near: Callable[[Any], Any] = as_is, some: bool = False
) -> dict[str, np.ndarray]:
    """All of the above as NumPy arrays. compile_...: makes a function a compiled one; some: a few policies only."""
    chosen = {label: policy for label, policy in policies().items() if label in A_FEW or not some}
    plans = {label: policy.plan(ow.Spec((24, 24, 3))) for label, policy in chosen.items()}
    ids = _words(IDS, xp)
    times = TIMES if xp is np else xp.array(TIMES, dtype="int32")
    height, width = (xp.array(SIZES[:, axis], dtype=float_dtype(xp)) for axis in (0, 1))
    found = dict(compile_exact(partial(exact, xp=xp))(ids, times))
    found.update(compile_near(partial(near, plans, xp=xp))(ids, times, height, width))
    return {name: np.asarray(value) if xp is np else xp.convert_to_numpy(value) for name, value in found.items()}


def on_this_backend() -> dict[str, np.ndarray]:
    """Torch goes through all policies, eagerly; JAX compiles all that it does, TensorFlow what must be exact."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return everything(keras.ops, jax.jit, jax.jit, some=True)
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        return everything(keras.ops, partial(tensorflow.function, jit_compile=True), some=True)
    return everything(keras.ops)


if __name__ == "__main__":
    np.savez(sys.argv[1], **on_this_backend())
