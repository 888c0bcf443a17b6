"""PolicyLayer: a policy as a Keras layer. Random in training, deterministic otherwise, saved with the model."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from onewarp.errors import InputError, PolicyError
from onewarp.fit.checks import check_keras
from onewarp.fit.in_step import InStep
from onewarp.fit.sparse import first_mix
from onewarp.policy import Policy
from onewarp.spec import Spec


@keras.saving.register_keras_serializable("onewarp")
class PolicyLayer(keras.layers.Layer):
    """Augments images [n, h, w, c] in training, and runs `policy.deterministic()` otherwise.

    The draws are a function of (seed, how many batches the layer has seen in training, place in the batch). The count
    is a weight of the layer, so a saved model goes on where it stood. Made by `policy.as_layer()`.

    Args:
        policy: what happens to the images. Their labels are out of a layer's reach, so no Mix.
        seed: whole number in [0, 2**64).
        value_range: (low, high) of float images; (0, 1) by default.

    Raises:
        PolicyError: a policy that mixes samples, or cannot run on the device.
        InputError: images of another kind than the policy takes.
    """

    def __init__(
        self, policy: Policy, *, seed: int = 0, value_range: tuple[float, float] | None = None, **kwargs: Any
    ) -> None:
        check_keras()
        super().__init__(**{"dtype": "float32", **kwargs, "autocast": False})
        if not isinstance(policy, Policy):
            raise InputError(f"PolicyLayer({policy!r}): pass a Policy, such as Policy([HorizontalFlip()])")
        mix = first_mix(policy)
        if mix is not None:
            raise PolicyError(
                f"{mix.expression()} changes the labels, which a layer does not see; use AugmentedModel instead"
            )
        self.policy, self.seed = policy, int(seed)
        self.value_range = None if value_range is None else (float(value_range[0]), float(value_range[1]))
        self._fixed = policy.deterministic()
        self._augment = InStep(policy, seed=self.seed, value_range=self.value_range)
        self._prepare = InStep(self._fixed, value_range=self.value_range)
        self.seen = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name="seen")
        self.built = True

    def call(self, images: Any, training: bool = False) -> Any:
        if not training:
            return self._prepare({"images": images})["images"]
        found = self._augment({"images": images}, ops.convert_to_tensor(self.seen))
        self.seen.assign_add(1)
        return found["images"]

    def compute_output_spec(self, images: Any, training: bool = False) -> Any:
        dtype = keras.backend.standardize_dtype(images.dtype)
        spec = Spec(tuple(images.shape[1:]), "float32" if keras.backend.is_float_dtype(dtype) else dtype)
        plan = self._fixed.plan(spec)
        return keras.KerasTensor((images.shape[0], *plan.output_shape), dtype=plan.output_dtype)

    def get_config(self) -> dict[str, Any]:
        own = {"policy": self.policy.to_dict(), "seed": self.seed, "value_range": self.value_range}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PolicyLayer:
        return cls(Policy.from_dict(config.pop("policy")), **config)
