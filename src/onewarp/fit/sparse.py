"""Losses and metrics of class numbers have no meaning for mixed labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

from onewarp.errors import InputError
from onewarp.policy import Policy
from onewarp.transform import Combinator, Mix, Transform


def first_mix(transforms: Iterable[Transform]) -> Mix | None:
    """The first transform that mixes samples, inside a combinator, too; None where none does."""
    for transform in transforms:
        found = first_mix(transform.transforms) if isinstance(transform, Combinator) else transform
        if isinstance(found, Mix):
            return found
    return None


def mixing(policy: Policy) -> str | None:
    """What the first transform is called that mixes samples; None where none does."""
    found = first_mix(policy)
    return None if found is None else type(found).__name__


def check_not_sparse(losses: Any, mix: str) -> None:
    """Raise InputError for a sparse loss or metric, alone or in lists and dictionaries."""
    for loss in keras.tree.flatten(losses):
        name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
        if str(name).lower().startswith("sparse"):
            plain = str(name)[len("sparse") :].lstrip("_")
            raise InputError(
                f"{name} takes class numbers, but {mix} makes mixed labels, which are rows of numbers; use {plain} "
                '(labels become one-hot by themselves), or AugmentedModel(..., targets="segmentation_masks") for masks'
            )
