"""What each parameter of a forest may be. The tests read it, and try the values that it calls bad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onewarp.fields import Rule


def _whole(low: int, high: int, *, optional: bool = False) -> Rule:
    def read(value: Any) -> int | None:
        if optional and value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value < high:
            raise ValueError
        return int(value)

    wanted = f"a whole number in [{low}, {high})" + (", or None" if optional else "")
    return Rule(wanted, read, (low - 1, high, low + 0.5, True, "many", *(() if optional else (None,))))


def _word(*words: str) -> Rule:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError
        return value

    return Rule("one of " + ", ".join(map(repr, words)), read, ("no such word", None, 3, ["gini"]))


def _number(value: Any, low: float, high: float) -> float:
    if isinstance(value, (bool, str)) or not low <= float(value) <= high:
        raise ValueError
    return float(value)


def _read_max_features(value: Any) -> Any:
    if value is None or (isinstance(value, str) and value in ("sqrt", "log2")):
        return value
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 1:
        return int(value)
    if isinstance(value, (float, np.floating)) and 0 < value <= 1:
        return float(value)
    raise ValueError


def _read_class_weight(value: Any) -> Any:
    if value is None or (isinstance(value, str) and value in ("balanced", "balanced_subsample")):
        return value
    if not isinstance(value, Mapping) or not value:
        raise TypeError
    return {_CLASS.read(label): _number(weight, 1e-30, 1e30) for label, weight in value.items()}


_BIG, _CLASS = 1 << 31, _whole(0, 1 << 16)

RULES: dict[str, Rule] = {
    "classes": _whole(1, (1 << 16) + 1),
    "n_estimators": _whole(1, _BIG),
    "criterion": _word("gini", "entropy", "log_loss"),
    "max_depth": _whole(1, _BIG, optional=True),
    "max_leaf_nodes": _whole(2, _BIG, optional=True),
    "min_samples_leaf": _whole(1, _BIG),
    "min_samples_split": _whole(2, _BIG),
    "ccp_alpha": Rule("a number >= 0", lambda value: _number(value, 0, 1e30), (-0.1, float("nan"), "a", None, True)),
    "max_features": Rule(
        '"sqrt", "log2", a whole number >= 1, a fraction in (0, 1], or None', _read_max_features, ("all", 0, 1.5, 0.0)
    ),
    "class_weight": Rule(
        'None, "balanced", "balanced_subsample", or {class number: weight above 0}',
        _read_class_weight,
        ("even", {}, {0: 0}, {0: -1}, {"sky": 1}, {-1: 2.0}, [1, 2], {0: float("nan")}),
    ),
    "vote": _word("soft", "hard"),
    "seed": _whole(0, 1 << 64),
}
