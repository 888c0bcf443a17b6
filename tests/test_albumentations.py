"""Albumentations before the policy: its own results under our random numbers, for all targets, in threads too."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import pytest

import onewarp as ow
from data_helpers import picture, same
from onewarp.data.batches import Batches
from onewarp.data.workers import WorkerPool
from onewarp.errors import InputError, MissingDependency

A = pytest.importorskip("albumentations")


def source(**entries: Any) -> ow.FileSource:
    images = [picture(24, 30, seed=k) for k in range(8)]
    boxes = {"boxes": [np.array([[2, 3, 12, 15], [20, 5, 29, 23]], np.float32)] * 8, "labels": [np.array([4, 7])] * 8}
    masks = [image[..., 0] // 64 for image in images]
    points = [np.array([[2.0, 3, 2], [29, 23, 2]], np.float32)] * 8
    return ow.FileSource(images, np.arange(8), bounding_boxes=boxes, masks=masks, keypoints=points, **entries)


TRANSFORMS = [A.HorizontalFlip(p=0.5), A.RandomCrop(20, 20), A.HueSaturationValue(p=1.0)]


def test_results_are_those_of_albumentations_for_all_targets() -> None:
    plain = source()
    mapped = plain.map(ow.Albumentations(TRANSFORMS), random=True, image_size=(20, 20))
    flips = set()
    for index in range(8):
        given, found = plain[index], mapped[index]
        composed = A.Compose(
            [*TRANSFORMS], bbox_params=A.BboxParams("pascal_voc", label_fields=["labels"]), keypoint_params=None
        )
        composed.set_random_seed(int(mapped.generator(index, 0, 0, 0).integers(1 << 31)))
        expected = composed(
            image=given["images"],
            mask=given["segmentation_masks"],
            bboxes=given["bounding_boxes"]["boxes"],
            labels=given["bounding_boxes"]["labels"],
        )
        np.testing.assert_array_equal(found["images"], expected["image"])
        np.testing.assert_array_equal(found["segmentation_masks"], expected["mask"])
        np.testing.assert_allclose(found["bounding_boxes"]["boxes"], expected["bboxes"], rtol=1e-5)
        assert found["bounding_boxes"]["labels"].tolist() == [int(label) for label in expected["labels"]]
        visible = found["keypoints"][found["keypoints"][:, 2] > 0]
        assert ((visible[:, :2] >= 0) & (visible[:, :2] < 20)).all() and found["labels"] == index
        flips.add(found["images"].tobytes())
    assert len(flips) == 8


def test_batches_are_pure_in_threads_and_processes() -> None:
    mapped = source().map(ow.Albumentations(A.Compose(TRANSFORMS)), random=True, image_size=(20, 20))
    batches = Batches(mapped, ow.Policy([ow.Rotate(10)]), 4, seed=3)
    again = pickle.loads(pickle.dumps(batches))
    pool = WorkerPool(batches, 1)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as threads:
        for epoch in (1, 0):
            for index in (1, 0):
                expected = again.batch(epoch, index)
                same(batches.build(epoch, index, threads).entries, expected)
                same(pool.build(epoch, index).entries, expected)
    pool.close()
    assert (batches.batch(0, 0)["images"] != batches.batch(1, 0)["images"]).any()


def test_bad_transforms(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, options, says in [
        (A.Blur, {}, "is no transform of Albumentations"),
        ([ow.Rotate(10)], {}, r"Rotate\(.*\) is no transform of Albumentations"),
        (A.Blur(), {"bounding_box_format": "center_xywh"}, "given xyxy or xywh"),
    ]:
        with pytest.raises(InputError, match=says):
            ow.Albumentations(given, **options)
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(MissingDependency, match=r"pip install onewarp\[albumentations\]"):
        ow.Albumentations(A.Blur())
