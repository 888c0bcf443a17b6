"""Sources that read files: folders, lists, images with masks, tar files, and decoding them all into memory."""

from __future__ import annotations

import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onewarp.data as data
from data_helpers import check_source, class_folder, encode, picture, tar_of
from onewarp.data import files
from onewarp.data.decode import EncodedImage
from onewarp.errors import DataError, InputError

CLASSES = {"ant": 3, "bee": 2, "cat": 4}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folder(tmp_path / "photos", CLASSES)


def test_folder(folder: Path) -> None:
    (folder / "ant" / "notes.txt").write_text("not an image")
    (folder / "ant" / ".hidden.png").write_bytes(b"")
    (folder / ".cache").mkdir()
    source = data.FolderSource(folder)
    check_source(source, 9)
    assert source.class_names == ("ant", "bee", "cat") and source.labels is not None
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    np.testing.assert_array_equal(source[4]["images"], picture(seed=101))
    chosen = data.FolderSource(folder, class_names=("cat", "ant"))
    assert chosen.labels is not None and chosen.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(chosen[0]["images"], picture(seed=200))
    flat = data.FolderSource(folder, labels=None)
    assert len(flat) == 9 and flat.labels is None and flat.outputs == ("images",)


def test_folder_errors(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no such folder"):
        data.FolderSource(tmp_path / "none")
    with pytest.raises(DataError, match="not a folder"):
        data.FolderSource(folder / "ant" / "000.png")
    with pytest.raises(InputError, match=r"'dog', but .*ant, bee, cat"):
        data.FolderSource(folder, class_names=("dog",))
    with pytest.raises(DataError, match="3 images lie in the folder itself"):
        data.FolderSource(folder / "ant")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        data.FolderSource(tmp_path / "empty")
    with pytest.raises(DataError, match="no image"):
        data.FolderSource(tmp_path / "empty", labels=None)
    (folder / "dog").mkdir()
    with pytest.raises(DataError, match="dog: a class without images"):
        data.FolderSource(folder)

    def forbidden(path: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(files.os, "scandir", forbidden)
    with pytest.raises(DataError, match=r"no permission.*chmod"):
        data.FolderSource(folder)


def test_files_and_mappings(folder: Path) -> None:
    ants, bees = (sorted((folder / name).iterdir()) for name in ("ant", "bee"))
    source = data.FileSource([*ants, *bees], [0, 0, 0, 1, 1], class_names=("ant", "bee"))
    check_source(source, 5)
    mapping = data.FileSource({"bee": bees, "ant": [*ants, picture(3, 3)]})
    check_source(mapping, 6)
    assert mapping.class_names == ("bee", "ant") and mapping.labels is not None
    assert mapping.labels.tolist() == [0, 0, 1, 1, 1, 1]
    assert mapping[5]["images"].shape == (3, 3, 3)
    lazy = source.lazy(0)["images"]
    assert isinstance(lazy, EncodedImage) and lazy.shape == (12, 18, 3)


def test_files_with_targets(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(encode(picture(), "PNG"))
    (tmp_path / "m.png").write_bytes(encode(np.full((12, 18), 7, np.uint8), "PNG"))
    source = data.FileSource(
        [tmp_path / "x.png"],
        masks=[tmp_path / "m.png"],
        bounding_boxes={"boxes": [[]], "labels": [[]]},
        keypoints=[np.zeros((2, 3))],
    )
    sample = source[0]
    assert (sample["segmentation_masks"] == 7).all() and sample["bounding_boxes"]["boxes"].shape == (0, 4)
    assert source.outputs == ("images", ("segmentation_masks", "bounding_boxes", "keypoints"))
    assert source.most("bounding_boxes") == 0 and source.most("keypoints") == 2


def test_files_are_named_when_they_cannot_be_read(folder: Path) -> None:
    bad = {"empty.jpg": b"", "text.jpg": b"this is text", "cut.jpg": encode(picture(60, 60), "JPEG")[:700]}
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    source = data.FileSource([folder / name for name in (*bad, "missing.jpg")])
    for index, name in enumerate((*bad, "missing.jpg")):
        with pytest.raises(DataError, match=name):
            source[index]


def test_image_size_is_checked(folder: Path) -> None:
    assert data.FolderSource(folder, image_size=(12, 18)).image_shape == (12, 18, 3)
    with pytest.raises(DataError, match=r"000\.png: the image is 12 x 18 pixels, image_size 18 x 12"):
        data.FolderSource(folder, image_size=(18, 12))[0]


def test_pairs(tmp_path: Path) -> None:
    for index in range(3):
        for kind, content in (("images", picture(seed=index)), ("masks", np.full((12, 18), index, np.uint8))):
            (tmp_path / kind / "deep").mkdir(parents=True, exist_ok=True)
            suffix = "jpg" if kind == "images" else "png"
            (tmp_path / kind / "deep" / f"{index}.{suffix}").write_bytes(
                encode(content, "JPEG" if suffix == "jpg" else "PNG")
            )
    source = data.PairSource(tmp_path / "images", tmp_path / "masks", class_names=("a", "b", "c"), ignore=2)
    check_source(source, 3)
    assert source.outputs == ("images", "segmentation_masks") and source.num_classes == 3 and source.ignore == 2
    assert [int(source[i]["segmentation_masks"][0, 0]) for i in range(3)] == [0, 1, 2]
    (tmp_path / "masks" / "deep" / "1.png").unlink()
    with pytest.raises(DataError, match=r"no mask for deep.1 \(1 of 3"):
        data.PairSource(tmp_path / "images", tmp_path / "masks")
    with pytest.raises(DataError, match="no image"):
        (tmp_path / "none").mkdir()
        data.PairSource(tmp_path / "none", tmp_path / "masks")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_gives_what_the_folder_gives(folder: Path, tmp_path: Path, form: int) -> None:
    (folder / "bee" / ("long-" * 18 + "name.png")).write_bytes(encode(picture(seed=55), "PNG"))
    (folder / "bee" / "readme.txt").write_text("no image")
    with tarfile.open(tmp_path / "photos.tar", "w", format=form) as tar:
        tar.add(folder, arcname="photos")
    packed, plain = data.TarSource(tmp_path / "photos.tar"), data.FolderSource(folder)
    check_source(packed, 10)
    assert packed.class_names == plain.class_names
    np.testing.assert_array_equal(packed.labels, plain.labels)
    for index in range(10):
        np.testing.assert_array_equal(packed[index]["images"], plain[index]["images"])
        assert packed.name(index).endswith(Path(plain.name(index)).name) and "photos.tar" in packed.name(index)
    chosen = data.TarSource(tmp_path / "photos.tar", class_names=("cat", "bee"))
    assert chosen.labels is not None and chosen.labels.tolist() == [1, 1, 1, 0, 0, 0, 0] and len(chosen) == 7
    np.testing.assert_array_equal(chosen[3]["images"], picture(seed=200))
    assert data.TarSource(tmp_path / "photos.tar", labels=None).labels is None


def test_tar_is_read_by_many_threads_at_once(folder: Path, tmp_path: Path) -> None:
    source = data.TarSource(tar_of(folder, tmp_path / "photos.tar"))
    expected = [source[index]["images"] for index in range(9)]
    with ThreadPoolExecutor(8) as pool:
        for index, image in enumerate(pool.map(lambda i: source[i % 9]["images"], range(200))):
            np.testing.assert_array_equal(image, expected[index % 9])


def test_tar_errors(folder: Path, tmp_path: Path) -> None:
    whole = tar_of(folder, tmp_path / "photos.tar").read_bytes()
    with pytest.raises(InputError, match="compressed"):
        data.TarSource(tar_of(folder, tmp_path / "photos.tar.gz", "w:gz"))
    with pytest.raises(DataError, match="no such file"):
        data.TarSource(tmp_path / "none.tar")
    with pytest.raises(DataError, match="FolderSource"):
        data.TarSource(folder)
    with pytest.raises(InputError, match=r"'dog'.*ant, bee, cat"):
        data.TarSource(tmp_path / "photos.tar", class_names=("dog",))
    for name, content in {"text.tar": b"this is text " * 100, "empty.tar": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="not a tar file"):
            data.TarSource(tmp_path / name)
    with tarfile.open(tmp_path / "bare.tar", "w"):
        pass
    with pytest.raises(DataError, match="no image"):
        data.TarSource(tmp_path / "bare.tar")
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cut short|damaged"):
        data.TarSource(tmp_path / "cut.tar")
    later = data.TarSource(tmp_path / "photos.tar")
    (tmp_path / "photos.tar").write_bytes(whole[: len(whole) // 2])  # cut after it was indexed
    with pytest.raises(DataError, match="photos.tar"):
        later[8]


def test_in_memory_keeps_everything(folder: Path) -> None:
    part = data.FolderSource(folder).subset([8, 2, 3, 4])
    told: list[tuple[int, int]] = []
    memory = part.in_memory(threads=3, progress=lambda done, total: told.append((done, total)))
    check_source(memory, 4)
    assert memory.dense and told[-1] == (4, 4) and memory.num_classes == 3 and memory.class_names == part.class_names
    for index in range(4):
        np.testing.assert_array_equal(memory[index]["images"], part[index]["images"])
        assert memory.name(index) == part.name(index)
    np.testing.assert_array_equal(memory.ids(np.arange(4)), part.ids(np.arange(4)))
    (folder / "ant" / "big.png").write_bytes(encode(picture(20, 20), "PNG"))
    with pytest.raises(DataError, match=r"big\.png.*one size"):
        data.FolderSource(folder).in_memory()


def test_in_memory_with_masks_and_boxes(tmp_path: Path) -> None:
    for index in range(2):
        (tmp_path / f"{index}.png").write_bytes(encode(picture(seed=index), "PNG"))
        (tmp_path / f"m{index}.png").write_bytes(encode(np.full((12, 18), index, np.uint8), "PNG"))
    source = data.FileSource(
        [tmp_path / "0.png", tmp_path / "1.png"],
        masks=[tmp_path / "m0.png", tmp_path / "m1.png"],
        bounding_boxes={"boxes": [np.ones((1, 4)), np.ones((2, 4))], "labels": [[1], [2, 3]]},
    )
    memory = source.in_memory()
    check_source(memory, 2)
    assert (memory[1]["segmentation_masks"] == 1).all() and memory[1]["bounding_boxes"]["labels"].tolist() == [2, 3]
