"""A process of torch.distributed: trains on its share of each batch, and keeps what came of it.

`python ddp_child.py RANK WORLD FOLDER` joins WORLD processes over a file in FOLDER; with WORLD 1 it trains alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

import onewarp as ow

BATCH, STEPS = 8, 3
POLICY = ow.Policy([ow.Rotate(30), ow.ColorJitter(brightness=0.3), ow.Rescale(1 / 255)])


def images() -> np.ndarray:
    """[8, 8, 8, 3] uint8, one image eight times: only draws make a difference."""
    one = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    return np.repeat(one, BATCH, axis=0)


def main(rank: int, world: int, folder: Path) -> None:
    share = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    x, y = torch.from_numpy(images()[share]), torch.arange(BATCH)[share] % 3
    if world > 1:
        torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    keras.utils.set_random_seed(0)
    layer = POLICY.as_layer(seed=5)
    model = keras.Sequential([keras.Input((8, 8, 3), dtype="uint8"), layer, keras.layers.Flatten()])
    model.add(keras.layers.Dense(3))
    seen = []
    layer_call = layer.call

    def noted(x, training=False):
        found = layer_call(x, training)
        seen.append(found.numpy())
        return found

    layer.call = noted
    module = DistributedDataParallel(model) if world > 1 else model
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], 0.1)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(x, training=True), y).backward()
        optimizer.step()
    augmented = ow.AugmentedModel(model, POLICY, seed=9)._augment({"images": x}, torch.tensor(2))["images"]
    np.savez(folder / f"{world}-{rank}.npz", *model.get_weights(), seen=np.stack(seen), augmented=augmented)
    if world > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
