"""Dense prediction: random fields over pixels and sequences, the search for their parameters, forests, metrics, a loss.

`DenseCRF`, `GridCRF`, `unary_from_labels`, `tune_crf` and the metrics work on NumPy arrays and need no backend. What
needs more is loaded when it is first asked for: `ConvCRF` and `LinearChainCRF` are Keras layers, `PixelCrossentropy` is
a loss, `MeanIoU` a metric; `PixelForest`, `PixelFeatures`, `sample_pixels` and `median_frequency` use OpenCV and
scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from onewarp.segment.crf import DenseCRF, unary_from_labels
from onewarp.segment.grid_crf import GridCRF
from onewarp.segment.metrics import BoundaryScores, Scores, boundary_scores, confusion_matrix, scores
from onewarp.segment.tune import Tuning, tune_crf

if TYPE_CHECKING:
    from onewarp.segment.chain_crf import LinearChainCRF
    from onewarp.segment.conv_crf import ConvCRF
    from onewarp.segment.features import PixelFeatures
    from onewarp.segment.forest import PixelForest
    from onewarp.segment.losses import PixelCrossentropy
    from onewarp.segment.pixels import sample_pixels
    from onewarp.segment.running_iou import MeanIoU
    from onewarp.segment.weights import median_frequency

_LATE = {
    "ConvCRF": "onewarp.segment.conv_crf",
    "LinearChainCRF": "onewarp.segment.chain_crf",
    "MeanIoU": "onewarp.segment.running_iou",
    "PixelCrossentropy": "onewarp.segment.losses",
    "PixelFeatures": "onewarp.segment.features",
    "PixelForest": "onewarp.segment.forest",
    "median_frequency": "onewarp.segment.weights",
    "sample_pixels": "onewarp.segment.pixels",
}

__all__ = [
    "BoundaryScores",
    "ConvCRF",
    "DenseCRF",
    "GridCRF",
    "LinearChainCRF",
    "MeanIoU",
    "PixelCrossentropy",
    "PixelFeatures",
    "PixelForest",
    "Scores",
    "Tuning",
    "boundary_scores",
    "confusion_matrix",
    "median_frequency",
    "sample_pixels",
    "scores",
    "tune_crf",
    "unary_from_labels",
]


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module 'onewarp.segment' has no attribute {name!r}")
