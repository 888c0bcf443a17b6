"""From rates to what is read: summaries, ratios round by round, Markdown tables, marked sections of a page."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class Summary(NamedTuple):
    """Lowest, middle and highest of some numbers."""

    low: float
    median: float
    high: float

    def show(self, digits: int = 2) -> str:
        return " / ".join(f"{value:.{digits}f}" for value in self)


def summary(values: Sequence[float]) -> Summary:
    return Summary(min(values), statistics.median(values), max(values))


def ratios(values: Sequence[float], reference: Sequence[float]) -> list[float]:
    """values / reference, round by round: neighbours in time saw the same machine."""
    if len(values) != len(reference):
        raise ValueError(f"{len(values)} rounds against {len(reference)}; ratios are taken round by round")
    return [value / base for value, base in zip(values, reference, strict=True)]


def fastest(rates: Mapping[str, Sequence[float]], names: Iterable[str]) -> str | None:
    """The one of `names` with the highest median; None where none of them was measured."""
    there = [name for name in names if rates.get(name)]
    return max(there, key=lambda name: statistics.median(rates[name]), default=None)


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def number(value: float) -> str:
    """Three digits that count, thousands separated: 1,230, 45.6, 0.0123."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:,.{max(digits, 0)}f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column is text, the others are numbers."""
    lines = [list(header), ["---", *["--:"] * (len(header) - 1)], *map(list, rows)]
    for line in lines:
        if len(line) != len(header):
            raise ValueError(f"a row has {len(line)} cells, the header {len(header)}: {line}")
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def side_by_side(
    rates: Mapping[str, Sequence[float]], ours: Iterable[str], reference: str | None, of: str, unit: str = "images/s"
) -> str:
    """One row per contestant: its rate, and its ratio to `reference` as low / median / high over the rounds.

    of: what the last column calls the reference.
    """
    mine = set(ours)
    rows = []
    for name, values in rates.items():
        low, median, high = summary(values)
        ratio = "" if reference is None else summary(ratios(values, rates[reference])).show()
        shown = f"**{name}**" if name in mine else name
        rows.append([shown, number(median), f"{number(low)} – {number(high)}", ratio])
    return table(["", f"{unit}, median", "low – high", f"× {of}: low / median / high"], rows)


def against_peers(rates: Mapping[str, Sequence[float]], ours: Iterable[str]) -> str:
    """`side_by_side` with the fastest of those that are not ours as the reference, named under the table."""
    mine = set(ours)
    best = fastest(rates, [name for name in rates if name not in mine])
    text = side_by_side(rates, mine, best, "fastest peer")
    if best is None:
        return f"{text}\n\nNo peer was installed."
    return f"{text}\n\nThe fastest peer is {best}."


def marks(name: str) -> tuple[str, str]:
    return f"<!-- benchmark: {name} -->", f"<!-- end: {name} -->"


def replace_section(page: str, name: str, body: str) -> str:
    """The page with what stands between the marks of `name` replaced."""
    begin, end = marks(name)
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(end) < page.index(begin):
        raise ValueError(f"the page must have the marks {begin} and {end} once each, in this order")
    before, rest = page.split(begin)
    return f"{before}{begin}\n\n{body.strip()}\n\n{end}{rest.split(end)[1]}"
