"""A CRF along a sequence: photos judged with their neighbours in time, the words of a sentence."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from onewarp.errors import InputError


@keras.saving.register_keras_serializable(package="onewarp")
class LinearChainCRF(keras.layers.Layer):
    """The labels y of a sequence have the score

        start[y_0] + sum_t emissions[t, y_t] + sum_t transitions[y_t, y_{t+1}] + end[y_last]

    and the probability exp(score) / Z. The layer finds Z and the marginals by forward-backward and the best labels by
    Viterbi, exactly, in log space. Steps that `mask` leaves out are as if they were not there.

    To train, give the labels to the layer, too: it adds the mean negative log likelihood to the model's loss.

        >>> x, y = keras.Input((20, 8)), keras.Input((20,), dtype="int32")
        >>> crf, emissions = LinearChainCRF(5), keras.layers.Dense(5)(x)
        >>> train = keras.Model([x, y], crf(emissions, labels=y))  # compile("adam"), fit([features, labels])
        >>> model = keras.Model(x, crf(emissions))  # marginals; crf.decode(...) for the best labels

    Weights: `transitions` [classes, classes] (from, to), `start` and `end` [classes]; zero at first: steps are
    independent then.

    Args:
        classes: number of labels, at least 1.

    Raises:
        InputError: fewer classes than 1; emissions that are not [n, steps, classes].
    """

    def __init__(self, classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
            raise InputError(f"LinearChainCRF(classes={classes!r}): must be a whole number, at least 1")
        self.classes = classes
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        if len(input_shape) != 3 or input_shape[-1] != self.classes:
            raise InputError(f"LinearChainCRF got emissions of shape {input_shape}; needs [n, steps, {self.classes}]")
        self.transitions = self.add_weight(shape=(self.classes, self.classes), initializer="zeros", name="transitions")
        self.start = self.add_weight(shape=(self.classes,), initializer="zeros", name="start")
        self.end = self.add_weight(shape=(self.classes,), initializer="zeros", name="end")

    def call(self, emissions: Any, labels: Any = None, mask: Any = None) -> Any:
        """Marginals [n, steps, classes] of emissions (logits) [n, steps, classes]; 0 at steps that are masked.

        labels: int [n, steps]; with them, the loss is added. mask: bool [n, steps], or lengths int [n].
        """
        if labels is not None:
            self.add_loss(ops.mean(self.loss(labels, emissions, mask)))
        return self.marginals(emissions, mask)

    def compute_output_shape(self, input_shape: Any, *_: Any, **__: Any) -> Any:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes}

    def loss(self, labels: Any, emissions: Any, mask: Any = None) -> Any:
        """The negative log likelihood [n] of labels int [n, steps]."""
        return self.log_partition(emissions, mask) - self.score(labels, emissions, mask)

    def score(self, labels: Any, emissions: Any, mask: Any = None) -> Any:
        """The score [n] of labels int [n, steps]. What stands at masked steps does not matter."""
        emissions, mask = self._read(emissions, mask)
        chosen = ops.one_hot(ops.maximum(ops.cast(labels, "int32"), 0), self.classes, dtype=emissions.dtype)
        transitions = self._cast(self.transitions)

        def step(carry: Any, now: Any) -> Any:
            before, begun, total = carry
            emission, label, there = now
            come = ops.where(
                begun, ops.sum(ops.matmul(before, transitions) * label, -1, keepdims=True), self._dot(label, self.start)
            )
            gain = come + ops.sum(emission * label, -1, keepdims=True)
            return _kept(
                ops.where(there, label, before),
                ops.logical_or(begun, there),
                total + ops.where(there, gain, ops.zeros_like(gain)),
            )

        first = emissions[:, 0]
        nothing = ops.zeros_like(first[:, :1])
        carry = (ops.zeros_like(first), nothing > 0, nothing)
        (last, begun, total), _ = ops.scan(
            step, carry, (self._times(emissions), self._times(chosen), self._times(mask))
        )
        return ops.where(begun, total + self._dot(last, self.end), nothing)[:, 0]

    def log_partition(self, emissions: Any, mask: Any = None) -> Any:
        """log Z [n]."""
        emissions, mask = self._read(emissions, mask)
        (last, begun), _ = self._forward(emissions, mask)
        return ops.where(begun[:, 0], ops.logsumexp(last + self._cast(self.end), -1), ops.zeros_like(last[:, 0]))

    def marginals(self, emissions: Any, mask: Any = None) -> Any:
        """The probability [n, steps, classes] of each label at each step; 0 at masked steps."""
        emissions, mask = self._read(emissions, mask)
        _, (forward, _) = self._forward(emissions, mask)
        transitions, end = self._cast(self.transitions), self._cast(self.end)

        def step(after: Any, now: Any) -> Any:  # after: log of what all later steps give, for each label now
            emission, there = now
            before = ops.logsumexp(transitions[None] + (emission + after)[:, None, :], -1)
            return ops.where(there, before, after), after

        start = ops.zeros_like(emissions[:, 0]) + end
        _, backward = ops.scan(step, start, (self._times(emissions), self._times(mask)), reverse=True)
        both = self._times(forward + backward)
        both = ops.exp(both - ops.logsumexp(both, -1, keepdims=True))  # ops.softmax warns of a single class
        return ops.where(mask, both, ops.zeros_like(emissions))

    def decode(self, emissions: Any, mask: Any = None) -> Any:
        """The best labels int32 [n, steps], by Viterbi; -1 at masked steps."""
        emissions, mask = self._read(emissions, mask)
        transitions = self._cast(self.transitions)

        def step(carry: Any, now: Any) -> Any:
            best, begun, _ = carry
            emission, there = now
            ways = best[:, :, None] + transitions[None]
            come = ops.where(begun, ops.max(ways, 1), self._cast(self.start) + ops.zeros_like(best))
            fromm = ops.cast(ops.argmax(ways, 1), "int32")
            moves = ops.logical_and(there, begun)
            stay = ops.zeros_like(fromm) + ops.arange(self.classes, dtype="int32")
            return _kept(
                ops.where(there, come + emission, best), ops.logical_or(begun, there), ops.where(moves, fromm, stay)
            )

        nothing = ops.zeros_like(emissions[:, 0])
        carry = (nothing, nothing[:, :1] > 0, ops.cast(nothing, "int32"))
        (best, _, _), (_, _, origins) = ops.scan(step, carry, (self._times(emissions), self._times(mask)))
        last = ops.cast(ops.argmax(best + self._cast(self.end), -1), "int32")

        def back(label: Any, origin: Any) -> Any:
            return ops.take_along_axis(origin, label[:, None], 1)[:, 0], label

        _, path = ops.scan(back, last, origins, reverse=True)
        return ops.where(mask[..., 0], ops.transpose(path), -ops.ones_like(ops.transpose(path)))

    def _forward(self, emissions: Any, mask: Any) -> Any:
        """(the last log sums [n, classes], whether there was a step [n, 1]), and both after each step."""
        transitions, start = self._cast(self.transitions), self._cast(self.start)

        def step(carry: Any, now: Any) -> Any:
            sums, begun = carry
            emission, there = now
            come = ops.where(
                begun, ops.logsumexp(sums[:, :, None] + transitions[None], 1), start + ops.zeros_like(sums)
            )
            sums = ops.where(there, come + emission, sums)
            return _kept(sums, ops.logical_or(begun, there))

        nothing = ops.zeros_like(emissions[:, 0])
        return ops.scan(step, (nothing, nothing[:, :1] > 0), (self._times(emissions), self._times(mask)))

    def _read(self, emissions: Any, mask: Any) -> tuple[Any, Any]:
        """Emissions in the dtype of the weights, and the mask as bool [n, steps, 1]."""
        emissions = self._cast(emissions)
        if mask is None:
            return emissions, ops.ones_like(emissions[..., :1]) > 0
        mask = ops.convert_to_tensor(mask)
        if len(mask.shape) == 1:  # lengths
            mask = ops.arange(emissions.shape[1], dtype="int32")[None] < ops.cast(mask, "int32")[:, None]
        return emissions, ops.cast(mask, "bool")[..., None]

    def _cast(self, x: Any) -> Any:
        return ops.cast(x, self.variable_dtype)

    def _dot(self, chosen: Any, weights: Any) -> Any:
        return ops.sum(chosen * self._cast(weights), -1, keepdims=True)

    @staticmethod
    def _times(x: Any) -> Any:
        """[n, steps, ...] -> [steps, n, ...], and back."""
        return ops.swapaxes(x, 0, 1)


def _kept(*carry: Any) -> tuple[Any, Any]:
    """What a step of a scan returns: its state, and the same as output, because TensorFlow asks for one structure."""
    return carry, carry
