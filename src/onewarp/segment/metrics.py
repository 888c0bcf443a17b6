"""How good a segmentation is: intersection over union, accuracy, and the same near the borders of objects.

Labels are whole numbers; pixels whose true label is `void` count nowhere. Scores of a data set come from the sum of its
confusion matrices, not from the mean of its images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onewarp.errors import InputError


@dataclass(frozen=True)
class Scores:
    """What follows from a confusion matrix int64 [classes, classes]: row true, column predicted.

    A class that is neither true nor predicted anywhere has the score NaN, and the means leave it out.
    """

    confusion: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each class, float64 [classes]."""
        right = np.diag(self.confusion).astype(np.float64)
        return _divide(right, self.confusion.sum(0) + self.confusion.sum(1) - right)

    @property
    def miou(self) -> float:
        """The mean of `iou`."""
        return _mean(self.iou)

    @property
    def accuracy(self) -> float:
        """The share of pixels that are right."""
        return float(_divide(np.trace(self.confusion), self.confusion.sum()))

    @property
    def class_accuracy(self) -> np.ndarray:
        """The share of each class's pixels that are right, float64 [classes]."""
        return _divide(np.diag(self.confusion), self.confusion.sum(1))


def confusion_matrix(truth: Any, predicted: Any, classes: int, void: int | None = None) -> np.ndarray:
    """How often class i was taken for class j.

    Args:
        truth: true labels of any shape, or a list of such arrays, one per image.
        predicted: labels of the same shapes.
        classes: their number; labels are 0 to classes - 1.
        void: true label of pixels that do not count; nothing is asked of what was predicted there.

    Returns:
        int64 [classes, classes], row true, column predicted.

    Raises:
        InputError: labels that are not whole numbers, of different shapes, or outside [0, classes).
    """
    total = np.zeros((classes, classes), np.int64)
    for t, p in _pairs(truth, predicted):
        t, p = _counted(t, p, classes, void)
        total += np.bincount(t.astype(np.int64) * classes + p, minlength=classes**2).reshape(classes, classes)
    return total


def scores(truth: Any, predicted: Any, classes: int, void: int | None = None) -> Scores:
    """The `Scores` of predicted labels; the arguments are those of `confusion_matrix`."""
    return Scores(confusion_matrix(truth, predicted, classes, void))


@dataclass(frozen=True)
class BoundaryScores:
    """Scores near the borders of objects, one number for each of `widths` (pixels), float64.

    Attributes:
        accuracy, miou: of the trimap: pixels less than `width` away from a pixel that touches another true class;
            width 1 is the two rows of pixels at a border alone.
        f1: boundary F1 (Csurka et al. 2013): the harmonic mean of the share of predicted border pixels with a true one
            of their class within `width`, and of true ones with a predicted one; the mean of classes, then of images.
    """

    widths: tuple[int, ...]
    accuracy: np.ndarray
    miou: np.ndarray
    f1: np.ndarray


def boundary_scores(
    truth: Any, predicted: Any, classes: int, widths: Sequence[int] = tuple(range(1, 21)), void: int | None = None
) -> BoundaryScores:
    """How good predicted labels are near borders.

    Args:
        truth, predicted: labels [n, h, w], or lists of [h, w]; otherwise as for `confusion_matrix`.
        classes, void: see there. A border with void is no border.
        widths: of the bands, in pixels, each at least 1.

    Raises:
        InputError: labels as there, arrays that are not images, or widths below 1.
    """
    if not widths or any(width != int(width) or width < 1 for width in widths):
        raise InputError(f"widths={tuple(widths)} must be whole numbers of pixels, at least 1")
    bands = np.zeros((len(widths), classes, classes), np.int64)
    means: list[np.ndarray] = []
    for t, p in _pairs(truth, predicted):
        if t.ndim != 2:
            raise InputError(f"boundary_scores needs labels [n, h, w] or a list of [h, w], got an image of {t.shape}")
        _counted(t, p, classes, void)
        t = t.astype(np.int64)
        counts = np.ones(t.shape, bool) if void is None else t != void
        p = np.where(counts, p, -1)
        t = np.where(counts, t, -1)
        away = _distance(_borders(t))
        for k, width in enumerate(widths):
            bands[k] += confusion_matrix(t[counts & (away < width)], p[counts & (away < width)], classes)
        means.append(_f1(t, p, classes, widths))
    trimap = [Scores(band) for band in bands]
    f1 = np.array([_mean(column) for column in np.stack(means).T])
    return BoundaryScores(
        tuple(int(w) for w in widths), np.array([s.accuracy for s in trimap]), np.array([s.miou for s in trimap]), f1
    )


