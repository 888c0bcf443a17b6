"""How a batch travels to the device: the images as they are, and beside them the numbers drawn for them.

x becomes a dictionary {key: x, PARAMS: arrays}. The key stands for a `Route`: which plan is to run, and from which
stage on. It is part of the structure of the batch, so a step that was compiled for one plan is never run with another.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from onewarp.errors import InputError
from onewarp.params import Params
from onewarp.plan import Plan

PARAMS = "onewarp_params"
READY = "onewarp_ready"  # the key of an x that has been augmented already
_PREFIX = "onewarp_route_"


@dataclass(frozen=True)
class Route:
    """What the device is to do with a batch.

    Attributes:
        plan, start: run the stages of `plan` from number `start` on; the host has done those before.
        rows: number of samples in a batch; at most that many where `exact` is False.
        box_format: of the boxes that come and go, one of Keras' names.
    """

    plan: Plan
    start: int
    rows: int
    exact: bool
    box_format: str


_ROUTES: dict[str, Route] = {}  # by content, so an entry never changes


@lru_cache(maxsize=256)
def key_of(route: Route) -> str:
    """The key that stands for a route, the same in every process that has made the route."""
    key = f"{_PREFIX}{zlib.crc32(repr(route).encode()):08x}"
    _ROUTES[key] = route
    return key


def travelling(params: Params, start: int) -> dict[str, np.ndarray]:
    """The parameter arrays of the stages from number `start` on; keys of noise as int32, which every backend has."""
    arrays = {name: value for name, value in params.arrays.items() if int(name.split(".")[0]) >= start}
    return {name: value.astype(np.int32) if value.dtype == np.uint32 else value for name, value in arrays.items()}


def pack(route: Route, x: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """x and its parameters as one nested dictionary."""
    return {key_of(route): x, **({PARAMS: dict(arrays)} if arrays else {})}


def unpack(x: Any) -> tuple[Route, Any, dict[str, Any]] | None:
    """(route, x, arrays) of what `pack` made; None for anything else.

    Raises:
        InputError: a batch that another process packed.
    """
    key = next((k for k in x if str(k).startswith(_PREFIX)), None) if isinstance(x, Mapping) else None
    if key is None:
        return None
    if key not in _ROUTES:
        raise InputError(
            f"the batch has the entry {key!r}, but no Loader here made it; make the Loader in this process, too"
        )
    return _ROUTES[key], x[key], dict(x.get(PARAMS, {}))


def is_ready(x: Any) -> bool:
    """Whether x has been augmented already."""
    return isinstance(x, Mapping) and READY in x
