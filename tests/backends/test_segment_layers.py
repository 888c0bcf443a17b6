"""The CRFs that are Keras layers, on the backend of KERAS_BACKEND: against NumPy, enumeration, training, saving."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from augmented_helpers import ignore_inside_keras
from keras import ops

from onewarp.errors import InputError
from onewarp.segment import ConvCRF, DenseCRF, LinearChainCRF

sys.path.insert(0, str(Path(__file__).parent.parent))
import twin_crf as twin
from test_native_lattice import scene

pytestmark = ignore_inside_keras

GAUSSIAN, BILATERAL = dict(sxy=(3, 2.5), compat=2), dict(sxy=7, srgb=(20, 30, 40), compat=4)


def numpy(x: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(x))


# --- the convolutional CRF ----------------------------------------------------------------------------------------


def windowed(points: np.ndarray, shape: tuple[int, int], radius: int, window: str) -> twin.Filter:
    """The Gaussian of every pair of pixels within a window."""
    y, x = (axis.reshape(-1) for axis in np.indices(shape))
    dy, dx = abs(y[:, None] - y), abs(x[:, None] - x)
    inside = np.maximum(dy, dx) <= radius if window == "square" else dy + dx <= radius
    kernel = np.exp(-0.5 * ((points[:, None] - points) ** 2).sum(-1)) * inside
    return twin.symmetric(lambda values: kernel @ values, len(points))


@pytest.mark.parametrize("window", ["manhattan", "square"])
@pytest.mark.parametrize("given", [(GAUSSIAN, None), (None, BILATERAL), (GAUSSIAN, BILATERAL)], ids=["g", "b", "both"])
def test_conv_crf_is_that_of_numpy(window: str, given: Any) -> None:
    scenes = [scene(7, 9, 4, seed) for seed in range(2)]
    images, probs = (np.stack(arrays) for arrays in zip(*scenes, strict=True))
    layer = ConvCRF(*given, radius=3, window=window, iterations=3)
    found = numpy(layer([images, probs]))
    for image, p, q in zip(images, probs, found, strict=True):
        points = []
        if given[0]:
            points.append((twin.features(image, (3, 2.5)), 2))
        if given[1]:
            points.append((twin.features(image, (7, 7), (20, 30, 40)), 4))
        terms = [(windowed(x, (7, 9), 3, window), weight) for x, weight in points]
        np.testing.assert_allclose(q, twin.mean_field(p, terms, 3)[-1], atol=2e-5)


def test_a_window_that_holds_the_image_gives_the_dense_crf() -> None:
    image, probs = scene(10, 11, 3)
    layer = ConvCRF(GAUSSIAN, BILATERAL, radius=11, window="square", iterations=4)
    terms = [
        (twin.brute_force(twin.features(image, (3, 2.5))), 2),
        (twin.brute_force(twin.features(image, (7, 7), (20, 30, 40))), 4),
    ]
    found = numpy(layer([image[None], probs[None]]))[0]
    np.testing.assert_allclose(found, twin.mean_field(probs, terms, 4)[-1], atol=5e-5)
    lattice = DenseCRF(GAUSSIAN, BILATERAL, iterations=4)(image, probs)
    assert abs(found - lattice).mean() < 0.03 < abs(found - probs).mean()


def test_conv_crf_learns_and_is_saved(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image, probs = scene(8, 8, 3)
    images, p = np.repeat(image[None], 8, 0), np.repeat(probs[None], 8, 0)
    truth = np.eye(3, dtype=np.float32)[np.repeat(rng.integers(0, 3, (1, 8, 8)), 8, 0)]
    inputs = keras.Input((None, None, 3)), keras.Input((None, None, 3))  # any size of image
    layer = ConvCRF(GAUSSIAN, BILATERAL, radius=2, iterations=2, learn_deviations=True, name="crf")
    model = keras.Model(inputs, layer(inputs))
    assert len(layer.trainable_weights) == 5
    model.compile(keras.optimizers.Adam(0.1), "categorical_crossentropy")
    before = [numpy(w).copy() for w in layer.trainable_weights]
    losses = model.fit([images, p], truth, batch_size=4, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert all((numpy(w) != b).any() for w, b in zip(layer.trainable_weights, before, strict=True))
    model.save(tmp_path / "crf.keras")
    again = keras.models.load_model(tmp_path / "crf.keras")
    np.testing.assert_allclose(again.predict([images, p], verbose=0), model.predict([images, p], verbose=0), atol=1e-6)
    assert again.get_layer("crf").get_config() == layer.get_config()


def test_conv_crf_refuses_what_it_cannot_do() -> None:
    for bad in (
        dict(),
        dict(gaussian=dict(sxy=3)),
        dict(gaussian=dict(sxy=3, compat=np.eye(3))),
        dict(gaussian=GAUSSIAN, radius=0),
        dict(gaussian=GAUSSIAN, window="round"),
        dict(gaussian=GAUSSIAN, iterations=0),
    ):
        with pytest.raises(InputError):
            ConvCRF(**bad)
    image, probs = scene(6, 6, 3)
    with pytest.raises(InputError, match=r"needs images \[n, h, w, 3\]"):
        ConvCRF(GAUSSIAN)([image, probs])


# --- the chain ----------------------------------------------------------------------------------------------------

MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], bool)


def chain(classes: int, seed: int = 0) -> tuple[LinearChainCRF, np.ndarray, np.ndarray]:
    """A layer with random weights, emissions and labels of five sequences of five steps."""
    rng = np.random.default_rng(seed)
    emissions = rng.normal(0, 2, (5, 5, classes)).astype(np.float32)
    layer = LinearChainCRF(classes)
    layer.build(emissions.shape)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape).astype(np.float32))
    return layer, emissions, rng.integers(0, classes, (5, 5))


def enumerated(layer: LinearChainCRF, emissions: np.ndarray) -> dict[tuple[int, ...], float]:
    """The score of every sequence of labels, for emissions [steps, classes]."""
    transitions, start, end = (numpy(w) for w in (layer.transitions, layer.start, layer.end))
    every = itertools.product(range(emissions.shape[1]), repeat=len(emissions))
    return {
        y: start[y[0]]
        + end[y[-1]]
        + sum(emissions[t, label] for t, label in enumerate(y))
        + sum(transitions[a, b] for a, b in itertools.pairwise(y))
        for y in every
        if y
    } or {(): 0.0}


@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_chain_by_enumeration(classes: int, masked: bool) -> None:
    layer, emissions, labels = chain(classes)
    mask = MASK if masked else np.ones_like(MASK)
    given = MASK if masked else None
    partition, score = numpy(layer.log_partition(emissions, given)), numpy(layer.score(labels, emissions, given))
    loss, marginals = numpy(layer.loss(labels, emissions, given)), numpy(layer(emissions, mask=given))
    best = numpy(layer.decode(emissions, given))
    for n in range(5):
        there = np.flatnonzero(mask[n])
        scores = enumerated(layer, emissions[n, there])
        log_z = np.log(np.exp(np.array(list(scores.values()))).sum())
        true = scores[tuple(labels[n, there].tolist())]
        np.testing.assert_allclose([partition[n], score[n], loss[n]], [log_z, true, log_z - true], atol=1e-4)
        assert tuple(best[n, there].tolist()) == max(scores, key=lambda y: scores[y])
        assert (best[n, ~mask[n]] == -1).all() and (marginals[n, ~mask[n]] == 0).all()
        for k, t in enumerate(there):
            expected = [sum(np.exp(s - log_z) for y, s in scores.items() if y[k] == label) for label in range(classes)]
            np.testing.assert_allclose(marginals[n, t], expected, atol=1e-5)


def test_lengths_are_masks() -> None:
    layer, emissions, labels = chain(3)
    lengths = np.array([5, 3, 1, 0, 4])
    mask = np.arange(5) < lengths[:, None]
    for found, expected in (
        (layer.loss(labels, emissions, lengths), layer.loss(labels, emissions, mask)),
        (layer.decode(emissions, lengths), layer.decode(emissions, mask)),
    ):
        assert (numpy(found) == numpy(expected)).all()


def test_what_is_masked_does_not_matter() -> None:
    layer, emissions, labels = chain(3)
    other, others = np.where(MASK[..., None], emissions, 50).astype(np.float32), np.where(MASK, labels, -1)
    np.testing.assert_array_equal(numpy(layer.loss(others, other, MASK)), numpy(layer.loss(labels, emissions, MASK)))
    np.testing.assert_array_equal(numpy(layer(other, mask=MASK)), numpy(layer(emissions, mask=MASK)))


def test_large_emissions_stay_finite() -> None:
    layer, emissions, labels = chain(3)
    for result in (layer.loss(labels, emissions * 1e4), layer(emissions * 1e4)):
        assert np.isfinite(numpy(result)).all()


def test_chain_learns_what_follows_what_and_is_saved(tmp_path: Path) -> None:
    """Labels that go round 0 1 2 0 1 2 and emissions that say nothing of half the steps: only the chain can know."""
    rng = np.random.default_rng(0)
    labels = (rng.integers(0, 3, (256, 1)) + np.arange(12)) % 3
    features = np.eye(3, dtype=np.float32)[labels] * (rng.random((256, 12, 1)) < 0.5) + rng.normal(0, 0.1, (256, 12, 3))
    x, y = keras.Input((12, 3)), keras.Input((12,), dtype="int32")
    layer, emissions = LinearChainCRF(3, name="crf"), keras.layers.Dense(3)(x)
    train, model = keras.Model([x, y], layer(emissions, labels=y)), keras.Model(x, layer(emissions))
    train.compile(keras.optimizers.Adam(0.1))
    losses = train.fit([features, labels], epochs=8, batch_size=64, verbose=0).history["loss"]
    assert losses[-1] < 0.2 * losses[0]
    assert (model.predict(features, verbose=0).argmax(-1) == labels).mean() > 0.95
    follows = numpy(layer.transitions)
    assert (follows.argmax(1) == [1, 2, 0]).all()
    model.save(tmp_path / "chain.keras")
    again = keras.models.load_model(tmp_path / "chain.keras")
    np.testing.assert_allclose(again.predict(features, verbose=0), model.predict(features, verbose=0), atol=1e-6)


def test_chain_refuses_what_it_cannot_do() -> None:
    for bad in (0, -1, 2.0, True):
        with pytest.raises(InputError):
            LinearChainCRF(bad)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"needs \[n, steps, 3\]"):
        LinearChainCRF(3)(np.zeros((2, 4, 5), np.float32))
