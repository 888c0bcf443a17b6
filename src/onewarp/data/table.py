"""Samples listed in a table: CSV, Parquet or a data frame with a path per row, labels, boxes and masks beside it."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onewarp.data.files import FileSource
from onewarp.data.labels import Bad, missing, number, numbered
from onewarp.errors import DataError, InputError, MissingDependency

CORNERS = ("xmin", "ymin", "xmax", "ymax")
COLUMNS = ("path", "label", "split", *CORNERS, "class", "mask")


class TableSource(FileSource):
    """Images that a table lists, with what stands beside their paths.

    The columns: `path`, and where there are any `label`, `split`, `xmin`, `ymin`, `xmax`, `ymax` (a box in pixels, in
    the frame after the EXIF orientation), `class` (of the box), `mask` (path of a mask file). Others are passed over.
    A table with boxes has a row for each box: rows of one path are one sample, and a row whose four corners are empty
    is an image without boxes. Where there is no `class`, `label` is the class of the box; where there is, it is the
    label of the image. A table without boxes has a row for each sample.

    Labels are class numbers or names. Names are numbered in the order of `class_names`, else sorted, over the whole
    table, so that all its splits agree. Numbers with a fraction stay numbers (float32).

    Args:
        table: path of a CSV (UTF-8, with a header) or Parquet file, or a data frame (pandas, Polars, Arrow), or a
            mapping {column: values}.
        split: take the rows whose `split` has this value; all by default.
        columns: other names that the table's columns have, e.g. {"path": "file_name", "label": "species"}.
        root: folder that relative paths start from; that of the table by default, the working directory for a frame.
        class_names: name of each class number, of images, else of boxes.
        delimiter: between the fields of a CSV line.
        channels, dtype, image_size, outputs: as in `FileSource`.

    Attributes:
        box_names: name of each class number of boxes, or None.

    Raises:
        DataError: a missing or damaged file, or rows that cannot be used; the first is named by its line.
        InputError: a column or a split that is not there.
        MissingDependency: Parquet without pyarrow.
    """

    def __init__(
        self,
        table: Any,
        *,
        split: str | None = None,
        columns: Mapping[str, str] | None = None,
        root: str | Path | None = None,
        class_names: Sequence[str] | None = None,
        delimiter: str = ",",
        **options: Any,
    ) -> None:
        rows = _read(table, _headings(columns), delimiter)
        rows.check_columns()
        rows.no_path()
        boxed = "xmin" in rows.values
        image_label = "label" if "label" in rows.values and (not boxed or "class" in rows.values) else None
        box_label = None if not boxed else "class" if "class" in rows.values else "label"
        if box_label is not None and box_label not in rows.values:
            raise InputError(f"{rows.name}: boxes need a column class or label with the class of each box; add it")
        named = class_names if image_label else None
        labels, names = rows.numbers(image_label, named) if image_label else (None, None)
        box_labels, box_names = (
            rows.numbers(box_label, None if image_label else class_names) if box_label else (None,) * 2
        )
        chosen = rows.of_split(split)
        places = _samples(rows, chosen, boxed)  # sample -> its rows
        boxes = _boxes(rows, places, box_labels) if box_labels is not None else None
        if image_label is not None:
            rows.agree(places, image_label)
        if "mask" in rows.values:
            rows.agree(places, "mask")
        rows.raise_if_bad()
        folder = rows.folder if root is None else os.fspath(root)
        first = [group[0] for group in places]

        def paths(column: str) -> list[str]:
            return [os.path.join(folder, str(rows.values[column][row]).strip()) for row in first]

        super().__init__(
            paths("path"),
            None if labels is None else labels[first],
            class_names=names,
            masks=paths("mask") if "mask" in rows.values else None,
            bounding_boxes=boxes,
            **options,
        )
        self.box_names = box_names
        if image_label is None:
            self.class_names = box_names
        whole = labels is not None and labels.dtype.kind == "i" and len(labels)
        self._classes = int(labels.max()) + 1 if whole and labels is not None else None

    @property
    def num_classes(self) -> int | None:
        if self.class_names is not None or self._classes is None:
            return super().num_classes
        return self._classes  # a class that this split happens to lack is still a class


@dataclass
class _Rows:
    """The columns of a table by our names, and where its rows stand in it."""

    name: str
    folder: str
    values: dict[str, list[Any]]
    present: list[str]  # the table's own names of all its columns
    lines: list[int] | None  # of a CSV file; None: rows are counted
    bad: Bad

    def check_columns(self) -> None:
        found = [column for column in CORNERS if column in self.values]
        if "path" not in self.values:
            raise InputError(
                f"{self.name}: there is no column path among {', '.join(self.present) or '(none)'}; name it with "
                'columns={"path": ...}'
            )
        if found and len(found) < len(CORNERS):
            lacking = next(column for column in CORNERS if column not in found)
            raise InputError(
                f"{self.name}: there is a column {found[0]}, but no {lacking}; a box needs all four corners"
            )
        if not self.values["path"]:
            raise DataError(f"{self.name}: the table has no rows; add at least one")

    def no_path(self) -> None:
        for row, value in enumerate(self.values["path"]):
            if missing(value):
                self.fault(row, "path is empty")

    def fault(self, row: int, what: str) -> None:
        self.bad.setdefault(row, what)

    def numbers(self, column: str, class_names: Sequence[str] | None) -> tuple[np.ndarray, tuple[str, ...] | None]:
        labels, names, bad = numbered(self.values[column], class_names, column)
        for row, what in bad.items():
            self.fault(row, what)
        return labels, names

    def of_split(self, split: str | None) -> list[int]:
        n = len(self.values["path"])
        if split is None:
            return list(range(n))
        if "split" not in self.values:
            raise InputError(f"{self.name}: split={split!r}, but there is no column split; leave split out")
        texts = [str(value).strip() for value in self.values["split"]]
        chosen = [row for row in range(n) if texts[row] == split]
        if not chosen:
            raise InputError(f"{self.name}: no row has split={split!r}; there are {', '.join(sorted(set(texts)))}")
        return chosen

    def agree(self, places: list[list[int]], column: str) -> None:
        """All rows of a sample must give the same value, and one at all."""
        values = self.values[column]
        for group in places:
            if missing(values[group[0]]):
                self.fault(group[0], f"{column} is empty")
            for row in group[1:]:
                if not missing(values[row]) and values[row] != values[group[0]]:
                    self.fault(
                        row, f"{column}={values[row]!r}, but an earlier row of this path has {values[group[0]]!r}"
                    )

    def where(self, row: int) -> str:
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"

    def raise_if_bad(self) -> None:
        if self.bad:
            first = min(self.bad)
            others = f" ({len(self.bad)} bad rows in all)" if len(self.bad) > 1 else ""
            raise DataError(f"{self.name}, {self.where(first)}: {self.bad[first]}{others}; correct the table")


def _samples(rows: _Rows, chosen: list[int], boxed: bool) -> list[list[int]]:
    """The rows of each sample: those of one path where rows are boxes, else each row."""
    if not boxed:
        return [[row] for row in chosen]
    groups: dict[str, list[int]] = {}
    for row in chosen:
        groups.setdefault(str(rows.values["path"][row]).strip(), []).append(row)
    return list(groups.values())


def _boxes(rows: _Rows, places: list[list[int]], labels: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Boxes and their classes, sample by sample."""
    found: dict[str, list[np.ndarray]] = {"boxes": [], "labels": []}
    column = "class" if "class" in rows.values else "label"
    if labels.dtype.kind != "i":
        raise InputError(f"{rows.name}: {column} holds numbers with a fraction; the class of a box is a name or number")
    for group in places:
        corners, classes = [], []
        for row in group:
            given = [rows.values[name][row] for name in CORNERS]
            if all(map(missing, given)):
                continue
            sides = [number(value) for value in given]
            wrong = next((i for i, side in enumerate(sides) if side is None), None)
            if wrong is not None:
                rows.fault(row, f"{CORNERS[wrong]}={given[wrong]!r} is not a number")
                continue
            left, top, right, bottom = (side or 0.0 for side in sides)
            if right <= left or bottom <= top:
                rows.fault(row, f"the box ({left:g}, {top:g}, {right:g}, {bottom:g}) is empty: max must exceed min")
            elif missing(rows.values[column][row]):
                rows.fault(row, f"the box has no {column}")
            corners.append((left, top, right, bottom))
            classes.append(labels[row])
        found["boxes"].append(np.array(corners, np.float32).reshape(-1, 4))
        found["labels"].append(np.array(classes, np.int64))
    return found


