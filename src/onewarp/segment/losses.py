"""The loss of segmentation: cross-entropy per pixel, void left out, classes weighted."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from onewarp.errors import InputError


@keras.saving.register_keras_serializable(package="onewarp")
class PixelCrossentropy(keras.losses.Loss):
    """The mean cross-entropy of the pixels that count, each weighted by its true class.

    Keras' `fit(class_weight=)` takes one label per sample; here every pixel has its own. The mean is over the pixels
    that are not void (with sample weights, over their sum), so a batch with much void does not weigh less. A label that
    is neither a class nor void makes the loss NaN: a compiled step cannot raise, and must not pass it over.

    Unlike `SparseCategoricalCrossentropy` it also has gradients for images on PyTorch 2.13 (pytorch issue 175084).

    Args:
        class_weights: [classes] numbers of at least 0, such as those of `median_frequency`; None: all 1.
        void: true label of pixels that do not count.
        from_logits: whether the model gives scores instead of probabilities.
        reduction: as for Keras' losses.

    Call arguments:
        y_true: whole numbers [n, h, w] or [n, h, w, 1].
        y_pred: [n, h, w, classes]; one channel is the probability (or score) of class 1 of two.
        sample_weight: [n] or [n, h, w].

    Raises:
        InputError: weights that are negative, not finite, or not as many as the model has classes.
    """

    def __init__(
        self,
        class_weights: Any = None,
        void: int | None = None,
        from_logits: bool = False,
        reduction: str | None = "mean_with_sample_weight",
        name: str = "pixel_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        weights = None if class_weights is None else np.asarray(class_weights, np.float32)
        if weights is not None and (weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any()):
            raise InputError(f"class_weights={class_weights!r} must be a list of finite numbers that are not negative")
        self.class_weights, self.void, self.from_logits = weights, void, from_logits

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        labels = self._labels(y_true, len(y_pred.shape))
        if self.void is not None:
            counts = ops.cast(ops.not_equal(labels, self.void), self.dtype)
            if sample_weight is not None:
                given = ops.cast(ops.convert_to_tensor(sample_weight), self.dtype)
                while len(given.shape) < len(counts.shape):
                    given = ops.expand_dims(given, -1)
                counts = counts * (ops.squeeze(given, -1) if len(given.shape) > len(counts.shape) else given)
            sample_weight = counts
        return super().__call__(labels, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Cross-entropy per pixel [n, h, w], 0 where the label is void."""
        labels = ops.cast(y_true, "int32")
        if y_pred.shape[-1] == 1:
            none = ops.zeros_like(y_pred) if self.from_logits else 1 - y_pred
            y_pred = ops.concatenate([none, y_pred], axis=-1)
        classes = y_pred.shape[-1]
        known = ops.logical_and(labels >= 0, labels < classes)
        truth = ops.one_hot(ops.where(known, labels, 0), classes, dtype=y_pred.dtype)
        if self.class_weights is not None:
            if len(self.class_weights) != classes:
                raise InputError(
                    f"there are {len(self.class_weights)} class_weights, but the model gives {classes} classes"
                )
            truth = truth * ops.convert_to_tensor(self.class_weights, dtype=y_pred.dtype)
        if self.from_logits:
            logarithms = ops.log_softmax(y_pred, axis=-1)
        else:
            logarithms = ops.log(ops.clip(y_pred, keras.config.epsilon(), 1))
        losses = -ops.sum(truth * logarithms, axis=-1)
        wrong = ops.logical_not(known)
        if self.void is not None:
            is_void = ops.equal(labels, self.void)
            losses = ops.where(is_void, ops.zeros_like(losses), losses)
            wrong = ops.logical_and(wrong, ops.logical_not(is_void))
        return ops.where(wrong, ops.full_like(losses, float("nan")), losses)

    def _labels(self, y_true: Any, rank: int) -> Any:
        labels = ops.convert_to_tensor(y_true)
        return ops.squeeze(labels, -1) if len(labels.shape) == rank and labels.shape[-1] == 1 else labels

    def get_config(self) -> dict[str, Any]:
        weights = None if self.class_weights is None else self.class_weights.tolist()
        own = {"class_weights": weights, "void": self.void, "from_logits": self.from_logits}
        return {**super().get_config(), **own}
