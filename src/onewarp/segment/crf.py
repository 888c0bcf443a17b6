"""The dense CRF of Krähenbühl and Koltun (2011): every pixel is a neighbour of every other one.

Labels x of an image have the energy

    E(x) = sum_i -log probs_i(x_i) + sum_{i, j} mu(x_i, x_j) k(i, j)

with Gaussian kernels k of positions, or of positions and colours. Mean field inference finds marginals q: each
iteration filters q by the kernels and takes a softmax. The filter runs on a permutohedral lattice (native/lattice.h),
so that the time grows with the number of pixels and not with its square. Parameters have the names and the meaning that
they have in pydensecrf, and so have the results: kernels are normalised symmetrically, and a pixel sends itself a
message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onewarp import _native
from onewarp.arguments import thread_count
from onewarp.errors import InputError
from onewarp.segment.inputs import complain, read_batch, read_term


class DenseCRF:
    """Refines class probabilities so that labels follow the edges of the image.

    `crf(image, probs)` returns the marginals. One object serves any number of images and threads.

    Args:
        gaussian: dict(sxy=, compat=) of the kernel of positions, which smooths; None for none. sxy: standard deviation
            in pixels, or (of x, of y). compat: a number w, the cost of different labels at near pixels, or a matrix
            [classes, classes] of costs (it is made symmetric; 0 on the diagonal and w elsewhere is the number w).
        bilateral: dict(sxy=, srgb=, compat=) of the kernel of positions and colours; None for none. srgb: standard
            deviation in levels of 0 to 255, or (of r, of g, of b).
        iterations: of the mean field, at least 0. 5 to 10 are usual.

    Raises:
        InputError: a term that is not as above.

    Example:
        >>> crf = DenseCRF(gaussian=dict(sxy=3, compat=3), bilateral=dict(sxy=80, srgb=13, compat=10))
        >>> labels = crf(image, probs).argmax(-1)
    """

    def __init__(
        self,
        gaussian: Mapping[str, Any] | None = None,
        bilateral: Mapping[str, Any] | None = None,
        iterations: int = 10,
    ) -> None:
        if isinstance(iterations, bool) or not isinstance(iterations, (int, np.integer)) or iterations < 0:
            raise InputError(f"DenseCRF(iterations={iterations!r}): must be a whole number >= 0")
        self.gaussian = read_term("gaussian", gaussian, {"sxy": 2})
        self.bilateral = read_term("bilateral", bilateral, {"sxy": 2, "srgb": 3})
        if self.gaussian is None and self.bilateral is None:
            raise InputError("DenseCRF() has no pairwise term; give gaussian=, bilateral= or both")
        self.iterations = int(iterations)

    def __repr__(self) -> str:
        return f"DenseCRF(gaussian={self.gaussian}, bilateral={self.bilateral}, iterations={self.iterations})"

    def __call__(
        self, image: Any, probs: Any, *, return_iterations: bool = False, threads: int | None = None
    ) -> np.ndarray:
        """The marginals after all iterations.

        Args:
            image: uint8 [h, w, 3] or [n, h, w, 3], in the order that `srgb` has.
            probs: float32 [h, w, classes] or [n, h, w, classes], probabilities of any number of classes. What is below
                1e-5 counts as 1e-5, so that no class is ruled out.
            return_iterations: also what was before: 0 is `probs`, t what iteration t gave.
            threads: all cores by default. They share the images of a batch, or the lattice of one image. Results do not
                depend on them, nor on the batch.

        Returns:
            float32, of the shape of `probs`; with return_iterations [iterations + 1, ...].

        Raises:
            InputError: an image that is not uint8 of three channels; probabilities that are not float32, in another
                order (classes first, width before height) or of another size, NaN, below 0, or with a sum that differs
                from 1 by more than 0.01; deviations too small for the size of the image; a matrix of other classes.
        """
        images, probabilities, batched = read_batch(image, probs)
        first = self.iterations + 1 if return_iterations else 1
        out = np.empty((first, *probabilities.shape), np.float32)
        try:
            bad = _native.dense_crf(
                images,
                probabilities,
                out,
                _arguments("gaussian", self.gaussian, probabilities.shape[-1]),
                _arguments("bilateral", self.bilateral, probabilities.shape[-1]),
                self.iterations,
                thread_count(threads),
            )
        except ValueError as error:  # what the lattice cannot hold
            raise InputError(str(error)) from None
        if bad >= 0:
            raise complain(probabilities, bad)
        result = out if return_iterations else out[0]
        return result if batched else result[..., 0, :, :, :]


def unary_from_labels(labels: Any, classes: int, certainty: float = 0.7, unsure: int | None = None) -> np.ndarray:
    """Probabilities for a CRF from labels that somebody drew: `certainty` for the label, the rest shared by the others.

    Args:
        labels: whole numbers [...] in [0, classes), or `unsure`.
        classes: number of classes, at least 2.
        certainty: probability that a label is right, in (0, 1).
        unsure: a label that means "could be anything"; such pixels get 1 / classes for every class.

    Returns:
        float32 [..., classes].

    Raises:
        InputError: labels that are not whole numbers or name no class, or numbers out of range.
    """
    labels = np.asarray(labels)
    if classes < 2 or not 0 < certainty < 1:
        raise InputError(f"unary_from_labels(classes={classes}, certainty={certainty}): need >= 2 and within (0, 1)")
    if labels.dtype.kind not in "iu":
        raise InputError(f"labels are {labels.dtype}, must be whole numbers; use labels.astype('int64')")
    free = np.zeros(labels.shape, bool) if unsure is None else labels == unsure
    wrong = ~free & ((labels < 0) | (labels >= classes))
    if wrong.any():
        raise InputError(f"label {labels[wrong].flat[0]} is not in [0, {classes}); name it with unsure= if it is void")
    probs = np.full((*labels.shape, classes), (1 - certainty) / (classes - 1), np.float32)
    np.put_along_axis(probs, np.where(free, 0, labels)[..., None].astype(np.int64), certainty, -1)
    probs[free] = 1 / classes
    return probs


def _arguments(owner: str, term: dict[str, Any] | None, classes: int) -> tuple[list[float], Any] | None:
    if term is None:
        return None
    compat = term["compat"]
    if isinstance(compat, np.ndarray) and len(compat) != classes:
        raise InputError(f"{owner}: compat is a matrix of {len(compat)} classes, but probs has {classes}")
    return [*term["sxy"], *term.get("srgb", ())], compat
