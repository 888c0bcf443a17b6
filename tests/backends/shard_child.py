"""One of several processes that share an epoch; run by test_shards.py.

Arguments: index, count, port, kind ("auto" joins the backend's own group first, "given" passes the numbers), out.
Writes an .npz with the images of each step of epochs 0 and 1, and those of a loader restored in the middle of epoch 1.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np
from loader_helpers import BACKEND, POLICY, source

from onewarp.errors import InputError
from onewarp.fit.loader import Loader


def join(index: int, count: int, port: int) -> None:
    """Enter the group of processes, as a user of the backend would."""
    if BACKEND == "jax":
        import jax

        jax.distributed.initialize(f"localhost:{port}", num_processes=count, process_id=index)
    elif BACKEND == "torch":
        import torch.distributed as distributed

        os.environ.update({"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)})
        try:
            Loader(source(), POLICY, 4, shard="auto")
        except InputError as error:
            assert "init_process_group" in str(error)
        else:
            raise AssertionError("a loader of a process that has not joined must not show everything")
        distributed.init_process_group("gloo", rank=index, world_size=count)
    else:
        workers = [f"localhost:{port + k}" for k in range(count - 1)]
        task = {"type": "worker", "index": index - 1} if index else {"type": "chief", "index": 0}
        cluster = {"chief": [f"localhost:{port + count}"], "worker": workers}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})


def main() -> None:
    index, count, port = (int(argument) for argument in sys.argv[1:4])
    kind, out = sys.argv[4:6]
    if kind == "auto":
        join(index, count, port)

    def made(threads: int) -> Loader:
        shard: Any = "auto" if kind == "auto" else (index, count)
        return Loader(source(), POLICY, 2, seed=3, shard=shard, threads=threads)

    loader, found = made(2), {}
    for epoch in range(2):
        for step, (images, _) in enumerate(loader):
            found[f"{epoch}.{step}"] = np.array(images)
            if (epoch, step) == (1, 1):
                state = loader.state()
    again = made(1)
    again.restore(state)
    found.update((f"rest.{2 + step}", np.array(images)) for step, (images, _) in enumerate(again))
    found["shard"], found["state"] = np.array(loader.batches.shard), np.array(json.dumps(state, sort_keys=True))
    np.savez(out, **found)


if __name__ == "__main__":
    main()
