"""The device engine as part of a train step: draws made in the step, a plan cut in two, what is counted, errors."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import keras
import numpy as np
import pytest
from device_helpers import BACKEND, arrays, assert_same_pixels, batch_of, compiled, on_device, tensors
from keras import ops

import onewarp as ow
from onewarp.draw import draw_arrays
from onewarp.engine import device
from onewarp.engine.cut import cut, head
from onewarp.engine.run import run as run_on_host
from table import ROWS

STEPS = [
    ow.RandomResizedCrop(24, scale=(0.3, 1.0)),
    ow.HorizontalFlip(),
    ow.Rotate(10),
    ow.ColorJitter(0.2, 0.2, 0.2, 0.1),
    ow.Solarize(p=0.3),
    ow.GaussianNoise(),
    ow.RandomErasing(fill_value="noise"),
    ow.Rescale(1 / 255),
    ow.MixUp(),
]


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return batch_of(ROWS[2], rng)["images"]


def test_draws_made_in_the_step(images: np.ndarray) -> None:
    """The same key gives the same pixels, whether the host drew or the step does; compiled, where draws are traced."""
    policy = ow.Policy(STEPS)
    plan = policy.plan(ow.Spec.of(images))
    height, width = (float(side) for side in images.shape[1:3])

    def step(step_number: Any, entries: Any) -> Any:
        here = ops.reshape(ops.cast(step_number, "int32"), (1,))
        ids = ops.arange(4, dtype="int32")
        sides = [ops.full((1,), side) for side in (height, width)]
        drawn = draw_arrays(plan, 7, here, ids, None, *sides, 4, ops)
        return device.run(plan, drawn, entries, num_classes=5)

    run = step if BACKEND == "torch" else compiled(step)
    for number in (0, 3):
        found = arrays(run(ops.convert_to_tensor(number, dtype="int32"), tensors({"images": images})))["images"]
        expected = policy({"images": images}, seed=7, epoch=number, ids=np.arange(4))["images"]
        assert_same_pixels(found, expected, 1 / 255, steps=True)


@pytest.mark.skipif(BACKEND == "torch", reason="what torch traces, it does not call")
def test_a_compiled_step_is_traced_once(images: np.ndarray) -> None:
    policy = ow.Policy(STEPS)
    plan, traces = policy.plan(ow.Spec.of(images)), 0

    def step(numbers: Any, entries: Any) -> Any:
        nonlocal traces
        traces += 1
        return device.run(plan, numbers, entries)

    run = compiled(step)
    for epoch in range(3):
        params = policy.draw(images, seed=1, epoch=epoch)
        run(tensors(dict(params.arrays)), tensors({"images": images}))
    assert traces <= (2 if BACKEND == "tensorflow" else 1)  # TensorFlow traces Python twice


def test_a_plan_in_two_parts(rng: np.random.Generator) -> None:
    """Photos of different sizes are warped on the host; the device does the rest. Between them pixels are rounded."""
    batches = [batch_of(ROWS[2], rng), batch_of(next(row for row in ROWS if row.square), rng)]
    batch: dict[str, Any] = {"images": [image for part in batches for image in part["images"]]}
    for role in ("labels", "keypoints"):
        batch[role] = np.concatenate([part[role] for part in batches])
    batch["segmentation_masks"] = [mask for part in batches for mask in part["segmentation_masks"]]
    batch["bounding_boxes"] = {
        name: np.concatenate([part["bounding_boxes"][name] for part in batches]) for name in ("boxes", "labels")
    }
    for noise in ([], [ow.GaussianNoise(0.02, p=1)]):
        policy = ow.Policy(
            [ow.RandomResizedCrop(24), ow.Brightness(0.2), *noise, ow.Rescale(1 / 255), ow.CutMix()], dtype="float32"
        )
        plan = policy.plan(ow.Spec.of(batch["images"]))
        params = policy.draw(batch["images"], seed=3)
        expected = run_on_host(plan, params, batch, num_classes=5)
        start = cut(plan)
        warped = run_on_host(head(plan, start), params, batch)
        assert warped["images"].shape == (8, 24, 24, 3) and warped["images"].dtype == np.uint8
        needed = type(params)(
            {name: value for name, value in params.arrays.items() if int(name.split(".")[0]) >= start},
            params.sizes,
            params.plan,
        )
        found = on_device(plan, needed, warped, num_classes=5, start=start)
        off = np.abs(found["images"] - expected["images"])
        assert off.max() <= 1.01 * (1.2 * 0.5 + bool(noise)) / 255  # half a level, times the brightness, rounded again
        np.testing.assert_allclose(found["keypoints"], expected["keypoints"], atol=1e-3)
        for name in ("boxes", "labels"):
            np.testing.assert_allclose(found["bounding_boxes"][name], expected["bounding_boxes"][name], atol=1e-3)
        np.testing.assert_array_equal(found["segmentation_masks"], expected["segmentation_masks"])
        np.testing.assert_allclose(found["labels"], expected["labels"], atol=1e-6)


def test_filters_before_the_warp_belong_to_the_first_part(images: np.ndarray) -> None:
    plan = ow.Policy([ow.Invert(), ow.GaussianBlur(), ow.Rotate(5), ow.Hue()]).plan(ow.Spec.of(images))
    assert [type(stage).__name__ for stage in plan.stages[: cut(plan)]] == ["ColorStage", "FilterStage", "WarpStage"]
    assert cut(ow.Policy([ow.Hue()]).plan(ow.Spec.of(images))) == 0


@pytest.mark.skipif(BACKEND != "jax", reason="read from JAX's program")
@pytest.mark.parametrize(
    "interpolation, taps, bytes_", [("nearest", 1, 1.1), ("bilinear", 4, 1.1), ("bicubic", 16, 2.2)]
)
def test_what_a_step_does_to_memory(interpolation: str, taps: int, bytes_: float, images: np.ndarray) -> None:
    """One gather of whole pixels per tap, no matrix product; compiled to one sweep (bicubic: its weights are kept)."""
    import jax

    policy = ow.Policy([ow.HorizontalFlip(), ow.Rotate(10), ow.Normalize("imagenet")], interpolation=interpolation)
    plan, params = policy.plan(ow.Spec.of(images)), policy.draw(images, seed=0)

    def step(numbers: Any, entries: Any) -> Any:
        return device.run(plan, numbers, entries)

    given = tensors(dict(params.arrays)), tensors({"images": images})
    program = str(jax.make_jaxpr(step)(*given))
    assert len(re.findall(r"= gather\[", program)) == taps
    assert "dot_general" not in program and "callback" not in program
    counted = jax.jit(step).lower(*given).compile().cost_analysis()
    counted = counted[0] if isinstance(counted, list) else counted
    touched = images.nbytes + 4 * images.size
    assert counted["bytes accessed"] <= bytes_ * touched, counted["bytes accessed"] / touched


# --- what is refused ----------------------------------------------------------------------------------------------


def refused(policy: ow.Policy, batch: dict[str, Any], error: type[Exception], match: str, **options: Any) -> None:
    plan = options.pop("plan", None) or policy.plan(ow.Spec.of(batch["images"]))
    params = options.pop("params", None) or policy.draw(batch["images"], seed=0)
    with pytest.raises(error, match=match) as caught:
        on_device(plan, params, batch, **options)
    assert "\n" not in str(caught.value)


def test_a_missing_parameter_is_named(images: np.ndarray) -> None:
    policy = ow.Policy([ow.Rotate(10), ow.Hue()])
    params = policy.draw(images, seed=0)
    for name in ("0.matrix", "1.op0"):
        less = {key: value for key, value in params.arrays.items() if key != name}
        refused(
            policy,
            {"images": images},
            ow.InputError,
            f"no entry '{name}'",
            params=dataclasses.replace(params, arrays=less),
        )


def test_what_the_device_cannot_do_is_named(images: np.ndarray) -> None:
    class Swirl(ow.GaussianNoise):
        method = "swirl"

    refused(ow.Policy([Swirl(p=1)]), {"images": images}, ow.PolicyError, "Swirl runs on the host only; remove it")
    refused(ow.Policy([ow.Hue()], dtype="uint16"), {"images": images}, ow.PolicyError, "result would have dtype uint16")
    wide = images.astype(np.uint16)
    refused(ow.Policy([ow.Hue()]), {"images": wide}, ow.PolicyError, "images would have dtype uint16")


def test_other_images_than_those_of_the_plan(images: np.ndarray) -> None:
    policy = ow.Policy([ow.Rotate(10)])
    plan, params = policy.plan(ow.Spec.of(images)), policy.draw(images, seed=0)
    for other in (images[:, :30], images[..., :1], images[0], images.astype(np.float32)):
        refused(policy, {"images": other}, ow.InputError, "the plan was made for uint8", plan=plan, params=params)


def test_mixing_needs_to_know_the_classes(images: np.ndarray) -> None:
    batch = {"images": images, "labels": np.arange(4)}
    refused(ow.Policy([ow.MixUp()]), batch, ow.InputError, "pass num_classes=")
    batch = {"images": images, "keypoints": np.zeros((4, 2, 2), np.float32)}
    refused(ow.Policy([ow.MixUp()]), batch, ow.InputError, "needs their visibility")


def test_a_fill_that_masks_cannot_hold(images: np.ndarray) -> None:
    batch = {"images": images, "segmentation_masks": np.zeros(images.shape[:3], np.uint8)}
    refused(ow.Policy([ow.Rotate(9)], mask_fill_value=300), batch, ow.InputError, "does not fit the masks' dtype uint8")


def test_bfloat16_is_made_on_the_device_only(images: np.ndarray) -> None:
    with pytest.raises(ow.PolicyError, match="bfloat16 is made on the device only") as caught:
        ow.Policy([ow.Hue()], dtype="bfloat16")(images)
    assert "\n" not in str(caught.value)
    assert keras.backend.backend() == BACKEND
