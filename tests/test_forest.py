"""PixelForest: scikit-learn's votes and pruning, the same forest for the same seed, files, and bad input."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

import onewarp as ow
from data_helpers import picture
from onewarp.errors import InputError
from onewarp.segment import DenseCRF, PixelFeatures, PixelForest, sample_pixels
from onewarp.segment import forest_file as files
from onewarp.segment.forest_settings import RULES

FEATURES = PixelFeatures(scales=(1,), filters=("gaussian", "gradient"))
N = len(FEATURES)
POLICY = ow.Policy([ow.Rotate(20), ow.HorizontalFlip()], mask_fill_value=9)


def scenes(n: int = 6, h: int = 20, w: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images of classes 0, 1 and 3, told apart by colour, and their masks; 9 is void."""
    rng = np.random.default_rng(0)
    masks = np.zeros((n, h, w), np.uint8)
    masks[:, :, w // 2 :] = 1
    masks[:, h // 2 :, : w // 3] = 3
    masks[:, 0] = 9
    colours = np.array([[60, 90, 160], [120, 110, 100], [0, 0, 0], [90, 150, 60], *[[0, 0, 0]] * 6])
    return np.clip(colours[masks] + rng.normal(0, 25, (n, h, w, 3)), 0, 255).astype(np.uint8), masks


IMAGES, MASKS = scenes()
X, Y = sample_pixels((IMAGES, MASKS), classes=5, features=FEATURES, pixels=900, void=9)


def forest(**options: Any) -> PixelForest:
    return PixelForest(5, features=FEATURES, **{"n_estimators": 7, "max_depth": 6, **options})


def trained(**options: Any) -> PixelForest:
    return forest(**options).fit_pixels(X, Y)


def nodes(judged: PixelForest) -> list[int]:
    return [tree.tree_.node_count for tree in judged.trees.estimators_]


# What scikit-learn says


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"criterion": "entropy", "max_features": None},
        {"criterion": "log_loss", "max_features": "log2", "min_samples_leaf": 4},
        {"max_depth": None, "max_leaf_nodes": 9, "max_features": 0.5},
        {"min_samples_split": 40, "max_features": 3},
        {"ccp_alpha": 0.01},
        {"class_weight": "balanced"},
        {"class_weight": {0: 1, 1: 2.5, 3: 50}},
        {"class_weight": "balanced_subsample"},
    ],
    ids=str,
)
def test_soft_votes_are_scikit_learns(options: dict[str, Any]) -> None:
    found = trained(**options)
    state = found.trees.random_state
    oracle = RandomForestClassifier(**{"n_estimators": 7, "max_depth": 6, **options}, random_state=state).fit(X, Y)
    x = FEATURES(IMAGES[0]).reshape(-1, N)
    expected = np.zeros((20, 24, 5))
    expected[..., [0, 1, 3]] = oracle.predict_proba(x).reshape(20, 24, 3)
    probs = found.predict(IMAGES[0])
    assert probs.shape == (20, 24, 5) and probs.dtype == np.float32
    np.testing.assert_allclose(probs, expected, atol=1e-6)
    np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-5)
    assert abs(trained(seed=5).predict(IMAGES[0]) - expected).max() > 0.01  # the check can fail


def test_hard_votes_are_counted() -> None:
    soft, hard = trained(), trained(vote="hard")
    x = FEATURES(IMAGES[0]).reshape(-1, N)
    votes = np.stack([tree.predict(x) for tree in hard.trees.estimators_]).astype(int)  # [trees, pixels], of 0, 1, 2
    expected = np.stack([(votes == k).mean(0) for k in range(3)], -1)
    np.testing.assert_allclose(hard.predict(IMAGES[0]).reshape(-1, 5)[:, [0, 1, 3]], expected, atol=1e-6)
    assert abs(hard.predict(IMAGES[0]) - soft.predict(IMAGES[0])).max() > 0.01


def test_weights_of_classes_may_name_any_class() -> None:
    means = [trained(class_weight=w, max_depth=2).predict(IMAGES)[..., 3].mean() for w in (None, {3: 50, 4: 2.0})]
    assert means[1] > 1.2 * means[0]


