"""Samples listed in CSV, Parquet and data frames: labels, splits, boxes, masks, and rows that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onewarp as ow
from data_helpers import check_source, encode, picture
from onewarp.data.batches import Batches
from onewarp.errors import DataError, InputError, MissingDependency


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six photographs 0.png ... 5.png in a folder, and a mask of each."""
    (tmp_path / "photos").mkdir()
    for k in range(6):
        (tmp_path / "photos" / f"{k}.png").write_bytes(encode(picture(12, 18, seed=k), "PNG"))
        (tmp_path / "photos" / f"{k}_mask.png").write_bytes(encode(np.full((12, 18), k, np.uint8), "PNG"))
    return tmp_path


def table(folder: Path, text: str, **options: Any) -> ow.TableSource:
    (folder / "table.csv").write_text(text, encoding="utf-8")
    return ow.TableSource(folder / "table.csv", **options)


def paths(source: ow.TableSource) -> list[str]:
    return [Path(source.name(k)).name for k in range(len(source))]


CLASSES = (
    "path,label,split\nphotos/0.png,dog,train\nphotos/1.png,cat,val\nphotos/2.png,cat,train\nphotos/3.png,ant,val\n"
)
BOXES = (
    "path,label,split,xmin,ymin,xmax,ymax\n"
    "photos/0.png,dog,train,1,2,5,6.5\n"
    "photos/1.png,cat,train,0,0,18,12\n"
    "photos/0.png,cat,train,2,3,4,5\n"
    "photos/2.png,,train,,,,\n"
)


def test_names_are_numbered_over_all_splits(folder: Path) -> None:
    source = table(folder, CLASSES, split="train")
    check_source(source, 2)
    assert source.class_names == ("ant", "cat", "dog") and source.labels.tolist() == [2, 1]
    assert paths(source) == ["0.png", "2.png"] and source.outputs == ("images", "labels")
    np.testing.assert_array_equal(source[1]["images"], picture(12, 18, seed=2))
    assert len(table(folder, CLASSES)) == 4
    assert table(folder, CLASSES, class_names=["dog", "cat", "ant"], split="val").labels.tolist() == [1, 2]


def test_numbers_stay_numbers(folder: Path) -> None:
    text = "path,label,split\nphotos/0.png,1,train\nphotos/1.png,4,val\n"
    source = table(folder, text, split="train")
    assert source.labels.tolist() == [1] and source.labels.dtype == np.int64 and source.class_names is None
    assert source.num_classes == 5  # a class that the split lacks is still a class
    assert table(folder, text, class_names=list("abcde")).num_classes == 5
    ages = table(folder, text.replace("4", "4.5"))
    assert ages.labels.dtype == np.float32 and ages.labels.tolist() == [1, 4.5]
    unlabelled = table(folder, text.replace("4,val", ",val"), split="train")
    assert unlabelled.labels.tolist() == [1]


def test_rows_of_a_path_are_its_boxes(folder: Path) -> None:
    source = table(folder, BOXES)
    check_source(source, 3)
    assert source.labels is None and source.class_names == source.box_names == ("cat", "dog")
    boxes = source[0]["bounding_boxes"]
    assert boxes["boxes"].tolist() == [[1, 2, 5, 6.5], [2, 3, 4, 5]] and boxes["labels"].tolist() == [1, 0]
    assert source[2]["bounding_boxes"]["boxes"].shape == (0, 4) and source.most("bounding_boxes") == 2
    batch = Batches(source, ow.Policy([ow.Resize(24)]), 3, shuffle=False).batch(0, 0)
    assert batch["bounding_boxes"]["labels"].tolist() == [[1, 0], [0, -1], [-1, -1]]
    np.testing.assert_allclose(batch["bounding_boxes"]["boxes"][1, 0], [0, 0, 24, 24], rtol=1e-6)


def test_boxes_with_classes_of_their_own(folder: Path) -> None:
    text = (
        "path,label,class,xmin,ymin,xmax,ymax\n"
        "photos/0.png,indoor,3,1,2,5,6\nphotos/0.png,indoor,0,1,2,5,6\nphotos/1.png,outdoor,1,1,2,5,6\n"
    )
    source = table(folder, text)
    assert source.labels.tolist() == [0, 1] and source.class_names == ("indoor", "outdoor") and source.box_names is None
    assert source[0]["bounding_boxes"]["labels"].tolist() == [3, 0]
    with pytest.raises(DataError, match="line 3: label='outdoor', but an earlier row of this path has 'indoor'"):
        table(folder, text.replace("0.png,indoor,0", "0.png,outdoor,0"))


def test_masks(folder: Path) -> None:
    source = table(folder, "path,mask\nphotos/3.png,photos/3_mask.png\nphotos/1.png,photos/1_mask.png\n")
    check_source(source, 2)
    assert source.outputs == ("images", "segmentation_masks") and (source[0]["segmentation_masks"] == 3).all()
    with pytest.raises(DataError, match="line 3: mask is empty"):
        table(folder, "path,mask\nphotos/3.png,photos/3_mask.png\nphotos/1.png,\n")


