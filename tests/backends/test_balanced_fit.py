"""Balanced epochs and plain samples under Keras: history, resuming, the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from augmented_helpers import augmented, classifier, ignore_inside_keras
from device_helpers import assert_same_pixels
from keras import ops
from loader_helpers import model, source

import onewarp as ow
from onewarp.engine import device
from onewarp.errors import InputError
from onewarp.fit.loader import Loader

MOVES = [ow.RandomCrop(6), ow.Rotate(20), ow.HorizontalFlip()]
POLICY = ow.Policy([*MOVES, ow.ColorJitter(0.2, 0.2), ow.Rescale(1 / 255), ow.MixUp(p=0.5)])


def zoo() -> ow.ArraySource:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    return ow.ArraySource(images, np.repeat([0, 1, 2], [13, 5, 2]), class_names=("ant", "bee", "cat"))


def balanced(**options: Any) -> Loader:
    known = {"samples_per_class": 8, "augment_probability": {"ant": 0.5}, "last_batch": "keep", "seed": 3}
    return Loader(zoo(), POLICY, 4, **{**known, **options})


def test_history_counts_originals_and_augmented() -> None:
    loader = balanced()
    labels = []
    for _, y in loader:
        labels += np.asarray(y).argmax(axis=1).tolist() if np.ndim(y) > 1 else np.asarray(y).tolist()
    shown = loader.history[0].shown
    assert shown["bee"] == (5, 3) and shown["cat"] == (2, 6)
    assert sum(shown["ant"]) == 8 and 0 < shown["ant"][0] < 8
    plain = Loader(source(), ow.Policy([ow.RandomCrop(6)]), 4)
    for _ in plain:
        pass
    assert plain.history[0].shown == {}


@ignore_inside_keras
def test_sums_are_in_keras_history() -> None:
    policy = ow.Policy([ow.RandomCrop(6), ow.HorizontalFlip(), ow.Rotate(10), ow.Rescale(1 / 255)])
    loader = Loader(zoo(), policy, 4, samples_per_class=8)
    history = model().fit(loader, epochs=2, verbose=0, callbacks=[ow.PipelineMonitor()]).history
    assert history["originals"] == [7, 7] and history["augmented"] == [17, 17]


def test_a_balanced_epoch_goes_on_where_it_stopped() -> None:
    whole = [np.asarray(x) for x, _ in balanced()]
    loader = balanced(threads=1)
    for step, _ in enumerate(loader):
        if step == 2:
            state = loader.state()
            break
    later = balanced(threads=4)
    later.restore(state)
    rest = [np.asarray(x) for x, _ in later]
    assert len(rest) == len(whole) - 3
    for found, expected in zip(rest, whole[3:], strict=True):
        np.testing.assert_array_equal(found, expected)
    for change in ({"samples_per_class": 9}, {"originals": False}, {"augment_probability": None}):
        with pytest.raises(InputError, match="order='balanced, 8 each of 3 classes, augmented with"):
            balanced(**change).restore(state)


def test_plain_samples_are_the_same_on_the_device() -> None:
    host, other = balanced(), balanced(placement="device")
    seen = 0
    for index in range(6):
        batch, sent = host.batches.batch(1, index), other.batches.batch(1, index)
        plain = host.batches.sampling.at(1, host.batches.positions(index)).plain
        route = other.batches.route
        numbers = {name: ops.convert_to_tensor(value) for name, value in sent.pop("onewarp_params").items()}
        entries = {name: ops.convert_to_tensor(value) for name, value in sent.items()}
        found = device.run(route.plan, numbers, entries, start=route.start, num_classes=3)
        images = np.asarray(ops.convert_to_numpy(found["images"]))
        assert_same_pixels(images, batch["images"], 1 / 255, steps=False)
        rows = host.batches.indices(1, index)
        originals = POLICY.deterministic()(np.stack([zoo()[int(row)]["images"] for row in rows]))
        np.testing.assert_allclose(images[plain], originals[plain], atol=1 / 255)
        seen += int(plain.sum())
    assert seen > 8


@ignore_inside_keras
def test_a_model_trains_on_balanced_batches() -> None:
    policy = ow.Policy([ow.RandomCrop(6), ow.HorizontalFlip(), ow.Rotate(10), ow.Rescale(1 / 255)])
    loader = Loader(zoo(), policy, 4, samples_per_class=7, last_batch="drop", placement="device")
    trained = augmented(policy, classifier())
    trained.fit(loader, epochs=1, verbose=0)
    assert loader.epoch == 1 and set(loader.history[0].shown) == {"ant", "bee", "cat"}
