"""DenseCRF, GridCRF, labels as probabilities and the search for parameters: results, and every kind of bad input."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import twin_crf as twin
from onewarp.errors import InputError
from onewarp.segment import DenseCRF, GridCRF, scores, tune_crf, unary_from_labels
from onewarp.segment.tune import GRID
from test_native_lattice import scene

GAUSSIAN, BILATERAL = dict(sxy=3, compat=3), dict(sxy=(20, 15), srgb=(13, 10, 20), compat=5)
CRF = DenseCRF(GAUSSIAN, BILATERAL, iterations=3)


@pytest.mark.skipif("ONEWARP_DATA" not in os.environ, reason="ONEWARP_DATA is not set")
@pytest.mark.parametrize("k", [0, 1, 2])
def test_the_marginals_are_those_of_pydensecrf(k: int) -> None:
    with np.load(Path(os.environ["ONEWARP_DATA"]) / "crf_reference.npz") as file:
        image, *arrays = (
            file[f"{name}{k}" + part]
            for name, part in [("image", ""), ("probs", ""), ("q", "_1"), ("q", "_5"), ("q", "_10")]
        )
    probs, *expected = (np.moveaxis(a.astype(np.float32), 0, -1) for a in arrays)
    crf = DenseCRF(dict(sxy=3, compat=3), dict(sxy=30, srgb=8, compat=4), iterations=10)
    found = crf(image, np.clip(probs, 1e-5, 1), return_iterations=True)
    for q, reference in zip(found[[1, 5, 10]], expected, strict=True):
        assert abs(q - reference).mean() < 1e-4  # the reference is float16
        assert (q.argmax(-1) == reference.argmax(-1)).mean() > 0.999


def test_terms_mean_what_they_say() -> None:
    image, probs = scene(24, 30, 4)
    terms: list[Any] = [
        (twin.lattice(twin.features(image, (3.3, 3.3))), 3),
        (twin.lattice(twin.features(image, (19.3, 15.7), (13.1, 10.3, 20.9))), 5),
    ]
    bilateral = dict(sxy=(19.3, 15.7), srgb=(13.1, 10.3, 20.9), compat=5)
    for crf, used in (
        (DenseCRF(dict(sxy=3.3, compat=3), bilateral, 3), terms),
        (DenseCRF(dict(sxy=3.3, compat=3), None, 3), terms[:1]),
        (DenseCRF(bilateral=bilateral, iterations=3), terms[1:]),
    ):
        assert abs(crf(image, probs) - twin.mean_field(probs, used, 3)[-1]).max() < 1e-4


def test_an_asymmetric_matrix_is_made_symmetric() -> None:
    image, probs = scene(12, 12, 3)
    matrix = np.arange(9).reshape(3, 3)
    one, two = (DenseCRF(dict(sxy=3, compat=m)) for m in (matrix, (matrix + matrix.T) / 2))
    assert (one(image, probs) == two(image, probs)).all()


def test_iterations_batches_and_strides() -> None:
    scenes = [scene(20, 25, 4, seed) for seed in range(3)]
    images, probs = (np.stack(arrays) for arrays in zip(*scenes, strict=True))
    every = CRF(images, probs, return_iterations=True, threads=2)
    assert every.shape == (4, 3, 20, 25, 4) and every.dtype == np.float32
    assert (every[3] == CRF(images, probs)).all()
    for k, (image, p) in enumerate(scenes):
        assert (CRF(image, p) == every[3, k]).all()
        assert (CRF(image, p, return_iterations=True) == every[:, k]).all()
    np.testing.assert_allclose(every[0], probs, atol=1e-6)
    strided = np.asfortranarray(images), np.ascontiguousarray(np.moveaxis(probs, -1, 1))
    assert (CRF(strided[0], np.moveaxis(strided[1], 1, -1)) == every[3]).all()
    assert CRF(images[:0], probs[:0]).shape == (0, 20, 25, 4)


def test_inputs_are_left_alone() -> None:
    image, probs = scene(10, 10, 3)
    before = image.copy(), probs.copy()
    image.flags.writeable = probs.flags.writeable = False
    CRF(image, probs)
    assert (image == before[0]).all() and (probs == before[1]).all()


@pytest.mark.parametrize(("h", "w", "classes"), [(1, 1, 2), (1, 1, 1), (1, 5, 2), (6, 1, 30), (2, 2, 3)])
def test_small_images_work(h: int, w: int, classes: int) -> None:
    image, probs = scene(h, w, classes)
    for crf in (CRF, GridCRF()):
        np.testing.assert_allclose(crf(image, probs).sum(-1), 1, atol=1e-5)
    if h * w == 1:  # a pixel alone hears itself: its best label gets better
        assert (CRF(image, probs).argmax(-1) == probs.argmax(-1)).all()


def bad_probs() -> list[tuple[str, Any, str]]:
    _, p = scene(6, 8, 3)
    put = lambda value: np.where(np.indices(p.shape).sum(0) == 5, np.float32(value), p)  # noqa: E731
    return [
        ("classes first", np.moveaxis(p, -1, 0), r"\(3, 6, 8\).*the classes come first; use np.moveaxis"),
        ("width first", p.swapaxes(0, 1), "width comes before height"),
        ("another size", p[:5], "resize the probabilities or the image"),
        ("a batch", p[None], "one image or a batch, for both"),
        ("labels", p[..., 0], "one image or a batch, for both"),
        ("no class", p[..., :0], r"must be \[6, 8, classes\]"),
        ("float64", p.astype(np.float64), r"probs is float64, must be float32"),
        ("float16", p.astype(np.float16), r"probs is float16"),
        ("integers", (p * 255).astype(np.uint8), "probs is uint8"),
        ("NaN", put(np.nan), r"probs at image 0, row 0, column 3: 1 of 3 classes are NaN"),
        ("negative", put(-0.25), "below 0; give probabilities, not logits"),
        ("zeros", p * 0, r"row 0, column 0: the classes sum to 0, which differs from 1 by more than 0.01"),
        ("sum", p * np.float32(1.02), "sum to 1.02"),
        ("logits", np.log(p), "not logits"),
    ]


@pytest.mark.parametrize(
    ("probs", "message"), [case[1:] for case in bad_probs()], ids=[case[0] for case in bad_probs()]
)
@pytest.mark.parametrize("crf", [CRF, GridCRF()], ids=["dense", "grid"])
def test_bad_probabilities_are_named(crf: Any, probs: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        crf(scene(6, 8, 3)[0], probs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.astype(np.float32) / 255, "image is float32, must be uint8"),
        (lambda x: x[..., 0], "repeat the one channel"),
        (lambda x: x[..., :1], "repeat the one channel"),
        (lambda x: np.moveaxis(x, -1, 0), "channels come last"),
        (lambda x: np.concatenate([x, x[..., :1]], -1), r"must be \[h, w, 3\]"),
        (lambda x: x[:0], "there are no pixels"),
    ],
)
def test_bad_images_are_named(change: Any, message: str) -> None:
    image, probs = scene(6, 8, 3)
    with pytest.raises(InputError, match=message):
        CRF(change(image), probs)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "has no pairwise term"),
        (dict(gaussian=dict(sxy=3)), r"gaussian=.* must be None or dict\(sxy=..., compat=...\)"),
        (dict(gaussian=dict(sxy=3, compat=3, srgb=3)), "must be None or dict"),
        (dict(gaussian=3), "must be None or dict"),
        (dict(bilateral=dict(sxy=3, compat=3)), "srgb=..."),
        (dict(gaussian=dict(sxy=0, compat=3)), "sxy=0 must be a number above 0, or 2 of them"),
        (dict(gaussian=dict(sxy=(3, 3, 3), compat=3)), "or 2 of them"),
        (dict(gaussian=dict(sxy="wide", compat=3)), "or 2 of them"),
        (dict(bilateral=dict(sxy=3, srgb=(1, 2), compat=3)), "srgb=.* or 3 of them"),
        (dict(gaussian=dict(sxy=3, compat=np.nan)), "compat is nan, must be a number, or a matrix"),
        (dict(gaussian=dict(sxy=3, compat=[1, 2])), r"an array of shape \(2,\)"),
        (dict(gaussian=dict(sxy=3, compat=np.zeros((2, 3)))), r"an array of shape \(2, 3\)"),
        (dict(gaussian=GAUSSIAN, iterations=-1), "iterations=-1"),
        (dict(gaussian=GAUSSIAN, iterations=2.5), "iterations=2.5"),
    ],
)
def test_bad_parameters_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DenseCRF(**given)


def test_what_does_not_fit_together_is_refused() -> None:
    image, probs = scene(6, 8, 3)
    with pytest.raises(InputError, match="matrix of 4 classes, but probs has 3"):
        DenseCRF(dict(sxy=3, compat=np.eye(4)))(image, probs)
    with pytest.raises(InputError, match="deviations are too small for images of 6x8"):
        DenseCRF(dict(sxy=0.0002, compat=3))(image, probs)
    with pytest.raises(InputError, match="threads=0"):
        CRF(image, probs, threads=0)


def test_labels_as_probabilities() -> None:
    probs = unary_from_labels(np.array([[0, 2], [255, 1]], np.uint8), 3, certainty=0.8, unsure=255)
    np.testing.assert_allclose(probs[0], [[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(probs[1], [[1 / 3] * 3, [0.1, 0.8, 0.1]], rtol=1e-6)
    assert probs.dtype == np.float32
    assert CRF(scene(2, 2, 3)[0], probs).shape == (2, 2, 3)
    for labels, options, message in (
        (np.array([0, 3]), {}, r"label 3 is not in \[0, 3\); name it with unsure="),
        (np.array([0, -1]), {}, "label -1"),
        (np.array([0.5]), {}, "float64, must be whole numbers"),
        (np.array([0]), dict(certainty=1.0), "certainty=1.0"),
    ):
        with pytest.raises(InputError, match=message):
            unary_from_labels(labels, 3, **options)


# --- the short-range CRF ------------------------------------------------------------------------------------------


def test_the_grid_crf_finds_fixed_points_of_its_equations() -> None:
    image, probs = scene(9, 11, 3)
    crf = GridCRF(smooth=0.3, contrast=0.8, srgb=20, iterations=200)
    q = crf(image, probs).astype(np.float64)
    for y in range(9):
        for x in range(11):
            energy = np.log(probs[y, x].astype(np.float64))
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= v < 9 and 0 <= u < 11:
                    away = ((image[y, x].astype(float) - image[v, u]) ** 2).sum()
                    energy += (0.3 + 0.8 * np.exp(-away / (2 * 20**2))) * q[v, u]
            np.testing.assert_allclose(q[y, x], twin.softmax(energy), atol=1e-4)
    assert crf(image, probs, return_iterations=True).shape == (201, 9, 11, 3)
    for bad in (dict(smooth=-1), dict(contrast=np.nan), dict(srgb=0), dict(iterations=-1)):
        with pytest.raises(InputError):
            GridCRF(**bad)


# --- the search for parameters ------------------------------------------------------------------------------------


def validation_set() -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Two pictures of two flat regions each, of different sizes, and noisy probabilities."""
    rng = np.random.default_rng(0)
    probs, labels, images = [], [], []
    for h, w in ((24, 30), (30, 20)):
        truth = (np.add.outer(np.arange(h), np.arange(w)) > w).astype(np.int64)
        images.append((truth[..., None] * np.array([90, -60, 40]) + 100 + rng.normal(0, 3, (h, w, 3))).astype(np.uint8))
        probs.append(twin.softmax(np.eye(2)[truth] * 1.2 + rng.normal(0, 1, (h, w, 2))).astype(np.float32))
        labels.append(np.where(rng.random((h, w)) < 0.1, 255, truth))
    return probs, labels, images