def test_pruning_cuts_branches_off_the_same_trees() -> None:
    whole, cut, stump = (trained(max_depth=None, ccp_alpha=alpha) for alpha in (0.0, 0.004, 10.0))
    assert all(a > b > 1 for a, b in zip(nodes(whole), nodes(cut), strict=True)) and set(nodes(stump)) == {1}
    for full, pruned in zip(whole.trees.estimators_, cut.trees.estimators_, strict=True):
        by_root = [(t.tree_.feature[0], t.tree_.threshold[0], t.tree_.impurity[0]) for t in (full, pruned)]
        assert by_root[0] == by_root[1]
        leaves, said = (np.unique(t.apply(X), return_inverse=True)[1] for t in (full, pruned))
        for leaf in np.unique(leaves):  # pruning joins leaves and never divides them
            assert len(set(said[leaves == leaf])) == 1


def test_leaves_depth_and_splits_are_bounded() -> None:
    assert all(tree.get_depth() <= 2 for tree in trained(max_depth=2).trees.estimators_)
    assert all(tree.get_n_leaves() <= 4 for tree in trained(max_leaf_nodes=4).trees.estimators_)
    large = trained(min_samples_leaf=30)
    for tree in large.trees.estimators_:
        leaf = tree.tree_.children_left == -1
        assert tree.tree_.weighted_n_node_samples[leaf].min() >= 30


def test_the_forest_learns_and_says_from_what() -> None:
    found = trained()
    labels = found.predict(IMAGES).argmax(-1)
    assert (labels[MASKS != 9] == MASKS[MASKS != 9]).mean() > 0.95
    shares = found.importances
    assert set(shares) == set(FEATURES.names) and sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    np.testing.assert_allclose([shares[name] for name in FEATURES.names], found.trees.feature_importances_)


# The same for the same key


def test_the_same_seed_grows_the_same_forest() -> None:
    expected = forest(seed=1).fit((IMAGES, MASKS), POLICY, pixels=600, passes=2, void=9, threads=1)
    again = forest(seed=1).fit((IMAGES, MASKS), POLICY, pixels=600, passes=2, void=9, threads=3)
    other = forest(seed=2).fit((IMAGES, MASKS), POLICY, pixels=600, passes=2, void=9)
    probs = expected.predict(IMAGES[0])
    assert (probs == again.predict(IMAGES[0])).all() and nodes(expected) == nodes(again)
    assert not (probs == other.predict(IMAGES[0])).all()


def test_global_generators_are_left_alone() -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    trained()
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]


def test_fit_is_sample_pixels_and_fit_pixels() -> None:
    options = {"pixels": 500, "passes": 3, "balance": 1.0, "void": 9}
    pixels = sample_pixels((IMAGES, MASKS), POLICY, classes=5, features=FEATURES, seed=4, **options)
    expected = forest(seed=4).fit_pixels(*pixels)
    found = forest(seed=4)
    assert found.fit((IMAGES, MASKS), POLICY, **options) is found
    assert (found.predict(IMAGES[0]) == expected.predict(IMAGES[0])).all()


def test_batches_and_threads_make_no_difference() -> None:
    found, images = trained(), np.concatenate([IMAGES, IMAGES[:, ::-1]])
    wide = np.stack([picture(150, 150, k) for k in range(2)])  # more than one block of pixels
    for batch in (images, wide):
        expected = np.stack([found.predict(image, threads=1) for image in batch])
        for threads in (None, 1, 3):
            assert (found.predict(batch, threads=threads) == expected).all()
    assert found.predict(images[:0]).shape == (0, 20, 24, 5)
    assert found.predict(IMAGES[0, :1, :1]).shape == (1, 1, 5)


def test_probabilities_go_straight_into_the_dense_crf() -> None:
    crf = DenseCRF(gaussian=dict(sxy=2, compat=2), bilateral=dict(sxy=10, srgb=20, compat=2), iterations=5)
    images, masks = scenes(2)
    found = trained(max_depth=3)
    before = found.predict(images)
    after = crf(images, before)
    counted = masks != 9
    right = [(q.argmax(-1) == masks)[counted].mean() for q in (before, after)]
    assert after.shape == before.shape and right[1] > right[0]


# Files


