"""A policy inside a compiled step: numbers that travelled with the batch, or drawn where they are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from onewarp.data.travel import Route
from onewarp.draw import draw_arrays
from onewarp.engine import device
from onewarp.errors import InputError
from onewarp.fit.replicas import first_place, one_operation
from onewarp.fit.rows import in_known_rows
from onewarp.policy import Policy
from onewarp.random import Array
from onewarp.spec import Spec


def spec_of(images: Any, value_range: tuple[float, float] | None) -> Spec:
    """The spec of a tensor of images [n, h, w, c], of uint8 or float32."""
    shape, dtype = tuple(images.shape), keras.backend.standardize_dtype(images.dtype)
    if len(shape) != 4 or None in shape[1:]:
        raise InputError(
            f"a batch of images has shape {shape}; a policy in a model needs [n, height, width, channels] of one size: "
            "resize them before, or let a Loader warp them"
        )
    return Spec(shape[1:], dtype, None if dtype == "uint8" else value_range)


def plain_images(images: Any) -> Any:
    """Images as a tensor of uint8 or float32; other floats (mixed precision) become float32."""
    images = ops.convert_to_tensor(images)
    dtype = keras.backend.standardize_dtype(images.dtype)
    if dtype != "float32" and keras.backend.is_float_dtype(dtype):
        return ops.cast(images, "float32")
    return images


class InStep:
    """A policy inside a compiled step: the entries of a batch under draws of (seed, step, place in the batch).

    Where several processes or replicas share a batch, it is the place in the whole batch. torch.compile takes all of it
    for one operation and reads none of its Python: what it runs is traced behind that, by AOTAutograd.

    Args:
        policy: what happens to the entries.
        seed: whole number in [0, 2**64).
        value_range: (low, high) of float images.
        options: see `device.run`.
    """

    def __init__(
        self, policy: Policy, *, seed: int = 0, value_range: tuple[float, float] | None = None, **options: Any
    ) -> None:
        self._policy, self._seed, self._value_range, self._options = policy, seed, value_range, options

        def piece(entries: Mapping[str, Any], step: Array | None, rows: int) -> list[Any]:
            return _leaves(self._run(entries, step, rows), entries)

        self._piece = one_operation(piece)

    def __call__(self, entries: Mapping[str, Any], step: Array | None = None, rows: int = 32) -> dict[str, Any]:
        """The entries after the policy.

        step: an integer tensor, or None for a policy that draws nothing.
        rows: pieces of a batch whose length is not known when the step is compiled.
        """
        entries = {name: value for name, value in entries.items() if value is not None}
        return _packed(self._piece(entries, step, rows), entries)

    def _run(self, entries: Mapping[str, Any], step: Array | None, rows: int) -> dict[str, Any]:
        entries = {**_tensors(entries), "images": plain_images(entries["images"])}
        plan = self._policy.plan(spec_of(entries["images"], self._value_range))
        when = 0 if step is None else ops.reshape(ops.cast(step, "int32"), (1,))
        height, width = (np.array([float(side)], np.float32) for side in plan.spec.images[:2])  # type: ignore[arg-type]
        first = first_place(entries["images"])

        def augmented(batch: Any, places: Array) -> Any:
            sides = ops.convert_to_tensor(height), ops.convert_to_tensor(width)
            arrays = draw_arrays(plan, self._seed, when, places + first, None, *sides, places.shape[0], ops)
            return device.run(plan, arrays, batch, **self._options)

        return in_known_rows(augmented, entries, rows)


def _leaves(found: Mapping[str, Any], like: Mapping[str, Any]) -> list[Any]:
    """The tensors of `found`, in the order of `like`, whose dictionaries have the same names."""
    return [
        leaf
        for name, value in like.items()
        for leaf in (_leaves(found[name], value) if isinstance(value, Mapping) else [found[name]])
    ]


def _packed(leaves: Sequence[Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """The way back from `_leaves`."""
    rest = iter(leaves)
    return {
        name: {inner: next(rest) for inner in value} if isinstance(value, Mapping) else next(rest)
        for name, value in like.items()
    }


def run_route(route: Route, entries: Mapping[str, Any], arrays: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """The entries of a batch of our Loader under the numbers that came with it."""

    def augmented(both: Any, places: Array) -> Any:
        return device.run(
            route.plan, both[1], both[0], bounding_box_format=route.box_format, start=route.start, **options
        )

    return in_known_rows(augmented, [_tensors(entries), _tensors(arrays)], route.rows, route.exact)


def _tensors(values: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors of all arrays in a nest, dtype kept; what is None is left out."""
    present = {name: value for name, value in values.items() if value is not None}
    return keras.tree.map_structure(ops.convert_to_tensor, present)