def test_other_columns_roots_and_delimiters(folder: Path) -> None:
    text = "\ufefffile;kind;note\n0.png;b;x\n\n1.png;a;\n"
    source = table(folder, text, columns={"path": "file", "label": "kind"}, root=folder / "photos", delimiter=";")
    assert source.labels.tolist() == [1, 0] and source[1]["images"].shape == (12, 18, 3)
    assert source.roles == ("images", "labels")
    absolute = table(folder, f"path\n{folder / 'photos' / '0.png'}\n", root="/nowhere")
    np.testing.assert_array_equal(absolute[0]["images"], picture(12, 18, seed=0))


def test_parquet_and_frames_say_the_same(folder: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    for text in (CLASSES, BOXES, "path,label\nphotos/0.png,1\nphotos/1.png,3\n"):
        source = table(folder, text)
        frame = pandas.read_csv(folder / "table.csv")
        frame.to_parquet(folder / "table.parquet")
        arrow = pytest.importorskip("pyarrow.csv").read_csv(folder / "table.csv")
        columns = {name: frame[name].tolist() for name in frame}
        others = [
            ow.TableSource(folder / "table.parquet"),
            *(ow.TableSource(given, root=folder) for given in (frame, arrow, columns)),
        ]
        for other in others:
            check_source(other, len(source))
            assert paths(other) == paths(source) and other.class_names == source.class_names
            for role in ("labels", "bounding_boxes"):
                assert str([other[k].get(role) for k in range(len(source))]) == str(
                    [source[k].get(role) for k in range(len(source))]
                )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,label\nphotos/0.png,a\n,b\n", "table.csv, line 3: path is empty"),
        ("path,label\nphotos/0.png,a\n\nphotos/1.png\n", "line 4: 1 fields where the header has 2"),
        ("path,label\nphotos/0.png,a\nphotos/1.png,\n", "line 3: label is empty"),
        ("path,label\nphotos/0.png,0\nphotos/1.png,-1\n", "line 3: label='-1' is no class number"),
        ('path,label\nphotos/0.png,"a\n', "line 2: unexpected end of data"),
        (BOXES.replace("18,12", "0,12"), r"line 3: the box \(0, 0, 0, 12\) is empty"),
        (BOXES.replace("6.5", "x"), "line 2: ymax='x' is not a number"),
        (BOXES.replace(",5,6.5", ",,6.5"), "line 2: xmax='' is not a number"),
        (BOXES.replace("6.5", "inf").replace("cat,train,2", ",train,2"), r"line 2: .*'inf'.*\(2 bad rows in all\)"),
        (BOXES.replace("png,dog", "png,"), "line 2: the box has no label"),
        ("path\n", "no rows"),
        ("", "no column path"),
        ("file,label\n0.png,1\n", "no column path among file, label; name it with columns="),
        ("path,xmin,ymin,xmax,label\n", "column xmin, but no ymax"),
        ("path,xmin,ymin,xmax,ymax\nphotos/0.png,0,0,1,1\n", "a column class or label"),
        ("path,path\nphotos/0.png,0\n", "two columns are called 'path'"),
    ],
)
def test_bad_tables_are_refused_by_line(folder: Path, text: str, says: str) -> None:
    with pytest.raises((DataError, InputError), match=says) as caught:
        table(folder, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"split": "test"}, "no row has split='test'; there are train, val"),
        ({"class_names": ["dog", "cat"]}, "line 5: label='ant' is not in class_names"),
        ({"columns": {"file": "path"}}, "columns names 'file', which is not known"),
        ({"columns": {"label": "kind"}}, "columns names 'kind', but there are path, label, split"),
    ],
)
def test_bad_arguments(folder: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises((DataError, InputError), match=says):
        table(folder, CLASSES, **options)


def test_bad_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no such file"):
        ow.TableSource(folder / "none.csv")
    with pytest.raises(DataError, match="cannot be read"):
        ow.TableSource(folder)
    with pytest.raises(InputError, match="table is int"):
        ow.TableSource(3)
    with pytest.raises(InputError, match="make them equal"):
        ow.TableSource({"path": ["a"], "label": [1, 2]})
    with pytest.raises(InputError, match="split='train', but there is no column split"):
        ow.TableSource({"path": ["a"]}, split="train")
    (folder / "latin.csv").write_bytes(b"path,label\nphotos/0.png,\xe9\n")
    with pytest.raises(DataError, match="not UTF-8 text"):
        ow.TableSource(folder / "latin.csv")
    (folder / "bad.parquet").write_bytes(b"PAR1 and then nothing of the kind")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingDependency, match=r"pip install onewarp\[parquet\]"):
        ow.TableSource(folder / "bad.parquet")
    monkeypatch.undo()
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=r"bad\.parquet: damaged"):
        ow.TableSource(folder / "bad.parquet")


def test_a_missing_photograph_is_named_when_it_is_read(folder: Path) -> None:
    source = table(folder, "path\nphotos/0.png\nphotos/9.png\n")
    with pytest.raises(DataError, match=r"photos/9\.png: no such file"):
        source[1]
