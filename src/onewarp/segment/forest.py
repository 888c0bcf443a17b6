"""A random forest that judges pixels: the classical unary classifier in front of a dense CRF.

The forest is scikit-learn's, and so are the names of its parameters. What is added is the way from images to pixels and
back: features, a training set that any policy augments (pixels.py), and probabilities as `DenseCRF` takes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from onewarp import random
from onewarp.arguments import thread_count
from onewarp.errors import InputError, MissingDependency
from onewarp.policy import Policy
from onewarp.segment.features import PixelFeatures
from onewarp.segment.forest_file import read, write
from onewarp.segment.forest_settings import RULES
from onewarp.segment.inputs import read_images
from onewarp.segment.pixels import sample_pixels

BLOCK = 1 << 14  # pixels that a thread takes through all trees at a time


class PixelForest:
    """A random forest (Breiman 2001) over `PixelFeatures`: trained on images and masks, it gives class probabilities.

    Args:
        classes: labels are 0 to classes - 1, at most 65,536.
        features: what describes a pixel; `PixelFeatures()` by default.
        n_estimators: number of trees.
        criterion: impurity that a split lowers: "gini", "entropy" or "log_loss" (the same as "entropy").
        max_depth: of a tree; None: until leaves are pure.
        max_leaf_nodes: of a tree, the best first; None: any number.
        min_samples_leaf, min_samples_split: pixels that a leaf must have, and a node to be split.
        ccp_alpha: cost-complexity pruning: each tree loses the branches whose impurity per leaf saved is below it. 0
            prunes nothing.
        max_features: features that a split chooses from: "sqrt" or "log2" of their number, a number of them, a fraction
            in (0, 1] (a float), or None for all.
        class_weight: None; "balanced", or "balanced_subsample" for each tree's pixels, which weigh classes by the
            inverse of their pixels; or {class: weight}, 1 for classes left out.
        vote: "soft": probabilities are the mean of those in the trees' leaves, as scikit-learn's; "hard": the share
            of trees that vote for the class, as Breiman's.
        seed: whole number in [0, 2**64): of the trees, and of the draws of `fit`. The same seed and data give the same
            forest, whatever the threads.

    Raises:
        InputError: a parameter that is not as above.

    Example:
        >>> forest = PixelForest(classes=11, n_estimators=30, max_depth=16)
        >>> forest.fit(PairSource("train", "trainannot"), policy, passes=4, void=11)
        >>> q = DenseCRF(gaussian=dict(sxy=3, compat=3))(image, forest.predict(image))
    """

    def __init__(
        self,
        classes: int,
        *,
        features: PixelFeatures | None = None,
        n_estimators: int = 100,
        criterion: str = "gini",
        max_depth: int | None = None,
        max_leaf_nodes: int | None = None,
        min_samples_leaf: int = 1,
        min_samples_split: int = 2,
        ccp_alpha: float = 0.0,
        max_features: str | int | float | None = "sqrt",
        class_weight: str | Mapping[int, float] | None = None,
        vote: str = "soft",
        seed: int = 0,
    ) -> None:
        given = locals()
        self.settings: dict[str, Any] = {name: RULES[name].check("PixelForest", name, given[name]) for name in RULES}
        self.features = PixelFeatures() if features is None else features
        if not isinstance(self.features, PixelFeatures):
            raise InputError(f"PixelForest(features={features!r}): features must be a PixelFeatures")
        most, weights = self.settings["max_features"], self.settings["class_weight"]
        if isinstance(most, int) and most > len(self.features):
            raise InputError(
                f"PixelForest(max_features={most}): there are {len(self.features)} features; take at most that"
            )
        if isinstance(weights, dict) and any(label >= self.classes for label in weights):
            raise InputError(f"class_weight has class {max(weights)}, but classes run from 0 to {self.classes - 1}")
        self.trees: Any = None
        """scikit-learn's `RandomForestClassifier`; None before `fit`."""
        self._leaves: list[np.ndarray] = []  # of each tree, what its nodes say: float32 [nodes, classes]

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"PixelForest({given}, features={self.features!r})"

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.settings["classes"]

    def fit(
        self,
        source: Any,
        policy: Policy | None = None,
        *,
        pixels: int = 200_000,
        passes: int = 1,
        balance: float = 0.5,
        void: int | None = None,
        threads: int | None = None,
    ) -> PixelForest:
        """Train on pixels of images and masks under `policy`; see `sample_pixels` for the arguments. Returns itself.

        Raises:
            InputError: as there.
        """
        x, y = sample_pixels(
            source,
            policy,
            classes=self.classes,
            features=self.features,
            pixels=pixels,
            passes=passes,
            balance=balance,
            void=void,
            seed=self.settings["seed"],
            threads=threads,
        )
        return self.fit_pixels(x, y, threads=threads)

    def fit_pixels(self, x: Any, y: Any, *, threads: int | None = None) -> PixelForest:
        """Train on what `sample_pixels` gave: features [m, len(features)], classes [m]. Returns itself.

        Raises:
            InputError: arrays that are not as above, NaN, or labels outside [0, classes).
        """
        x, y = np.asarray(x), np.asarray(y)
        if x.ndim != 2 or x.shape[1] != len(self.features) or not len(x) or x.dtype.kind not in "fiu":
            raise InputError(f"x is {x.dtype} {x.shape}, must be numbers [m, {len(self.features)}], one row per pixel")
        if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
            raise InputError(f"y is {y.dtype} {y.shape}, must be whole numbers [{len(x)}], one per row of x")
        if not np.isfinite(x).all():
            raise InputError(f"x has {int((~np.isfinite(x)).sum())} values that are NaN or infinite; leave them out")
        if y.min() < 0 or y.max() >= self.classes:
            raise InputError(f"y reaches from {y.min()} to {y.max()}, must lie in [0, {self.classes}); leave void out")
        names = ("classes", "vote", "seed", "class_weight")
        own = {name: value for name, value in self.settings.items() if name not in names}
        weights = self.settings["class_weight"]
        if isinstance(weights, dict):  # scikit-learn wants exactly the classes that are there
            weights = {int(label): weights.get(int(label), 1.0) for label in np.unique(y)}
        state = int(random.words(self.settings["seed"], 0, ("PixelForest", 0), np.zeros(1, np.int64))[0][0])
        trees = _ensemble().RandomForestClassifier(
            **own, class_weight=weights, random_state=state, n_jobs=thread_count(threads)
        )
        self._take(trees.fit(x.astype(np.float32, copy=False), y))
        return self

    def predict(self, images: Any, *, threads: int | None = None) -> np.ndarray:
        """Class probabilities of every pixel, as `DenseCRF` takes them.

        Args:
            images: uint8 [h, w, 3] or [n, h, w, 3], RGB.
            threads: share the pixels of an image; all cores by default. Results do not depend on them.

        Returns:
            float32 [h, w, classes] or [n, h, w, classes]; a class that was not in the training set has 0.

        Raises:
            InputError: a forest that was not trained, or an image that is not uint8 of three channels.
        """
        if self.trees is None:
            raise InputError("this PixelForest was not trained; call fit(source, policy), or PixelForest.load(path)")
        pictures, batched = read_images(images)
        out = np.zeros((*pictures.shape[:3], self.classes), np.float32)
        with ThreadPoolExecutor(thread_count(threads)) as pool:
            for image, result in zip(pictures, out, strict=True):
                x = self.features(image, threads=1).reshape(-1, len(self.features))
                rows = result.reshape(-1, self.classes)
                starts = range(0, len(x), BLOCK)
                list(pool.map(self._vote, [x[s : s + BLOCK] for s in starts], [rows[s : s + BLOCK] for s in starts]))
        return out if batched else out[0]

    @property
    def importances(self) -> dict[str, float]:
        """By the name of a feature, its share of what all splits lower the impurity by; the largest first."""
        if self.trees is None:
            raise InputError("this PixelForest was not trained; call fit(source, policy) first")
        found = zip(self.features.names, self.trees.feature_importances_.tolist(), strict=True)
        return dict(sorted(found, key=lambda pair: -pair[1]))

    def save(self, path: str | Path) -> None:
        """Write the trained forest to a file: a line that says what it is, and the trees as joblib writes them.

        joblib is what scikit-learn saves with and needs no further package. Its files are pickles: `load` runs what is
        in them, so load only what you trust. They are for one version of scikit-learn.

        Raises:
            InputError: a forest that was not trained.
        """
        if self.trees is None:
            raise InputError("this PixelForest was not trained; there is nothing to save before fit(source, policy)")
        write(Path(path), {"settings": self.settings, "features": asdict(self.features)}, self.trees)

    @classmethod
    def load(cls, path: str | Path) -> PixelForest:
        """The forest that `save` wrote. Load only files that you trust: see there.

        Raises:
            InputError: a file that is no forest, is damaged, or was written by another version of scikit-learn or
                another format of ours. It is refused before anything in it is run.
        """
        head, trees = read(Path(path))
        settings = dict(head["settings"])
        if isinstance(settings["class_weight"], dict):  # JSON has no numbers as keys
            settings["class_weight"] = {int(label): weight for label, weight in settings["class_weight"].items()}
        forest = cls(**settings, features=PixelFeatures(**head["features"]))
        forest._take(trees)
        return forest

    def _take(self, trees: Any) -> None:
        """Keep trained trees, and what their leaves say as one table each."""
        self.trees, self._leaves = trees, []
        for tree in trees.estimators_:
            said = tree.tree_.value[:, 0]  # [nodes, classes that are there]; the shares of a node's training pixels
            if self.settings["vote"] == "hard":
                said = said.argmax(1)[:, None] == np.arange(said.shape[1])
            table = np.zeros((len(said), self.classes), np.float32)
            table[:, trees.classes_] = said / said.sum(1, keepdims=True)
            self._leaves.append(table)

    def _vote(self, x: np.ndarray, out: np.ndarray) -> None:
        """Write the probabilities of pixels x [m, features] to `out` [m, classes], which is 0."""
        for tree, table in zip(self.trees.estimators_, self._leaves, strict=True):
            out += table[tree.apply(x, check_input=False)]
        out /= len(self._leaves)


def _ensemble() -> Any:
    try:
        from sklearn import ensemble
    except ImportError:
        raise MissingDependency("PixelForest needs scikit-learn; install it with: pip install scikit-learn") from None
    return ensemble
