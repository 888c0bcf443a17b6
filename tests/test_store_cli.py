"""`onewarp prepare` and `onewarp verify`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import onewarp as ow
from data_helpers import class_folder, encode, picture, tar_of
from onewarp.cli import main
from onewarp.cli.prepare import find_source
from store_helpers import content, photos


def run(*arguments: object) -> int:
    """The exit status of `onewarp ARGUMENTS`, in this process."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folder(tmp_path / "set", {"ant": 6, "bee": 5}, "JPEG", (40, 60))


def test_prepare_verify_and_read(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "store"
    assert run("prepare", folder, out, "--short-side", 20, "--quality", 80, "--shard-size", "1KB") == 0
    printed = capsys.readouterr()
    assert "11 images" in printed.out and "100 %" in printed.err and "images/s" in printed.err
    store = ow.StoreSource(out)
    assert store.settings["short_side"] == 20 and store.settings["quality"] == 80
    assert store.class_names == ("ant", "bee") and store.image_shape == (20, 30, 3) and store.labels is not None
    assert run("verify", out) == 0 and "all is well" in capsys.readouterr().out
    assert run("verify", out, "--source", folder) == 0
    before = content(out)
    assert run("prepare", folder, out, "--short-side", 20, "--quality", 80) == 0  # nothing to do
    assert content(out) == before


def test_verify_names_what_is_wrong(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "store"
    assert run("prepare", folder, out, "--shard-size", "3KB") == 0
    shards = sorted(out.glob("shard-*.bin"))
    shards[0].unlink()
    damaged = bytearray(shards[1].read_bytes())
    damaged[50] ^= 1
    shards[1].write_bytes(damaged)
    capsys.readouterr()
    assert run("verify", out) == 1
    printed = capsys.readouterr().out
    assert f"{shards[0].name}: missing" in printed and "is damaged" in printed and "2 faults" in printed
    (folder / "bee" / "more.jpeg").write_bytes(encode(picture(), "JPEG"))
    assert run("verify", out, "--source", folder) == 1
    assert "the source has changed" in capsys.readouterr().out


def test_other_settings_need_overwrite(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "store"
    assert run("prepare", folder, out, "--short-side", 20) == 0
    assert run("prepare", folder, out, "--short-side", 24) == 2
    assert "short_side=20, not 24" in capsys.readouterr().err
    assert run("prepare", folder, out, "--short-side", 24, "--overwrite") == 0
    assert ow.StoreSource(out).image_shape == (24, 36, 3)


def test_unreadable_images(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "ant" / "002.jpeg").write_bytes(b"\xff\xd8\xff nothing")
    assert run("prepare", folder, tmp_path / "store") == 2
    assert "002.jpeg" in capsys.readouterr().err
    assert run("prepare", folder, tmp_path / "store", "--skip-unreadable") == 0
    assert "1 could not be read" in capsys.readouterr().out


def test_sources_of_every_kind(folder: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    photos(plain, 3)
    (folder / "bee" / "inner").mkdir()
    (folder / "bee" / "inner" / "x.jpeg").write_bytes(encode(picture(), "JPEG"))
    tar = tar_of(folder, tmp_path / "set.tar")
    assert find_source(str(folder), None, None, None).labels is not None
    assert find_source(str(folder), None, None, False).labels is None
    assert find_source(str(plain), None, None, None).labels is None
    assert find_source(str(tar), None, None, None).class_names == ("ant", "bee", "inner")
    assert find_source(str(tar), None, None, False).labels is None
    assert run("prepare", plain, tmp_path / "store") == 0
    assert isinstance(find_source(str(tmp_path / "store"), None, None, None), ow.StoreSource)
    assert find_source("digits", None, None, None).num_classes == 10
    assert find_source(str(plain), None, None, None, 1).image_shape[2] == 1


def test_masks_and_annotations(tmp_path: Path) -> None:
    photos(tmp_path / "images", 2)
    (tmp_path / "masks").mkdir()
    for k, size in enumerate([(30, 44), (61, 40)]):
        (tmp_path / "masks" / f"{k:02d}.png").write_bytes(encode(np.full(size, k, np.uint8), "PNG"))
    (tmp_path / "a.json").write_text(json.dumps({"01.jpeg": {"boxes": [[4, 6, 20, 30]], "labels": [2]}}))
    options = ("--masks", tmp_path / "masks", "--annotations", tmp_path / "a.json", "--short-side", 20)
    assert run("prepare", tmp_path / "images", tmp_path / "store", *options) == 0
    sample = ow.StoreSource(tmp_path / "store")[1]
    assert sample["segmentation_masks"].shape == (30, 20) and (sample["segmentation_masks"] == 1).all()
    np.testing.assert_allclose(sample["bounding_boxes"]["boxes"], [[2, 6 * 30 / 61, 10, 30 * 30 / 61]], rtol=1e-6)


def test_annotations_follow_the_classes(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"bee/001.jpeg": {"boxes": [[1, 2, 3, 4]]}}))
    source = find_source(str(folder), None, tmp_path / "a.json", None)
    boxes = [k for k in range(len(source)) if len(source[k]["bounding_boxes"]["boxes"])]
    assert [source.name(k)[-12:] for k in boxes] == ["bee/001.jpeg"]


def test_an_address_needs_ray(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prepare", folder, tmp_path / "store", "--address", "auto") == 2
    assert "--engine ray" in capsys.readouterr().err


def test_the_engine_is_chosen(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onewarp.data.store import cluster, prepare

    asked: list[object] = []

    def prepare_on_ray(source, out, settings, *, address, **options) -> None:
        asked.extend([address, options["on_error"]])
        prepare(source, out, settings, **options)

    monkeypatch.setattr(cluster, "prepare_on_ray", prepare_on_ray)
    assert run("prepare", folder, tmp_path / "store", "--engine", "ray", "--address", "head:6379") == 0
    assert asked == ["head:6379", "raise"]
