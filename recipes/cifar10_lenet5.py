"""LeNet-5 on CIFAR-10 with and without augmentation: a tutorial of 2021, repeated in its own settings.

    python recipes/cifar10_lenet5.py --data PATH --seeds 3 --epochs 80 --out runs/cifar10-lenet5
    python recipes/cifar10_lenet5.py --out runs/cifar10-lenet5 --plot        # table and picture of what is finished

Published: 62.70 % test accuracy without augmentation, 69.00 % with it.
Found: 62.6 % without (seeds 0 to 2: 62.1, 62.4, 63.4) and 68.9 % with it (68.5, 70.7, 67.4), after 80 epochs, on a
copy of CIFAR-10 that was JPEG re-encoded. One core of an AMD EPYC, JAX: 10.5 and 11.1 s of processor time per epoch.

The page docs/recipes/cifar10-lenet5.md has the whole table, the picture, and where the time goes.
"""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
import typer
from keras import layers, ops

import onewarp as ow
from onewarp.cli.cifar import open_cifar10
from onewarp.fit.describe import markdown
from onewarp.fit.plots import COLOURS, GRID, TEXT
from onewarp.models import build

POLICY = Path(__file__).parent / "policies" / "cifar10-tutorial.yaml"
PUBLISHED = {"plain": 0.6270, "augmented": 0.6900}
BATCH = 16
EVALUATION_BATCH = 250
STEPS_PER_EXECUTION = 50  # at most; changes how often Keras calls its callbacks, not one bit of the weights


def main(
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="PATH", help="Folder or tar with CIFAR-10; keras.datasets without it."),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, metavar="N", help="Runs of each kind, seeds 0 to N - 1.")] = 3,
    epochs: Annotated[int, typer.Option("--epochs", min=1, metavar="N", help="Passes over the training images.")] = 80,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where runs are written; finished ones are not repeated.")
    ] = Path("runs/cifar10-lenet5"),
    plot: Annotated[bool, typer.Option("--plot", help="Train nothing: table and picture of what is finished.")] = False,
    timing: Annotated[bool, typer.Option("--time", help="Train nothing: measure where a step's time goes.")] = False,
) -> None:
    """Repeat the experiment: seed 0 without augmentation, seed 0 with it, seed 1 ..., then a table and a picture."""
    if not plot:
        train, test = open_cifar10(data)
        if timing:
            return print_timings(train)
        out.mkdir(parents=True, exist_ok=True)
        for seed in range(seeds):
            for variant in PUBLISHED:
                run(out, variant, seed, epochs, train, test)
    runs = finished(out)
    if not runs:
        raise typer.BadParameter(f"{out} has no finished run; leave --plot out to make them")
    print(results_table(runs))
    draw_curves(runs, out / "history.png")
    print(f"The picture is {out / 'history.png'}")


# The experiment