# --- reading ------------------------------------------------------------------------------------------------------


def _headings(columns: Mapping[str, str] | None) -> dict[str, str]:
    """Our name of each column -> the table's."""
    for name in columns or {}:
        if name not in COLUMNS:
            raise InputError(f"columns names {name!r}, which is not known; choose among {', '.join(COLUMNS)}")
    return {name: (columns or {}).get(name, name) for name in COLUMNS}


def _read(table: Any, headings: dict[str, str], delimiter: str) -> _Rows:
    if isinstance(table, (str, os.PathLike)):
        path = os.fspath(table)
        try:
            with open(path, "rb") as file:
                parquet = file.read(4) == b"PAR1"
        except FileNotFoundError:
            raise DataError(f"{path}: no such file; check the path") from None
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
        return _parquet(path, headings) if parquet else _csv(path, headings, delimiter)
    if isinstance(table, Mapping):
        own = {str(name): list(values) for name, values in table.items()}
    elif hasattr(table, "columns"):
        names = getattr(table, "column_names", table.columns)  # Arrow, or pandas and Polars
        own = {str(name): _listed(table[name]) for name in names if str(name) in headings.values()}
    else:
        raise InputError(
            f"table is {type(table).__name__}; pass the path of a CSV or Parquet file, a data frame, or a mapping "
            "{column: values}"
        )
    if len({len(values) for values in own.values()}) > 1:
        raise InputError(
            f"the table's columns have {', '.join(str(len(v)) for v in own.values())} values; make them equal"
        )
    return _table("the table", os.curdir, own, list(own), headings, None)


