"""The native dense CRF against its twins: a lattice of dictionaries, to rounding; brute force, to a few per cent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import twin_crf as twin
from native_cases import native
from test_native_isa import with_isa

GAUSSIAN = ((3.0, 3.0), None, 3.0)
# Odd numbers: no pixel lies on the border of two simplices, where rounding decides.
BILATERAL = ((19.3, 15.7), (13.1, 10.3, 20.9), 5.0)


def scene(h: int, w: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A picture of soft blobs with a little noise, and probabilities that follow it badly."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:h, :w]
    blobs = [np.sin((x + 7 * k) / (5 + k)) * np.cos((y - 3 * k) / (9 - k)) for k in range(3)]
    image = np.stack(blobs, -1) * 90 + 128 + rng.normal(0, 4, (h, w, 3))
    logits = np.stack([blobs[k % 3] * (-1) ** (k // 3) for k in range(classes)], -1) * 2 + rng.normal(
        0, 1, (h, w, classes)
    )
    return np.clip(image, 0, 255).astype(np.uint8), twin.softmax(logits).astype(np.float32)


def run(image: np.ndarray, probs: np.ndarray, terms: list[Any], iterations: int, threads: int = 1) -> np.ndarray:
    """All iterations of the native code: [iterations + 1, (n,) h, w, classes]."""
    images, batch = (image, probs) if image.ndim == 4 else (image[None], probs[None])
    out = np.full((iterations + 1, *batch.shape), np.nan, np.float32)
    given = [None, None]
    for sxy, srgb, compat in terms:
        given[srgb is not None] = ([*sxy, *(srgb or ())], compat)
    assert native.dense_crf(images, batch, out, *given, iterations, threads) == -1
    return out if image.ndim == 4 else out[:, 0]


def expected(make: Any, image: np.ndarray, probs: np.ndarray, terms: list[Any], iterations: int) -> np.ndarray:
    filters = [(make(twin.features(image, sxy, srgb)), compat) for sxy, srgb, compat in terms]
    return twin.mean_field(probs, filters, iterations)


@pytest.mark.parametrize(
    "terms", [[GAUSSIAN], [BILATERAL], [GAUSSIAN, BILATERAL]], ids=["gaussian", "bilateral", "both"]
)
@pytest.mark.parametrize("classes", [1, 2, 5, 8, 9, 21])
def test_the_lattice_is_that_of_the_twin(terms: list[Any], classes: int) -> None:
    image, probs = scene(28, 36, classes)
    difference = run(image, probs, terms, 4) - expected(twin.lattice, image, probs, terms, 4)
    assert abs(difference).max() < 1e-4


@pytest.mark.parametrize("classes", [33, 64, 70, 151])
def test_many_classes(classes: int) -> None:
    image, probs = scene(9, 11, classes)
    terms = [GAUSSIAN, BILATERAL]
    assert abs(run(image, probs, terms, 3) - expected(twin.lattice, image, probs, terms, 3)).max() < 1e-4


@pytest.mark.parametrize(("h", "w"), [(1, 1), (1, 9), (7, 1), (2, 2), (3, 300), (64, 64)])
def test_sizes(h: int, w: int) -> None:
    image, probs = scene(h, w, 3)
    terms = [GAUSSIAN, BILATERAL]
    assert abs(run(image, probs, terms, 3) - expected(twin.lattice, image, probs, terms, 3)).max() < 1e-4


def test_a_matrix_of_costs() -> None:
    image, probs = scene(20, 30, 5)
    rng = np.random.default_rng(3)
    matrices = [np.float32(m + m.T) for m in rng.normal(0, 1, (2, 5, 5))]
    terms = [(*GAUSSIAN[:2], matrices[0]), (*BILATERAL[:2], matrices[1])]
    assert abs(run(image, probs, terms, 3) - expected(twin.lattice, image, probs, terms, 3)).max() < 1e-4


def test_a_number_is_the_matrix_of_costs_of_different_labels() -> None:
    image, probs = scene(20, 30, 5)
    matrix = np.float32(3 * (1 - np.eye(5)))
    same = run(image, probs, [GAUSSIAN], 3) - run(image, probs, [(*GAUSSIAN[:2], matrix)], 3)
    assert abs(same).max() < 1e-5


def test_brute_force_is_near() -> None:
    """The error of the lattice itself: of a Gaussian of positions a few per mille, of five axes a few per cent."""
    image, probs = scene(64, 64, 5)
    for terms, mean, labels in (
        ([GAUSSIAN], 0.005, 0.99),
        ([BILATERAL], 0.03, 0.95),
        ([GAUSSIAN, BILATERAL], 0.03, 0.95),
    ):
        found, exact = run(image, probs, terms, 5), expected(twin.brute_force, image, probs, terms, 5)
        assert abs(found - exact)[1:].mean((1, 2, 3)).max() < mean
        assert (found[5].argmax(-1) == exact[5].argmax(-1)).mean() > labels
        assert abs(found[5] - found[0]).mean() > 2 * mean  # and the CRF does much more than that


def test_no_iteration_gives_what_came_in() -> None:
    image, probs = scene(12, 14, 4)
    assert abs(run(image, probs, [GAUSSIAN], 0)[0] - probs).max() < 1e-6
    probs[3, 4] = (1, 0, 0, 0)
    sharp = np.float32([1, 1e-5, 1e-5, 1e-5])
    np.testing.assert_allclose(run(image, probs, [GAUSSIAN], 0)[0, 3, 4], sharp / sharp.sum(), rtol=1e-5)


def test_marginals_sum_to_one() -> None:
    image, probs = scene(40, 40, 13)
    probs[5, 5] = np.eye(13)[2]
    np.testing.assert_allclose(run(image, probs, [GAUSSIAN, (*BILATERAL[:2], 200.0)], 10).sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("classes", [3, 11, 21])
def test_threads_and_batches_give_the_same_bits(classes: int) -> None:
    scenes = [scene(150, 140, classes, seed) for seed in range(3)]  # large enough for several bands
    images, probs = (np.stack(arrays) for arrays in zip(*scenes, strict=True))
    terms = [GAUSSIAN, BILATERAL]
    alone = np.stack([run(image, p, terms, 3) for image, p in scenes], 1)
    for threads in (1, 2, 3, 5):
        assert (run(images, probs, terms, 3, threads) == alone).all()


def test_only_the_last_iteration_is_kept_when_there_is_room_for_one() -> None:
    image, probs = scene(20, 22, 6)
    out = np.empty((1, 1, 20, 22, 6), np.float32)
    native.dense_crf(image[None], probs[None], out, ([3.0, 3.0], 3.0), None, 4, 1)
    assert (out[0, 0] == run(image, probs, [GAUSSIAN], 4)[4]).all()


@pytest.mark.parametrize("value", [np.nan, -0.001, 0.5, 1.5, np.inf])
@pytest.mark.parametrize("place", [0, 77, 399])
def test_the_first_pixel_with_bad_probabilities_is_named(value: float, place: int) -> None:
    image, probs = scene(20, 20, 4)
    flat = probs.reshape(-1, 4)
    flat[place] = (0.25, 0.25, value, 0.25 if np.isfinite(value) else 0) if value != -0.001 else (0.5, 0.501, value, 0)
    flat[399] = flat[place]
    out = np.empty((1, 1, 20, 20, 4), np.float32)
    assert native.dense_crf(image[None], probs[None], out, ([3.0, 3.0], 3.0), None, 1, 1) == place


def test_sums_within_one_per_cent_are_taken() -> None:
    image, probs = scene(20, 20, 4)
    run(image, probs * np.float32(1.009), [GAUSSIAN], 1)
    run(image, probs * np.float32(0.991), [GAUSSIAN], 1)


def test_deviations_that_the_lattice_cannot_hold_are_refused() -> None:
    image, probs = scene(4, 400, 2)
    out = np.empty((1, 1, 4, 400, 2), np.float32)
    with pytest.raises(ValueError, match="gaussian: the deviations are too small for images of 4x400"):
        native.dense_crf(image[None], probs[None], out, ([0.01, 0.01], 3.0), None, 1, 1)
    with pytest.raises(ValueError, match="bilateral: the deviations are too small"):
        native.dense_crf(image[None], probs[None], out, None, ([3.0, 3.0, 0.02, 9.0, 9.0], 3.0), 1, 1)


def test_arguments_that_do_not_fit_are_refused() -> None:
    image, probs = scene(6, 7, 3)
    out = np.empty((1, 1, 6, 7, 3), np.float32)
    good = (image[None], probs[None], out, ([3.0, 3.0], 3.0), None, 1, 1)
    for place, bad in (
        (0, image[None, :5].copy()),
        (1, probs[None, :5]),
        (2, np.empty((3, 1, 6, 7, 3), np.float32)),
        (3, ([3.0], 3.0)),
        (3, ([3.0, -1.0], 3.0)),
        (3, ([3.0, 3.0], np.zeros((4, 4), np.float32))),
        (5, -1),
        (6, 0),
    ):
        with pytest.raises(ValueError):
            native.dense_crf(*good[:place], bad, *good[place + 1 :])
    wrong = (image[None, :, :6], image[None].astype(np.int16), probs[None].astype(np.float64), probs)
    for place, bad in zip((0, 0, 1, 1), wrong, strict=True):
        with pytest.raises(TypeError):
            native.dense_crf(*good[:place], bad, *good[place + 1 :])


RENDER = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from test_native_lattice import BILATERAL, GAUSSIAN, run, scene
from zlib import crc32
for classes in (1, 4, 8, 11, 16, 21, 24, 40, 70):
    image, probs = scene(37, 41, classes)
    print(classes, crc32(run(image, probs, [GAUSSIAN, BILATERAL], 5).tobytes()))
    matrix = np.float32(np.cos(np.add.outer(np.arange(classes), np.arange(classes))))
    print(classes, crc32(run(image, probs, [(*GAUSSIAN[:2], matrix)], 3).tobytes()))
"""


def test_every_instruction_set_gives_the_same_bits() -> None:
    results = {isa: with_isa(isa, "-c", RENDER, str(Path(__file__).parent)) for isa in native.isas()}
    assert all(done.returncode == 0 for done in results.values()), [done.stderr for done in results.values()]
    lines = {isa: done.stdout.splitlines() for isa, done in results.items()}
    assert all(len(found) == 18 and found == lines["plain"] for found in lines.values()), lines
