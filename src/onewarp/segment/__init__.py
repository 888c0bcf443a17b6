"""Dense prediction: conditional random fields over pixels and sequences, the search for their parameters, and metrics.

`DenseCRF`, `GridCRF`, `unary_from_labels`, `tune_crf` and the metrics work on NumPy arrays and need no backend.
`ConvCRF` and `LinearChainCRF` are Keras layers and are loaded when they are first asked for.
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

_LAYERS = {"ConvCRF": "onewarp.segment.conv_crf", "LinearChainCRF": "onewarp.segment.chain_crf"}

__all__ = [
    "BoundaryScores",
    "ConvCRF",
    "DenseCRF",
    "GridCRF",
    "LinearChainCRF",
    "Scores",
    "Tuning",
    "boundary_scores",
    "confusion_matrix",
    "scores",
    "tune_crf",
    "unary_from_labels",
]


def __getattr__(name: str) -> Any:
    if name in _LAYERS:
        return getattr(importlib.import_module(_LAYERS[name]), name)
    raise AttributeError(f"module 'onewarp.segment' has no attribute {name!r}")
