"""The search for a CRF's parameters on a validation set."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onewarp.errors import InputError
from onewarp.segment.crf import DenseCRF
from onewarp.segment.metrics import Scores, confusion_matrix, scores

# The search of DeepLab (Chen et al. 2015), coarser: the kernel of positions stays, the weight and the two deviations of
# the other one are looked for.
GRID: dict[str, Sequence[Any]] = {
    "gaussian.sxy": (3,),
    "gaussian.compat": (3,),
    "bilateral.sxy": (50, 80),
    "bilateral.srgb": (3, 6, 10, 13),
    "bilateral.compat": (4, 7, 10),
}


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Attributes:
        crf: with the best parameters.
        best: these, by name.
        miou: what the best reach; `before`: without a CRF.
        table: every point that was tried, the best first: its parameters and "miou".
    """

    crf: DenseCRF
    best: dict[str, Any]
    miou: float
    before: float
    table: list[dict[str, Any]]

    def __str__(self) -> str:
        names = list(self.table[0])
        rows = [
            names,
            *([f"{row[name]:.4f}" if name == "miou" else str(row[name]) for name in names] for row in self.table),
        ]
        sizes = [max(len(row[k]) for row in rows) for k in range(len(names))]
        lines = ["  ".join(cell.rjust(size) for cell, size in zip(row, sizes, strict=True)) for row in rows]
        return "\n".join([*lines, f"without CRF: {self.before:.4f}"])


def tune_crf(
    probs: Sequence[Any],
    labels: Sequence[Any],
    images: Sequence[Any],
    *,
    grid: Mapping[str, Sequence[Any]] | None = None,
    samples: int | None = None,
    seed: int = 0,
    iterations: int = 10,
    void: int | None = None,
    threads: int | None = None,
    progress: bool = True,
) -> Tuning:
    """The parameters of a `DenseCRF` that give the best mIoU on a validation set.

    Args:
        probs: what the model says, float32 [h, w, classes] for each image (a list, or one array [n, h, w, classes]).
        labels: the truth, whole numbers [h, w] for each.
        images: uint8 [h, w, 3] for each.
        grid: values to try for "gaussian.sxy", "gaussian.compat", "bilateral.sxy", "bilateral.srgb", "bilateral.compat"
            (a term of which nothing is named is left out); `GRID` by default. A value is what `DenseCRF` takes.
        samples: try so many points of the grid, drawn at random; all of them by default.
        seed: of that draw. The same seed draws the same points.
        iterations: of the mean field.
        void: true label of pixels that do not count.
        threads: see `DenseCRF`.
        progress: show a bar.

    Raises:
        InputError: no images, not as many of each, unknown names in the grid; what `DenseCRF` and the metrics refuse.
    """
    if not len(images) or len(images) != len(probs) or len(images) != len(labels):
        raise InputError(f"got {len(probs)} probs, {len(labels)} labels, {len(images)} images; give as many of each")
    points = _points(GRID if grid is None else grid, samples, seed)
    classes = np.shape(probs[0])[-1]
    before = scores(labels, [np.asarray(p).argmax(-1) for p in probs], classes, void).miou
    table = []
    for point in _with_bar(points, progress):
        crf = _crf(point, iterations)
        total = np.zeros((classes, classes), np.int64)
        for image, p, truth in zip(images, probs, labels, strict=True):
            total += confusion_matrix([truth], [crf(image, p, threads=threads).argmax(-1)], classes, void)
        table.append({**point, "miou": Scores(total).miou})
    table.sort(key=lambda row: -row["miou"])
    best = {name: value for name, value in table[0].items() if name != "miou"}
    return Tuning(_crf(best, iterations), best, table[0]["miou"], before, table)


def _points(grid: Mapping[str, Sequence[Any]], samples: int | None, seed: int) -> list[dict[str, Any]]:
    unknown = set(grid) - set(GRID)
    if unknown or not grid or not all(len(values) for values in grid.values()):
        raise InputError(f"grid={dict(grid)!r} must give values for some of {', '.join(GRID)}")
    size = int(np.prod([len(values) for values in grid.values()]))
    if samples is None or samples >= size:
        chosen = np.arange(size)
    elif samples < 1:
        raise InputError(f"samples={samples} must be at least 1")
    else:
        chosen = np.sort(np.random.default_rng(seed).choice(size, samples, replace=False))
    points = list(itertools.product(*grid.values()))
    return [dict(zip(grid, points[k], strict=True)) for k in chosen]


def _crf(point: Mapping[str, Any], iterations: int) -> DenseCRF:
    terms: dict[str, dict[str, Any]] = {}
    for name, value in point.items():
        term, key = name.split(".")
        terms.setdefault(term, {})[key] = value
    return DenseCRF(**terms, iterations=iterations)


def _with_bar(points: list[dict[str, Any]], progress: bool) -> Any:
    if not progress:
        return points
    from rich.progress import track

    return track(points, description="tuning the CRF")