def _pairs(truth: Any, predicted: Any) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """The labels of each image: those of a list, or of an array of more than two dimensions."""
    if isinstance(truth, np.ndarray) and isinstance(predicted, np.ndarray) and truth.ndim <= 2:
        truth, predicted = [truth], [predicted]
    if len(truth) != len(predicted):
        raise InputError(f"truth has {len(truth)} entries, predicted {len(predicted)}; they must be as many")
    for k, (t, p) in enumerate(zip(truth, predicted, strict=True)):
        t, p = np.asarray(t), np.asarray(p)
        if t.shape != p.shape:
            hint = "; take predicted.argmax(-1)" if p.shape[:-1] == t.shape else ""
            raise InputError(f"entry {k}: truth has shape {t.shape}, predicted {p.shape}{hint}")
        for name, labels in (("truth", t), ("predicted", p)):
            if labels.dtype.kind not in "iu":
                raise InputError(f"{name} is {labels.dtype}, must be whole numbers; take argmax(-1) of probabilities")
        yield t, p


def _counted(t: np.ndarray, p: np.ndarray, classes: int, void: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The labels of the pixels that count, in [0, classes)."""
    if void is not None:
        t, p = t[t != void], p[t != void]
    for name, labels in (("truth", t), ("predicted", p)):
        wrong = labels[(labels < 0) | (labels >= classes)]
        if wrong.size:
            hint = "; name it with void= if it does not count" if name == "truth" and void is None else ""
            raise InputError(f"{name} has the label {wrong.flat[0]}, which is not in [0, {classes}){hint}")
    return t.reshape(-1), p.reshape(-1)


def _divide(a: Any, b: Any) -> Any:
    """a / b, NaN where b is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(a, np.float64) / np.where(np.asarray(b) == 0, np.nan, b)


def _mean(values: np.ndarray) -> float:
    """The mean of what is not NaN; NaN where there is nothing."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _borders(labels: np.ndarray) -> np.ndarray:
    """Pixels that touch, above, below or beside them, another label. -1 is no label."""
    found = np.zeros(labels.shape, bool)
    for a, b in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differ = (labels[a] != labels[b]) & (labels[a] >= 0) & (labels[b] >= 0)
        found[a] |= differ
        found[b] |= differ
    return found


def _distance(marked: np.ndarray) -> np.ndarray:
    """Euclidean distance of each pixel to the nearest marked one; infinite where there is none."""
    import cv2

    if not marked.any():
        return np.full(marked.shape, np.inf)
    return cv2.distanceTransform((~marked).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _f1(truth: np.ndarray, predicted: np.ndarray, classes: int, widths: Sequence[int]) -> np.ndarray:
    """The mean boundary F1 of the classes of one image, for each width; NaN where no class has a border."""
    borders = _borders(truth), _borders(predicted)
    found = []
    for c in range(classes):
        true, guess = borders[0] & (truth == c), borders[1] & (predicted == c)
        if not true.any() and not guess.any():
            continue
        to_true, to_guess = _distance(true)[guess], _distance(guess)[true]
        precision = [float(np.mean(to_true <= width)) if guess.any() else 0.0 for width in widths]
        recall = [float(np.mean(to_guess <= width)) if true.any() else 0.0 for width in widths]
        found.append([2 * p * r / (p + r) if p + r else 0.0 for p, r in zip(precision, recall, strict=True)])
    return np.mean(found, 0) if found else np.full(len(widths), np.nan)
