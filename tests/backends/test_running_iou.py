"""MeanIoU, the Keras metric, against `scores`, on the backend of KERAS_BACKEND."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from augmented_helpers import array, ignore_inside_keras

from onewarp.segment import MeanIoU, PixelCrossentropy, scores

pytestmark = ignore_inside_keras


@pytest.mark.parametrize("void", [255, 2])
def test_the_mean_iou_of_an_epoch(void: int) -> None:
    """What `scores` says of all batches together, in steps and under `evaluate`, with a class that is nowhere."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (6, 4, 5))
    labels[rng.random(labels.shape) < 0.2] = void
    logits = rng.normal(0, 1, (6, 4, 5, 5)).astype(np.float32)
    logits[..., 4] = -9
    metric = MeanIoU(5, void=void)
    for part in (slice(0, 2), slice(2, 6)):
        metric.update_state(labels[part], logits[part])
    expected = scores(labels, logits.argmax(-1), 5, void).miou
    assert 0.1 < expected < 0.9
    assert float(array(metric.result())) == pytest.approx(expected, rel=1e-5)
    model = keras.Sequential([keras.Input((4, 5, 5)), keras.layers.Identity()])
    model.compile(loss=PixelCrossentropy(void=void, from_logits=True), metrics=[MeanIoU(5, void=void)])
    found = model.evaluate(logits, labels[..., None].astype(np.uint8), batch_size=4, verbose=0, return_dict=True)
    assert found["mean_iou"] == pytest.approx(expected, rel=1e-5)
    metric.reset_state()
    assert float(array(metric.result())) == 0
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert isinstance(again, MeanIoU) and (again.classes, again.void) == (5, void)
