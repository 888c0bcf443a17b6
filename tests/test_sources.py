"""Sources: what a sample holds, ids and names, files, folders, tar files, named data sets, and input that is
refused.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onewarp.data as data
from data_helpers import check_source, class_folder, encode, picture, tar_of, with_orientation
from onewarp.errors import DataError, InputError, MissingDependency

CLASSES = {"ant": 3, "bee": 2, "cat": 4}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folder(tmp_path / "photos", CLASSES)


def images(n: int = 5, height: int = 4, width: int = 6) -> np.ndarray:
    return np.arange(n * height * width * 3, dtype=np.uint8).reshape(n, height, width, 3)


def test_arrays() -> None:
    source = data.ArraySource(images(), [0, 1, 2, 1, 0], class_names=("a", "b", "c"))
    check_source(source, 5)
    assert source.image_shape == (4, 6, 3) and source.num_classes == 3 and source.outputs == ("images", "labels")
    check_source(data.ArraySource(images()[..., 0]), 5)  # grey, without a channel axis
    assert data.ArraySource(images()[..., 0]).image_shape == (4, 6, 1)
    floats = data.ArraySource(images().astype(np.float64) / 255)
    assert floats.dtype == "float32" and floats.value_range == (0.0, 1.0)
    assert data.ArraySource(images().astype(np.float32), value_range=(0, 255)).value_range == (0.0, 255.0)
    assert data.ArraySource(images(), np.zeros((5, 1), np.uint8)).labels is not None
    assert data.ArraySource(images(), np.zeros((5, 1), np.uint8)).labels.shape == (5,)  # type: ignore[union-attr]
    assert data.ArraySource(images(), np.eye(5, dtype=np.float32)).num_classes is None


def test_images_of_different_sizes() -> None:
    source = data.ArraySource([picture(8, 9), picture(5, 9)], [1, 0])
    check_source(source, 2)
    assert source.image_shape == (None, 9, 3) and not source.dense


def test_memory_maps_are_not_read_whole(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", images())
    source = data.ArraySource(np.load(tmp_path / "x.npy", mmap_mode="r"), np.arange(5))
    assert isinstance(source.images, np.memmap)
    check_source(source, 5)
    gathered = source.gather(np.array([1, 3]))["images"]
    assert not isinstance(gathered, np.memmap)


def test_targets() -> None:
    boxes = {"boxes": np.zeros((5, 2, 4), np.float32), "labels": np.full((5, 2), -1)}
    source = data.ArraySource(
        images(), segmentation_masks=np.zeros((5, 4, 6), np.uint8), bounding_boxes=boxes, keypoints=np.zeros((5, 3, 2))
    )
    assert source.outputs == ("images", ("segmentation_masks", "bounding_boxes", "keypoints"))
    assert source.most("bounding_boxes") == 2 and source.most("keypoints") == 3 and source.dense
    check_source(source, 5)
    ragged = {"boxes": [np.zeros((k, 4)) for k in range(5)], "labels": [np.zeros(k, int) for k in range(5)]}
    source = data.ArraySource(images(), bounding_boxes=ragged)
    assert source.most("bounding_boxes") == 4 and not source.dense
    assert source[3]["bounding_boxes"]["boxes"].shape == (3, 4)
    check_source(source, 5)


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
    check_source(part, 3)
    assert part.ids(np.arange(3)).tolist() == [7, 0, 8]
    assert part.name(0) == whole.name(7) and part.num_classes == 3 and part.labels is not None
    assert part.labels.tolist() == [2, 0, 2]
    assert part.subset([2]).ids(np.array([0])).tolist() == [8]
    with pytest.raises(InputError, match="9 samples"):
        whole.subset([9])
    with pytest.raises(InputError, match="whole numbers"):
        whole.subset([0.5])


def test_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    source = data.DigitsSource()
    check_source(source, 1797)
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
        check_source(train, 20)
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
        check_source(source, 10)
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
