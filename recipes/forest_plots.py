"""Three pictures of trees and forests on scanned digits: a tree with its impurities, depth and pruning, and borders.

    python recipes/forest_plots.py --out runs/forest-plots

Writes tree.png, depth.png and boundaries.png, in about ten seconds on two cores. The digits come with scikit-learn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier, plot_tree

import onewarp as ow
from onewarp.fit.plots import COLOURS, GRID, TEXT

FEW = (0, 1, 6, 7)  # the digits that two numbers can tell apart
FEATURES = ("ink in the middle", "ink in the upper half")
DEPTHS = tuple(range(1, 16))
SEED = 0


def main(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the pictures go.")] = Path(
        "runs/forest-plots"
    ),
    trees: Annotated[int, typer.Option("--trees", min=5, metavar="N", help="Of a forest.")] = 50,
) -> None:
    """Draw the three pictures, and print what they show."""
    out.mkdir(parents=True, exist_ok=True)
    rest, test = ow.split(ow.DigitsSource(), 0.2, seed=0, stratify=True)
    train, val = ow.split(rest, 0.2, seed=1, stratify=True)
    draw_tree(two_numbers(train), out / "tree.png")
    draw_depth(*(pixels(source) for source in (train, val, test)), trees, out / "depth.png")
    draw_boundaries(two_numbers(train), two_numbers(test), trees, out / "boundaries.png")
    print(f"The pictures are in {out}")


# Data: [n, features] and labels [n]


def pixels(source: Any) -> tuple[np.ndarray, np.ndarray]:
    """The 64 levels of each digit."""
    sample = source.gather(np.arange(len(source)))
    return sample["images"].reshape(len(source), -1).astype(np.float32), sample["labels"]


def two_numbers(source: Any) -> tuple[np.ndarray, np.ndarray]:
    """Of the digits in FEW: how much of its ink is in the middle 2x4 pixels, and in the upper half; 0 to 1."""
    sample = source.gather(np.flatnonzero(np.isin(source.labels, FEW)))
    ink = sample["images"][..., 0].astype(np.float32)
    whole = ink.sum((1, 2))
    return np.stack([ink[:, 2:6, 3:5].sum((1, 2)) / whole, ink[:, :4].sum((1, 2)) / whole], 1), sample["labels"]


# Pictures


def draw_tree(data: tuple[np.ndarray, np.ndarray], path: Path) -> None:
    """A tree of depth 2: in each node its question, its impurity and its digits, in the mean of their colours."""
    tree = DecisionTreeClassifier(max_depth=2, random_state=SEED).fit(*data)
    figure = new_figure(8.6, 4.4)
    axes = figure.subplots()
    for box in plot_tree(tree, node_ids=True, rounded=True, fontsize=9, ax=axes):
        if not box.get_text().startswith("node #"):  # "True" and "False" beside the arrows
            continue
        node = int(box.get_text().split("\n")[0].removeprefix("node #"))
        shares, count = tree.tree_.value[node, 0], tree.tree_.n_node_samples[node]
        lines = [f"gini impurity {tree.tree_.impurity[node]:.2f}"]
        if tree.tree_.feature[node] >= 0:
            lines.insert(0, f"{FEATURES[tree.tree_.feature[node]]} ≤ {tree.tree_.threshold[node]:.2f}?")
        said = [f"{round(share * count)} × “{digit}”" for digit, share in zip(FEW, shares, strict=True) if share > 0]
        lines += [", ".join(said[:2]), ", ".join(said[2:])] if len(said) > 2 else [", ".join(said)]
        box.set_text("\n".join(lines))
        box.get_bbox_patch().set_facecolor(tuple(shaded(shares)))
    figure.suptitle("A tree tells 0, 1, 6 and 7 apart, by two numbers", color=TEXT)
    figure.savefig(path, dpi=130)


def draw_depth(train: Any, val: Any, test: Any, trees: int, path: Path) -> None:
    """Train and test accuracy against the depth, of a tree and of a forest, before and after pruning."""
    whole = DecisionTreeClassifier(random_state=SEED)
    alphas = whole.cost_complexity_pruning_path(*train).ccp_alphas
    by_alpha = {a: DecisionTreeClassifier(random_state=SEED, ccp_alpha=a).fit(*train) for a in alphas[:-1]}
    alpha = max(by_alpha, key=lambda a: (by_alpha[a].score(*val), a))  # the smallest tree of the best
    leaves = whole.fit(*train).get_n_leaves(), by_alpha[alpha].get_n_leaves()
    print(f"pruned at ccp_alpha {alpha:.4f}, which validates best: {leaves[0]} leaves become {leaves[1]}")
    figure = new_figure(11, 4.6)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, title in zip(panels, ("one tree", f"a forest of {trees}"), strict=True):
        for strength, colour in ((0.0, COLOURS[1]), (alpha, COLOURS[2])):
            scores = np.array(
                [_depth_scores(d, strength, trees if axes is panels[1] else 1, train, test) for d in DEPTHS]
            )
            axes.plot(DEPTHS, scores[:, 0], "--", color=colour, linewidth=1.4)
            axes.plot(DEPTHS, scores[:, 1], "-", color=colour, linewidth=2)
            print(f"{title}, ccp_alpha {strength:.4f}: train {scores[-1, 0]:.1%}, test {scores[-1, 1]:.1%}")
        grown = f": {leaves[0]} leaves, pruned {leaves[1]}" if axes is panels[0] else ""
        axes.set_title(title + grown, loc="left", fontsize=10, color=TEXT)
        axes.set_xlabel("depth, at most", color=TEXT)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        tidy(axes)
        axes.grid(color=GRID, linewidth=0.7)
    panels[1].tick_params(labelleft=True)
    handles = [
        Line2D([], [], color=COLOURS[1], linewidth=4, label="as grown"),
        Line2D([], [], color=COLOURS[2], linewidth=4, label=f"pruned, ccp_alpha = {alpha:.4f}"),
        Line2D([], [], color=TEXT, linewidth=2, label="test"),
        Line2D([], [], color=TEXT, linewidth=1.4, linestyle="--", label="training"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle("Accuracy on digits against depth", color=TEXT)
    figure.savefig(path, dpi=130)


def _depth_scores(depth: int, alpha: float, trees: int, train: Any, test: Any) -> tuple[float, float]:
    options: dict[str, Any] = {"max_depth": depth, "ccp_alpha": alpha, "random_state": SEED}
    model = DecisionTreeClassifier(**options)
    if trees > 1:
        model = RandomForestClassifier(trees, **options, n_jobs=-1)
    model.fit(*train)
    return model.score(*train), model.score(*test)


def draw_boundaries(train: Any, test: Any, trees: int, path: Path) -> None:
    """What five trees of a forest, and the forest, say of every point of the plane."""
    forest = RandomForestClassifier(trees, random_state=SEED, n_jobs=-1).fit(*train)
    x, y = test
    low, high = train[0].min(0) - 0.03, train[0].max(0) + 0.03
    across, down = (np.linspace(a, b, 240) for a, b in zip(low, high, strict=True))
    plane = np.stack(np.meshgrid(across, down), -1).reshape(-1, 2).astype(np.float32)
    figure = new_figure(11, 7.4)
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    models = [*forest.estimators_[:5], forest]
    for k, (axes, model) in enumerate(zip(panels.flat, models, strict=True)):
        axes.imshow(
            shaded(model.predict_proba(plane)).reshape(240, 240, 3),
            origin="lower",
            extent=(*_ends(across), *_ends(down)),
            aspect="auto",
        )
        labels = forest.classes_[model.predict_proba(x).argmax(1)]  # a forest's trees number the classes from 0
        name = f"forest of {trees}" if model is forest else f"tree {k + 1}"
        axes.set_title(f"{name}: test {np.mean(labels == y):.1%}", loc="left", fontsize=10, color=TEXT)
        for colour, digit in zip(COLOURS[1:5], FEW, strict=True):
            axes.scatter(*x[y == digit].T, s=14, color=colour, edgecolor="white", linewidth=0.5)
        tidy(axes)
    for axes in panels[1]:
        axes.set_xlabel(FEATURES[0], color=TEXT)
    for axes in panels[:, 0]:
        axes.set_ylabel(FEATURES[1], color=TEXT)
    handles = [
        Line2D([], [], color=colour, marker="o", linestyle="", label=str(digit))
        for colour, digit in zip(COLOURS[1:5], FEW, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle("Five trees and their forest: what they say (shade), and test digits (dots)", color=TEXT)
    figure.savefig(path, dpi=110)


def shaded(probs: np.ndarray) -> np.ndarray:
    """The mean of the digits' colours by their probabilities [..., 4], lightened, [..., 3]."""
    return 1 - 0.45 * (1 - probs @ np.array([to_rgb(colour) for colour in COLOURS[1:5]]))


def new_figure(width: float, height: float) -> Figure:
    """A figure of inches, to be saved."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Any) -> None:
    axes.tick_params(colors=TEXT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _ends(values: np.ndarray) -> tuple[float, float]:
    return float(values[0]), float(values[-1])


if __name__ == "__main__":
    typer.run(main)
