"""The loader under Keras: run once per backend, with KERAS_BACKEND set.

What Keras does with a PyDataset differs between backends and versions; what a model is trained on must not.
"""

from __future__ import annotations

import gc
import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import onewarp as ow
from onewarp.data.files import FileSource
from onewarp.data.sources import ArraySource
from onewarp.errors import DataError, InputError
from onewarp.fit.callbacks import PipelineMonitor
from onewarp.fit.evaluate import evaluate, predict
from onewarp.fit.loader import Loader

BACKEND = keras.backend.backend()
POLICY = ow.Policy([ow.RandomCrop(6), ow.HorizontalFlip(), ow.Rescale(1 / 255)])
N, BATCH = 22, 4  # six batches, the last one of two samples


def source(n: int = N, **options: Any) -> ArraySource:
    rng = np.random.default_rng(n)
    return ArraySource(rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8), np.arange(n) % 3, **options)


def model(seed: int = 0, built: bool = True, **compile_options: Any) -> keras.Model:
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    made = keras.Sequential([keras.layers.Input((6, 6, 3)), *layers] if built else layers)
    options = {
        "optimizer": keras.optimizers.SGD(0.1),
        "loss": "sparse_categorical_crossentropy",
        "metrics": ["accuracy"],
    }
    made.compile(**{**options, **compile_options})
    return made


def fingerprint(images: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(keras.ops.convert_to_numpy(images)).tobytes()).hexdigest()[:12]


