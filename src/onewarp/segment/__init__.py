"""Dense prediction: the dense conditional random field."""

from onewarp.segment.crf import DenseCRF, unary_from_labels

__all__ = ["DenseCRF", "unary_from_labels"]
