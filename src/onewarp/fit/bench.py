"""A model trained for a few steps with the policy on the host, on the device, and without any input to wait for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from onewarp.data.base import Source
from onewarp.fit.loader import Loader
from onewarp.fit.model import AugmentedModel
from onewarp.fit.placement import WARM_UP, Measured, measure
from onewarp.models import lenet5, unet
from onewarp.policy import Policy

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Placements:
    """What was measured: seconds per step and share of waiting by placement, and a step on one resident batch."""

    batch_size: int
    resident: float
    found: dict[str, Measured]

    def table(self) -> Table:
        """One line per way to feed the model."""
        from rich.table import Table

        table = Table("policy", "ms per step", "data_wait", "images/s", "more than resident")
        table.add_row("resident batch", f"{1e3 * self.resident:.1f}", "", f"{self.batch_size / self.resident:.0f}", "")
        for name, measured in self.found.items():
            more = measured.seconds / self.resident - 1
            rate = self.batch_size / measured.seconds
            table.add_row(
                f"on the {name}",
                f"{1e3 * measured.seconds:.1f}",
                f"{measured.data_wait:.1%}",
                f"{rate:.0f}",
                f"{more:+.1%}",
            )
        return table

    def summary(self) -> str:
        """Which placement is faster, in a sentence."""
        host, device = (self.found[name].seconds for name in ("host", "device"))
        better, ratio = ("device", host / device) if device < host else ("host", device / host)
        return f"The policy on the {better} is {ratio:.2f} times as fast per step."


def compare_placements(
    source: Source,
    policy: Policy,
    *,
    classes: int,
    filters: int = 16,
    batch_size: int = 16,
    steps: int = 20,
    threads: int | None = None,
    seed: int = 0,
) -> Placements:
    """Train a U-Net (a source with masks) or LeNet-5 (one with labels) for some steps, in each of three ways."""
    loader = Loader(source, policy, batch_size=batch_size, seed=seed, threads=threads, placement="auto")
    entries = Loader(source, policy, batch_size=batch_size, seed=seed).batches.batch(0, 0)
    masks = "segmentation_masks" in entries
    shape = entries["images"].shape[1:]
    keras.utils.set_random_seed(seed)
    if masks:
        model = unet(shape, classes, filters=filters)
        loss: Any = keras.losses.SparseCategoricalCrossentropy(ignore_class=classes)
    else:
        model, loss = lenet5(shape, source.num_classes or 1), "sparse_categorical_crossentropy"
    augmented = AugmentedModel(model, policy)
    augmented.compile(optimizer="adam", loss=loss)
    found = {name: measure(augmented, loader, name, steps) for name in ("host", "device")}
    y = entries["segmentation_masks" if masks else "labels"]
    return Placements(batch_size, _resident(model, entries["images"], y, steps), found)


def _resident(model: Any, images: np.ndarray, y: np.ndarray, steps: int) -> float:
    """Seconds of a train step of the model alone on one batch that lies where it trains."""
    x, y = keras.ops.convert_to_tensor(images), keras.ops.convert_to_tensor(y)
    for _ in range(WARM_UP):
        model.train_on_batch(x, y)
    began = time.perf_counter()
    for _ in range(steps):
        model.train_on_batch(x, y)
    return (time.perf_counter() - began) / steps