def test_a_saved_forest_is_the_same(tmp_path: Path) -> None:
    for options in ({}, {"vote": "hard", "class_weight": {0: 2.5, 3: 1.0}, "max_features": 0.5, "ccp_alpha": 0.001}):
        found = trained(**options)
        found.save(tmp_path / "a.forest")
        again = PixelForest.load(tmp_path / "a.forest")
        assert repr(again) == repr(found) and again.features == FEATURES
        assert (again.predict(IMAGES) == found.predict(IMAGES)).all()
        assert again.importances == found.importances


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    trained(n_estimators=1).save(tmp_path / "a.forest")
    return tmp_path / "a.forest"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.replace(b"forest 1", b"forest 2", 1), "does not begin with 'onewarp forest 1'"),
        (lambda b: b"PK" + b, "does not begin with"),
        (lambda b: b"", "does not begin with"),
        (
            lambda b: re.sub(rb'"scikit-learn": "[^"]*"', b'"scikit-learn": "0.1"', b, count=1),
            "by scikit-learn 0.1, this",
        ),
        (lambda b: b[:-1], "is damaged: its checksum is wrong"),
        (lambda b: b[:-1] + bytes([b[-1] ^ 1]), "is damaged: its checksum is wrong"),
        (lambda b: b[:40], "is damaged: its second line says nothing"),
        (lambda b: b"onewarp forest 1\n[]\nx", "is damaged: its second line says nothing"),
        (lambda b: b"onewarp forest 1\n{}\nx", "is damaged: its second line says nothing"),
    ],
)
def test_other_files_are_refused(saved: Path, change: Any, message: str) -> None:
    saved.write_bytes(change(saved.read_bytes()))
    with pytest.raises(InputError, match=message):
        PixelForest.load(saved)


SPRUNG: list[str] = []


def spring() -> None:
    SPRUNG.append("sprung")


class Trap:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> Any:
        return spring, ()


def test_a_file_of_another_version_is_not_even_opened(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write(saved, {"settings": {}, "features": {}}, Trap())
    monkeypatch.setattr("sklearn.__version__", "0.1")
    with pytest.raises(InputError, match="install scikit-learn=="):
        files.read(saved)
    assert SPRUNG == []
    monkeypatch.undo()
    files.read(saved)
    assert SPRUNG == ["sprung"]  # the trap works: a file has to be trusted


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        PixelForest.load(tmp_path / "none")
    with pytest.raises(InputError, match="cannot be written: No such file or directory; choose another place"):
        trained(n_estimators=1).save(tmp_path / "none" / "a.forest")


# Bad input

BAD = [(name, value) for name, rule in RULES.items() for value in rule.bad]


@pytest.mark.parametrize(("name", "value"), BAD, ids=str)
def test_bad_settings_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"PixelForest\({name}=.*: {name} must be "):
        PixelForest(**{"classes": 3, name: value})


def test_settings_that_do_not_fit_together_are_refused() -> None:
    assert {"classes", "criterion", "ccp_alpha", "vote", "seed"} <= set(RULES) and len(BAD) > 50
    with pytest.raises(InputError, match=r"max_features=9\): there are 2 features"):
        PixelForest(3, features=PixelFeatures(colours=(), filters=()), max_features=9)
    with pytest.raises(InputError, match="class_weight has class 3, but classes run from 0 to 2"):
        PixelForest(3, class_weight={0: 1, 3: 2})
    with pytest.raises(InputError, match="features='rgb' must be a PixelFeatures|features must be a PixelFeatures"):
        PixelForest(3, features="rgb")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X[:, 1:], Y, rf"must be numbers \[m, {N}\]"),
        (X[0], Y, "must be numbers"),
        (X[:0], Y[:0], "must be numbers"),
        (X.astype(str), Y, "must be numbers"),
        (np.where(X > 200, np.nan, X), Y, "values that are NaN or infinite"),
        (X, Y[1:], r"y is int64 \(899,\), must be whole numbers \[900\]"),
        (X, Y.astype(float), "y is float64"),
        (X, Y + 2, r"y reaches from 2 to 5, must lie in \[0, 5\); leave void out"),
        (X, Y - 1, "y reaches from -1"),
    ],
)
def test_bad_pixels_are_refused(x: Any, y: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        forest().fit_pixels(x, y)


def test_a_forest_that_was_not_trained_says_so() -> None:
    new = forest()
    for use in (lambda: new.predict(IMAGES), lambda: new.importances, lambda: new.save("a")):
        with pytest.raises(InputError, match="this PixelForest was not trained"):
            use()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES / 255, "image is float64, must be uint8"),
        (IMAGES[0, ..., 0], "repeat the one channel"),
        (np.moveaxis(IMAGES, -1, 1), "channels come last"),
        ([IMAGES[0], IMAGES[0, 1:]], "images have different sizes"),
        (IMAGES[:, :0], "there are no pixels"),
    ],
)
def test_bad_images_are_refused(images: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        trained(n_estimators=1).predict(images)


def test_a_forest_can_be_pickled() -> None:
    found = trained()
    again = pickle.loads(pickle.dumps(found))
    assert (again.predict(IMAGES[0]) == found.predict(IMAGES[0])).all()
