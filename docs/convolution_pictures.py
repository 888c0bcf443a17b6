"""The pictures of docs/convolutions.md, drawn from what docs/convolutions.py measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from convolutions import (
    CHANNELS,
    FILTERS,
    IMAGE,
    KERNEL,
    SOBEL_COLUMN,
    SOBEL_ROW,
    STACKS,
    conv,
    kernel_that_acts,
    layers,
    matrix,
    paths,
    photograph,
    run,
    sobel,
    weights,
)
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

TEXT, EMPTY, TEAL, RED, AMBER = "#333333", "#f4f4f4", "#00798c", "#d1495b", "#edae49"
TEALS = LinearSegmentedColormap.from_list("teals", ["#d8edf0", TEAL])
AMBERS = LinearSegmentedColormap.from_list("ambers", ["#fdf3df", AMBER])


def figure(width: float, height: float) -> Figure:
    made = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(made)
    return made


def cells(
    axes: Axes, values: np.ndarray, title: str, colours: Any = TEALS, numbers: bool = True, size: float = 11
) -> None:
    """A grid of whole numbers; zeros are empty cells."""
    height, width = values.shape
    top = max(1, abs(values).max())
    shades = np.array([[colours(abs(v) / top) if v else (0.957, 0.957, 0.957, 1) for v in row] for row in values])
    axes.imshow(shades, interpolation="nearest")
    axes.set_xticks(np.arange(width + 1) - 0.5, labels=[])
    axes.set_yticks(np.arange(height + 1) - 0.5, labels=[])
    axes.grid(color="white", linewidth=1.5 if width < 20 else 0.8)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    if numbers:
        for (row, column), value in np.ndenumerate(values):
            dark = value and abs(value) > 0.6 * top and colours is TEALS
            colour = "white" if dark else TEXT if value else "#bbbbbb"
            axes.text(column, row, f"{value}", ha="center", va="center", fontsize=size, color=colour)
    axes.set_title(title, fontsize=11, color=TEXT)


def dilated() -> Figure:
    made = figure(11, 7.2)
    axes = made.subplots(2, 3)
    for ax, rate in zip(axes[0], (1, 2, 3), strict=True):
        acting = kernel_that_acts(rate)
        cells(ax, acting, f"rate {rate}: 9 weights see {len(acting)}x{len(acting)}")
        ax.set_xlim(-2.5 + rate - 1.5, len(acting) + 1.5 - rate + 1.5)  # the same size of cell in all three
        ax.set_ylim(len(acting) + 1.5 - rate + 1.5, -2.5 + rate - 1.5)
    for ax, rates in zip(axes[1], STACKS, strict=True):
        ways = paths(*map(conv, rates))
        text = ", ".join(map(str, rates))
        cells(ax, ways, f"rates {text}: {len(ways)}x{len(ways)}, {(ways > 0).sum()} pixels seen", AMBERS, numbers=False)
        margin = (17 - len(ways)) / 2
        ax.set_xlim(-0.5 - margin, len(ways) - 0.5 + margin)
        ax.set_ylim(len(ways) - 0.5 + margin, -0.5 - margin)
        middle = len(ways) // 2
        ax.plot(middle, middle, "o", color=RED, markersize=5)
    return made


def transposed() -> Figure:
    made = figure(11, 6.6)
    grid = made.add_gridspec(2, 6, width_ratios=[2.6, 0.5, 1.2, 0.5, 2.6, 1.2], height_ratios=[2.1, 1])
    c = matrix(conv(strides=2), 5)
    y = run(IMAGE[None], conv(strides=2), kernel=KERNEL)[0]
    back = run(y[None], layers.Conv2DTranspose(1, 3, strides=2, use_bias=False), kernel=KERNEL)[0]
    cells(made.add_subplot(grid[0, 0]), IMAGE, "x: 5x5 pixels", AMBERS)
    cells(made.add_subplot(grid[0, 2]), y, "y = C x: 2x2", AMBERS, size=10)
    cells(made.add_subplot(grid[0, 4]), back, "Cᵀ y: 5x5 again, other values", AMBERS, size=9)
    for column, text in ((1, "C"), (3, "Cᵀ")):
        ax = made.add_subplot(grid[0, column])
        ax.set_axis_off()
        ax.annotate("", (1, 0.5), (0, 0.5), arrowprops={"arrowstyle": "-|>", "color": TEXT, "linewidth": 1.6})
        ax.text(0.5, 0.54, text, ha="center", va="bottom", fontsize=13, color=TEXT)
    cells(made.add_subplot(grid[1, :5]), c, "C: 4x25, the kernel once per row, at stride 2", size=8.5)
    cells(made.add_subplot(grid[:, 5]), c.T, "Cᵀ: 25x4", size=8.5)
    return made


def separable() -> Figure:
    made = figure(11, 5.2)
    grid = made.add_gridspec(2, 1, height_ratios=[1, 1.35])
    bars = made.add_subplot(grid[0])
    whole = weights(layers.Conv2D(FILTERS, 3, use_bias=False))
    depthwise = weights(layers.DepthwiseConv2D(3, use_bias=False))
    pointwise = weights(layers.Conv2D(FILTERS, 1, use_bias=False))
    bars.barh([1], [whole], color=TEAL, height=0.6)
    bars.barh([0], [depthwise], color=RED, height=0.6)
    bars.barh([0], [pointwise], left=[depthwise], color=AMBER, height=0.6)
    bars.text(whole - 40, 1, f"3x3 over all channels: {whole:,}", ha="right", va="center", color="white", fontsize=11)
    words = f"3x3 in each channel: {depthwise}  +  1x1 over channels: {pointwise}  =  {depthwise + pointwise}"
    bars.text(depthwise + pointwise + 40, 0, words, va="center", color=TEXT, fontsize=11)
    bars.set_yticks([1, 0], labels=["ordinary", "depthwise\nseparable"], fontsize=11, color=TEXT)
    bars.set_title(f"Weights of a 3x3 layer from {CHANNELS} to {FILTERS} channels", fontsize=11, color=TEXT)
    bars.tick_params(colors=TEXT, length=0)
    bars.set_xticks([])
    for side in bars.spines.values():
        side.set_visible(False)

    lower = grid[1].subgridspec(1, 7, width_ratios=[0.45, 0.3, 1.35, 0.3, 1.35, 2.7, 2.7])
    product = np.outer(SOBEL_COLUMN, SOBEL_ROW)
    for column, values, title in ((0, SOBEL_COLUMN[:, None], ""), (2, SOBEL_ROW[None], ""), (4, product, "")):
        ax = made.add_subplot(lower[column])
        cells(ax, values, title)
        rows, columns = values.shape
        ax.set_xlim(columns / 2 - 2.0 if columns == 3 else -0.5, columns / 2 + 1.0 if columns == 3 else 0.5)
        ax.set_ylim(rows / 2 + 1.0, rows / 2 - 2.0)  # three rows, so that all cells have one size
        ax.text(columns / 2 - 0.5, rows - 0.3, f"{values.size} numbers", ha="center", va="top", fontsize=11, color=TEXT)
    for column, text in ((1, "×"), (3, "=")):
        ax = made.add_subplot(lower[column])
        ax.set_axis_off()
        ax.text(0.5, 0.5, text, ha="center", va="center", fontsize=18, color=TEXT)
    once, twice = sobel()
    shown = ((photograph(), "a photograph", "gray"), (twice, "column, then row", "RdBu"))
    for column, (image, title, colours) in enumerate(shown, start=5):
        ax = made.add_subplot(lower[column])
        top = abs(once).max() * 0.6
        limits = {} if colours == "gray" else {"vmin": -top, "vmax": top}
        ax.imshow(image, cmap=colours, **limits)
        ax.set_title(title, fontsize=11, color=TEXT)
        ax.set_axis_off()
    return made


def draw(folder: Path) -> None:
    for name, made in (("dilated", dilated()), ("transposed", transposed()), ("separable", separable())):
        made.savefig(folder / f"convolution-{name}.png", dpi=100)
