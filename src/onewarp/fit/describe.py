"""Numbers of a run as tables: what pandas' `describe` would say, without pandas, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

STATISTICS = ("count", "mean", "std", "min", "25%", "50%", "75%", "max")


def describe(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Count, mean, standard deviation, minimum, quartiles and maximum of each column.

    Args:
        rows: one mapping column -> number per epoch. Values that are not finite are left out of their column.

    Returns:
        column -> statistic (one of `STATISTICS`) -> value. The standard deviation is the sample's (n - 1), nan for one
        row; everything but the count is nan for a column without finite values.
    """
    table = {}
    for column in dict.fromkeys(name for row in rows for name in row):
        values = np.array([row.get(column, np.nan) for row in rows], np.float64)
        values = values[np.isfinite(values)]
        if not len(values):
            table[column] = {"count": 0.0} | dict.fromkeys(STATISTICS[1:], float("nan"))
            continue
        std = values.std(ddof=1) if len(values) > 1 else float("nan")
        numbers = (len(values), values.mean(), std, *np.percentile(values, (0, 25, 50, 75, 100)))
        table[column] = dict(zip(STATISTICS, map(float, numbers), strict=True))
    return table


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table whose source reads as a table too; the first column is left-aligned, the others right."""
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        return f"| {' | '.join([first.strip().ljust(widths[0]), *rest])} |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([line(cells[0]), rule, *(line(row) for row in cells[1:])])


def describe_markdown(rows: Sequence[Mapping[str, float]]) -> str:
    """`describe(rows)` as a Markdown table: one line per column, one column per statistic, four significant digits."""
    lines = [
        [column, f"{statistics['count']:.0f}", *(f"{statistics[name]:.4g}" for name in STATISTICS[1:])]
        for column, statistics in describe(rows).items()
    ]
    return markdown(["", *STATISTICS], lines)
