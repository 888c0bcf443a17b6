"""Snapshot: a model in training and its place in the data, as one file.

One .npz holds the numbers of all variables and, as JSON, where the loader stands. They cannot disagree: the file is
whole or not there. Variables are kept by their place in `model.variables` (weights, and the counters of dropout's and
other layers' random seeds), `model.optimizer.variables` (the learning rate, where it is a number, among them) and
`model.metrics_variables` (the sums of an epoch that is under way). On torch Keras lets a Dropout without a seed draw
from torch's own generator, whose state is kept, too.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import keras
import numpy as np

from onewarp.errors import InputError
from onewarp.fit.files import replace_file

FORMAT = 1
GROUPS = {"model": "variables", "optimizer": "optimizer variables", "metrics": "metrics"}
Rows = list[tuple[int, dict[str, float]]]  # an epoch's number and its logs


@dataclass(frozen=True)
class Snapshot:
    """What a backup holds.

    Attributes:
        epoch: Keras' number of the epoch that comes next, or that is under way.
        state: of the loader.
        facts: what the loader was made with; a loader made otherwise would not give the same batches.
        rows: the logs of the epochs so far.
        arrays: the numbers of all variables, by group ("model", "optimizer", "metrics"), and as "random" the state of
            the backend's own generators.
    """

    epoch: int
    state: Mapping[str, Any]
    facts: Mapping[str, Any]
    rows: Rows
    arrays: Mapping[str, Sequence[np.ndarray]]

    @property
    def under_way(self) -> bool:
        """Whether it was taken in the middle of an epoch."""
        return bool(self.state["batch"])

    def save(self, path: Path) -> None:
        """Write it to a file, which is whole or not there. Raises OSError where it cannot be."""
        told = {
            "format": FORMAT,
            "epoch": self.epoch,
            "state": self.state,
            "facts": self.facts,
            "rows": self.rows,
            "counts": {group: len(arrays) for group, arrays in self.arrays.items()},
        }
        named = {
            f"{group}.{number}": _storable(array)
            for group, arrays in self.arrays.items()
            for number, array in enumerate(arrays)
        }

        def write(file: BinaryIO) -> None:
            np.savez(file, __backup__=np.array(json.dumps(told)), **named)  # type: ignore[arg-type]

        replace_file(path, write)

    @staticmethod
    def load(path: Path) -> Snapshot:
        """Read what `save` wrote. Raises InputError for any other file, and for a damaged one."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                told = json.loads(str(stored["__backup__"]))
                if told["format"] != FORMAT:
                    raise InputError(
                        f"{path} was written by another version of onewarp (format {told['format']}, not {FORMAT}); "
                        "go on with that version, or remove the file to start anew"
                    )
                arrays = {
                    group: [stored[f"{group}.{number}"] for number in range(count)]
                    for group, count in told["counts"].items()
                }
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as fault:
            if isinstance(fault, InputError):
                raise
            raise InputError(f"{path} is not a whole backup ({fault}); remove it to start anew") from None
        rows = [(int(epoch), dict(logs)) for epoch, logs in told["rows"]]
        return Snapshot(int(told["epoch"]), told["state"], told["facts"], rows, arrays)


def arrays_of(model: Any, metrics: bool) -> dict[str, list[np.ndarray]]:
    """What a snapshot keeps of a model in training; of its metrics only if wanted."""
    groups = variables_of(model)
    found = {
        group: [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables]
        for group, variables in groups.items()
        if metrics or group != "metrics"
    }
    return {**found, "random": random_state()}


def random_state() -> list[np.ndarray]:
    """The state of the random generators that the backend keeps for itself; none but on torch."""
    if keras.backend.backend() != "torch":
        return []
    import torch

    states = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])]
    return [state.numpy().copy() for state in states]


def set_random_state(states: Sequence[np.ndarray]) -> None:
    """Put the backend's generators to where `random_state` found them."""
    if keras.backend.backend() != "torch" or not states:
        return
    import torch

    torch.set_rng_state(torch.from_numpy(np.array(states[0])))
    for device, state in zip(range(torch.cuda.device_count()), states[1:], strict=False):
        torch.cuda.set_rng_state(torch.from_numpy(np.array(state)), device)


def variables_of(model: Any) -> dict[str, list[Any]]:
    """The variables of a model in training, by group."""
    return {
        "model": list(model.variables),
        "optimizer": list(model.optimizer.variables),
        "metrics": list(model.metrics_variables),
    }


def misfit(variables: Sequence[Any], arrays: Sequence[np.ndarray], group: str) -> str | None:
    """How stored arrays differ from a model's variables, as a line; None where they fit."""
    if len(variables) != len(arrays):
        return f"it holds {len(arrays)} {GROUPS[group]}, the model has {len(variables)}"
    for variable, array in zip(variables, arrays, strict=True):
        if tuple(variable.shape) != array.shape:
            return f"{variable.path} has shape {tuple(variable.shape)} in the model, {array.shape} in the backup"
    return None


def assign(variables: Sequence[Any], arrays: Sequence[np.ndarray]) -> None:
    """Give variables the numbers that were stored."""
    for variable, array in zip(variables, arrays, strict=True):
        own = np.array(keras.ops.convert_to_numpy(variable.value)).dtype
        variable.assign(array if own.kind in "biuf" else array.view(own))


def _storable(array: np.ndarray) -> np.ndarray:
    """bfloat16 and other types that NumPy does not know, as whole numbers of the same bits."""
    return array if array.dtype.kind in "biuf" else array.view(f"u{array.dtype.itemsize}")
