"""What the tests of the device engine share: batches with every target, compiled runs, the rule of equal results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

import onewarp as ow
from onewarp.engine import device
from onewarp.engine.run import run as run_on_host
from onewarp.engine.tensors import to_numpy
from onewarp.params import Params
from onewarp.plan import Plan, WarpStage
from table import Row
from test_table import pictures
from twin_warp import source_points

BACKEND = keras.backend.backend()
QUICK = BACKEND == "jax"  # whether compiling is the quick way: there, a program that runs once op by op takes longer
ROUNDING = 2e-5  # of the range: what float32 coordinates and sums may cost where nothing jumps
ROUNDED = 0.01  # of the values of integer images may fall on the other side of a half
TIE = 1e-3  # pixels: so near to a pixel's edge either of the two may be the nearest


def batch_of(row: Row, rng: np.random.Generator, dtype: str = "uint8", channels: int | None = None) -> dict[str, Any]:
    """Pictures with labels, masks, boxes and keypoints."""
    images = pictures(row, rng, dtype=dtype, channels=channels)
    n, height, width = images.shape[:3]
    corners = np.sort(rng.uniform(0, 1, (n, 3, 2, 2)), axis=2) * [width, height]
    boxes = corners.reshape(n, 3, 4).astype(np.float32)
    labels = rng.integers(0, 5, (n, 3)).astype(np.int32)
    boxes[0, 2], labels[0, 2] = 0.0, -1
    points = np.concatenate([rng.uniform(0, 1, (n, 4, 2)) * [width, height], np.ones((n, 4, 1))], axis=2)
    return {
        "images": images,
        "labels": rng.integers(0, 5, n).astype(np.int32),
        "segmentation_masks": rng.integers(0, 20, (n, height, width)).astype(np.uint8),
        "bounding_boxes": {"boxes": boxes, "labels": labels},
        "keypoints": points.astype(np.float32),
    }


def tensors(values: Any) -> Any:
    """NumPy arrays, in dictionaries or not, as tensors of the backend, dtype kept."""
    if isinstance(values, dict):
        return {name: tensors(value) for name, value in values.items()}
    return ops.convert_to_tensor(values)


def arrays(values: Any) -> Any:
    """The way back."""
    if isinstance(values, dict):
        return {name: arrays(value) for name, value in values.items()}
    if keras.backend.standardize_dtype(values.dtype) == "bfloat16":
        values = ops.cast(values, "float32")
    return to_numpy(values)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled as a train step is: by XLA, or, on torch, traced into one graph without a break."""
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)
    import torch

    torch._dynamo.reset()
    return torch.compile(function, backend="eager", fullgraph=True, dynamic=False)


def on_device(plan: Plan, params: Params, batch: dict[str, Any], compile: bool = QUICK, **options: Any) -> Any:
    """The batch after `device.run`, as NumPy arrays."""

    def step(numbers: Any, entries: Any) -> Any:
        return device.run(plan, numbers, entries, **options)

    return arrays((compiled(step) if compile else step)(tensors(dict(params.arrays)), tensors(batch)))


def both(policy: ow.Policy, batch: dict[str, Any], compile: bool = QUICK, **options: Any) -> tuple[Any, Any, Params]:
    """(on the device, on the host, the parameters): the same draws, travelled."""
    plan = policy.plan(ow.Spec.of(batch["images"], options.pop("value_range", None)))
    params = policy.draw(batch["images"], seed=5, epoch=2, ids=np.arange(10, 10 + len(batch["images"])))
    options = {"num_classes": 5, **options}
    return on_device(plan, params, batch, compile, **options), run_on_host(plan, params, batch, **options), params


def unit_of(policy: ow.Policy, images: np.ndarray) -> float:
    """One grey level, or 1e-3 of a float image's range, in units of the result."""
    output = policy.plan(ow.Spec.of(images)).output
    return (1.0 if images.dtype == np.uint8 else 1e-3) * max(np.abs(output.scale))


def assert_same_pixels(found: np.ndarray, expected: np.ndarray, unit: float, steps: bool, jumps: Any = False) -> None:
    """At most 0.1 % of the values are off by more than `unit`, none where nothing jumps, the rest by rounding.

    `jumps`: pixels [n, h, w] whose place may be decided by rounding.
    """
    assert found.shape == expected.shape
    off = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    off = np.where(np.asarray(jumps)[..., None], 0.0, off) if np.any(jumps) else off
    far = off > unit * (1 + 1e-5)
    assert far.mean() <= 1e-3, f"{far.mean():.2%} of the values are off, the worst by {off.max():.4g}"
    assert steps or not far.any(), f"off by {off.max():.4g}"
    if expected.dtype.kind in "iu":
        assert (off > 0).mean() <= ROUNDED, f"{(off > 0).mean():.2%} of the values differ"
    elif not steps:
        assert off.max() <= ROUNDING * 1e3 * unit, f"off by {off.max():.4g}"


def ties(plan: Plan, params: Params) -> np.ndarray:
    """[n, h, w] booleans: the pixel's source lies within TIE of a pixel's edge, in the plan's only warp."""
    found = np.zeros((params.n, *plan.size), bool)
    for number, stage in enumerate(plan.stages):
        if not isinstance(stage, WarpStage):
            continue
        for row in range(params.n):
            fields = [params.arrays[f"{number}.field{i}"][row] for i in range(stage.fields)]
            frames = params.arrays[f"{number}.frames"][row] if stage.fields else None
            points = source_points(*stage.size, params.arrays[f"{number}.matrix"][row], fields, frames)
            edges = [np.abs(value - np.rint(value)) < TIE for value in (points.x, points.y)]
            found[row] |= (edges[0] | edges[1]) & (not stage.exact)
    return found


def assert_same_targets(found: dict[str, Any], expected: dict[str, Any], near: np.ndarray) -> None:
    """Masks equal but for ties; boxes and keypoints within 1e-3 pixels; labels within 1e-6."""
    masks = found["segmentation_masks"] != expected["segmentation_masks"]
    assert found["segmentation_masks"].dtype == expected["segmentation_masks"].dtype
    assert not (masks & ~near).any(), f"{(masks & ~near).sum()} pixels of the masks differ"
    boxes, expected_boxes = found["bounding_boxes"], expected["bounding_boxes"]
    np.testing.assert_array_equal(boxes["labels"], expected_boxes["labels"])
    np.testing.assert_allclose(boxes["boxes"], expected_boxes["boxes"], rtol=0, atol=1e-3)
    points, expected_points = found["keypoints"], expected["keypoints"]
    seen = np.abs(expected_points[..., :2]).max(axis=-1) < 1e4  # farther out only far matters
    np.testing.assert_allclose(points[seen], expected_points[seen], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found["labels"], expected["labels"], rtol=0, atol=1e-6)


def check(policy: ow.Policy, batch: dict[str, Any], steps: bool, **options: Any) -> None:
    found, expected, params = both(policy, batch, **options)
    plan = policy.plan(ow.Spec.of(batch["images"], options.get("value_range")))
    near = ties(plan, params)
    jumps = near if plan.settings.interpolation == "nearest" else False
    assert_same_pixels(found["images"], expected["images"], unit_of(policy, batch["images"]), steps, jumps)
    if "keypoints" in batch:
        assert_same_targets(found, expected, near)
