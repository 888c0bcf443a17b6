"""The dense CRF cut down to a window around each pixel, and so to dense array operations (Teichmann 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from onewarp.errors import InputError
from onewarp.segment.inputs import read_term


@keras.saving.register_keras_serializable(package="onewarp")
class ConvCRF(keras.layers.Layer):
    """A dense CRF of local range as a layer, on every backend and device, with weights that can be trained.

    The kernels are those of `DenseCRF` and exact, but zero outside a window: where the window holds the image, the
    marginals are those of a dense CRF without the error of a lattice. Messages are sums over shifted copies, so memory
    and time grow with the number of pixels of the window.

    Weights: `weight_gaussian` and `weight_bilateral`, the strength of each term; `costs` [classes, classes] of pairs of
    labels, 0 on the diagonal and 1 elsewhere at first; `log_deviations` of x, y (and x, y, r, g, b), fixed by default.

    Args:
        gaussian: dict(sxy=, compat=) as for `DenseCRF`, compat a number; None for none.
        bilateral: dict(sxy=, srgb=, compat=); None for none.
        radius: of the window, in pixels, at least 1.
        window: "manhattan", all within |dx| + |dy| <= radius, or "square".
        iterations: of the mean field, at least 1.
        learn_deviations: whether the standard deviations are trained, too.

    Call arguments:
        inputs: (images, probs). images: [n, h, w, 3], numbers of 0 to 255 of any dtype. probs: [n, h, w, classes].

    Returns:
        Marginals [n, h, w, classes] in the layer's compute dtype.

    Raises:
        InputError: arguments that are not as above; inputs of another rank or with another number of channels.
    """

    def __init__(
        self,
        gaussian: Mapping[str, Any] | None = None,
        bilateral: Mapping[str, Any] | None = None,
        radius: int = 5,
        window: str = "manhattan",
        iterations: int = 5,
        learn_deviations: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        terms = {
            "gaussian": read_term("gaussian", gaussian, {"sxy": 2}),
            "bilateral": read_term("bilateral", bilateral, {"sxy": 2, "srgb": 3}),
        }
        self.terms = {name: term for name, term in terms.items() if term is not None}
        if not self.terms or any(not isinstance(term["compat"], float) for term in self.terms.values()):
            raise InputError(
                "ConvCRF needs gaussian=, bilateral= or both, each with a number as compat; costs are learnt"
            )
        if radius < 1 or iterations < 1 or window not in ("manhattan", "square"):
            raise InputError(
                f"ConvCRF(radius={radius}, window={window!r}, iterations={iterations}): radius and iterations must be "
                "at least 1, window one of manhattan, square"
            )
        self.radius, self.window, self.iterations = int(radius), window, int(iterations)
        self.learn_deviations = learn_deviations
        reach = range(-self.radius, self.radius + 1)
        self.offsets = [
            (dy, dx) for dy in reach for dx in reach if window == "square" or abs(dy) + abs(dx) <= self.radius
        ]

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        images, probs = input_shape
        if len(images) != 4 or len(probs) != 4 or images[-1] != 3 or probs[-1] is None:
            raise InputError(
                f"ConvCRF got shapes {images}, {probs}; needs images [n, h, w, 3], probs [n, h, w, classes]"
            )
        classes = probs[-1]
        self.costs = self.add_weight(shape=(classes, classes), initializer="zeros", name="costs")
        self.costs.assign(1 - np.eye(classes, dtype="float32"))
        self.weights_of, self.log_deviations = {}, {}
        for name, term in self.terms.items():
            start = keras.initializers.Constant(term["compat"])
            self.weights_of[name] = self.add_weight(shape=(), initializer=start, name=f"weight_{name}")
            deviations = np.array([*term["sxy"], *term.get("srgb", ())], np.float32)
            logs = self.add_weight(
                shape=deviations.shape,
                initializer="zeros",
                trainable=self.learn_deviations,
                name=f"log_deviations_{name}",
            )
            logs.assign(np.log(deviations))
            self.log_deviations[name] = logs

    def call(self, inputs: Any) -> Any:
        """The marginals."""
        images, probs = inputs
        images = ops.cast(images, self.compute_dtype)
        logs = ops.log(ops.clip(ops.cast(probs, self.compute_dtype), 1e-5, 1.0))
        kernel = self._kernel(images)
        costs = ops.cast(self.costs, self.compute_dtype)
        q = _softmax(logs)
        for _ in range(self.iterations):
            padded = self._padded(q)
            messages: Any = 0.0
            for weight, offset in zip(kernel, self.offsets, strict=True):
                messages = messages + weight * self._shifted(padded, offset)
            q = _softmax(logs - ops.matmul(messages, ops.transpose(costs)))
        return q

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape[1])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **{name: dict(self.terms[name]) if name in self.terms else None for name in ("gaussian", "bilateral")},
            "radius": self.radius,
            "window": self.window,
            "iterations": self.iterations,
            "learn_deviations": self.learn_deviations,
        }

    def _kernel(self, images: Any) -> list[Any]:
        """For each offset, how much of that neighbour's q a pixel gets: [n, h, w, 1], all terms together."""
        ones = ops.ones_like(images[..., :1])
        rows, columns = ops.cumsum(ones, axis=1), ops.cumsum(ones, axis=2)
        inside = self._padded(ones)
        total: list[Any] = [0.0] * len(self.offsets)
        for name in self.terms:
            deviations = ops.exp(ops.cast(self.log_deviations[name], self.compute_dtype))
            points = (
                ops.concatenate([columns, rows] if name == "gaussian" else [columns, rows, images], -1) / deviations
            )
            padded = self._padded(points)
            near = [
                ops.exp(-0.5 * ops.sum(ops.square(points - self._shifted(padded, o)), -1, keepdims=True))
                * self._shifted(inside, o)
                for o in self.offsets
            ]
            norm = ops.rsqrt(sum(near[1:], near[0]))
            norms = self._padded(norm)
            weight = ops.cast(self.weights_of[name], self.compute_dtype)
            for k, offset in enumerate(self.offsets):
                total[k] = total[k] + weight * near[k] * norm * self._shifted(norms, offset)
        return total

    def _padded(self, x: Any) -> Any:
        r = self.radius
        return ops.pad(x, [[0, 0], [r, r], [r, r], [0, 0]])

    def _shifted(self, padded: Any, offset: tuple[int, int]) -> Any:
        """x at (y + dy, x + dx) for every pixel, from x with a margin of `radius`. No size needs to be known for it."""
        r = self.radius
        dy, dx = offset
        return padded[:, r + dy : (dy - r) or None, r + dx : (dx - r) or None]


def _softmax(x: Any) -> Any:
    return ops.exp(x - ops.logsumexp(x, -1, keepdims=True))  # ops.softmax warns of a single class
