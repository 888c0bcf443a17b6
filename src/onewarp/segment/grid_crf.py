"""A short-range CRF, to see what the long range of the dense one adds: a pixel knows its four neighbours alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from onewarp.errors import InputError
from onewarp.segment.inputs import TOLERANCE, complain, read_batch


class GridCRF:
    """Mean field in the grid of 4-neighbours, with costs that fall where the colours of two pixels differ.

    Different labels at neighbours i and j cost `smooth + contrast * exp(-|colour_i - colour_j|^2 / (2 srgb^2))`. In an
    iteration the two colours of a chessboard take turns, so that it converges. Called like `DenseCRF`.

    Args:
        smooth: cost of different labels, whatever the colours; at least 0.
        contrast: what is added where the colours are equal; at least 0.
        srgb: standard deviation of colour, in levels of 0 to 255.
        iterations: of the mean field, at least 0.

    Raises:
        InputError: numbers out of range.
    """

    def __init__(self, smooth: float = 1.0, contrast: float = 2.0, srgb: float = 13.0, iterations: int = 10) -> None:
        if not (0 <= smooth < np.inf and 0 <= contrast < np.inf and 0 < srgb < np.inf) or iterations < 0:
            raise InputError(
                f"GridCRF(smooth={smooth}, contrast={contrast}, srgb={srgb}, iterations={iterations}): costs and "
                "iterations must be at least 0, srgb above 0"
            )
        self.smooth, self.contrast, self.srgb, self.iterations = smooth, contrast, srgb, iterations

    def __call__(self, image: Any, probs: Any, *, return_iterations: bool = False) -> np.ndarray:
        """The marginals, as those of `DenseCRF`: what goes in, what comes out and what is refused are the same."""
        images, probabilities, batched = read_batch(image, probs)
        sums = probabilities.sum(-1, dtype=np.float64)
        bad = ~(abs(sums - 1) <= TOLERANCE) | (probabilities.min(-1) < 0)
        if bad.any():
            raise complain(probabilities, int(np.argmax(bad)))
        found = np.stack([self._infer(one, p) for one, p in zip(images, probabilities, strict=True)], 1)
        result = found if return_iterations else found[-1]
        return result if batched else result[..., 0, :, :, :]

    def _infer(self, image: np.ndarray, probs: np.ndarray) -> np.ndarray:
        """Marginals [iterations + 1, h, w, classes] of one image."""
        colours = image.astype(np.float32)
        down, right = self._costs(colours[1:], colours[:-1]), self._costs(colours[:, 1:], colours[:, :-1])
        logs = np.log(np.clip(probs, 1e-5, 1))
        turn = (np.indices(image.shape[:2]).sum(0) % 2)[..., None]
        q = _softmax(logs)
        found = [q]
        for _ in range(self.iterations):
            for colour in (0, 1):
                messages = logs.copy()
                messages[1:] += down * q[:-1]
                messages[:-1] += down * q[1:]
                messages[:, 1:] += right * q[:, :-1]
                messages[:, :-1] += right * q[:, 1:]
                q = np.where(turn == colour, _softmax(messages), q)
            found.append(q)
        return np.stack(found)

    def _costs(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        near = np.exp(-((a - b) ** 2).sum(-1, keepdims=True) / (2 * self.srgb**2))
        return (self.smooth + self.contrast * near).astype(np.float32)


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)
