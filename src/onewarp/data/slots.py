"""The slots of a batch as work: divided among threads, with every fault put down to the slot that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor

from onewarp.errors import OnewarpError


class Unreadable(Exception):
    """Samples of a batch under construction that cannot be used: slot -> error. Never leaves this package."""

    def __init__(self, errors: Mapping[int, OnewarpError]) -> None:
        self.errors = dict(sorted(errors.items()))


def pieces(n: int, pool: Executor | None) -> list[range]:
    """The slots of a batch as tasks of a pool: a hand-over between threads costs more than an uneven end."""
    step = n if pool is None else max(1, n // 16)
    return [range(start, min(start + step, n)) for start in range(0, n, step)]


def runs(slots: Sequence[int], room: Callable[[int], int], most: int) -> list[range]:
    """Neighbours among `slots` that take up to `most` together, larger ones alone; room(slot): what each takes."""
    found: list[range] = []
    taken = 0
    for slot in slots:
        own = room(slot)
        if found and slot == found[-1].stop and taken + own <= most:
            found[-1] = range(found[-1].start, slot + 1)
            taken += own
        else:
            found.append(range(slot, slot + 1))
            taken = own
    return found


def each(function: Callable[[int], None], slots: range) -> None:
    """function(slot) for each; every slot that fails is reported, not only the first."""
    errors: dict[int, OnewarpError] = {}
    for slot in slots:
        try:
            function(slot)
        except OnewarpError as error:
            errors[slot] = error
    if errors:
        raise Unreadable(errors)


def spread(function: Callable[[range], None], ranges: list[range], pool: Executor | None = None) -> None:
    """function(slots) for each, by the pool where there is one; what they report as unreadable is put together."""
    errors: dict[int, OnewarpError] = {}

    def reporting(slots: range) -> None:
        try:
            function(slots)
        except Unreadable as unreadable:
            errors.update(unreadable.errors)

    if pool is None:
        for slots in ranges:
            reporting(slots)
    else:
        list(pool.map(reporting, ranges))
    if errors:
        raise Unreadable(errors)
