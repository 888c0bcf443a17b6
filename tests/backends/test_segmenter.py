"""A run folder of a segmentation, used on the backend of KERAS_BACKEND."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from augmented_helpers import ignore_inside_keras

from onewarp.fit.segmenter import Segmenter, Task
from street_helpers import CRF, NAMES, nearest_colour, run_folder, street

pytestmark = ignore_inside_keras


def test_probabilities_are_those_of_the_model_enlarged(tmp_path: Path) -> None:
    segmenter = Segmenter.load(run_folder(tmp_path / "run", (24, 32), crf=CRF))
    image = street(1, 24, 32)[0]
    expected = nearest_colour(image[None] / 255)[0].astype(np.float32)
    np.testing.assert_allclose(segmenter.probabilities(image), expected, atol=2e-5)
    large = image.repeat(2, 0).repeat(2, 1)  # reduced by 2 it is the same image again
    found = segmenter.probabilities(large)
    assert found.shape == (48, 64, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found, cv2.resize(expected, (64, 48)), atol=2e-5)
    assert segmenter.task.class_names == NAMES and segmenter.task.crf == CRF
    assert Task.from_dict(segmenter.task.to_dict()) == segmenter.task