class Recording(Loader):
    """Notes which batches Keras gets between on_epoch_begin and on_epoch_end, and the epochs that ended."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.passes: list[list[str]] = []
        self.ends: list[int] = []
        options.setdefault("on_epoch_end", lambda loader, epoch: self.ends.append(epoch))
        super().__init__(*arguments, **options)

    def on_epoch_begin(self) -> None:
        self.passes.append([])
        super().on_epoch_begin()

    def __getitem__(self, index: int) -> Any:
        inside = self._pass is not None
        batch = super().__getitem__(index)
        if inside:
            self.passes[-1].append(fingerprint(batch[0] if isinstance(batch, tuple) else batch))
        return batch

    def expected(self, epoch: int, start: int = 0) -> list[str]:
        return [fingerprint(self.batches.batch(epoch, i)["images"]) for i in range(start, len(self.batches))]


class StopAfter(keras.callbacks.Callback):
    """Ends training after some steps of an epoch: politely, or by an exception."""

    def __init__(self, steps: int, epoch: int = 0, error: BaseException | None = None) -> None:
        super().__init__()
        self.steps, self.epoch, self.error, self.running = steps, epoch, error, -1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.running += 1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.running == self.epoch and batch + 1 == self.steps:
            if self.error is not None:
                raise self.error
            self.model.stop_training = True


def weights(of: keras.Model) -> list[np.ndarray]:
    return [np.array(array) for array in of.get_weights()]


def assert_same(a: keras.Model, b: keras.Model) -> None:
    for mine, other in zip(weights(a), weights(b), strict=True):
        np.testing.assert_array_equal(mine, other)


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


def damaged(tmp_path: Path, bad: int) -> FileSource:
    """Twelve files, in order, of which one is empty."""
    paths = []
    for k in range(12):
        paths.append(tmp_path / f"{k:02d}.png")
        keras.utils.save_img(paths[-1], source(12).images[k])
    paths[bad].write_bytes(b"")
    return FileSource(paths, np.arange(12) % 3)


@pytest.fixture
def tidy() -> Iterator[None]:
    """Destroys what an error left behind at once: TensorFlow takes a minute to end a data set that has lain about."""
    yield
    gc.collect()


@pytest.mark.parametrize(("bad", "built"), [(0, True), (7, False), (11, True)])
def test_an_error_is_readable_and_the_model_survives_it(tmp_path: Path, bad: int, built: bool, tidy: None) -> None:
    loader = Loader(damaged(tmp_path, bad), POLICY, BATCH, shuffle=False)
    trained = model(built=built)
    with pytest.raises(Exception) as caught:
        trained.fit(loader, epochs=2, verbose=0)
    if bad == 0 or BACKEND != "tensorflow":  # TensorFlow buries what comes later
        assert isinstance(caught.value, DataError)
    del caught
    assert isinstance(loader.error, DataError) and f"{bad:02d}.png" in str(loader.error)
    assert "\n" not in str(loader.error) and loader.epoch == 0
    with pytest.raises(Exception):  # noqa: B017 - each backend has its own; it must not hang or train on
        trained.fit(loader, epochs=1, verbose=0)
    good = Recording(source(), POLICY, BATCH)
    trained.fit(good, epochs=1, verbose=0)
    assert good.ends == [0] and all(np.isfinite(array).all() for array in weights(trained))


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_an_error_while_evaluating_leaves_the_weights(tmp_path: Path, method: str, tidy: None) -> None:
    bad, good = Loader(damaged(tmp_path, 7), POLICY, BATCH, shuffle=False), Loader(source(), POLICY, BATCH)
    trained = model()
    trained.fit(good, epochs=1, verbose=0)
    before = weights(trained)
    with pytest.raises(Exception):  # noqa: B017 - TensorFlow has an error of its own
        getattr(trained, method)(bad, verbose=0)
    assert "07.png" in str(bad.error)
    for mine, other in zip(before, weights(trained), strict=True):
        np.testing.assert_array_equal(mine, other)
    with pytest.raises(Exception):  # noqa: B017
        trained.fit(good, validation_data=bad, epochs=1, verbose=0)
    trained.fit(good, epochs=1, verbose=0)
    assert good.epoch == 3 and all(np.isfinite(array).all() for array in weights(trained))


def test_skipped_files_are_reported_with_the_epoch(tmp_path: Path) -> None:
    loader = Loader(damaged(tmp_path, 5), POLICY, BATCH, on_error="skip")
    with pytest.warns(UserWarning, match=r"epoch \d: 1 unreadable samples were replaced, the first: .*05\.png"):
        history = model().fit(loader, epochs=2, verbose=0, callbacks=[PipelineMonitor()]).history
    assert [len(stats.skipped) for stats in loader.history] == [1, 1] and history["skipped"] == [1, 1]


def test_a_run_that_was_stopped_starts_its_epoch_again() -> None:
    loader, trained = Recording(source(), POLICY, BATCH), model()
    trained.fit(loader, epochs=3, verbose=0, callbacks=[StopAfter(2)])
    assert loader.ends == [] and loader.epoch == 0
    trained.fit(loader, epochs=1, verbose=0)
    assert loader.ends == [0] and loader.passes[-1] == loader.expected(0)


@pytest.mark.parametrize("steps", [1, 4])
def test_an_interrupted_run_can_be_fitted_again(steps: int) -> None:
    loader, trained = Recording(source(), POLICY, BATCH), model()
    with pytest.raises(KeyboardInterrupt):
        trained.fit(loader, epochs=3, verbose=0, callbacks=[StopAfter(steps, 1, KeyboardInterrupt())])
    assert loader.ends == [0]
    trained.fit(loader, epochs=1, verbose=0)
    assert loader.ends == [0, 1] and loader.passes[-1] == loader.expected(1)
    trained.evaluate(loader, verbose=0)
    trained.predict(loader, verbose=0)
    assert loader.ends == [0, 1, 2, 3]


@pytest.mark.parametrize(("built", "steps"), [(True, 1), (False, 1), (True, 5), (False, 9)])
def test_steps_per_epoch_is_refused_with_the_reason(built: bool, steps: int) -> None:
    loader, trained = Recording(source(), POLICY, BATCH), model(built=built)
    before = [] if not built else weights(trained)
    with pytest.raises(InputError, match=r"epochs have 6 batches: steps_per_epoch.*never be shown"):
        trained.fit(loader, epochs=2, steps_per_epoch=steps, verbose=0)
    assert loader.ends == [] and loader.epoch == 0
    for mine, other in zip(before, weights(trained), strict=False):
        np.testing.assert_array_equal(mine, other)  # refused before anything was trained
    trained.fit(loader, epochs=1, verbose=0)
    assert loader.ends == [0] and loader.passes[-1] == loader.expected(0)
    trained.fit(loader, epochs=2, steps_per_epoch=6, verbose=0)  # all of them is fine
    assert loader.ends == [0, 1, 2] and loader.passes[-1] == loader.expected(2)


@pytest.mark.parametrize(("built", "steps"), [(False, 1), (True, 2)])
def test_evaluating_a_few_batches_shows_the_first_ones(built: bool, steps: int) -> None:
    loader = Recording(source(), POLICY, BATCH)
    val = Recording(source(10), POLICY.deterministic(), BATCH, shuffle=False)
    trained = model(built=built)
    trained.fit(loader, validation_data=val, validation_steps=steps, epochs=2, verbose=0)
    assert trained.predict(val, steps=steps, verbose=0).shape == (steps * BATCH, 3)
    trained.evaluate(val, steps=steps, verbose=0)
    assert all(seen[:steps] == val.expected(0)[:steps] for seen in val.passes)
    assert val.ends == [] and val.epoch == 0 and loader.ends == [0, 1]
    assert trained.predict(val, verbose=0).shape == (10, 3) and val.ends == [0]


@pytest.mark.parametrize("steps", [1, 4, 6])
def test_resuming_in_mid_epoch_gives_the_same_weights(steps: int) -> None:
    straight, through = Loader(source(), POLICY, BATCH), model()
    through.fit(straight, epochs=3, verbose=0)

    first, resumed = Loader(source(), POLICY, BATCH), model()
    resumed.fit(first, epochs=3, verbose=0, callbacks=[PipelineMonitor(), StopAfter(steps, epoch=1)])
    state = first.state()
    assert (state["epoch"], state["batch"]) == ((1, steps) if steps < 6 else (2, 0))
    second = Recording(source(), POLICY, BATCH)
    second.restore(state)
    assert len(second) == 6 - steps % 6
    if steps < 6:
        resumed.fit(second, epochs=1, verbose=0)
        assert second.passes[-1] == second.expected(1, steps) and len(second) == 6
    resumed.fit(second, epochs=1, verbose=0)
    assert second.epoch == 3 and second.state()["batch"] == 0
    assert_same(through, resumed)


@pytest.mark.parametrize(("built", "left"), [(True, 1), (False, 1), (True, 3)])
def test_after_restore_the_rest_must_be_fitted_alone(built: bool, left: int) -> None:
    """Keras keeps the length of the first pass; the next epochs would silently be as short."""
    loader = Recording(source(), POLICY, BATCH)
    loader.restore({**loader.state(), "batch": 6 - left})
    with pytest.raises(InputError, match="epochs=1"):
        model(built=built).fit(loader, epochs=3, verbose=0)


def test_state_without_a_monitor_says_what_is_missing() -> None:
    seen: list[Any] = []

    class Ask(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            try:
                seen.append(loader.state()["batch"])
            except InputError as error:
                seen.append(str(error))

    loader, trained = Loader(source(), POLICY, BATCH), model()
    trained.fit(loader, epochs=1, verbose=0, callbacks=[Ask()])
    assert len(seen) == 6 and all("PipelineMonitor" in answer for answer in seen)
    seen.clear()
    trained.fit(loader, epochs=1, verbose=0, callbacks=[PipelineMonitor(), Ask()])
    assert seen == [1, 2, 3, 4, 5, 0]
    assert loader.state() == {"epoch": 2, "batch": 0, "seed": 0, "batch_size": BATCH, "samples": N}


def test_restore_refuses_foreign_states() -> None:
    loader = Loader(source(), POLICY, BATCH, seed=1)
    state = loader.state()
    for change, says in (({"seed": 2}, "seed=2"), ({"batch_size": 5}, "batch_size=5"), ({"samples": 9}, "samples=9")):
        with pytest.raises(InputError, match=says):
            loader.restore({**state, **change})
    with pytest.raises(InputError, match="last_batch"):
        loader.restore({**state, "batch": 6})
    with pytest.raises(InputError, match="not a state"):
        loader.restore({"epoch": 1})


def test_a_loop_is_an_epoch() -> None:
    loader = Recording(source(), POLICY, BATCH)
    for epoch in range(2):
        assert [fingerprint(images) for images, _ in loader] == loader.expected(epoch)
    assert loader.ends == [0, 1]
    for _ in loader:
        break
    assert loader.ends == [0, 1] and loader.state()["epoch"] == 2 and loader.state()["batch"] == 1
    assert [fingerprint(images) for images, _ in loader] == loader.expected(2)
    for step, _ in enumerate(loader):
        if step == 3:
            state = loader.state()
            break
    other = Recording(source(), POLICY, BATCH)
    other.restore(state)
    assert (state["epoch"], state["batch"], len(other)) == (3, 4, 2)
    assert [fingerprint(images) for images, _ in other] == other.expected(3, 4)
    assert [fingerprint(images) for images, _ in other] == other.expected(4) and other.ends == [3, 4]


def test_reads_outside_an_epoch_show_the_coming_one() -> None:
    loader = Recording(source(), POLICY, BATCH)
    for index in (0, 1, 0):
        images, _ = loader[index]
        assert fingerprint(images) == loader.expected(0)[0]
        images[:] = -1.0  # what a caller does to them does not reach the training
    model().fit(loader, epochs=1, verbose=0)
    assert loader.passes[-1] == loader.expected(0)
    assert fingerprint(loader[3][0]) == loader.expected(1)[0]


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


def alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("onewarp")]


def until_no_thread_is_left() -> None:
    for attempt in range(100):
        if not alive():
            return
        time.sleep(0.05)
        if attempt % 20 == 0:
            gc.collect()
    raise AssertionError(f"still running: {alive()}")


def test_threads_end_with_whoever_wanted_them(tmp_path: Path) -> None:
    until_no_thread_is_left()
    for made in (source(200), damaged(tmp_path, 0).subset(list(range(1, 12)) * 20)):
        loader = Loader(made, POLICY, BATCH, threads=3)
        iterator = iter(loader)
        next(iterator)
        assert alive()
        del iterator  # a loop that was left
        until_no_thread_is_left()
        model().fit(loader, epochs=2, verbose=0, callbacks=[PipelineMonitor(), StopAfter(2)])
        until_no_thread_is_left()
        assert loader.state()["batch"] == 2
        if BACKEND != "tensorflow":  # which keeps every data set of a run that was broken off
            model().fit(loader, epochs=2, verbose=0, callbacks=[StopAfter(2)])
            del loader
            until_no_thread_is_left()


def test_keras_may_not_add_workers_of_its_own() -> None:
    loader = Loader(source(), POLICY, BATCH)
    assert loader.workers == 1 and loader.use_multiprocessing is False
    with pytest.raises(InputError, match="threads=4"):
        loader.workers = 4
    with pytest.raises(InputError, match="threads"):
        loader.use_multiprocessing = True


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"placement": "device"}, "comes with the device engine"),
        ({"placement": "moon"}, "not known"),
        ({"threads": 0}, "threads=0"),
        ({"prefetch": 0}, "prefetch=0"),
    ],
)
def test_bad_arguments(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Loader(source(), POLICY, BATCH, **options)