def test_the_search_finds_the_best_of_the_grid(capsys: pytest.CaptureFixture[str]) -> None:
    probs, labels, images = validation_set()
    grid = {
        "gaussian.sxy": (2,),
        "gaussian.compat": (0.01, 3),
        "bilateral.sxy": (10,),
        "bilateral.srgb": (10, 300),
        "bilateral.compat": (0.01, 4),
    }
    found = tune_crf(probs, labels, images, grid=grid, void=255, progress=False)
    assert len(found.table) == 8 and found.table[0]["miou"] == found.miou == max(row["miou"] for row in found.table)
    assert found.miou > 0.95 > found.before + 0.1
    predicted = [found.crf(image, p).argmax(-1) for image, p in zip(images, probs, strict=True)]
    assert scores(labels, predicted, 2, void=255).miou == found.miou
    assert found.best == {name: found.table[0][name] for name in grid}
    assert "without CRF" in str(found) and str(found).count("\n") == 9
    assert capsys.readouterr().out == ""


def test_a_random_search_draws_by_its_seed_and_shows_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    probs, labels, images = validation_set()
    one, same, other = (
        tune_crf(probs[:1], labels[:1], images[:1], samples=4, seed=seed, iterations=1, void=255) for seed in (1, 1, 2)
    )
    assert one.table == same.table != other.table and len(one.table) == 4
    assert set(one.best) == set(GRID)
    assert "tuning the CRF" in capsys.readouterr().out


def test_a_search_without_sense_is_refused() -> None:
    probs, labels, images = validation_set()
    for bad, message in (
        (dict(images=images[:1]), "2 probs, 2 labels, 1 images"),
        (dict(grid={"sxy": (1,)}), "grid=.* must give values for some of gaussian.sxy"),
        (dict(grid={"gaussian.sxy": ()}), "must give values"),
        (dict(grid={}), "must give values"),
        (dict(samples=0), "samples=0"),
        (dict(grid={"gaussian.sxy": (3,)}), "must be None or dict"),
    ):
        given: Any = {"probs": probs, "labels": labels, "images": images, "void": 255, "progress": False, **bad}
        with pytest.raises(InputError, match=message):
            tune_crf(**given)
