"""AugmentedModel: a policy in front of a model, inside the compiled train step.

The inner model is trained, saved and served; the wrapper only changes what it sees. In training the batch is augmented
before Keras' own train step gets it; everywhere else it goes through `policy.deterministic()`, so that the same raw
batches can be fed everywhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from onewarp.data.travel import READY, is_ready, unpack
from onewarp.errors import InputError
from onewarp.fit.checks import check_keras, check_placement, check_sizes
from onewarp.fit.in_step import InStep, run_route
from onewarp.fit.loader import Loader
from onewarp.fit.placement import place
from onewarp.fit.roles import Targets, check_targets, entries_of
from onewarp.fit.sparse import check_not_sparse, mixing
from onewarp.policy import Policy
from onewarp.targets import one_hot

ROWS = 32  # of a piece of a batch whose length TensorFlow does not know, where fit is not told a batch size


@keras.saving.register_keras_serializable("onewarp")
class AugmentedModel(keras.Model):
    """A model whose train step augments its batches, on the device that trains it.

    Takes batches of a `Loader(placement="device")`, whose draws come along and are those of the host, or arrays,
    tf.data, torch DataLoaders, grain and generators of raw images. Those are drawn for in the step, keyed by (seed, the
    optimizer's count of steps, place in the batch), so that a run that is resumed goes on with the same numbers. Where
    processes of torch.distributed or replicas of tf.distribute share a batch, it is the place in the whole of it.
    `evaluate`, `predict` and a direct call run `policy.deterministic()` first, on images and targets.

    It trains the weights of `model`; `save`, checkpoints and `keras.saving` hold that model alone, compiled with the
    same optimizer.

    Args:
        model: takes what the policy makes of the images.
        policy: what happens to a training batch.
        seed: whole number in [0, 2**64) behind the draws in the step. (A Loader has its own.)
        targets: what y is, where it is not a dictionary by role ("labels", "segmentation_masks", "bounding_boxes",
            "keypoints"): one role; or {name in y: role}; "ignored" for what the policy shall leave alone. By default
            told from shapes: [n] and [n, k] are labels, [n, h, w, ...] of the images' size masks, {"boxes", "labels"}
            boxes.
        num_classes: for one-hot labels where the policy mixes samples; by default the size of the model's output.
        bounding_box_format: of boxes that do not come from a Loader, one of Keras' names.
        value_range: (low, high) of float images that do not come from a Loader; (0, 1) by default.

    Raises:
        InputError, PolicyError: arguments, batches or policies that cannot be. A Loader with placement="host" is
            refused, so that nothing is augmented or normalised twice.
    """

    takes_device_batches = True

    def __init__(
        self,
        model: keras.Model,
        policy: Policy,
        *,
        seed: int = 0,
        targets: Targets = None,
        num_classes: int | None = None,
        bounding_box_format: str = "xyxy",
        value_range: tuple[float, float] | None = None,
        name: str | None = None,
    ) -> None:
        check_keras()
        if not isinstance(model, keras.Model) or isinstance(model, AugmentedModel):
            raise InputError(f"AugmentedModel({model!r}): pass a plain keras.Model, and a Policy behind it")
        if not isinstance(policy, Policy):
            raise InputError(f"AugmentedModel(model, {policy!r}): pass a Policy, such as Policy([HorizontalFlip()])")
        check_targets(targets)
        super().__init__(name=name or f"augmented_{model.name}", dtype=model.dtype_policy, autocast=False)
        self.model = model
        self._file("layers" if isinstance(model, keras.Sequential) or hasattr(model, "inputs") else None)
        self.policy, self.seed = policy, int(seed)
        self._targets = targets
        self._num_classes, self._rows = num_classes, ROWS
        self._mixing = mixing(policy)
        self._value_range = value_range
        self._fixed = policy.deterministic()
        options: dict[str, Any] = {"value_range": value_range, "bounding_box_format": bounding_box_format}
        self._augment = InStep(policy, seed=self.seed, **options)
        self._prepare = InStep(self._fixed, **options)
        self._tells = "training" in inspect.signature(model.call).parameters  # in JAX's step it does not tell itself
        self.built = model.built

    # --- what Keras calls -----------------------------------------------------------------------------------------

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        x = inputs[READY] if is_ready(inputs) else self._prepared(inputs, None, None)[0]
        return self.model(x, training=training) if self._tells else self.model(x)

    def train_step(self, *arguments: Any) -> Any:
        *state, data = arguments  # on JAX the state comes first
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        x, y, weight = self._run(x, y, weight, self._augment, self._step(state))
        return super().train_step(*state, keras.utils.pack_x_y_sample_weight({READY: x}, y, weight))

    def test_step(self, *arguments: Any) -> Any:
        *state, data = arguments
        x, y, weight = self._prepared(*keras.utils.unpack_x_y_sample_weight(data))
        return super().test_step(*state, keras.utils.pack_x_y_sample_weight({READY: x}, y, weight))

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        y, sample_weight = self._targets_for(x, y, sample_weight)
        return super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        y, sample_weight = self._targets_for(x, y, sample_weight)
        return super().compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, **options: Any) -> None:
        """As in Keras. The inner model is compiled, too, with the same optimizer, so that its file is complete.

        Raises InputError for a sparse loss or metric where the policy mixes labels.
        """
        if self._mixing and self._targets != "segmentation_masks":
            for argument in (loss, options.get("metrics"), options.get("weighted_metrics")):
                check_not_sparse(argument, self._mixing)
        super().compile(optimizer=optimizer, loss=loss, **options)
        self.model.compile(optimizer=self.optimizer, loss=loss, **{**options, "jit_compile": self.jit_compile})
        self._file("optimizer")

    def fit(self, x: Any = None, y: Any = None, batch_size: int | None = None, **options: Any) -> Any:
        """As in Keras; `x` may be a Loader with placement="device" or "auto", too."""
        validation = options.get("validation_data")
        place(self, x)
        self._check(x, batch_size)
        self._check(validation[0] if isinstance(validation, (list, tuple)) and len(validation) else validation)
        if isinstance(x, Loader) and self.policy not in ((x.policy, x.declared) if x.then is None else (x.then,)):
            raise InputError(
                "the Loader's policy is not the model's; make both with the same: Loader(source, policy, ...) and "
                "AugmentedModel(model, policy); with Loader(..., then=second) it is AugmentedModel(model, second)"
            )
        return super().fit(x, y, batch_size=batch_size, **options)

    def evaluate(self, x: Any = None, y: Any = None, batch_size: int | None = None, **options: Any) -> Any:
        """As in Keras, after `policy.deterministic()`, or the policy of a Loader."""
        self._check(x, batch_size)
        return super().evaluate(x, y, batch_size=batch_size, **options)

    def predict(self, x: Any, batch_size: int | None = None, **options: Any) -> Any:
        """As in Keras, after `policy.deterministic()`, or the policy of a Loader."""
        self._check(x, batch_size)
        return super().predict(x, batch_size=batch_size, **options)

    # --- saving: the inner model alone ----------------------------------------------------------------------------

    def save(self, filepath: Any, *arguments: Any, **options: Any) -> Any:
        """Save the inner model; the file needs no onewarp to be loaded."""
        return self.model.save(filepath, *arguments, **options)

    def save_weights(self, filepath: Any, *arguments: Any, **options: Any) -> Any:
        """Save the inner model's weights and its optimizer."""
        return self.model.save_weights(filepath, *arguments, **options)

    def load_weights(self, filepath: Any, *arguments: Any, **options: Any) -> Any:
        """Load the inner model's weights."""
        return self.model.load_weights(filepath, *arguments, **options)

    def export(self, filepath: Any, *arguments: Any, **options: Any) -> Any:
        """Export the inner model. `with_preprocessing(...).export(...)` exports one that takes raw images."""
        return self.model.export(filepath, *arguments, **options)

    def _file(self, attribute: str | None) -> None:
        """Let `keras.saving.save_model(augmented, ...)` write the file of the inner model.

        Keras files weights under the names of the attributes that hold them, and "./layers" is the place of "layers".
        It goes through the names in their order, and through private ones last; "././" comes before "./_".
        """
        names = [attribute] if attribute else sorted(set(dir(self.model)) - set(dir(keras.Model())))
        for name in names:
            self.__dict__[f"./{name}" if name.startswith("_") else f"././{name}"] = getattr(self.model, name, None)

    def save_own_variables(self, store: Any) -> None:
        self.model.save_own_variables(store)

    def load_own_variables(self, store: Any) -> None:
        self.model.load_own_variables(store)

    def get_config(self) -> dict[str, Any]:
        return {"model": keras.saving.serialize_keras_object(self.model)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> keras.Model:
        """The inner model: that is what `keras.saving.save_model(augmented, ...)` saves."""
        return keras.saving.deserialize_keras_object(config["model"], custom_objects=custom_objects)

    def get_build_config(self) -> Any:
        return self.model.get_build_config()

    def get_compile_config(self) -> Any:
        return self.model.get_compile_config()

    def with_preprocessing(self, image_shape: tuple[int | None, int | None, int], dtype: str = "uint8") -> keras.Model:
        """A model for serving that takes raw images: `policy.deterministic()` as a layer, then the inner model.

        image_shape: (height, width, channels) of the raw images; None where it is only known when they come.
        """
        images = keras.Input(image_shape, dtype=dtype, name="images")
        layer = self._fixed.as_layer(value_range=self._value_range, name="preprocessing")
        return keras.Model(images, self.model(layer(images)), name=f"serving_{self.model.name}")

    # --- what happens to a batch ----------------------------------------------------------------------------------

    def _prepared(self, x: Any, y: Any, weight: Any) -> tuple[Any, Any, Any]:
        """x, y and sample_weight after `policy.deterministic()`, or after the Loader's policy."""
        return self._run(x, y, weight, self._prepare, None)

    def _run(self, x: Any, y: Any, weight: Any, augment: InStep, step: Any) -> tuple[Any, Any, Any]:
        if is_ready(x):
            return x[READY], y, weight
        packed = unpack(x)
        entries, rebuild = entries_of(x if packed is None else packed[1], y, weight, self._targets)
        entries = self._one_hot(entries)
        if packed is None:
            found = augment(entries, step, self._rows)
        else:
            found = run_route(packed[0], entries, packed[2])
        return rebuild(found)

    def _targets_for(self, x: Any, y: Any, weight: Any) -> tuple[Any, Any]:
        """y and sample_weight as loss and metrics take them: Keras, building itself, hands over raw ones."""
        if y is None or is_ready(x):
            return y, weight
        packed = unpack(x)
        entries, rebuild = entries_of(x if packed is None else packed[1], y, weight, self._targets)
        if set(entries) <= {"images", "labels", "sample_weight"}:  # nothing that moves
            return rebuild(self._one_hot(entries))[1:]
        return self._prepared(x, y, weight)[1:]

    def _one_hot(self, entries: Mapping[str, Any]) -> dict[str, Any]:
        """Class numbers as rows where the policy mixes them, in training as elsewhere."""
        if not self._mixing or entries.get("labels") is None:
            return dict(entries)
        labels = ops.convert_to_tensor(entries["labels"])
        if keras.backend.is_float_dtype(keras.backend.standardize_dtype(labels.dtype)) and len(labels.shape) == 2:
            return dict(entries)
        if len(labels.shape) == 2 and labels.shape[1] != 1:
            return {**entries, "labels": ops.cast(labels, "float32")}
        labels = ops.cast(labels[:, 0] if len(labels.shape) == 2 else labels, "int32")
        return {**entries, "labels": one_hot(labels, self._classes(), ops)}

    def _classes(self) -> int:
        if self._num_classes is not None:
            return self._num_classes
        shape = getattr(self.model, "output_shape", None) if self.model.built else None
        if isinstance(shape, tuple) and len(shape) == 2 and isinstance(shape[-1], int):
            return shape[-1]
        raise InputError(
            f"{self._mixing} mixes labels, and how many classes there are is not known; pass num_classes= to "
            "AugmentedModel"
        )

    def _step(self, state: list[Any]) -> Any:
        """The optimizer's own count of train steps: it is saved with it, and accumulated gradients do not slow it."""
        variables = self.optimizer.variables
        index = max(number for number, variable in enumerate(variables) if variable.name == "iteration")
        return state[0][2][index] if state else ops.convert_to_tensor(variables[index])

    def _check(self, x: Any, batch_size: int | None = None) -> None:
        check_sizes(x)
        if isinstance(x, Loader):
            check_placement(self, x)
        elif isinstance(batch_size, int):
            self._rows = batch_size
