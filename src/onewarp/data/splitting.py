"""Dividing a source in two: training and validation, disjoint, the same on every machine."""

from __future__ import annotations

import numpy as np

from onewarp.data.base import Source, checked_source, class_numbers
from onewarp.data.order import random_keys
from onewarp.errors import InputError


def split(
    source: Source, fraction: float = 0.2, *, seed: int = 0, stratify: bool | None = None, method: str = "random"
) -> tuple[Source, Source]:
    """Divide a source into (training, validation), two disjoint sources that keep the permanent sample ids and the
    source's order.

    Args:
        source: what to divide.
        fraction: share of the samples that goes to the second source, in (0, 1); rounded to whole samples, at least
            one.
        seed: another seed chooses other samples (method "random").
        stratify: take the same share of every class (to within one sample); True where labels are class numbers by
            default.
        method: "random", or "head": the first samples (of every class) train, the last ones validate.

    Raises:
        InputError: a fraction outside (0, 1), fewer than two samples, or stratify=True without class numbers.
    """
    n = len(checked_source(source))
    if not 0.0 < fraction < 1.0:
        raise InputError(f"fraction={fraction} lies outside (0, 1); pass the validation share, e.g. 0.2")
    if method not in ("random", "head"):
        raise InputError(f'method={method!r} is not known; use "random" or "head"')
    if n < 2:
        raise InputError(f"a source of {n} samples cannot be divided; it needs at least two")
    labels = source.labels
    by_class = labels is not None and class_numbers(labels)
    if stratify and not by_class:
        raise InputError("stratify=True needs class numbers as labels; pass stratify=False")
    groups = labels if by_class and stratify is not False and labels is not None else np.zeros(n, np.int64)
    keys = random_keys(seed, 0, "onewarp.split", n) if method == "random" else np.arange(n, dtype=np.uint64)
    total = min(max(round(n * fraction), 1), n - 1)
    chosen = np.zeros(n, bool)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    for rows, count in zip(members, _shares([len(rows) for rows in members], total), strict=True):
        last = rows[np.argsort(keys[rows], kind="stable")][len(rows) - count :]
        chosen[last] = True
    return source.subset(np.flatnonzero(~chosen)), source.subset(np.flatnonzero(chosen))


def _shares(sizes: list[int], total: int) -> list[int]:
    """Whole numbers in proportion to `sizes` that add up to `total`; largest remainders first, then earlier groups."""
    exact = [size * total / sum(sizes) for size in sizes]
    counts = [int(share) for share in exact]
    largest = sorted(range(len(sizes)), key=lambda group: (counts[group] - exact[group], group))
    for group in largest[: total - sum(counts)]:
        counts[group] += 1
    return counts
