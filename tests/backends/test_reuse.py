"""Loader(reuse=N) under fit, on every backend: what is shown, what the history says, what a device does to frames."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from augmented_helpers import MIXES, TURNS, Seen, augmented, classifier, ignore_inside_keras, pixels
from loader_helpers import POLICY, Recording, StopAfter, assert_same, model, source, weights

import onewarp as ow
from onewarp.errors import InputError
from onewarp.fit.loader import Loader

pytestmark = ignore_inside_keras

VARIED = ow.Policy([ow.HorizontalFlip(), ow.Brightness(0.3), ow.RandomErasing(p=0.5), ow.Rescale(1 / 255)])
MADE = ow.Policy([ow.RandomCrop(6), ow.Rotate(20)])


def test_fit_sees_every_epoch_and_the_history_tells_its_kind() -> None:
    loader = Recording(source(), POLICY, 4, reuse=3)
    history = model().fit(loader, epochs=5, verbose=0, callbacks=[ow.PipelineMonitor()]).history
    assert loader.ends == list(range(5))
    assert [p for p in loader.passes if len(p) > 1] == [loader.expected(epoch) for epoch in range(5)]
    assert [stats.frames for stats in loader.history] == ["new", "reused", "reused", "new", "reused"]
    made = [stats.frames_made for stats in loader.history]
    assert made[0] >= 22 and 2 * 22 <= sum(made[:3]) <= 2 * 22 + 3 * 2 and made[3] < 22  # 2 wrapped in each epoch
    assert history["frames_new"] == [1, 0, 0, 1, 0] and history["frames_made"] == made
    plain = Loader(source(), POLICY, 4)
    assert "frames_new" not in model().fit(plain, verbose=0, callbacks=[ow.PipelineMonitor()]).history
    assert plain.history[0].frames is None


def test_resuming_in_the_middle_of_a_generation() -> None:
    whole, first = model(), model()
    whole.fit(Loader(source(), POLICY, 4, reuse=3), epochs=5, verbose=0)
    loader = Loader(source(), POLICY, 4, reuse=3)
    stop = StopAfter(3, epoch=1)
    first.fit(loader, epochs=5, verbose=0, callbacks=[ow.PipelineMonitor(), stop])
    state = loader.state()
    assert (state["epoch"], state["batch"]) == (1, 3)
    second = Loader(source(), POLICY, 4, reuse=3)
    second.restore(state)
    first.fit(second, epochs=1, verbose=0)
    first.fit(second, epochs=3, verbose=0)
    assert second.epoch == 5
    assert_same(first, whole)


def test_another_reuse_is_not_the_same_run() -> None:
    state = Loader(source(), POLICY, 4, reuse=3).state()
    for other in (1, 2):
        with pytest.raises(InputError, match="reuse"):
            Loader(source(), POLICY, 4, reuse=other).restore(state)
    Loader(source(), POLICY, 4, reuse=3).restore(state)


@pytest.mark.parametrize("policy", [TURNS, MIXES], ids=["normalised", "mixed"])
def test_frames_train_the_same_on_host_and_device(policy: ow.Policy) -> None:
    images, labels = pixels()
    found = {}
    loss: dict[str, Any] = {"loss": "categorical_crossentropy"}
    for placement in ("host", "device"):
        options = {"labels": "one_hot", "reuse": 2, "placement": placement}
        loader = ow.Loader(ow.ArraySource(images, labels), policy, 4, **options)
        if placement == "host":
            made = classifier()
            made.compile(keras.optimizers.SGD(0.1), **loss, metrics=["accuracy"])
        else:
            made = augmented(policy, **loss)
            x = loader.batches.xyw(loader.batches.batch(1, 0))[0]
            assert next(iter(x.values())).dtype == np.uint8  # frames travel as they are
        history = made.fit(loader, epochs=3, verbose=0).history
        assert [stats.frames for stats in loader.history] == ["new", "reused", "new"]
        found[placement] = history["loss"], weights(made)
    np.testing.assert_allclose(*(loss for loss, _ in found.values()), atol=1e-4)
    for mine, other in zip(*(values for _, values in found.values()), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4)


def test_a_second_policy_varies_frames_in_the_step() -> None:
    images, labels = pixels()
    given = {"reuse": 4, "then": VARIED}
    host = ow.Loader(ow.ArraySource(images, labels), MADE, 4, **given)
    plain = classifier()
    plain.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    plain.fit(host, epochs=3, verbose=0)
    device = ow.Loader(ow.ArraySource(images, labels), MADE, 4, placement="device", **given)
    made = augmented(VARIED)
    made.fit(device, epochs=3, verbose=0)
    for mine, other in zip(weights(made.model), weights(plain), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4)
    rows = [host.batches.sampling.slots(epoch, np.arange(20)) for epoch in (0, 1)]
    shown = [
        np.concatenate([host.batches.batch(e, i)["images"] for i in range(5)])[np.argsort(rows[e])] for e in (0, 1)
    ]
    both = set(rows[0]) & set(rows[1])
    assert len(both) > 15 and (shown[0][:15] != shown[1][:15]).any()  # the frames are the same, what is shown is not


def test_auto_measures_with_frames(capsys: pytest.CaptureFixture[str]) -> None:
    loader = ow.Loader(ow.ArraySource(*pixels()), MADE, 4, placement="auto", reuse=2, then=VARIED)
    augmented(VARIED).fit(loader, epochs=2, verbose=0)
    assert 'placement="auto": ' in capsys.readouterr().out and loader.history[1].frames == "reused"


def test_the_model_is_made_with_the_policy_that_it_runs() -> None:
    loader = ow.Loader(ow.ArraySource(*pixels()), MADE, 4, placement="device", reuse=2, then=VARIED)
    with pytest.raises(InputError, match=r"with Loader\(\.\.\., then=second\) it is AugmentedModel\(model, second\)"):
        augmented(MADE).fit(loader, verbose=0)
    assert loader.policy == MADE and loader.then == VARIED


def test_nothing_is_compiled_twice() -> None:
    seen = Seen()
    inner = keras.Sequential([keras.Input((6, 6, 3)), seen, keras.layers.Flatten(), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made = augmented(VARIED, inner, loss=loss, jit_compile=keras.backend.backend() != "torch")
    loader = ow.Loader(ow.ArraySource(*pixels()), MADE, 4, placement="device", reuse=2, then=VARIED)
    made.fit(loader, epochs=1, verbose=0)
    before = len(seen.shapes)
    made.fit(loader, epochs=4, verbose=0)
    traced = len(seen.shapes) - before
    assert traced <= (2 if keras.backend.backend() != "torch" else 4 * 6 + 2)
