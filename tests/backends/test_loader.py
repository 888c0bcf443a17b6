"""The loader under Keras: run once per backend, with KERAS_BACKEND set.

What Keras does with a PyDataset differs between backends and versions; what a model is trained on must not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from loader_helpers import (
    BACKEND,
    BATCH,
    POLICY,
    N,
    Recording,
    model,
    source,
    weights,
)

import onewarp as ow
from onewarp.data.sources import ArraySource
from onewarp.errors import InputError
from onewarp.fit.callbacks import PipelineMonitor
from onewarp.fit.evaluate import evaluate, predict
from onewarp.fit.loader import Loader

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside Keras


@pytest.mark.parametrize(("built", "shuffle", "threads"), [(True, True, 1), (False, True, 8), (True, False, 8)])
def test_fit_trains_on_batch_n_at_step_n(built: bool, shuffle: bool, threads: int) -> None:
    loader = Recording(source(), POLICY, BATCH, seed=5, threads=threads)
    trained = model(built=built)
    trained.fit(loader, epochs=2, shuffle=shuffle, verbose=0)
    complete = [seen for seen in loader.passes if len(seen) == 6]
    assert complete == [loader.expected(0), loader.expected(1)]
    assert loader.ends == [0, 1] and loader.epoch == 2 and loader.error is None
    by_hand = model(built=True)
    for epoch in range(2):
        for index in range(6):
            by_hand.train_on_batch(*loader.batches.xyw(loader.batches.batch(epoch, index)))
    for mine, other in zip(weights(trained), weights(by_hand), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)


def test_a_second_fit_goes_on_whatever_initial_epoch_says() -> None:
    loader, trained = Recording(source(), POLICY, BATCH), model()
    trained.fit(loader, epochs=2, verbose=0)
    trained.fit(loader, epochs=7, initial_epoch=5, verbose=0)
    complete = [seen for seen in loader.passes if len(seen) == 6]
    assert complete == [loader.expected(epoch) for epoch in range(4)] and loader.ends == [0, 1, 2, 3]


def test_validation_data_is_seen_whole_and_in_order() -> None:
    loader = Recording(source(), POLICY, BATCH)
    val = Recording(source(10), POLICY.deterministic(), BATCH, shuffle=False)
    history = model(built=False).fit(loader, validation_data=val, epochs=3, verbose=0).history
    assert [seen for seen in val.passes if len(seen) == 3] == [val.expected(0)] * 3
    assert loader.ends == val.ends == [0, 1, 2]
    assert len(history["val_loss"]) == 3


@pytest.mark.parametrize("built", [True, False])
def test_one_batch_per_epoch(built: bool) -> None:
    loader = Recording(source(4), POLICY, BATCH)
    model(built=built).fit(loader, epochs=3, verbose=0)
    assert loader.ends == [0, 1, 2] and loader.passes[-3:] == [loader.expected(epoch) for epoch in range(3)]


def test_predict_and_evaluate_see_each_row_once() -> None:
    loader = Recording(source(), POLICY.deterministic(), BATCH, shuffle=False)
    trained = model()
    everything = np.concatenate([loader.batches.batch(0, index)["images"] for index in range(6)])
    assert everything.shape[0] == N
    np.testing.assert_allclose(trained.predict(loader, verbose=0), trained.predict(everything, verbose=0), atol=1e-6)
    found = trained.evaluate(loader, verbose=0, return_dict=True)
    expected = trained.evaluate(everything, np.arange(N) % 3, batch_size=BATCH, verbose=0, return_dict=True)
    assert found == pytest.approx(expected, abs=1e-6)
    assert model(built=False).predict(loader, verbose=0).shape == (N, 3)
    unlabelled = Loader(ArraySource(everything), ow.Policy([ow.HorizontalFlip()]), BATCH, shuffle=False)
    assert trained.predict(unlabelled, verbose=0).shape == (N, 3)


def test_our_evaluate_and_predict_are_right_and_leave_the_loader_alone() -> None:
    loader = Loader(source(), POLICY.deterministic(), BATCH, shuffle=False, class_weight={0: 2.0})
    trained = model()
    np.testing.assert_allclose(predict(trained, loader), trained.predict(loader, verbose=0), atol=1e-6)
    ours = evaluate(trained, loader)
    assert ours == pytest.approx(trained.evaluate(loader, verbose=0, return_dict=True), abs=1e-6)
    assert evaluate(trained, loader) == ours  # nothing is carried over from call to call
    before = loader.epoch
    evaluate(trained, loader)
    assert loader.epoch == before and loader.state()["batch"] == 0
    wrapping = Loader(source(), POLICY.deterministic(), BATCH, last_batch="wrap", class_weight={0: 2.0})
    assert evaluate(trained, wrapping) == pytest.approx(ours, abs=1e-6)
    with pytest.raises(InputError, match="shuffle=False"):
        predict(trained, wrapping)
    with pytest.raises(InputError, match="targets"):
        evaluate(trained, Loader(source(outputs=("images",)), POLICY, BATCH))


@pytest.mark.skipif(BACKEND == "torch", reason="torch runs eagerly: there is no tracing to count")
def test_our_predict_compiles_once() -> None:
    traced = []

    class Count(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            traced.append(x.shape)
            return x

    counting = keras.Sequential([keras.layers.Input((6, 6, 3)), Count(), keras.layers.Flatten()])
    traced.clear()
    predict(counting, Loader(source(), POLICY.deterministic(), BATCH, shuffle=False))
    assert len(traced) == 1


def test_what_a_pass_took_is_counted_and_logged() -> None:
    loader = Loader(source(), POLICY, BATCH)
    history = model().fit(loader, epochs=2, verbose=0, callbacks=[PipelineMonitor()]).history
    assert [(stats.epoch, stats.batches, stats.images) for stats in loader.history] == [(0, 6, 24), (1, 6, 24)]
    assert history["data_wait"] == [stats.data_wait for stats in loader.history]
    assert all(0.0 <= wait <= 1.0 for wait in history["data_wait"])
    assert history["images_per_second"] == [stats.images_per_second for stats in loader.history]
    model().fit(
        np.zeros((4, 6, 6, 3)), np.zeros(4), verbose=0, callbacks=[PipelineMonitor()]
    )  # not a Loader: no matter


def test_class_weight_is_what_keras_makes_of_it() -> None:
    ours, theirs = model(), model()
    class_weight = {0: 3.0, 2: 0.5}
    ours.fit(Loader(source(), POLICY, BATCH, class_weight=class_weight), epochs=1, verbose=0)
    theirs.fit(Loader(source(), POLICY, BATCH), epochs=1, verbose=0, class_weight={1: 1.0, **class_weight})
    for mine, other in zip(weights(ours), weights(theirs), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)


def test_one_hot_labels_and_mixing() -> None:
    mixing = ow.Policy([*POLICY, ow.MixUp()])
    trained = model(loss="categorical_crossentropy")
    trained.fit(Loader(source(), mixing, BATCH, labels="one_hot"), epochs=1, verbose=0)
    assert all(np.isfinite(array).all() for array in weights(trained))


def test_dictionaries_for_detection() -> None:
    boxes = {"boxes": np.tile(np.float32([0, 0, 4, 4]), (N, 2, 1)), "labels": np.ones((N, 2), np.int64)}
    loader = Loader(source(bounding_boxes=boxes), POLICY, BATCH, outputs=("images", ("labels", "bounding_boxes")))
    _, targets = next(iter(loader))
    assert targets["bounding_boxes"]["boxes"].shape == (BATCH, 2, 4) and targets["labels"].shape == (BATCH,)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="Keras' TensorBoard writes with TensorFlow")
def test_tensorboard_shows_the_wait(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    board = keras.callbacks.TensorBoard(tmp_path)
    model().fit(Loader(source(), POLICY, BATCH), verbose=0, callbacks=[PipelineMonitor(), board])
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("events*"))
    assert b"epoch_data_wait" in written and b"epoch_images_per_second" in written
