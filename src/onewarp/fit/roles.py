"""Which entry of a batch is what: Keras hands over x, y and sample_weight, a policy takes entries by role."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from onewarp.errors import InputError
from onewarp.spec import ROLES

Targets = str | Mapping[str, str | None] | None
Rebuild = Callable[[Mapping[str, Any]], tuple[Any, Any, Any]]
IGNORED = "ignored"  # targets that the policy leaves alone


def check_targets(targets: Targets) -> None:
    """Raise InputError unless `targets` says what it may say."""
    known = (*ROLES[1:5], IGNORED)
    for role in targets.values() if isinstance(targets, Mapping) else (targets,):
        if role is not None and role not in known:
            raise InputError(f"targets={targets!r}: {role!r} is not a role; use one of {', '.join(known)}")


def role_of(name: str, value: Any, size: tuple[int, int]) -> str:
    """The role of a target that nobody named, from its shape; `size`: (height, width) of the images."""
    if isinstance(value, Mapping):
        if set(value) >= {"boxes", "labels"}:
            return "bounding_boxes"
        raise InputError(
            f"{name} has the entries {', '.join(map(str, value))}, which are no roles; say what they are with "
            'targets={"name": "labels", ...}'
        )
    shape = tuple(value.shape)
    if len(shape) <= 2:
        return "labels"
    if len(shape) in (3, 4) and shape[1:3] == size:
        return "segmentation_masks"
    raise InputError(
        f"{name} has shape {shape} beside images of {size[0]}x{size[1]}, which may be anything; say what it is: "
        'targets="segmentation_masks", "keypoints", "labels" or "ignored"'
    )


def entries_of(x: Any, y: Any, weight: Any, targets: Targets) -> tuple[dict[str, Any], Rebuild]:
    """The entries of a batch by role, and the way back: entries -> (x, y, sample_weight).

    x: images, or a dictionary by role. y: None, one target, or a dictionary by role or as `targets` says.
    """
    entries: dict[str, Any] = {}
    whole = isinstance(x, Mapping)
    if whole and "images" not in x:
        raise InputError(f'x has the entries {", ".join(map(str, x))}, but no "images"; name the images so')
    inputs = dict(x) if whole else {"images": x}
    for name in inputs:
        if name not in ROLES:
            raise InputError(f"x has the entry {name!r}, which is no role; the roles are {', '.join(ROLES)}")
    entries.update(inputs)
    size = tuple(entries["images"].shape[1:3])
    places: dict[str | None, str] = {}  # name in y (None: y itself) -> role
    if y is not None:
        for name, value, role in _named(y, targets, size):
            if role == IGNORED:
                continue
            if role in entries:
                raise InputError(f"the batch has two entries {role!r}; tell them apart with targets=")
            entries[role], places[name] = value, role
    if weight is not None:
        entries["sample_weight"] = weight

    def rebuild(found: Mapping[str, Any]) -> tuple[Any, Any, Any]:
        new_x = {name: found[name] for name in inputs} if whole else found["images"]
        new_y = y
        if None in places:
            new_y = found[places[None]]
        elif places:
            new_y = {**y, **{name: found[role] for name, role in places.items()}}
        return new_x, new_y, found.get("sample_weight", weight)

    return entries, rebuild


def _named(y: Any, targets: Targets, size: Any) -> list[tuple[str | None, Any, str]]:
    """(name, value, role) of each target."""
    if isinstance(targets, Mapping):
        if not isinstance(y, Mapping):
            raise InputError(f"targets names {', '.join(targets)}, but y is no dictionary; pass targets='labels' or so")
        return [(name, value, targets.get(name) or role_of(f"y[{name!r}]", value, size)) for name, value in y.items()]
    if isinstance(y, (list, tuple)):
        raise InputError(f"y is a list of {len(y)} targets without names; pass a dictionary by role, or by targets=")
    if targets is not None and (not isinstance(y, Mapping) or targets in ("bounding_boxes", IGNORED)):
        return [(None, y, targets)]
    if isinstance(y, Mapping) and set(y) <= set(ROLES) and "boxes" not in y:
        return [(name, value, name) for name, value in y.items()]
    return [(None, y, role_of("y", y, size))]
