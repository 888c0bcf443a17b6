"""Samples under a policy, to be looked at: the original and some draws of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onewarp.data.base import Sample, Source
from onewarp.data.batches import Batches
from onewarp.errors import PolicyError
from onewarp.picture import render, sheet
from onewarp.policy import Policy
from onewarp.transforms.normalize import Normalize, Rescale


def shown(policy: Policy) -> Policy:
    """The policy as it can be looked at: channels last, without the Normalize or Rescale that a model needs.

    What is left draws the same random numbers: a transform's draws do not depend on transforms of other classes.
    """
    settings = {**dataclasses.asdict(policy.settings), "dtype": None, "data_format": "channels_last"}
    return Policy([step for step in policy.transforms if not isinstance(step, (Normalize, Rescale))], **settings)


def draw_samples(
    source: Source, policy: Policy, indices: Sequence[int], draws: int, seed: int = 0, first: int = 0
) -> list[list[Sample]]:
    """Draws of some samples: one list per index, in which entry d is the sample as epoch `first` + d shows it.

    Samples are drawn together, so that they mix with each other; where the policy leaves their sizes open, one by one.

    Raises:
        DataError: a sample that cannot be read.
        PolicyError: the policy cannot run on these images.
    """
    looks = shown(policy)
    try:
        batches = Batches(source.subset(indices), looks, len(indices), shuffle=False, seed=seed)
    except PolicyError:
        return [[_alone(source, looks, index, first + d, seed) for d in range(draws)] for index in indices]
    epochs = [batches.batch(first + d, 0) for d in range(draws)]
    return [[_row(epoch, slot) for epoch in epochs] for slot in range(len(indices))]


def sample_sheet(
    source: Source,
    policy: Policy,
    indices: Sequence[int],
    draws: int,
    *,
    names: Sequence[str],
    seed: int = 0,
    side: int = 160,
    title: str = "",
) -> np.ndarray:
    """A picture of samples x draws with all targets drawn in, the originals in the first column; uint8 RGB [h, w, 3].

    Args:
        source, policy, indices, draws, seed: as in `draw_samples`; boxes are corners (xyxy).
        names: one name per index.
        side: pixels of a picture's longer side.
        title: a line above the sheet.
    """
    lines = []
    for index, drawn in zip(indices, draw_samples(source, policy, indices, draws, seed), strict=True):
        lines.append([render(sample, side, source.value_range) for sample in (source[index], *drawn)])
    heads = ["original", *(f"draw {epoch + 1}" for epoch in range(draws))]
    return sheet(lines, names, heads, title)


def one_per_class(source: Source) -> list[int]:
    """The index of the first sample of each class that has any, in the order of the classes."""
    labels = np.asarray(source.labels)
    return [int(np.flatnonzero(labels == label)[0]) for label in np.unique(labels)]


def _alone(source: Source, policy: Policy, index: int, epoch: int, seed: int) -> Sample:
    sample = source[index]
    batch = {role: _batched(value) for role, value in sample.items()}
    options: dict[str, Any] = {"value_range": source.value_range} if source.dtype == "float32" else {}
    ids = source.ids(np.array([index]))
    return _row(policy(batch, seed=seed, epoch=epoch, ids=ids, num_classes=source.num_classes, **options), 0)


def _batched(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _batched(part) for key, part in value.items()}
    return np.asarray(value)[None]


def _row(batch: Mapping[str, Any], slot: int) -> Sample:
    return {role: _row(value, slot) if isinstance(value, Mapping) else value[slot] for role, value in batch.items()}
