"""Metrics of segmentation: equal to scikit-learn's, worked out by hand near borders, and void counts nowhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn

from onewarp.errors import InputError
from onewarp.segment import boundary_scores, confusion_matrix, scores


def labels(void: int | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, 5, (2, 3, 20, 30))
    predicted = np.where(rng.random(truth.shape) < 0.6, truth, predicted)
    if void is not None:
        truth[rng.random(truth.shape) < 0.2] = void
    return truth, predicted


@pytest.mark.parametrize("void", [None, 255, -1, 0])
def test_all_is_equal_to_scikit_learn(void: int | None) -> None:
    truth, predicted = labels(void)
    t, p = (x[truth != void] if void is not None else x.ravel() for x in (truth, predicted))
    names = range(5)
    found = scores(truth, predicted, 5, void)
    assert (found.confusion == sklearn.confusion_matrix(t, p, labels=names)).all()
    np.testing.assert_allclose(found.iou, sklearn.jaccard_score(t, p, labels=names, average=None, zero_division=0))
    np.testing.assert_allclose(found.miou, sklearn.jaccard_score(t, p, labels=names, average="macro", zero_division=0))
    assert found.accuracy == pytest.approx(sklearn.accuracy_score(t, p))
    recall = sklearn.recall_score(t, p, labels=names, average=None, zero_division=0)
    np.testing.assert_allclose(np.nan_to_num(found.class_accuracy), recall)


def test_lists_arrays_and_dtypes_give_the_same() -> None:
    truth, predicted = labels(255)
    expected = confusion_matrix(truth, predicted, 5, 255)
    assert (confusion_matrix(list(truth), list(predicted.astype(np.uint8)), 5, 255) == expected).all()
    assert (confusion_matrix(truth.ravel(), predicted.ravel(), 5, 255) == expected).all()
    assert (sum(confusion_matrix(t, p, 5, 255) for t, p in zip(truth, predicted, strict=True)) == expected).all()


def test_a_class_that_is_nowhere_does_not_count() -> None:
    found = scores(np.array([0, 0, 1]), np.array([0, 1, 1]), 4)
    np.testing.assert_array_equal(found.iou, [0.5, 0.5, np.nan, np.nan])
    assert found.miou == 0.5
    nothing = scores(np.array([9]), np.array([0]), 3, void=9)
    assert np.isnan(nothing.miou) and np.isnan(nothing.accuracy)


def square(shift: int = 0) -> np.ndarray:
    """A 12 x 12 square of class 1 in 40 x 40 pixels of class 0."""
    image = np.zeros((40, 40), np.int64)
    image[14:26, 14 + shift : 26 + shift] = 1
    return image


def test_a_right_answer_has_the_best_scores_everywhere() -> None:
    found = boundary_scores([square()], [square()], 2)
    assert found.widths == tuple(range(1, 21))
    for values in (found.accuracy, found.miou, found.f1):
        assert (values == 1).all() and values.shape == (20,)


def test_the_trimap_is_a_band_around_true_borders() -> None:
    truth, all_wrong = square(), 1 - square()
    found = boundary_scores([truth], [np.zeros_like(truth)], 2, widths=(1, 2, 100))
    inside, outside = 12 * 4 - 4, 12 * 4  # the square's outermost pixels, and those that touch them
    assert found.accuracy[0] == outside / (inside + outside)
    assert found.accuracy[2] == 1 - 144 / 1600  # the whole image
    assert (boundary_scores([truth], [all_wrong], 2).accuracy == 0).all()


def test_boundary_f1_counts_borders_within_the_width() -> None:
    found = boundary_scores([square()], [square(3)], 2, widths=(1, 2, 3)).f1
    assert found[0] < found[1] < found[2] == 1
    nothing = boundary_scores([square()], [np.zeros((40, 40), np.int64)], 2, widths=(1, 20))
    assert (nothing.f1 == 0).all()


def test_boundary_f1_by_hand() -> None:
    truth, predicted = np.zeros((2, 1, 8), np.int64)
    truth[0, 4:], predicted[0, 6:] = 1, 1  # true borders at 3 | 4, predicted ones at 5 | 6
    assert list(boundary_scores([truth], [predicted], 2, widths=(1, 2)).f1) == [0, 1]


def test_void_is_no_border_and_counts_nowhere() -> None:
    truth = square()
    truth[:, 20:] = 255
    predicted = np.where(truth == 255, 1, truth)
    found = boundary_scores([truth], [predicted], 2, void=255)
    assert (found.accuracy == 1).all() and (found.f1 == 1).all()
    truth[:] = np.where(np.arange(40) < 20, 0, 255)
    alone = boundary_scores([truth], [np.zeros_like(truth)], 2, widths=(1,), void=255)
    assert np.isnan(alone.accuracy[0]) and np.isnan(alone.f1[0])  # there is no border at all


@pytest.mark.parametrize(
    ("truth", "predicted", "options", "message"),
    [
        ([0, 5], [0, 1], {}, r"truth has the label 5, which is not in \[0, 3\); name it with void="),
        ([0, 1], [0, 5], {}, "predicted has the label 5"),
        ([0, -1], [0, 1], {}, "label -1"),
        ([0.0, 1.0], [0, 1], {}, "truth is float64, must be whole numbers"),
        ([0, 1], [[0.1, 0.9, 0], [1, 0, 0]], {}, r"take predicted.argmax\(-1\)"),
        ([0, 1], [0, 1, 2], {}, "truth has shape"),
    ],
)
def test_bad_labels_are_named(truth: Any, predicted: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        confusion_matrix(np.array(truth), np.array(predicted), 3, **options)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match="must be as many"):
        confusion_matrix([square()], [square()] * 2, 2)
    with pytest.raises(InputError, match="widths"):
        boundary_scores([square()], [square()], 2, widths=(0,))
    with pytest.raises(InputError, match=r"needs labels \[n, h, w\]"):
        boundary_scores([square()[0]], [square()[0]], 2)
