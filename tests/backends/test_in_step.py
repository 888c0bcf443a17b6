"""A policy inside a compiled step: whose numbers they are, and that torch compiles it without a break."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from device_helpers import BACKEND, arrays, assert_same_pixels, batch_of, tensors
from keras import ops
from test_device import TEN

import onewarp as ow
from onewarp.fit import replicas
from onewarp.fit.in_step import InStep
from table import ROWS, Row
from test_table import ids

torch_only = pytest.mark.skipif(BACKEND != "torch", reason="about torch.compile")
SEED, STEP = 7, 3


def number(step: int = STEP) -> Any:
    return ops.convert_to_tensor(step, dtype="int32")


def in_one_graph(step: InStep, backend: str = "eager") -> Any:
    """The step compiled; an error where the graph would break."""
    import torch

    torch._dynamo.reset()
    return torch.compile(step, backend=backend, fullgraph=True, dynamic=False)


@torch_only
@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
def test_every_row_with_its_draws_in_one_graph(row: Row, rng: np.random.Generator) -> None:
    """Shapes are found without values, so no Python depends on them; the result is that of the eager step."""
    batch = tensors({"images": batch_of(row, rng)["images"]})
    step = InStep(ow.Policy([row.make(0.7)]), seed=SEED)
    found = in_one_graph(step)(batch, number())
    np.testing.assert_array_equal(arrays(found)["images"], arrays(step(batch, number()))["images"])


@torch_only
@pytest.mark.parametrize("targets", [False, True])
def test_operations_are_traced_behind_the_graph(targets: bool, rng: np.random.Generator) -> None:
    """AOTAutograd sees every operation, of draws and pixels; with targets and ten transforms it takes half a minute."""
    batch = batch_of(ROWS[0], rng)
    entries = tensors(batch if targets else {"images": batch["images"]})
    step = InStep(ow.Policy(TEN if targets else [ow.Rotate(9), ow.MixUp()]), seed=SEED, num_classes=5)
    run = in_one_graph(step, "aot_eager")
    for when in (STEP, STEP + 1):
        found, expected = arrays(run(entries, number(when))), arrays(step(entries, number(when)))
        for leaf, wanted in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
            np.testing.assert_array_equal(leaf, wanted)


@torch_only
def test_a_model_with_a_layer_breaks_no_graph(rng: np.random.Generator) -> None:
    import torch

    images = batch_of(ROWS[0], rng)["images"]
    policy = ow.Policy([ow.RandomCrop(16), ow.HorizontalFlip(), ow.ColorJitter(0.2, 0.2), ow.Rescale(1 / 255)])
    model = keras.Sequential([keras.Input(images.shape[1:], dtype="uint8"), policy.as_layer(), keras.layers.Flatten()])
    torch._dynamo.reset()
    for training in (True, False):
        told = torch._dynamo.explain(model)(ops.convert_to_tensor(images), training=training)
        assert (told.graph_count, told.graph_break_count) == (1, 0), told.break_reasons


@torch_only
def test_what_cannot_be_is_still_told() -> None:
    step = in_one_graph(InStep(ow.Policy([ow.HorizontalFlip()])))
    with pytest.raises(Exception, match=r"a batch of images has shape \(8, 8, 3\)"):
        step(tensors({"images": np.zeros((8, 8, 3), np.uint8)}), number())


def test_entries_go_in_and_out_as_they_are(rng: np.random.Generator) -> None:
    """All roles, and None for what is not there; the numbers are those of the host."""
    batch = batch_of(ROWS[0], rng)
    policy = ow.Policy([ow.RandomCrop(20), ow.HorizontalFlip(), ow.Brightness(0.2)])
    step = InStep(policy, seed=SEED)
    found = arrays(step({**tensors(batch), "sample_weight": None}, number()))
    expected = policy(batch, seed=SEED, epoch=STEP, ids=np.arange(4))
    assert list(found) == list(batch)
    assert_same_pixels(found["images"], expected["images"], 1.0, steps=False)
    np.testing.assert_array_equal(found["segmentation_masks"], expected["segmentation_masks"])
    np.testing.assert_allclose(found["bounding_boxes"]["boxes"], expected["bounding_boxes"]["boxes"], atol=1e-3)
    np.testing.assert_allclose(found["keypoints"], expected["keypoints"], atol=1e-3)


@pytest.mark.parametrize("rank", [0, 2])
def test_places_are_those_in_the_whole_batch(
    rank: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = batch_of(ROWS[2], rng)["images"]
    policy = ow.Policy([ow.Rotate(30), ow.Brightness(0.2)])
    monkeypatch.setattr(replicas, "_rank", lambda: rank)
    found = arrays(InStep(policy, seed=SEED)({"images": tensors(images)}, number()))["images"]
    expected = policy(images, seed=SEED, epoch=STEP, ids=4 * rank + np.arange(4))
    assert_same_pixels(found, expected, 1.0, steps=False)
