"""Mean IoU while a model trains, as a Keras metric: the `scores` of all batches of an epoch together."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="onewarp")
class MeanIoU(keras.metrics.Metric):
    """The mean over classes of intersection over union, each summed over all pixels since the last reset.

    Classes that are neither true nor predicted anywhere are left out, as in `scores`. (`keras.metrics.MeanIoU` asks for
    64-bit integers, which JAX warns of.)

    Args:
        classes: their number.
        void: a label inside [0, classes) that does not count; labels outside never do.
        name, dtype: as in Keras.

    Called with labels [n, h, w] or [n, h, w, 1], whole numbers of any dtype, and probabilities or logits
    [n, h, w, classes]. `sample_weight` is not used: a pixel is a pixel.
    """

    def __init__(self, classes: int, *, void: int | None = None, name: str = "mean_iou", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.classes, self.void = classes, void
        self.confusion = self.add_weight(shape=(classes, classes), initializer="zeros", name="confusion")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        labels = ops.reshape(ops.cast(y_true, "int32"), (-1, 1))
        guesses = ops.reshape(ops.argmax(y_pred, axis=-1), (-1, 1))
        numbers = ops.arange(self.classes, dtype="int32")
        chosen = ops.equal(labels, numbers)  # nowhere true outside [0, classes)
        if self.void is not None:
            chosen = ops.logical_and(chosen, ops.not_equal(numbers, self.void))
        said = ops.equal(ops.cast(guesses, "int32"), numbers)
        pairs = ops.matmul(ops.transpose(ops.cast(chosen, self.dtype)), ops.cast(said, self.dtype))
        self.confusion.assign_add(pairs)

    def result(self) -> Any:
        right = ops.diagonal(self.confusion)
        union = ops.sum(self.confusion, axis=0) + ops.sum(self.confusion, axis=1) - right
        present = ops.cast(union > 0, self.dtype)
        return ops.sum(right / ops.maximum(union, 1)) / ops.maximum(ops.sum(present), 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes, "void": self.void}
