"""Sources: what a sample holds, ids and names, files, folders, tar files, named data sets, and input that is
refused.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onewarp.data as data
from data_helpers import class_folder, encode, picture, tar_of, with_orientation
from onewarp.data import files
from onewarp.data.decode import EncodedImage
from onewarp.errors import DataError, InputError, MissingDependency

CLASSES = {"ant": 3, "bee": 2, "cat": 4}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folder(tmp_path / "photos", CLASSES)


def images(n: int = 5, height: int = 4, width: int = 6) -> np.ndarray:
    return np.arange(n * height * width * 3, dtype=np.uint8).reshape(n, height, width, 3)


def check(source: data.Source, n: int) -> None:
    """What holds for every source."""
    assert len(source) == n
    indices = np.arange(n)
    assert source.ids(indices).dtype == np.int64 and len(set(source.ids(indices).tolist())) == n
    again = pickle.loads(pickle.dumps(source))
    for index in (0, n - 1, -1):
        sample, copy = source[index], again[index]
        assert set(sample) == set(source.roles) == set(copy)
        assert sample["images"].ndim == 3 and str(sample["images"].dtype) == source.dtype
        for side, known in zip(sample["images"].shape, source.image_shape, strict=True):
            assert known in (None, side)
        np.testing.assert_array_equal(sample["images"], copy["images"])
        if source.labels is not None:
            np.testing.assert_array_equal(sample["labels"], source.labels[index])
    assert len({source.name(index) for index in range(n)}) == n
    assert repr(source).startswith(type(source).__name__)
    with pytest.raises(IndexError):
        source[n]
    if source.dense:
        picked = np.array([n - 1, 0])
        batch = source.gather(picked)
        np.testing.assert_array_equal(batch["images"], [source[n - 1]["images"], source[0]["images"]])
    else:
        with pytest.raises(InputError, match="in_memory"):
            source.gather(indices)


def test_arrays() -> None:
    source = data.ArraySource(images(), [0, 1, 2, 1, 0], class_names=("a", "b", "c"))
    check(source, 5)
    assert source.image_shape == (4, 6, 3) and source.num_classes == 3 and source.outputs == ("images", "labels")
    check(data.ArraySource(images()[..., 0]), 5)  # grey, without a channel axis
    assert data.ArraySource(images()[..., 0]).image_shape == (4, 6, 1)
    floats = data.ArraySource(images().astype(np.float64) / 255)
    assert floats.dtype == "float32" and floats.value_range == (0.0, 1.0)
    assert data.ArraySource(images().astype(np.float32), value_range=(0, 255)).value_range == (0.0, 255.0)
    assert data.ArraySource(images(), np.zeros((5, 1), np.uint8)).labels is not None
    assert data.ArraySource(images(), np.zeros((5, 1), np.uint8)).labels.shape == (5,)  # type: ignore[union-attr]
    assert data.ArraySource(images(), np.eye(5, dtype=np.float32)).num_classes is None


def test_images_of_different_sizes() -> None:
    source = data.ArraySource([picture(8, 9), picture(5, 9)], [1, 0])
    check(source, 2)
    assert source.image_shape == (None, 9, 3) and not source.dense


def test_memory_maps_are_not_read_whole(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", images())
    source = data.ArraySource(np.load(tmp_path / "x.npy", mmap_mode="r"), np.arange(5))
    assert isinstance(source.images, np.memmap)
    check(source, 5)
    gathered = source.gather(np.array([1, 3]))["images"]
    assert not isinstance(gathered, np.memmap)


def test_targets() -> None:
    boxes = {"boxes": np.zeros((5, 2, 4), np.float32), "labels": np.full((5, 2), -1)}
    source = data.ArraySource(
        images(), segmentation_masks=np.zeros((5, 4, 6), np.uint8), bounding_boxes=boxes, keypoints=np.zeros((5, 3, 2))
    )
    assert source.outputs == ("images", ("segmentation_masks", "bounding_boxes", "keypoints"))
    assert source.most("bounding_boxes") == 2 and source.most("keypoints") == 3 and source.dense
    check(source, 5)
    ragged = {"boxes": [np.zeros((k, 4)) for k in range(5)], "labels": [np.zeros(k, int) for k in range(5)]}
    source = data.ArraySource(images(), bounding_boxes=ragged)
    assert source.most("bounding_boxes") == 4 and not source.dense
    assert source[3]["bounding_boxes"]["boxes"].shape == (3, 4)
    check(source, 5)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: data.ArraySource(images(), [0, 1]), "5 images but 2 labels"),
        (lambda: data.ArraySource(images()[0, 0]), "height, width, channels"),
        (lambda: data.ArraySource([picture(), picture()[..., :1]]), "1 and 3 channels"),
        (lambda: data.ArraySource([picture(), picture().astype(np.float32)]), "float32, uint8"),
        (lambda: data.ArraySource(images().astype(np.int64)), "int64"),
        (lambda: data.ArraySource("folder"), "str"),
        (lambda: data.ArraySource(images(), ["a"] * 5), "class_names="),
        (lambda: data.ArraySource(images(), [0, 1, 2, 3, 4], class_names=("a", "b")), "name every class"),
        (lambda: data.ArraySource(images(), [0, 1, -1, 0, 0], class_names=("a", "b")), "reach from -1"),
        (lambda: data.ArraySource(images(), outputs=("images", "labels")), "'labels'"),
        (lambda: data.ArraySource(images(), np.arange(5), outputs=("images",) * 4), "4 entries"),
        (lambda: data.ArraySource(images(), segmentation_masks=np.zeros((5, 6, 4), int)), "mask 0 has shape"),
        (lambda: data.ArraySource(images(), segmentation_masks=np.zeros((4, 4, 6), int)), "4 masks"),
        (lambda: data.ArraySource(images(), segmentation_masks=np.zeros((5, 4, 6))), "whole number"),
        (lambda: data.ArraySource(images(), bounding_boxes={"boxes": np.zeros((5, 1, 4))}), "bounding_boxes must be"),
        (lambda: data.ArraySource(images(), keypoints=np.zeros((5, 1, 4))), "keypoints has shape"),
        (lambda: data.ArraySource(images(), keypoints=np.zeros((2, 1, 2))), "2 rows"),
        (
            lambda: data.ArraySource(images(1), bounding_boxes={"boxes": [np.zeros((2, 4))], "labels": [[1]]}),
            "2 boxes but 1 box labels",
        ),
        (lambda: data.FileSource("x.jpg"), "FolderSource"),
        (lambda: data.FileSource(["x.jpg"], [0, 1]), "1 images but 2 labels"),
        (lambda: data.FileSource({"a": ["x.jpg"]}, [0]), "mapping"),
        (lambda: data.FileSource(["x.jpg"], masks=[]), "0 rows of segmentation_masks"),
        (lambda: data.FileSource(["x.jpg"], channels=5), "channels=5"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make", [lambda: data.ArraySource([]), lambda: data.FileSource([]), lambda: data.FileSource({})]
)
def test_no_images_at_all(make: Callable[[], Any]) -> None:
    with pytest.raises(DataError, match="there are no images"):
        make()


def test_subsets_keep_ids_names_and_classes(folder: Path) -> None:
    whole = data.FolderSource(folder)
    part = whole.subset([7, 0, -1])
    check(part, 3)
    assert part.ids(np.arange(3)).tolist() == [7, 0, 8]
    assert part.name(0) == whole.name(7) and part.num_classes == 3 and part.labels is not None
    assert part.labels.tolist() == [2, 0, 2]
    assert part.subset([2]).ids(np.array([0])).tolist() == [8]
    with pytest.raises(InputError, match="9 samples"):
        whole.subset([9])
    with pytest.raises(InputError, match="whole numbers"):
        whole.subset([0.5])


def test_folder(folder: Path) -> None:
    (folder / "ant" / "notes.txt").write_text("not an image")
    (folder / "ant" / ".hidden.png").write_bytes(b"")
    (folder / ".cache").mkdir()
    source = data.FolderSource(folder)
    check(source, 9)
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
    check(source, 5)
    mapping = data.FileSource({"bee": bees, "ant": [*ants, picture(3, 3)]})
    check(mapping, 6)
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
    check(source, 3)
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
    check(packed, 10)
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
    check(memory, 4)
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
    check(memory, 2)
    assert (memory[1]["segmentation_masks"] == 1).all() and memory[1]["bounding_boxes"]["labels"].tolist() == [2, 3]


def test_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    source = data.DigitsSource()
    check(source, 1797)
    assert source.image_shape == (8, 8, 1) and source.class_names == tuple("0123456789")
    everything = source.gather(np.arange(1797))
    assert everything["images"].min() == 0 and everything["images"].max() == 255
    assert np.bincount(everything["labels"]).min() > 170
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingDependency, match="pip install scikit-learn"):
        data.DigitsSource()


def test_cifar10_from_the_original_batches(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = tmp_path / "datasets" / "cifar-10-batches-py-target" / "cifar-10-batches-py"
    batches.mkdir(parents=True)
    pixels = rng.integers(0, 256, (6, 4, 32, 32, 3), dtype=np.uint8)
    for number, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        planes = pixels[number].transpose(0, 3, 1, 2).reshape(4, 3072)
        content = {b"data": planes, b"labels": [number, 1, 2, 3]}
        (batches / name).write_bytes(pickle.dumps(content, protocol=2))
    for path in (tmp_path / "datasets" / "cifar-10-batches-py-target", batches):
        train = data.cifar10(path)
        check(train, 20)
        np.testing.assert_array_equal(train.gather(np.arange(20))["images"], pixels[:5].reshape(20, 32, 32, 3))
        assert train.class_names == data.CIFAR10_CLASSES and train.labels is not None and train.labels[4] == 1
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    np.testing.assert_array_equal(data.Cifar10Source(split="test").gather(np.arange(4))["images"], pixels[5])
    (batches / "test_batch").write_bytes(pickle.dumps({b"data": print}, protocol=2))
    with pytest.raises(DataError, match="builtin"):
        data.Cifar10Source(split="test")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"keras.datasets.cifar10.load_data"):
        data.Cifar10Source()
    with pytest.raises(InputError, match="'validation'"):
        data.Cifar10Source(batches, "validation")


def test_cifar10_from_folders_and_tar_files(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "cifar10" / "test", dict.fromkeys(data.CIFAR10_CLASSES, 1), size=(32, 32))
    tar_of(root.parent, tmp_path / "cifar10-test.tar")
    expected = [picture(32, 32, seed=100 * number) for number in range(10)]
    for path in (tmp_path / "cifar10-test.tar", tmp_path, tmp_path / "cifar10", root):
        source = data.Cifar10Source(path, "test")
        check(source, 10)
        np.testing.assert_array_equal(source.gather(np.arange(10))["images"], expected)


@pytest.mark.parametrize(("also", "code"), [("", 0), ("import keras; ", 1)])
def test_data_does_not_import_keras(also: str, code: int) -> None:
    """Nor any backend; the second case shows that the first one can fail."""
    check_imports = "import sys; sys.exit(bool({'keras', 'jax', 'tensorflow', 'torch'} & set(sys.modules)))"
    command = f"{also}import onewarp.data, onewarp.data.batches, onewarp.data.prefetch; {check_imports}"
    assert subprocess.run([sys.executable, "-c", command], capture_output=True, check=False).returncode == code


def test_orientation_reaches_samples(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(encode(picture(), "JPEG", exif=with_orientation(6)))
    source = data.FileSource([tmp_path / "x.jpg"])
    assert source.lazy(0)["images"].shape == source[0]["images"].shape == (18, 12, 3)


def test_real_data(data_dir: Path) -> None:
    source = data.TarSource(data_dir / "cifar10-test.tar", image_size=(32, 32))
    assert len(source) == 10_000 and source.class_names == data.CIFAR10_CLASSES
    assert source.labels is not None and (np.bincount(source.labels) == 1000).all()
    assert source[9_999]["images"].std() > 10
    camvid = data.PairSource(data_dir / "camvid" / "val", data_dir / "camvid" / "valannot", ignore=11)
    assert len(camvid) == 101
    mask = camvid[50]["segmentation_masks"]
    assert mask.shape == (360, 480) and mask.max() <= 11 and len(np.unique(mask)) > 4
