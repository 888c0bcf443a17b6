"""Labels as tables and files write them, names or numbers, made class numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from onewarp.errors import InputError

Bad = dict[int, str]  # row -> what is wrong with it
_WHOLE = re.compile(r"[+-]?[0-9]+")


def missing(value: Any) -> bool:
    """Whether a table leaves a value out: None, an empty text, or not a number."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or value != value  # NaN, NaT and the like differ from themselves


def number(value: Any) -> float | None:
    """A value as a finite number; None where it is none. Whole numbers stay exact up to 2**53."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def numbered(
    values: Sequence[Any], class_names: Sequence[str] | None, column: str
) -> tuple[np.ndarray, tuple[str, ...] | None, Bad]:
    """Labels, one per row -> (numbers [n], class names or None, bad rows).

    Where all are whole numbers they are class numbers, int64. Where all are numbers, some with a fraction, they are
    float32 and no classes. Otherwise they are names: numbered in the order of `class_names`, or sorted. Rows that are
    missing get -1; they are the caller's business.

    Raises:
        InputError: class_names for numbers with a fraction.
    """
    present = [row for row, value in enumerate(values) if not missing(value)]
    texts = {row: str(values[row]).strip() for row in present}
    bad: Bad = {}
    if class_names is not None and set(texts.values()) <= set(class_names):
        return _named(len(values), texts, class_names), tuple(class_names), bad
    found = {row: number(values[row]) for row in present}
    if present and all(value is not None for value in found.values()):
        if all(float(value).is_integer() for value in found.values() if value is not None):
            labels = np.full(len(values), -1, np.int64)
            for row in present:
                labels[row] = int(texts[row]) if _WHOLE.fullmatch(texts[row]) else int(found[row] or 0)
                if labels[row] < 0 or (class_names is not None and labels[row] >= len(class_names)):
                    limit = "" if class_names is None else f" below {len(class_names)}, as class_names says"
                    bad[row] = f"{column}={texts[row]!r} is no class number; classes are whole numbers from 0{limit}"
            return labels, None if class_names is None else tuple(class_names), bad
        if class_names is not None:
            raise InputError(f"{column} holds numbers with a fraction, which are no classes; leave class_names out")
        return np.array([found.get(row, -1.0) for row in range(len(values))], np.float32), None, bad
    if class_names is None:
        class_names = sorted(set(texts.values()))
    known = set(class_names)
    for row, text in texts.items():
        if text not in known:
            bad[row] = f"{column}={text!r} is not in class_names ({', '.join(class_names)})"
    return _named(len(values), texts, class_names), tuple(class_names), bad


def _named(n: int, texts: dict[int, str], class_names: Sequence[str]) -> np.ndarray:
    number_of = {name: label for label, name in enumerate(class_names)}
    labels = np.full(n, -1, np.int64)
    for row, text in texts.items():
        labels[row] = number_of.get(text, -1)
    return labels
