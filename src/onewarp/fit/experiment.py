"""Some trainings that differ in their policy alone, and the run folder that shows them side by side."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from onewarp.fit import folder as files
from onewarp.fit.board import tensorboard_writer
from onewarp.fit.plots import plot_history
from onewarp.fit.progress import Row
from onewarp.fit.run import Data, Result, Settings, train
from onewarp.picture import render, sheet, write_png
from onewarp.policy import Policy
from onewarp.samples import draw_samples, one_per_class, sample_sheet
from onewarp.spec import Spec


def run_experiment(
    data: Data,
    policies: Mapping[str, Policy],
    settings: Settings,
    backend: str,
    command: str,
    console: Console,
    *,
    tensorboard: bool = False,
    out: Path | None = None,
) -> tuple[Path, list[Result]]:
    """Train once per policy, write the run folder, print the results. Returns the folder and the results.

    Args:
        data, settings: what to train on, and how; the same for every policy.
        policies: name of a training -> its policy; the last one is the one whose samples are shown.
        backend: name of the Keras backend, for the records.
        command: what was typed, for the records.
        console: where progress and results go.
        tensorboard: whether to log for TensorBoard, below the run folder.
        out: the run folder, new or empty; by default runs/NAME.
    """
    policy = list(policies.values())[-1]
    plan = str(policy.plan(Spec(data.train.image_shape, data.train.dtype, data.train.value_range)))
    picture = _samples(data, policy, settings.seed)
    folder = files.new_folder(out, f"{data.name}-{settings.model}-{backend}")
    files.write_config(folder, _config(data, policy, settings, backend, command))
    console.print(
        f"{settings.model} on {data.name}, {backend}: {len(data.train):,} samples to train, "
        f"{len(data.validation):,} to validate, {len(data.test):,} to test",
        highlight=False,
        soft_wrap=True,
    )
    write_png(folder / "samples.png", picture)

    results = []
    for name, one in policies.items():
        with contextlib.ExitStack() as stack:
            log: Any = None
            if tensorboard:
                log, close = tensorboard_writer(folder / "tensorboard" / name, _epoch_picture(data, one, settings.seed))
                stack.callback(close)

            def watch(row: Row, name: str = name, log: Any = log) -> None:
                files.append_history(folder, name, row)
                if log is not None:
                    log(row)

            results.append(train(name, one, data, settings, console, watch))
        files.save_model(folder / f"{name}.keras", results[-1].model)

    length = "1 epoch" if settings.epochs == 1 else f"{settings.epochs} epochs"
    title = f"{settings.model} on {data.name}, {backend}, {length}, seed {settings.seed}"
    accuracies = {result.name: result.test_accuracy for result in results}
    plot_history({result.name: result.rows for result in results}, folder / "history.png", title, accuracies)
    files.write_summary(folder, title, command, plan, results)
    table = Table(*files.RESULT_COLUMNS, title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, column in enumerate(table.columns):
        column.justify = "right" if number else "left"
    for line in files.result_rows(results):
        table.add_row(*line)
    console.print(table)
    console.print(f"Results are in {folder}: summary.md, history.png, samples.png", highlight=False, soft_wrap=True)
    return folder, results


def _config(data: Data, policy: Policy, settings: Settings, backend: str, command: str) -> dict[str, Any]:
    return {
        "command": command,
        "data": {
            "name": data.name,
            "train": len(data.train),
            "validation": len(data.validation),
            "test": len(data.test),
        },
        **asdict(settings),
        "policy": policy.to_dict(),
        "backend": backend,
        "versions": files.versions(backend),
        "machine": platform.machine(),
    }


def _samples(data: Data, policy: Policy, seed: int) -> np.ndarray:
    indices = one_per_class(data.train)
    return sample_sheet(
        data.train,
        policy,
        indices,
        8,
        names=[_class_name(data, index) for index in indices],
        seed=seed,
        side=64,
        title=f"{data.name}: one training sample per class, and what eight epochs make of it",
    )


def _epoch_picture(data: Data, policy: Policy, seed: int) -> Any:
    """epoch -> a picture of what that epoch makes of one sample per class."""
    indices = one_per_class(data.train)

    def picture(epoch: int) -> np.ndarray:
        drawn = draw_samples(data.train, policy, indices, 1, seed, first=epoch)
        return sheet([[render(samples[0], 64, data.train.value_range) for samples in drawn]])

    return picture


def _class_name(data: Data, index: int) -> str:
    label = int(np.asarray(data.train.labels)[index])
    names = data.train.class_names
    return names[label] if names is not None else str(label)
