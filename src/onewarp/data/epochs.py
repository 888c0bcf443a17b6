"""The sampling that a loader's arguments ask for, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onewarp.data.alike import Showings
from onewarp.data.balance import Balanced, Mild
from onewarp.data.base import Source, class_numbers
from onewarp.data.sampling import Sampling, Shuffled, Windowed, blocks_of
from onewarp.errors import InputError
from onewarp.plain import with_plain
from onewarp.plan import Plan

WINDOW = 16
GROUPS = ("rich", "scarce")
Classes = Mapping[Any, Any]  # class name or number -> number


def sampling_of(
    source: Source,
    plan: Plan,
    seed: int,
    shuffle: bool | str,
    window: int | None = None,
    balance: str | Classes | None = None,
    samples_per_class: int | Classes | None = None,
    augment_probability: float | Classes | None = None,
    originals: bool = True,
) -> Sampling:
    """Which samples an epoch shows; the arguments are those of `Batches`.

    Raises:
        InputError: arguments that are out of range, or do not go together; a policy that cannot give enough different
            showings of an image.
        PolicyError: a transform that cannot be shown plain.
        DataError: a source whose blocks are none.
    """
    if shuffle not in (True, False, "windowed"):
        raise InputError(f'shuffle={shuffle!r} is not known; use True, False or "windowed"')
    if window is not None:
        if shuffle != "windowed":
            raise InputError(f'window={window!r} needs shuffle="windowed"; leave one out or add the other')
        if not _whole(window) or window < 1:
            raise InputError(f"window={window!r} is not a positive number of blocks; leave it out for {WINDOW}")
    found: Sampling
    if balance is not None or samples_per_class is not None:
        name = "balance" if samples_per_class is None else "samples_per_class"
        if shuffle is not True:
            raise InputError(
                f"{name} needs shuffle=True, got shuffle={shuffle!r}; balanced epochs have their own order"
            )
        counts = _counts(source, balance, samples_per_class)
        found = balanced = Balanced(source, seed, counts, originals, Showings(with_plain(plan), seed))
        balanced.check(0)
    elif shuffle == "windowed":
        found = Windowed(len(source), seed, blocks_of(source), WINDOW if window is None else int(window))
    else:
        found = Shuffled(len(source), seed) if shuffle else Sampling(len(source))
    if augment_probability is not None:
        scarce = found.scarce if isinstance(found, Balanced) else None
        probability = _probabilities(source, augment_probability, scarce)
        if (probability < 1.0).any():
            found = Mild(found, source, seed, probability)
    return found


def _counts(source: Source, balance: str | Classes | None, samples_per_class: int | Classes | None) -> np.ndarray:
    """How many samples an epoch shows of each class, int64 [classes]."""
    name = "balance" if samples_per_class is None else "samples_per_class"
    images = _images(source, name)
    if isinstance(balance, Mapping) and samples_per_class is not None:
        raise InputError("balance gives shares and samples_per_class numbers of the same classes; pass one of them")
    if not isinstance(balance, Mapping) and balance not in (None, "classes"):
        raise InputError(f'balance={balance!r} is not known; use "classes" or shares such as {{"cat": 3, "dog": 1}}')
    if samples_per_class is not None:
        if isinstance(samples_per_class, Mapping):
            values = _complete(source, name, samples_per_class)
        else:
            values = [samples_per_class] * len(images)
        least = 0 if isinstance(samples_per_class, Mapping) else 1
        for number, value in enumerate(values):
            if not _whole(value) or value < least:
                raise InputError(
                    f"{name}: {value!r} for class {_label(source, number)!r} is not a whole number from {least} on; "
                    "pass e.g. 500"
                )
        counts = np.array(values, np.int64)
    elif isinstance(balance, Mapping):
        shares = np.array([_share(source, k, value) for k, value in enumerate(_complete(source, name, balance))])
        if not shares.any():
            raise InputError("balance gives every class the share 0; give one more")
        counts = _apportioned(len(source), shares)
    else:
        counts = np.full(len(images), max(1, round(len(source) / len(images))), np.int64)
    if not counts.any():
        raise InputError(f"{name} asks for no samples of any class; ask for one or more")
    for missing in np.flatnonzero((counts > 0) & (images == 0)).tolist():
        raise InputError(
            f"class {_label(source, missing)!r} has no samples to balance; give it 0 in {name}={{class: ...}}"
        )
    return counts


def _share(source: Source, number: int, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value < np.inf:
        raise InputError(
            f"balance: {value!r} for class {_label(source, number)!r} is not a share; pass a number from 0 on"
        )
    return float(value)


def _apportioned(total: int, shares: np.ndarray) -> np.ndarray:
    """`total` in whole numbers by shares: rounded down, and one more for the largest remainders."""
    exact = total * (shares / shares.sum())
    counts: np.ndarray = np.floor(exact).astype(np.int64)
    rest = total - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:rest]] += 1
    return counts


def _probabilities(source: Source, given: float | Classes, scarce: np.ndarray | None) -> np.ndarray:
    """With which probability a sample is augmented: float64 [classes], or one number where there are no classes."""

    def checked(value: Any, of: str) -> float:
        number = not isinstance(value, bool) and isinstance(value, (int, float, np.number))
        if not number or not 0 <= value <= 1:
            raise InputError(f"augment_probability{of} is {value!r}; it must be a number from 0 to 1")
        return float(value)

    if not isinstance(given, Mapping):
        value: np.ndarray = np.array(checked(given, ""))
        return value if scarce is None else np.asarray(np.where(scarce, 1.0, value))
    images = _images(source, "augment_probability")
    groups = {key: checked(given[key], f"[{key!r}]") for key in GROUPS if key in given}
    single = _by_class(source, "augment_probability", {key: v for key, v in given.items() if key not in GROUPS})
    found = np.full(len(images), groups.get("rich", 1.0))
    if scarce is not None:
        found[scarce] = groups.get("scarce", 1.0)
    for number, value in single.items():
        found[number] = checked(value, f"[{_label(source, number)!r}]")
    if scarce is not None and (found[scarce] < 1.0).any():
        number = int(np.flatnonzero(scarce & (found < 1.0))[0])
        raise InputError(
            f"augment_probability is {found[number]:g} for class {_label(source, number)!r}, which is scarce: "
            "its images come more than once, and only augmented do they differ; use 1 for it"
        )
    return found


def _images(source: Source, name: str) -> np.ndarray:
    """How many images each class has, int64 [classes]."""
    labels, classes = source.labels, source.num_classes
    if labels is None or not class_numbers(labels) or classes is None:
        raise InputError(f"{name} needs class numbers, one for each sample, as labels; this source has none")
    if len(labels) and labels.dtype.kind == "i" and labels.min() < 0:
        raise InputError(f"{name} needs class numbers from 0 on, the labels have {labels.min()}; number them again")
    images: np.ndarray = np.bincount(labels, minlength=classes)
    return images


def _by_class(source: Source, name: str, given: Classes) -> dict[int, Any]:
    """Class number -> value, from names or numbers."""
    names, classes, found = source.class_names, source.num_classes or 0, {}
    for key, value in given.items():
        if names is not None and key in names:
            number = names.index(key)
        elif _whole(key) and 0 <= key < classes:
            number = int(key)
        else:
            known = f"0 to {classes - 1}" if names is None else _listed(names)
            raise InputError(f"{name} has class {key!r}, but the classes are {known}; use one of them")
        if number in found:
            raise InputError(f"{name} has class {_label(source, number)!r} twice, by name and number; keep one")
        found[number] = value
    return found


def _complete(source: Source, name: str, given: Classes) -> list[Any]:
    """A value for each class; InputError where one is left out."""
    found = _by_class(source, name, given)
    for number in range(source.num_classes or 0):
        if number not in found:
            raise InputError(
                f"{name} leaves out class {_label(source, number)!r}; give it a number, 0 to show none of it"
            )
    return [found[number] for number in sorted(found)]


def _label(source: Source, number: int) -> Any:
    return number if source.class_names is None else source.class_names[number]


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
