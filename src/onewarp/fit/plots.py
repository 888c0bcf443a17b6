"""The picture of a run: loss and accuracy, or another score, over the epochs; a colour per training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from onewarp.fit.progress import SHOWN

COLOURS = ("#7a7a7a", "#d1495b", "#00798c", "#edae49", "#5e4b8b")
GRID, TEXT = "#dddddd", "#333333"

Rows = Sequence[Mapping[str, float]]


def plot_history(
    histories: Mapping[str, Rows],
    path: Path,
    title: str,
    test_score: Mapping[str, float] | None = None,
    *,
    score: str = "accuracy",
) -> None:
    """Write a PNG of loss and score: a colour per training, validation solid, training dashed.

    The loss is on a log scale where it spans more than a factor of ten.

    Args:
        histories: name of a training -> its epochs, each with `epoch` (from 1), `loss`, `val_loss`, and the score
            and its `val_` counterpart.
        path: the PNG to write.
        title: a line above the panels.
        test_score: name of a training -> its score on the test set, in [0, 1], named in the legend.
        score: the column that is drawn beside the loss, in [0, 1]; one of `onewarp.fit.progress.SHOWN`.
    """
    figure = Figure(figsize=(11, 4.8), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    losses = [row[name] for rows in histories.values() for row in rows for name in ("loss", "val_loss")]
    wide = min(losses) > 0 and max(losses) > 10 * min(losses)
    _panel(left, histories, "loss", "cross-entropy (log scale)" if wide else "cross-entropy")
    _panel(right, histories, score, SHOWN[score])
    if wide:
        left.set_yscale("log")
        left.yaxis.set_major_formatter("{x:g}")
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    _zoom(right, histories, score)
    figure.suptitle(title, fontsize=12, color=TEXT)
    handles = _legend(histories, test_score or {})
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.savefig(path, dpi=130)


def _panel(axes: Axes, histories: Mapping[str, Rows], column: str, label: str) -> None:
    for (_, rows), colour in zip(histories.items(), _colours(len(histories)), strict=True):
        epochs = [row["epoch"] for row in rows]
        marker = "o" if len(rows) == 1 else ""  # a line of one point would be invisible
        axes.plot(epochs, [row[column] for row in rows], "--", marker=marker, color=colour, linewidth=1.2, alpha=0.8)
        axes.plot(epochs, [row["val_" + column] for row in rows], "-", marker=marker, color=colour, linewidth=2)
    axes.set_xlabel("epoch", color=TEXT)
    axes.set_title(label, loc="left", fontsize=10, color=TEXT)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(color=GRID, linewidth=0.7)
    axes.tick_params(colors=TEXT, which="both")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _zoom(axes: Axes, histories: Mapping[str, Rows], score: str) -> None:
    """Cut off the first epochs of a run that ends high: otherwise the difference of the ends cannot be seen."""
    final = [rows[-1][name] for rows in histories.values() if rows for name in (score, f"val_{score}")]
    if final and min(final) > 0.9:
        axes.set_ylim(max(0.0, 1 - 2.5 * (1 - min(final)) - 0.05), 1.005)


def _legend(histories: Mapping[str, Rows], test_score: Mapping[str, float]) -> list[Line2D]:
    handles = []
    for name, colour in zip(histories, _colours(len(histories)), strict=True):
        label = f"{name}: test {test_score[name]:.2%}" if name in test_score else name
        handles.append(Line2D([], [], color=colour, linewidth=4, label=label))
    handles.append(Line2D([], [], color=TEXT, linewidth=2, label="validation"))
    handles.append(Line2D([], [], color=TEXT, linewidth=1.2, linestyle="--", label="training"))
    return handles


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]
