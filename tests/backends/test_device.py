"""The device engine gives what the host gives: every row of the table, compiled, with every target."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from device_helpers import (
    BACKEND,
    assert_same_pixels,
    batch_of,
    both,
    check,
    on_device,
    unit_of,
)

import onewarp as ow
from table import ROWS, VARIANTS, Row
from test_table import ALL, ids

every_row = pytest.mark.parametrize("row", ALL, ids=ids(ALL))


@every_row
def test_every_row(row: Row, rng: np.random.Generator) -> None:
    """All targets; compiled by XLA. torch.compile traces for seconds, so it has tests of its own below."""
    policy = ow.Policy([row.make(0.7)], fill_value=90, mask_fill_value=255)
    check(policy, batch_of(row, rng), row.steps, compile=BACKEND != "torch")


@every_row
def test_every_row_on_floats(row: Row, rng: np.random.Generator) -> None:
    batch = batch_of(row, rng, "float32")
    policy = ow.Policy([row.make(0.7)], fill_value=0.3)
    check(policy, {"images": batch["images"]}, row.steps)


TEN = [
    ow.RandomResizedCrop((40, 30), scale=(0.3, 1.0)),
    ow.HorizontalFlip(),
    ow.Rotate(20),
    ow.ColorJitter(0.3, 0.3, 0.3, 0.1),
    ow.Gamma((0.8, 1.25)),
    ow.GaussianBlur((0.5, 1.5)),
    ow.OneOf([ow.Shear(10), ow.Perspective(0.3, p=1), ow.Scale((0.6, 1.4))]),
    ow.CoarseDropout((1, 4), fill_value="noise"),
    ow.Normalize("imagenet"),
    ow.CutMix(),
]


@pytest.mark.parametrize("settings", [{}, {"fill_mode": "reflect", "interpolation": "bicubic"}], ids=["plain", "other"])
def test_a_whole_policy_of_ten(settings: dict[str, Any], rng: np.random.Generator) -> None:
    """In one graph, on torch too: nothing breaks it, no Python depends on data."""
    batch = batch_of(ROWS[0], rng)
    policy = ow.Policy(TEN, **settings)
    found, expected, _ = both(policy, batch, compile=BACKEND != "torch" or not settings)  # once: it traces for long
    assert_same_pixels(found["images"], expected["images"], unit_of(policy, batch["images"]), steps=True)
    np.testing.assert_allclose(found["labels"], expected["labels"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["bounding_boxes"]["boxes"], expected["bounding_boxes"]["boxes"], atol=1e-3)
    np.testing.assert_array_equal(found["bounding_boxes"]["labels"], expected["bounding_boxes"]["labels"])


@pytest.mark.skipif(BACKEND != "torch", reason="elsewhere every row is compiled")
@pytest.mark.parametrize(
    "name",
    ["ElasticTransform", "ResizeShortest", "AutoContrast", "Equalize", "Hue", "Posterize", "GaussianNoise", "MixUp"],
)
def test_rows_in_one_graph(name: str, rng: np.random.Generator) -> None:
    row = next(row for row in [*VARIANTS, *ROWS] if row.name == name)
    batch = {"images": batch_of(row, rng)["images"]}
    check(ow.Policy([row.make(0.7)]), batch, row.steps, compile=True)


def test_the_comparison_can_fail(rng: np.random.Generator) -> None:
    """A quarter of a pixel, a hundredth of brightness or a lost filter is seen."""
    images = batch_of(ROWS[2], rng)["images"]
    policy = ow.Policy([ow.Rotate(20), ow.Brightness(0.2), ow.GaussianBlur(p=1)])
    plan, params = policy.plan(ow.Spec.of(images)), policy.draw(images, seed=5)
    expected = policy(images, params=params)

    def compare(**changed: np.ndarray) -> None:
        other = type(params)({**params.arrays, **changed}, params.sizes, params.plan)
        found = on_device(plan, other, {"images": images})["images"]
        assert_same_pixels(found, expected, 1.0, steps=False)

    compare()
    shifted = params.arrays["0.matrix"] + np.float32(0.25) * np.eye(3, dtype=np.float32)[0][:, None] * [0, 0, 1]
    for name, value in (
        ("0.matrix", shifted.astype(np.float32)),
        ("1.op0", params.arrays["1.op0"] * np.float32(1.01)),
        ("2.active", params.arrays["2.active"] * 0),
    ):
        with pytest.raises(AssertionError):
            compare(**{name: value})