def _listed(column: Any) -> list[Any]:
    for method in ("tolist", "to_list", "to_pylist"):
        if hasattr(column, method):
            found: list[Any] = getattr(column, method)()
            return found
    return list(column)


def _table(
    name: str, folder: str, own: dict[str, list[Any]], present: list[str], headings: dict[str, str], lines: Any
) -> _Rows:
    asked = [theirs for ours, theirs in headings.items() if theirs != ours and theirs not in present]
    if asked:
        raise InputError(f"{name}: columns names {asked[0]!r}, but there are {', '.join(present)}")
    values = {ours: own[theirs] for ours, theirs in headings.items() if theirs in own}
    return _Rows(name, folder, values, present, lines, {})


def _parquet(path: str, headings: dict[str, str]) -> _Rows:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingDependency(
            f"{path} is a Parquet file, which needs pyarrow; install it with: pip install onewarp[parquet]"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            present = list(file.schema_arrow.names)
            table = file.read(columns=[name for name in present if name in headings.values()])
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: damaged ({str(error).splitlines()[0]}); write it again") from None
    own = {name: table[name].to_pylist() for name in table.column_names}
    return _table(path, os.path.dirname(path), own, present, headings, None)


def _csv(path: str, headings: dict[str, str], delimiter: str) -> _Rows:
    lines: list[int] = []
    bad: Bad = {}
    own: dict[str, list[Any]] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            try:
                present = [name.strip() for name in next(reader, [])]
                twice = next((name for name in present if present.count(name) > 1), None)
                if twice is not None:
                    raise InputError(f"{path}: two columns are called {twice!r}; rename one")
                kept = [(place, name) for place, name in enumerate(present) if name in headings.values()]
                own = {name: [] for _, name in kept}
                for fields in reader:
                    if not fields:
                        continue  # an empty line
                    if len(fields) != len(present):
                        bad[len(lines)] = f"{len(fields)} fields where the header has {len(present)}"
                        fields = [*fields, *[""] * len(present)]
                    lines.append(reader.line_num)
                    for place, name in kept:
                        own[name].append(fields[place])
            except csv.Error as error:
                raise DataError(f"{path}, line {reader.line_num}: {error}; correct the table") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}: {error.reason}); save it as UTF-8") from None
    rows = _table(path, os.path.dirname(path), own, present, headings, lines)
    rows.bad.update(bad)
    return rows
