"""What is in a COCO file: counts per class, sizes, doubtful records; as numbers, as text, as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onewarp.coco.annotations import CocoFile, Problem

SMALL, MEDIUM = 32**2, 96**2  # pixels: COCO's limits between small, medium and large objects


@dataclass(frozen=True)
class ClassRow:
    """One category: objects that are no crowds, images that show one, crowds, sizes by COCO's limits."""

    name: str
    category_id: int
    objects: int
    images: int
    crowds: int
    small: int
    medium: int
    large: int
    median_side: float  # pixels: the square root of the median area; NaN without an area


def class_rows(file: CocoFile) -> list[ClassRow]:
    """A row for each category, in the order of their ids."""
    rows = []
    for label, name in enumerate(file.category_names):
        own = file.labels == label
        objects = own & ~file.crowd
        areas = file.areas[objects]
        known = areas[~np.isnan(areas)]
        rows.append(
            ClassRow(
                name=name,
                category_id=int(file.category_ids[label]),
                objects=int(objects.sum()),
                images=len(np.unique(file.image_rows[own])),
                crowds=int((own & file.crowd).sum()),
                small=int((known < SMALL).sum()),
                medium=int(((known >= SMALL) & (known < MEDIUM)).sum()),
                large=int((known >= MEDIUM).sum()),
                median_side=float(np.sqrt(np.median(known))) if len(known) else float("nan"),
            )
        )
    return rows


def doubtful(file: CocoFile) -> list[Problem]:
    """Records that can be read but hardly mean what they say, `file.malformed` first."""
    found = list(file.malformed)

    def report(rows: np.ndarray, what: str) -> None:
        found.extend(Problem(f"annotation {file.ids[row]}", what) for row in rows)

    ids, first = np.unique(file.ids, return_index=True)
    if len(ids) < len(file.ids):
        report(np.setdiff1d(np.arange(len(file.ids)), first), "its id stands twice")
    x, y, width, height = file.boxes.T
    sides = file.widths[file.image_rows], file.heights[file.image_rows]
    report(np.flatnonzero((width == 0) | (height == 0)), "its box is empty")
    beyond = (x < -1) | (y < -1) | (x + width > sides[0] + 1) | (y + height > sides[1] + 1)
    report(np.flatnonzero(beyond), "its box reaches beyond the image")
    report(np.flatnonzero(np.isnan(file.boxes[:, 0]) & (file.kinds == 0)), "it has neither a box nor a segmentation")
    report(np.flatnonzero((file.areas == 0) & (file.kinds > 0)), "its area is 0")
    report(np.flatnonzero(file.areas > 1.02 * (width + 1) * (height + 1)), "its area is larger than its box")
    return found


def totals(file: CocoFile) -> dict[str, int]:
    """Counts over the whole file, by name."""
    used = len(np.unique(file.image_rows))
    return {
        "images": len(file.image_ids),
        "images without annotations": len(file.image_ids) - used,
        "annotations": len(file),
        "with polygons": int((file.kinds == 1).sum()),
        "with run lengths": int((file.kinds == 2).sum()),
        "with a box alone": int((file.kinds == 0).sum()),
        "crowds": int(file.crowd.sum()),
        "categories": len(file.category_ids),
        "categories without annotations": len(file.category_ids) - len(np.unique(file.labels)),
    }


def picture(file: CocoFile, path: str | Path, title: str = "") -> None:
    """Write a PNG: objects per category, and how their sides, and objects per image, are spread."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    rows = sorted(class_rows(file), key=lambda row: row.objects)
    rows = [row for row in rows if row.objects][-60:]
    figure = Figure(figsize=(11, max(4.0, 0.17 * len(rows) + 1.5)), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.3, 1))
    bars, sides, crowdedness = (figure.add_subplot(place) for place in (grid[:, 0], grid[0, 1], grid[1, 1]))
    left = np.zeros(len(rows))
    for name, colour in (("small", "#9ecae1"), ("medium", "#4292c6"), ("large", "#08519c")):
        values = np.array([getattr(row, name) for row in rows])
        bars.barh([row.name for row in rows], values, left=left, color=colour, label=name)
        left += values
    bars.set_title("objects per category, by size", loc="left", fontsize=10)
    bars.tick_params(axis="y", labelsize=7)
    bars.margins(y=0.01)
    if rows:
        bars.legend(frameon=False, loc="lower right")
    roots = np.sqrt(file.areas[~np.isnan(file.areas) & (file.areas > 0) & ~file.crowd])
    if len(roots):
        sides.hist(roots, bins=list(np.geomspace(1, max(2.0, float(roots.max())), 40)), color="#4292c6")
        sides.set_xscale("log")
        for limit in (SMALL, MEDIUM):
            sides.axvline(np.sqrt(limit), color="#d1495b", linewidth=1, linestyle="--")
    sides.set_title("side of an object: the root of its area, pixels", loc="left", fontsize=10)
    counts = np.bincount(file.image_rows, minlength=max(len(file.image_ids), 1))
    crowdedness.hist(counts, bins=list(np.arange(-0.5, counts.max() + 1.5)), color="#4292c6")
    crowdedness.xaxis.set_major_locator(MaxNLocator(integer=True))
    crowdedness.set_title("annotations per image", loc="left", fontsize=10)
    for axes in (bars, sides, crowdedness):
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.suptitle(title or f"{len(file.image_ids)} images, {len(file)} annotations", fontsize=12)
    figure.savefig(path, dpi=130)
