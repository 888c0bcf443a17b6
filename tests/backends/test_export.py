"""The Loader's batches in other libraries' loops: the same bytes, epoch after epoch, each batch once."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from loader_helpers import BACKEND, BATCH, POLICY, damaged, model, source

import onewarp as ow
from onewarp.errors import DataError, InputError, MissingDependency
from onewarp.fit.loader import Loader

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # inside Keras
    pytest.mark.filterwarnings("ignore::DeprecationWarning:grain"),
]

grain = pytest.importorskip("grain") if BACKEND == "jax" else None
only_jax = pytest.mark.skipif(BACKEND != "jax", reason="once is enough")
only_torch = pytest.mark.skipif(BACKEND != "torch", reason="needs torch")
only_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="needs TensorFlow")


def detection() -> ow.FileSource:
    """Images of one size with labels and boxes: y is a dictionary, boxes are padded."""
    rng = np.random.default_rng(3)
    boxes = {
        "boxes": [np.array([[1, 1, 5, 6]] * (k % 3)) for k in range(10)],
        "labels": [np.ones(k % 3) for k in range(10)],
    }
    return ow.FileSource(list(rng.integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)), np.arange(10), bounding_boxes=boxes)


LOADERS: dict[str, Callable[[], Loader]] = {
    "wrap": lambda: Loader(source(), POLICY, BATCH, seed=5),
    "keep": lambda: Loader(source(), POLICY, BATCH, shuffle=False, threads=1),
    "weights": lambda: Loader(source(), POLICY, BATCH, class_weight={0: 2.0}, labels="one_hot"),
    "boxes": lambda: Loader(detection(), POLICY, BATCH, threads=4),
    "images": lambda: Loader(source(), POLICY, BATCH, outputs=("images",)),
}
each = pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)


def plain(batch: Any) -> Any:
    """A batch of any library as dictionaries, tuples and NumPy arrays."""
    if isinstance(batch, dict):
        return {name: plain(value) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return tuple(plain(value) for value in batch)
    return batch if isinstance(batch, np.ndarray) else batch.numpy()


def assert_equal(mine: Any, other: Any) -> None:
    assert type(mine) is type(other)
    if isinstance(mine, dict):
        assert mine.keys() == other.keys()
        for name in mine:
            assert_equal(mine[name], other[name])
    elif isinstance(mine, tuple):
        assert len(mine) == len(other)
        for a, b in zip(mine, other, strict=True):
            assert_equal(a, b)
    else:
        assert mine.dtype == other.dtype and mine.shape == other.shape and mine.tobytes() == other.tobytes()


def assert_epochs(found: Iterable[Any], loader: Loader, epochs: int) -> None:
    """`found` is what the loader gives in so many epochs."""
    expected = [batch for _ in range(epochs) for batch in loader]
    batches = [plain(batch) for batch in found]
    assert len(batches) == len(expected)
    for mine, other in zip(batches, expected, strict=True):
        assert_equal(mine, other)


# --- grain --------------------------------------------------------------------------------------------------------


@only_jax
@each
def test_grain_has_the_same_batches(make: Callable[[], Loader]) -> None:
    dataset = make().to_grain(epochs=2)
    assert isinstance(dataset, grain.MapDataset) and len(dataset) == 2 * len(make())
    assert_epochs((dataset[i] for i in range(len(dataset))), make(), 2)
    iterated = dataset.to_iter_dataset(grain.ReadOptions(num_threads=3, prefetch_buffer_size=4))
    assert_epochs(iterated, make(), 2)
    assert_epochs(make().to_grain().repeat(3), make(), 3)  # repeating gives new epochs
    again = pickle.loads(pickle.dumps(dataset))
    assert_equal(plain(again[3]), plain(dataset[3]))


@only_jax
def test_grain_goes_on_where_the_loader_stands_and_where_its_iterator_was() -> None:
    loader, other = LOADERS["wrap"](), LOADERS["wrap"]()
    state = {**loader.state(), "epoch": 2, "batch": 4}
    for one in (loader, other):
        one.restore(state)
    dataset = loader.to_grain(epochs=2)
    assert_epochs((dataset[i] for i in range(len(dataset))), other, 2)
    rows = iter(dataset.to_iter_dataset())
    next(rows)
    place = rows.get_state()
    expected = next(rows)
    later = iter(dataset.to_iter_dataset())
    later.set_state(place)
    assert_equal(next(later), expected)


@only_jax
def test_grain_dataloader_and_slices() -> None:
    dataset = LOADERS["wrap"]().to_grain(epochs=2)
    sampler = grain.samplers.IndexSampler(num_records=len(dataset), shuffle=False, num_epochs=1, seed=0)
    loaded = grain.DataLoader(data_source=dataset, sampler=sampler, worker_count=0)
    assert_epochs(loaded, LOADERS["wrap"](), 2)
    assert_equal(dataset[2:][0], dataset[2])
    assert "6 batches per epoch" in str(dataset)


# --- torch --------------------------------------------------------------------------------------------------------


def torch_loader(dataset: Any, workers: int, **options: Any) -> Any:
    from torch.utils.data import DataLoader

    context = {"multiprocessing_context": "spawn"} if workers else {}
    return DataLoader(dataset, batch_size=None, num_workers=workers, **context, **options)


@only_torch
@each
def test_torch_has_the_same_batches(make: Callable[[], Loader]) -> None:
    import torch

    dataset = make().to_torch()
    loaded = torch_loader(dataset, 0)
    assert isinstance(dataset, torch.utils.data.IterableDataset) and len(loaded) == len(make())
    first = next(iter(make().to_torch()))
    assert isinstance(first if isinstance(first, torch.Tensor) else first[0], torch.Tensor)
    assert_epochs((batch for _ in range(2) for batch in loaded), make(), 2)
    assert dataset.epoch == 2
    assert_epochs(pickle.loads(pickle.dumps(make().to_torch())), make(), 1)


@only_torch
def test_torch_workers_that_stay_divide_the_epochs() -> None:
    """Passes are epochs, also after one that was broken off."""
    dataset, loader = LOADERS["wrap"]().to_torch(), LOADERS["wrap"]()
    loaded = torch_loader(dataset, 2, persistent_workers=True)
    assert_epochs((batch for _ in range(2) for batch in loaded), loader, 2)
    for batch in loaded:
        assert_equal(plain(batch), loader.batches.xyw(loader.batches.batch(2, 0)))
        break
    loader.epoch = 3
    assert_epochs(loaded, loader, 1)
    dataset.set_epoch(1)
    loader.epoch = 1
    assert dataset.epoch == 1 and len(dataset) == 6
    assert_epochs(loaded, loader, 1)


@only_torch
def test_torch_workers_that_start_anew_divide_the_epochs() -> None:
    dataset, loader = LOADERS["boxes"]().to_torch(), LOADERS["boxes"]()
    loaded = torch_loader(dataset, 2)
    assert_epochs((batch for _ in range(2) for batch in loaded), loader, 2)
    assert dataset.epoch == 2


@only_torch
def test_torch_goes_on_where_the_loader_stands() -> None:
    loader, other = LOADERS["wrap"](), LOADERS["wrap"]()
    state = {**loader.state(), "epoch": 2, "batch": 4}
    for one in (loader, other):
        one.restore(state)
    dataset = loader.to_torch()
    assert len(dataset) == 2
    assert_epochs((batch for _ in range(2) for batch in dataset), other, 2)
    assert len(dataset) == 6
    with pytest.raises(InputError, match="set_epoch"):
        dataset.set_epoch(-1)


@only_torch
def test_torch_workers_know_their_pass_in_any_order() -> None:
    """Workers as separate copies that begin in any order, some of them late, one after the other or at once."""
    import copy

    dataset = LOADERS["wrap"]().to_torch()
    workers = [copy.copy(dataset) for _ in range(3)]  # share the tensor, have their own turn
    assert [workers[k]._begin(k, "10") for k in (2, 0, 1)] == [0, 0, 0]
    assert [copy.copy(dataset)._begin(k, "11") for k in (1, 2)] == [1, 1]  # worker 0 never came: a pass broken off
    assert [copy.copy(dataset)._begin(k, "12") for k in (0, 1, 2)] == [2, 2, 2]
    stay = [copy.copy(dataset) for _ in range(3)]
    assert [[stay[k]._begin(k, "13") for k in order] for order in ((0, 1, 2), (2, 1, 0))] == [[3] * 3, [4] * 3]
    dataset.set_epoch(9)
    assert [stay[k]._begin(k, "13") for k in range(3)] == [9] * 3


@only_torch
def test_torch_workers_that_begin_at_once_agree() -> None:
    """Each as a thread with a copy of its own, all beginning the same two hundred passes at once."""
    import copy
    from concurrent.futures import ThreadPoolExecutor

    dataset, barrier = LOADERS["wrap"]().to_torch(), threading.Barrier(4)

    def work(worker: int, own: Any) -> list[int]:
        epochs = []
        for _ in range(200):
            barrier.wait()
            epochs.append(own._begin(worker, "10"))
        return epochs

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(work, range(4), [copy.copy(dataset) for _ in range(4)]))
    finally:
        sys.setswitchinterval(before)
    assert found == [list(range(200))] * 4


# --- TensorFlow ---------------------------------------------------------------------------------------------------


@only_tensorflow
@each
def test_tensorflow_has_the_same_batches_in_fixed_shapes(make: Callable[[], Loader]) -> None:
    import tensorflow as tf

    dataset = make().to_tf()
    assert isinstance(dataset, tf.data.Dataset) and len(dataset) == len(make())
    ragged = make().batches.last_batch == "keep"
    for spec in tf.nest.flatten(dataset.element_spec):
        assert spec.shape.rank and spec.shape[0] == (None if ragged else BATCH) and None not in spec.shape[1:]
    assert_epochs((batch for _ in range(2) for batch in dataset), make(), 2)
    assert_epochs(make().to_tf().repeat(2), make(), 2)


@only_tensorflow
def test_tensorflow_goes_on_and_trains() -> None:
    loader, other = LOADERS["wrap"](), LOADERS["wrap"]()
    state = {**loader.state(), "epoch": 2, "batch": 4}
    for one in (loader, other):
        one.restore(state)
    dataset = loader.to_tf()
    next(iter(dataset))  # broken off: it starts again
    assert_epochs((batch for _ in range(2) for batch in dataset), other, 2)
    loader, dataset = LOADERS["wrap"](), None
    history = model().fit(loader.to_tf(), epochs=3, shuffle=False, verbose=0).history
    assert loader.epoch == 3 and len(history["loss"]) == 3


@only_tensorflow
def test_tensorflow_is_told_when_masks_change_their_depth(tmp_path: Path) -> None:
    for k in range(2):
        keras.utils.save_img(tmp_path / f"{k}.png", source(2).images[k])
    import cv2

    cv2.imwrite(str(tmp_path / "m0.png"), np.zeros((8, 8), np.uint8))
    cv2.imwrite(str(tmp_path / "m1.png"), np.zeros((8, 8), np.uint16))
    files = ow.FileSource([tmp_path / "0.png", tmp_path / "1.png"], masks=[tmp_path / "m0.png", tmp_path / "m1.png"])
    with pytest.raises(Exception, match="a batch has uint16 where the first one has uint8"):
        list(Loader(files, ow.Policy([ow.Resize(8)]), 1, shuffle=False).to_tf())


# --- all ----------------------------------------------------------------------------------------------------------

NAMES = {"jax": "grain", "torch": "torch", "tensorflow": "tf"}


def exported(loader: Loader) -> Any:
    return getattr(loader, f"to_{NAMES[BACKEND]}")()


def test_errors_surface_and_replaced_samples_are_told(tmp_path: Path) -> None:
    dataset = exported(Loader(damaged(tmp_path, 6), POLICY, BATCH, shuffle=False))
    rows = iter(dataset)
    next(rows)
    with pytest.raises(Exception, match=r"06\.png") as caught:
        list(rows)
    assert BACKEND == "tensorflow" or isinstance(caught.value, DataError)
    skipping = Loader(damaged(tmp_path, 6), POLICY, BATCH, shuffle=False, on_error="skip")
    with pytest.warns(UserWarning, match="1 unreadable samples were replaced"):
        assert len(list(exported(skipping))) == 3


def test_a_policy_left_to_the_device_cannot_be_exported() -> None:
    with pytest.raises(InputError, match="nothing would run the policy"):
        exported(Loader(source(), POLICY, BATCH, placement="device"))


def test_frames_stay_in_one_process() -> None:
    loader, other = (Loader(source(), POLICY, BATCH, reuse=2) for _ in range(2))
    dataset = exported(loader)
    if BACKEND != "tensorflow":
        with pytest.raises(InputError, match="reuse= keeps frames in one process"):
            pickle.dumps(dataset)
    assert_epochs(dataset if BACKEND != "jax" else (dataset[i] for i in range(6)), other, 1)


def test_a_missing_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    library = {"grain": "grain", "torch": "torch", "tf": "tensorflow"}[NAMES[BACKEND]]
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingDependency, match=rf"pip install onewarp\[{library}\]"):
        exported(Loader(source(), POLICY, BATCH))
