"""A training while it runs: a bar on a terminal, a line now and then elsewhere; and its epochs as rows of numbers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

Row = dict[str, float]
SHOWN = {"accuracy": "accuracy", "mean_iou": "mean IoU"}  # the metrics that are shown while they change
# Columns that Keras orders otherwise from version to version.
FIRST = ("loss", *SHOWN, "val_loss", *(f"val_{name}" for name in SHOWN))


class EpochRows(keras.callbacks.Callback):
    """Collects one row of numbers per epoch: `epoch` (from 1), Keras' logs, `learning_rate`, `seconds`.

    Args:
        learning_rate: step -> learning rate of that optimizer step.
        watch: called with each row as soon as its epoch has ended.

    Attributes:
        rows: the epochs so far; `seconds` is the whole epoch, validation included.
        compile_seconds: what the first step took longer than the median step: tracing and compiling, nearly all of it.
    """

    def __init__(self, learning_rate: Callable[[int], float], watch: Callable[[Row], Any]) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self._learning_rate, self._watch = learning_rate, watch
        self._steps: list[float] = []
        self._epoch_began = self._step_began = 0.0

    @property
    def compile_seconds(self) -> float:
        return max(0.0, self._steps[0] - statistics.median(self._steps)) if self._steps else float("nan")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch_began = time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._step_began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._steps.append(time.perf_counter() - self._step_began)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        known = {name: float(value) for name, value in (logs or {}).items()}
        row: Row = {"epoch": epoch + 1, **{name: known.pop(name) for name in FIRST if name in known}, **known}
        row["learning_rate"] = self._learning_rate(len(self._steps) - 1)
        row["seconds"] = time.perf_counter() - self._epoch_began
        self.rows.append(row)
        self._watch(row)


class ProgressBar(keras.callbacks.Callback):
    """Shows a training as one progress bar; where the console is no terminal, as at most a dozen lines.

    Args:
        console: where to.
        name: what is trained.
        epochs: how many there will be.
    """

    def __init__(self, console: Console, name: str, epochs: int) -> None:
        super().__init__()
        self._console, self._name, self._epochs = console, name, epochs
        self._every = max(1, -(-epochs // 10))
        self._bar: Progress | None = None
        self._task: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        if not self._console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("epoch {task.fields[epoch]}/" + str(self._epochs)),
            TextColumn("{task.fields[text]}", style="cyan"),
            TimeRemainingColumn(compact=True),
            console=self._console,
        )
        self._task = self._bar.add_task(self._name, total=None, epoch=1, text="compiling")
        self._bar.start()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._bar is not None:
            steps = (self.params or {}).get("steps")
            total = None if steps is None else steps * self._epochs
            done = {} if steps is None else {"completed": steps * epoch}
            self._bar.update(self._task, total=total, epoch=epoch + 1, **done)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._bar is not None:
            self._bar.advance(self._task)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        text = summary_line(logs or {})
        if self._bar is not None:
            self._bar.update(self._task, text=text)
        elif (epoch + 1) % self._every == 0 or epoch + 1 == self._epochs or epoch == 0:
            self._console.print(f"{self._name}: epoch {epoch + 1}/{self._epochs}, {text}", highlight=False)

    def on_train_end(self, logs: Any = None) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bar as it is; needed where training was broken off."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def summary_line(logs: dict[str, Any]) -> str:
    """The numbers of an epoch that one wants to see pass by."""
    parts = [f"loss {logs['loss']:.4f}"] if "loss" in logs else []
    for name, label in SHOWN.items():
        parts += [f"{label} {logs[name]:.1%}"] if name in logs else []
        parts += [f"validation {logs['val_' + name]:.1%}"] if "val_" + name in logs else []
    return ", ".join(parts)