def run(out: Path, variant: str, seed: int, epochs: int, train: Any, test: Any) -> None:
    """Train once and write OUT/VARIANT-SEED.json, with a line per epoch in the .csv beside it; nothing if it is there.

    Args:
        variant: "plain" or "augmented".
        train, test: sources; a fifth of `train` becomes the validation set.
    """
    path = out / f"{variant}-{seed}.json"
    if path.exists() and len(json.loads(path.read_text(encoding="utf-8"))["history"]) == epochs:
        print(f"{path} is there already")
        return
    policy = ow.Policy.from_yaml(POLICY)
    clean = policy.deterministic()  # rescales, no more
    learning, validation = first_fifth(train)
    keras.utils.set_random_seed(seed)
    loader = ow.Loader(learning, policy if variant == "augmented" else clean, batch_size=BATCH, seed=seed)
    watched = {"validation": evaluation(validation, clean, seed), "test": evaluation(test, clean, seed)}
    if variant == "augmented":  # "as it was": the tutorial's validation images were augmented too
        watched["validation_augmented"] = evaluation(validation, policy, seed)
    model = lenet5()
    compile_model(model, math.gcd(len(loader), STEPS_PER_EXECUTION))
    rows = EpochRows(watched, path.with_suffix(".csv"), f"{variant}, seed {seed}", epochs)
    model.fit(loader, epochs=epochs, verbose=0, callbacks=[ow.PipelineMonitor(), rows])
    record = {
        "variant": variant,
        "seed": seed,
        "epochs": epochs,
        "samples": {"training": len(learning), "validation": len(validation), "test": len(test)},
        "test_accuracy": rows.rows[-1]["test_accuracy"],
        "cpu_seconds": sum(row["cpu_seconds"] for row in rows.rows),
        "versions": {
            "onewarp": version("onewarp"),
            "keras": keras.__version__,
            keras.config.backend(): str(getattr(sys.modules.get(keras.config.backend()), "__version__", "unknown")),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "policy": policy.to_dict() if variant == "augmented" else clean.to_dict(),
        "history": rows.rows,
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def first_fifth(source: Any) -> tuple[Any, Any]:
    """(training, validation): the first fifth of each class validates, as `validation_split=0.2` of Keras'
    ImageDataGenerator does with a folder per class.

    In the original's order, where the classes are mixed, this is the first fifth of the whole to within a few dozen
    images; in a copy with a folder per class the first fifth of the whole would be two classes.
    """
    labels = np.asarray(source.labels)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        chosen[rows[: round(len(rows) / 5)]] = True
    return source.subset(np.flatnonzero(~chosen)), source.subset(np.flatnonzero(chosen))


def evaluation(source: Any, policy: ow.Policy, seed: int) -> ow.Loader:
    return ow.Loader(source, policy, batch_size=EVALUATION_BATCH, shuffle=False, seed=seed)


def compile_model(model: Any, steps_per_execution: int) -> None:
    model.compile(
        keras.optimizers.Adam(),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=steps_per_execution,
    )


class EpochRows(keras.callbacks.Callback):
    """After each epoch: evaluates, collects a row of numbers, writes and prints it.

    Evaluation leaves no trace in the training: it changes no weight and no moving average, and no draw depends on what
    was drawn before. So one training serves for every way to validate.

    Args:
        watched: name -> loader to evaluate.
        path: the CSV file.
        name, epochs: for the line that is printed.

    Attributes:
        rows: one per epoch: loss and accuracy in training and of what is watched, data_wait, `seconds` of the clock
            and `cpu_seconds` of all threads of this process, for the whole epoch and, `evaluation_...`, for its
            evaluation.
    """

    def __init__(self, watched: Mapping[str, ow.Loader], path: Path, name: str, epochs: int) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self._watched, self._path, self._name, self._epochs = watched, path, name, epochs
        self._began = (0.0, 0.0)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._began = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        row = {"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}}
        since = time.perf_counter(), time.process_time()
        for name, loader in self._watched.items():
            found = self.model.evaluate(loader, verbose=0, return_dict=True)
            row |= {f"{name}_{key}": float(value) for key, value in found.items()}
        now = time.perf_counter(), time.process_time()
        row |= {"seconds": now[0] - self._began[0], "cpu_seconds": now[1] - self._began[1]}
        row |= {"evaluation_seconds": now[0] - since[0], "evaluation_cpu_seconds": now[1] - since[1]}
        self.rows.append(row)
        with self._path.open("w" if epoch == 0 else "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if epoch == 0:
                writer.writeheader()
            writer.writerow({key: f"{value:.6g}" for key, value in row.items()})
        shown = ", ".join(f"{key} {value:.4f}" for key, value in row.items() if key.endswith("accuracy"))
        print(f"{self._name}: epoch {epoch + 1}/{self._epochs}: {shown}, {row['cpu_seconds']:.1f} s CPU", flush=True)


# The model: Keras' layers, computed in the way in which XLA is quick on a CPU


class FoldedConv2D(layers.Conv2D):
    """The same convolution, with some neighbouring columns at a time taken as channels.

    XLA on a CPU gathers the patches of a convolution channel by channel, which for 3 or 6 channels takes longer than
    the arithmetic. With f columns folded into the channels ([n, h, w, c] -> [n, h, w / f, f * c], the same memory) the
    kernel becomes [kh, (kw + f - 1) / f, f * c, f * filters], mostly copies of itself at f offsets, and gives f
    neighbouring outputs at once. The sums are the same but for their order.
    """

    FOLD = 4

    def call(self, inputs: Any) -> Any:
        fold, (height, width) = self.FOLD, self.kernel_size
        rows, columns = inputs.shape[1] - height + 1, inputs.shape[2] - width + 1
        cells = -(-(width + fold - 1) // fold)  # that a kernel reaches over
        groups = -(-columns // fold)
        channels, used = inputs.shape[3], fold * (groups - 1 + cells)
        inputs = ops.pad(inputs, ((0, 0), (0, 0), (0, max(0, used - inputs.shape[2])), (0, 0)))[:, :, :used]
        inputs = ops.reshape(inputs, (-1, inputs.shape[1], groups - 1 + cells, fold * channels))
        room = fold * cells - width
        shifted = [ops.pad(self.kernel, ((0, 0), (s, room - s), (0, 0), (0, 0))) for s in range(fold)]
        kernel = ops.reshape(ops.stack(shifted, 3), (height, cells, fold * channels, fold * self.filters))
        outputs = ops.reshape(ops.conv(inputs, kernel), (-1, rows, groups * fold, self.filters))[:, :, :columns]
        return outputs + self.bias


class FoldedConv2DBy2(FoldedConv2D):
    FOLD = 2


class FoldedMaxPooling2D(layers.MaxPooling2D):
    """The same maximum over 2 x 2 pixels, as two element-wise ones: XLA's gradient of a pooling is a scatter."""

    def call(self, inputs: Any) -> Any:
        height, width, channels = (inputs.shape[axis] for axis in (1, 2, 3))
        pairs = ops.reshape(inputs, (-1, height // 2, 2, width // 2, 2 * channels))
        lines = ops.maximum(pairs[:, :, 0], pairs[:, :, 1])
        return ops.maximum(lines[..., :channels], lines[..., channels:])


def lenet5(folded: bool = True) -> Any:
    """The LeNet-5 of `onewarp.models`, 62,998 parameters; `folded`: computed by the layers above, the same function."""
    model = build("lenet5", (32, 32, 3), 10)
    if not folded:
        return model
    swapped = {"Conv2D": iter((FoldedConv2D, FoldedConv2DBy2)), "MaxPooling2D": iter((FoldedMaxPooling2D,) * 2)}

    def swap(layer: Any) -> Any:
        kind = next(swapped.get(type(layer).__name__, iter(())), type(layer))
        return kind.from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=swap)


# The report


def finished(out: Path) -> list[dict[str, Any]]:
    """The records of the finished runs below `out`, without augmentation first, by seed."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in out.glob("*-*.json")]
    return sorted(records, key=lambda record: (list(PUBLISHED).index(record["variant"]), record["seed"]))


def results_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Test accuracies as a Markdown table: after the last epoch, and at the epoch that each way to validate chooses."""
    lines = []
    for variant, published in PUBLISHED.items():
        mine = [record for record in runs if record["variant"] == variant]
        if not mine:
            continue
        last = [record["test_accuracy"] for record in mine]
        clean = [chosen(record["history"], "validation") for record in mine]
        augmented = "validation_augmented" if variant == "augmented" else "validation"
        as_it_was = [chosen(record["history"], augmented) for record in mine]
        seconds = statistics.median(row["cpu_seconds"] for record in mine for row in record["history"])
        lines.append(
            [
                variant,
                mean_and_spread([published]),
                *map(mean_and_spread, (last, as_it_was, clean)),
                len(mine),
                f"{seconds:.1f}",
            ]
        )
    header = [
        "training",
        "published",
        "last epoch",
        "best epoch, as it was",
        "best epoch, clean",
        "runs",
        "CPU s/epoch",
    ]
    return markdown(header, lines)


def chosen(history: Sequence[Mapping[str, float]], name: str) -> float:
    """Test accuracy at the epoch with the highest accuracy of `name`."""
    return max(history, key=lambda row: row[f"{name}_accuracy"])["test_accuracy"]


def mean_and_spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation in per cent."""
    spread = f" ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.2f}{spread} %"


def draw_curves(runs: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A PNG: test accuracy over the epochs beside the published figures, and validation accuracy both ways."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(11, 4.8), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    for (variant, published), colour in zip(PUBLISHED.items(), COLOURS, strict=False):
        mine = [record["history"] for record in runs if record["variant"] == variant]
        if not mine:
            continue
        label = "without augmentation" if variant == "plain" else "with augmentation"
        _curve(left, mine, "test_accuracy", colour, "-", f"{label}: {mean_and_spread(_last(mine))}")
        left.axhline(
            published, color=colour, linestyle=":", linewidth=1.5, label=f"published: {mean_and_spread([published])}"
        )
        _curve(right, mine, "validation_accuracy", colour, "-", f"{label}, clean validation")
        if variant == "augmented":
            _curve(right, mine, "validation_augmented_accuracy", colour, "--", f"{label}, augmented validation")
    for axes, title in ((left, "test accuracy"), (right, "validation accuracy")):
        axes.set_title(title, loc="left", fontsize=10, color=TEXT)
        axes.set_xlabel("epoch", color=TEXT)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(color=GRID, linewidth=0.7)
        axes.tick_params(colors=TEXT, labelleft=True)
        axes.legend(loc="lower right", frameon=False, fontsize=9)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    last = [row["test_accuracy"] for record in runs for row in record["history"]]
    left.set_ylim(max(0.0, min(statistics.quantiles(last, n=20)[0] if len(last) > 1 else last[0], 0.6) - 0.1), None)
    count = max(sum(record["variant"] == variant for record in runs) for variant in PUBLISHED)
    seeds = f"mean of {count} seeds, band from lowest to highest" if count > 1 else "one seed"
    figure.suptitle(f"LeNet-5 on CIFAR-10 (JPEG copy), batch {BATCH}: {seeds}", fontsize=12, color=TEXT)
    figure.savefig(path, dpi=130)


def _last(histories: Sequence[Sequence[Mapping[str, float]]]) -> list[float]:
    return [history[-1]["test_accuracy"] for history in histories]


def _curve(axes: Any, histories: Sequence[Any], column: str, colour: str, style: str, label: str) -> None:
    length = min(map(len, histories))
    values = np.array([[row[column] for row in history[:length]] for history in histories])
    epochs = np.arange(1, length + 1)
    marker = "o" if length == 1 else ""  # a line of one point would be invisible
    axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
    axes.plot(epochs, values.mean(0), style, color=colour, marker=marker, linewidth=1.6, label=label)


# Where the time goes


def print_timings(train: Any) -> None:
    """Print, as a Markdown table, microseconds per step of 16 images, of its parts, and per image evaluated."""
    source = first_fifth(train)[0].subset(np.arange(0, 40000, 10)).in_memory()
    policy = ow.Policy.from_yaml(POLICY)
    loader = ow.Loader(source, policy, batch_size=BATCH)
    steps = len(loader)
    lines: list[tuple[str, float]] = []

    def measure(what: str, action: Any, count: int) -> None:
        action()
        times = []
        for _ in range(3):
            began = time.perf_counter()
            action()
            times.append(time.perf_counter() - began)
        lines.append((what, min(times) / count * 1e6))

    measure("the Loader alone", lambda: [None for _ in loader], steps)
    batch = next(iter(loader))
    for name, folded in (("Keras' layers", False), ("folded layers", True)):
        measure(f"the train step alone, on one resident batch, {name}", resident_steps(lenet5(folded), batch), 100)
    for name, folded, together in (
        ("Keras' layers", False, 1),
        ("folded layers", True, 1),
        ("folded layers", True, 50),
    ):
        model = lenet5(folded)
        compile_model(model, together)
        measure(
            f"`fit`, {name}, steps_per_execution={together}",
            lambda model=model: model.fit(loader, verbose=0, callbacks=[ow.PipelineMonitor()]),
            steps,
        )
    watched = evaluation(source, policy.deterministic(), 0)
    for name, folded in (("Keras' layers", False), ("folded layers", True)):
        model = lenet5(folded)
        compile_model(model, 1)
        measure(f"`evaluate`, per image, {name}", lambda model=model: model.evaluate(watched, verbose=0), len(source))
    print(markdown(["per step of 16 images", "µs"], [[what, f"{value:,.0f}"] for what, value in lines]))


def resident_steps(model: Any, batch: Any) -> Any:
    """A function that makes 100 train steps on one batch that lies in the device's memory: no loader, no `fit`."""
    import jax

    compile_model(model, 1)
    x, y = jax.device_put(batch)
    model.train_on_batch(x, y)  # builds what it needs
    kinds = ("trainable", "non_trainable", "optimizer", "metrics")
    state = model._get_jax_state(**{f"{kind}_variables": True for kind in kinds})

    def batches() -> Iterator[Any]:
        while True:
            yield x, y, None

    endless = batches()

    def steps() -> None:
        nonlocal state
        for _ in range(100):
            _, state = model.train_function(state, endless)
        jax.block_until_ready(state)

    return steps


if __name__ == "__main__":
    typer.run(main)
