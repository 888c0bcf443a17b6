"""Which showings of an image differ: draws compared by their numbers alone, before any pixel moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np

from onewarp.draw import draw_arrays
from onewarp.errors import InputError
from onewarp.plan import Plan, WarpStage

NOMINAL = (480, 640)  # images of different sizes are compared as if they had this one; nothing is read for it
ROWS = 4096  # drawn at a time, because tables are long
TRIES, MORE = 16, 256  # how many occurrence numbers are tried for each showing of an image, and how many on top


class Showings:
    """The occurrence numbers under which the showings of an image differ from each other.

    Args:
        plan: of the policy, ready for plain rows (`with_plain`).
        seed: of the draws.
    """

    def __init__(self, plan: Plan, seed: int) -> None:
        height, width = plan.spec.images[:2]
        self.plan, self.seed = plan, seed
        self.sides = (NOMINAL[0] if height is None else height, NOMINAL[1] if width is None else width)
        # Draws whose geometry differs are different; most policies need no longer look.
        warps = tuple(stage for stage in plan.stages if isinstance(stage, WarpStage))
        self._geometry = replace(plan, stages=warps) if warps and len(warps) < len(plan.stages) else None

    def numbers(self, epoch: int, ids: np.ndarray, count: int, plain: bool, name: Callable[[int], str]) -> np.ndarray:
        """Occurrence numbers of `count` showings of each of the images `ids`, int32 [n, count]: the lowest, from 0 on,
        under which no two draws of an image are alike. With `plain` the first showing, 0, is the plain one.

        Raises:
            InputError: the policy cannot give so many; the image is called `name(its place in ids)`.
        """
        tried = np.tile(np.arange(count, dtype=np.int32), (len(ids), 1))
        for row in np.flatnonzero(self._repeats(epoch, np.repeat(ids, count), tried.ravel(), plain, len(ids))):
            tried[row] = self._one(epoch, int(ids[row]), count, plain, partial(name, int(row)))
        return tried

    def _repeats(self, epoch: int, ids: np.ndarray, occurrence: np.ndarray, plain: bool, rows: int) -> np.ndarray:
        """Whether any two showings in a row of the table are alike, booleans [rows]."""
        count = len(ids) // rows
        if count == 1:
            return np.zeros(rows, bool)
        suspect = np.arange(rows)
        for plan in (self._geometry, self.plan):
            if plan is None or not len(suspect):
                continue
            chosen = (suspect[:, None] * count + np.arange(count)).ravel()
            found = self._digests(plan, epoch, ids[chosen], occurrence[chosen], plain).reshape(-1, count)
            found.sort(axis=1)
            suspect = suspect[(found[:, 1:] == found[:, :-1]).any(axis=1)]
        again = np.zeros(rows, bool)
        again[suspect] = True
        return again

    def _one(self, epoch: int, number: int, count: int, plain: bool, name: Callable[[], str]) -> np.ndarray:
        """The same for one image, going on to further numbers where two agree."""
        chosen: list[int] = []
        seen: set[int] = set()
        limit, start = TRIES * count + MORE, 0
        while start < limit:
            block = np.arange(start, min(start + max(2 * count, 64), limit))
            digests = self._digests(self.plan, epoch, np.full(len(block), number), block, plain)
            for occurrence, digest in zip(block.tolist(), digests.tolist(), strict=True):
                if digest not in seen:
                    seen.add(digest)
                    chosen.append(occurrence)
                    if len(chosen) == count:
                        return np.array(chosen, np.int32)
            start = int(block[-1]) + 1
        raise InputError(
            f"{name()} is to be shown {count} times in an epoch, but among {limit} draws the policy gives only "
            f"{len(seen)} that differ; ask for fewer samples of its class, or add transforms"
        )

    def _digests(self, plan: Plan, epoch: int, ids: np.ndarray, occurrence: np.ndarray, plain: bool) -> np.ndarray:
        """A number for each draw, uint64 [n]; draws that do the same have equal ones, others hardly ever."""
        parts = []
        for start in range(0, len(ids), ROWS):
            piece = slice(start, start + ROWS)
            n = len(ids[piece])
            height, width = (np.full(n, float(side)) for side in self.sides)
            first = (occurrence[piece] == 0) if plain else None
            arrays = draw_arrays(plan, self.seed, epoch, ids[piece], occurrence[piece], height, width, n, plain=first)
            parts.append(_digest(arrays, n))
        return np.concatenate(parts)


def _digest(arrays: dict[str, np.ndarray], n: int) -> np.ndarray:
    """One number for each row of the arrays, numbers of what does not fire left out."""
    total = np.zeros(n, np.uint64)
    for place, (name, value) in enumerate(arrays.items()):
        flat = np.asarray(value).reshape(n, -1)
        if flat.dtype.kind == "f":  # rounded off, so that two ways to the same numbers count as one
            flat = np.rint(flat.astype(np.float64) * (1e4 if name.endswith("matrix") else 1e6)).astype(np.int64)
        stage, _, kind = name.partition(".")
        active = arrays.get(f"{stage}.active{kind.lstrip('abcdefghijklmnopqrstuvwxyz')}")
        words = flat.astype(np.int64).view(np.uint64)
        part = (words * _factors(place, words.shape[1])).sum(axis=1, dtype=np.uint64)
        total += part if active is None else np.where(active > 0, part, np.uint64(0))
    return total


@lru_cache(maxsize=64)
def _factors(place: int, count: int) -> np.ndarray:
    """Odd numbers of 64 bits to multiply words with; another set for each place."""
    return np.random.default_rng(place).integers(0, 2**63, count, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
