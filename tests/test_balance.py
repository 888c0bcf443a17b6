"""Balanced epochs: how many of each class, which images, which draws; and samples that are shown plain."""

from __future__ import annotations

import pickle
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onewarp as ow
import onewarp.data as data
from data_helpers import class_folder, picture, same
from onewarp.data.alike import Showings
from onewarp.data.balance import Balanced
from onewarp.data.batches import Batches
from onewarp.data.frames import FrameBatches
from onewarp.errors import InputError, PolicyError
from onewarp.plain import with_plain
from onewarp.transforms.crop import CenterCrop, RandomCrop

POLICY = ow.Policy([ow.Rotate(20), ow.HorizontalFlip(), ow.Brightness(0.3)])
COARSE = ow.Policy([ow.RandomCrop(6, padding=1), ow.HorizontalFlip()])  # 9 x 2 draws that differ
FLIP = ow.Policy([ow.HorizontalFlip()])
NAMES = ("ant", "bee", "cat", "dog")


def zoo(sizes: list[int], names: tuple[str, ...] | None = None) -> data.ArraySource:
    """A source with so many images of each class, in mixed order; all images differ and have no symmetry."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    return data.ArraySource(np.stack([picture(6, 6, seed=k) for k in range(len(labels))]), labels, class_names=names)


def epoch_of(batches: Batches, epoch: int) -> Any:
    return batches.sampling.at(epoch, np.arange(len(batches.sampling)))


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    wanted=st.integers(1, 60),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 99),
    originals=st.booleans(),
)
def test_every_class_gets_what_was_asked_for(
    sizes: list[int], wanted: int, seed: int, epoch: int, originals: bool
) -> None:
    source = zoo(sizes)
    batches = Batches(source, POLICY, 7, samples_per_class=wanted, seed=seed, originals=originals)
    chosen = epoch_of(batches, epoch)
    assert source.labels is not None
    np.testing.assert_array_equal(np.bincount(source.labels[chosen.rows]), [wanted] * len(sizes))
    assert len(set(zip(chosen.rows.tolist(), chosen.occurrence.tolist(), strict=True))) == wanted * len(sizes)
    plain = np.zeros(len(chosen.rows), bool) if chosen.plain is None else chosen.plain
    for number, size in enumerate(sizes):
        here = source.labels[chosen.rows] == number
        times = Counter(chosen.rows[here].tolist())
        if size >= wanted:  # rich: no image twice, all augmented
            assert set(times.values()) == {1} and not plain[here].any() and not chosen.occurrence[here].any()
        else:  # scarce: each image once before any is shown again; the first time plain
            assert len(times) == size and set(times.values()) <= {wanted // size, -(-wanted // size)}
            np.testing.assert_array_equal(plain[here], originals & (chosen.occurrence[here] == 0))
            assert (chosen.occurrence[here] == 0).sum() == size


def test_another_epoch_shows_other_images_in_another_order() -> None:
    batches = Batches(zoo([400, 5]), POLICY, 8, samples_per_class=40)
    sets = [set(epoch_of(batches, epoch).rows.tolist()) for epoch in range(2)]
    assert 3 <= len(sets[0] & sets[1]) <= 5 + 15
    shown = Counter(row for epoch in range(50) for row in epoch_of(batches, epoch).rows.tolist())
    assert len(shown) > 395  # in time, all of them
    assert (epoch_of(batches, 0).rows[:20] != epoch_of(batches, 1).rows[:20]).any()


def test_which_images_and_how_often_is_uniform() -> None:
    """Images of a rich class over epochs, and the scarce images that come once more than others."""
    source = zoo([20, 3])
    batches = Batches(source, POLICY, 8, samples_per_class=10)
    counts = np.zeros(23)
    for epoch in range(2000):
        counts += np.bincount(epoch_of(batches, epoch).rows, minlength=23)
    for number, expected in ((0, 1000.0), (1, 2000 * 10 / 3)):
        here = counts[source.labels == number]
        spread = 500.0 if number == 0 else 2000 * 2 / 9
        assert (abs(here - expected) < 5 * np.sqrt(spread)).all()


def test_balanced_batches_do_not_depend_on_how_they_are_asked_for() -> None:
    source = zoo([30, 4, 9])
    options: dict[str, Any] = {"samples_per_class": 13, "seed": 5, "augment_probability": {"rich": 0.5}}
    whole = Batches(source, COARSE, 6, **options)
    expected = [whole.batch(3, index) for index in range(len(whole))]
    again = Batches(source, COARSE, 6, **options)
    for index in reversed(range(len(whole))):
        again.batch(4, index)
        same(again.batch(3, index), expected[index])
    with ThreadPoolExecutor(8) as pool:
        fresh = pickle.loads(pickle.dumps(whole))
        for found, batch in zip(pool.map(lambda k: fresh.batch(3, k), range(len(whole))), expected, strict=True):
            same(found, batch)
    shards = [Batches(source, COARSE, 2, shard=(index, 3), **options) for index in range(3)]
    for index, batch in enumerate(expected):
        parts = [shard.batch(3, index) for shard in shards]
        same({role: np.concatenate([part[role] for part in parts]) for role in batch}, batch)


def copies(batches: Batches, epoch: int) -> tuple[int, Counter[tuple[int, bytes]]]:
    """How often the epoch shows the same pixels of the same image: all samples, and those that agree."""
    found: Counter[tuple[int, bytes]] = Counter()
    for index in range(len(batches)):
        rows, images = batches.indices(epoch, index), batches.batch(epoch, index)["images"]
        found.update((int(row), image.tobytes()) for row, image in zip(rows, images, strict=True))
    return sum(found.values()), found


@pytest.mark.parametrize("originals", [True, False])
def test_no_two_showings_of_an_image_are_alike(originals: bool) -> None:
    source = zoo([40, 4])
    batches = Batches(source, COARSE, 8, samples_per_class=40, last_batch="keep", originals=originals)
    naive = 0
    for epoch in range(5):
        total, found = copies(batches, epoch)
        assert total == 80 and len(found) == 80
        chosen = epoch_of(batches, epoch)
        scarce = np.asarray(source.labels)[chosen.rows] == 1
        naive += int((chosen.occurrence[scarce] >= 10).sum())
    assert naive > 10  # the first ten draws of an image do agree, and further ones were taken


def test_a_policy_that_cannot_vary_enough_is_refused() -> None:
    source = zoo([40, 4])
    for originals in (True, False):
        enough = Batches(source, FLIP, 8, samples_per_class=8, last_batch="keep", originals=originals)
        assert len(copies(enough, 3)[1]) == 16
        with pytest.raises(InputError, match="is to be shown 3 times .* only 2 that differ"):
            Batches(source, FLIP, 8, samples_per_class=9, originals=originals)
    full = Batches(source, COARSE, 8, samples_per_class=72, last_batch="keep")  # 4 x 18, all that there are
    assert len(copies(full, 0)[1]) == 144
    with pytest.raises(InputError, match="19 times"):
        Batches(source, COARSE, 8, samples_per_class=73)
    with pytest.raises(InputError, match="only 1 that differ"):
        Batches(source, ow.Policy([ow.Resize(4)]), 8, balance="classes")


@pytest.mark.parametrize(
    ("transforms", "differ"),
    [
        ([ow.HorizontalFlip(), ow.HorizontalFlip()], 2),  # two ways to each result
        ([ow.HorizontalFlip(), ow.VerticalFlip()], 4),
        ([ow.Hue(0.1, method="hsv", p=0.0), ow.HorizontalFlip()], 2),  # numbers of what does not fire do not count
        ([ow.GaussianBlur(p=0.0), ow.RandomErasing(p=0.0), ow.HorizontalFlip()], 2),
        ([ow.Grayscale(p=0.5)], 2),
        ([ow.Equalize(p=0.5), ow.HorizontalFlip()], 4),
        ([ow.OneOf([ow.HorizontalFlip(p=1.0), ow.VerticalFlip(p=1.0)])], 3),  # with the plain one
        ([ow.Brightness(0.2)], None),
        ([ow.GaussianNoise(0.1)], None),
        ([ow.RandomErasing(p=1.0)], None),
    ],
)
def test_what_counts_as_alike(transforms: list[Any], differ: int | None) -> None:
    plan = with_plain(ow.Policy(transforms).plan(ow.Spec(images=(12, 16, 3))))
    showings, ids = Showings(plan, 3), np.arange(20)
    most = 50 if differ is None else differ
    found = showings.numbers(7, ids, most, True, str)
    assert found.shape == (20, most) and (found[:, 0] == 0).all() and (np.diff(found, axis=1) > 0).all()
    np.testing.assert_array_equal(found[5:6], Showings(plan, 3).numbers(7, ids[5:6], most, True, str))
    if differ is not None:
        with pytest.raises(InputError, match=f"image 0 .* only {differ} that differ"):
            showings.numbers(7, ids, differ + 1, True, lambda k: f"image {k}")


def test_originals_are_what_the_deterministic_policy_shows(tmp_path: Path) -> None:
    folder = data.FolderSource(class_folder(tmp_path / "photos", {"few": 3, "many": 12}, size=(60, 80)))
    policy = ow.Policy(
        [ow.RandomResizedCrop(16), ow.Rotate(20), ow.HorizontalFlip(), ow.Brightness(0.4), ow.RandomErasing(p=1.0),
         ow.Normalize("imagenet")]
    )  # fmt: skip
    plain = policy.deterministic()
    for source in (folder, folder.in_memory()):
        batches = Batches(source, policy, 8, samples_per_class=9, last_batch="keep", augment_probability={"rich": 0.5})
        kinds: Counter[tuple[int, bool]] = Counter()
        for index in range(len(batches)):
            chosen, batch = batches.sampling.at(2, batches.positions(index)), batches.batch(2, index)
            images = np.stack([source[int(row)]["images"] for row in chosen.rows])
            expected = plain(images)
            drawn = policy(images, seed=0, epoch=2, ids=chosen.rows, occurrence=chosen.occurrence)
            for k, image in enumerate(batch["images"]):
                wanted = expected if chosen.plain[k] else drawn
                np.testing.assert_array_equal(image, wanted[k])
                assert not np.array_equal(expected[k], drawn[k])
                kinds[int(batch["labels"][k]), bool(chosen.plain[k])] += 1
        assert kinds[0, True] == 3 and kinds[0, False] == 6 and 0 < kinds[1, True] < 9


class Tight(ow.RandomResizedCrop):
    """Never shrinks by 2, but what stands there for plain samples does."""

    def shrink(self, height: Any, width: Any) -> float:
        return 1.5


class Cut(RandomCrop):
    """Only moves pixels, but what stands there for plain samples interpolates."""

    def deterministic(self, resize: float) -> tuple[Any, ...]:
        return (ow.Resize(self.size),)


@pytest.mark.parametrize(
    "transforms",
    [
        [ow.RandomResizedCrop(24, scale=(0.01, 0.05)), ow.Solarize(), ow.Posterize()],
        [ow.RandomCrop(40, padding=4), ow.ColorJitter(0.3, 0.3, 0.3, 0.1)],
        [ow.OneOf([ow.RandomResizedCrop(24), ow.Resize(24)]), ow.GaussianNoise(), ow.Hue(0.2, method="hsv")],
        [ow.Sometimes([ow.Rotate(30)], p=0.5), ow.Resize(20), ow.GaussianBlur(), ow.Equalize(p=0.5)],
        [ow.Resize(30), ow.Invert(p=1.0), ow.Perspective(), ow.GridDropout(), ow.Normalize("imagenet")],
        [Tight(24, scale=(0.01, 0.02))],
        [Cut(40, padding=4), ow.HorizontalFlip()],
    ],
)
def test_any_policy_can_show_samples_plain(transforms: list[Any]) -> None:
    """Up to the rounding between two warps that a filter separates, as `deterministic()` does."""
    policy = ow.Policy(transforms)
    rng = np.random.default_rng(0)
    source = data.ArraySource(rng.integers(0, 256, (8, 120, 160, 3), dtype=np.uint8), np.zeros(8, int))
    batch = Batches(source, policy, 8, augment_probability=0.0).batch(1, 0)
    images = np.stack([source[int(row)]["images"] for row in Batches(source, policy, 8).indices(1, 0)])
    expected = policy.deterministic()(images)
    atol = 1.0 if expected.dtype == np.uint8 else 0.02
    np.testing.assert_allclose(batch["images"].astype(float), expected.astype(float), atol=atol)


def test_a_mild_class_is_augmented_as_often_as_asked() -> None:
    source = zoo([500, 500, 500], NAMES[:3])
    batches = Batches(source, POLICY, 50, augment_probability={"rich": 0.2, "bee": 0.7, 2: 1.0}, seed=4)
    seen = []
    for epoch in range(4):
        chosen = epoch_of(batches, epoch)
        assert sorted(chosen.rows) == list(range(1500))
        labels = np.asarray(source.labels)[chosen.rows]
        for number, probability in enumerate((0.2, 0.7, 1.0)):
            assert abs((~chosen.plain[labels == number]).mean() - probability) < 0.1
        seen.append(chosen.plain[np.argsort(chosen.rows)])
    assert (seen[0] != seen[1]).any()
    np.testing.assert_array_equal(epoch_of(batches, 0).rows, epoch_of(Batches(source, POLICY, 50, seed=4), 0).rows)
    everything = Batches(source, POLICY, 50, augment_probability=1.0)
    assert everything.sampling.key == "shuffled" and everything.build(0, 0).shown is None


@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=4),
    shares=st.lists(st.integers(0, 9), min_size=4, max_size=4),
)
def test_shares_are_kept_to_within_one(sizes: list[int], shares: list[int]) -> None:
    source, shares = zoo(sizes, NAMES[: len(sizes)]), shares[: len(sizes)]
    if not any(shares):
        return
    batches = Batches(source, POLICY, 4, balance=dict(zip(NAMES, shares, strict=False)))
    counts = np.bincount(np.asarray(source.labels)[epoch_of(batches, 0).rows], minlength=len(sizes))
    assert counts.sum() == sum(sizes)
    assert (abs(counts - sum(sizes) * np.array(shares) / sum(shares)) < 1).all()


def test_ways_to_say_how_many() -> None:
    source = zoo([3, 8, 20], NAMES[:3])

    def counts(**options: Any) -> list[int]:
        chosen = epoch_of(Batches(source, POLICY, 4, **options), 0)
        return np.bincount(np.asarray(source.labels)[chosen.rows], minlength=3).tolist()

    assert counts(balance="classes") == [10, 10, 10]
    assert counts(samples_per_class=4) == counts(balance="classes", samples_per_class=4) == [4, 4, 4]
    assert counts(samples_per_class={"ant": 5, 1: 0, np.int64(2): 7}) == [5, 0, 7]
    assert counts(balance={"ant": 1, "bee": 2.5, "cat": 0}) == [9, 22, 0]


def test_a_wrapped_batch_takes_images_that_the_epoch_has_not_shown() -> None:
    batches = Batches(zoo([50, 3]), POLICY, 16, samples_per_class=10)
    chosen = batches.sampling.at(0, np.arange(32))  # 12 behind the end
    rich = np.asarray(batches.source.labels)[chosen.rows] == 0
    assert rich[20:].any() and len(set(chosen.rows[rich].tolist())) == rich.sum()
    pairs = list(zip(chosen.rows.tolist(), chosen.occurrence.tolist(), strict=True))
    assert len(set(pairs)) == 32
    assert batches.batch(0, 1)["images"].shape[0] == 16


def test_an_unreadable_sample_is_replaced_within_its_class(tmp_path: Path) -> None:
    root = class_folder(tmp_path / "photos", {"few": 3, "many": 12}, size=(10, 14))
    for name in ("many/003.png", "many/004.png", "few/001.png"):
        (root / name).write_bytes(b"not an image")
    batches = Batches(
        data.FolderSource(root), ow.Policy([ow.RandomResizedCrop(8)]), 4, samples_per_class=6, on_error="skip"
    )
    for epoch in range(3):
        labels, skipped = [], 0
        for index in range(len(batches)):
            built = batches.build(epoch, index)
            labels += built.entries["labels"].tolist()
            skipped += len(built.skipped)
        assert Counter(labels) == {0: 6, 1: 6} and skipped >= 2


def test_batches_count_originals_and_augmented() -> None:
    batches = Batches(zoo([20, 4], NAMES[:2]), POLICY, 8, samples_per_class=12, last_batch="keep")
    shown = sum(batches.build(1, index).shown for index in range(len(batches)))
    assert batches.by_class(shown) == {"ant": (0, 12), "bee": (4, 8)}
    unlabelled = data.ArraySource(np.zeros((40, 6, 6, 3), np.uint8))
    mild = Batches(unlabelled, FLIP, 40, augment_probability=0.5)
    built = mild.build(0, 0).shown
    assert built is not None
    (plain, augmented) = mild.by_class(built)["all"]
    assert plain + augmented == 40 and 8 < plain < 32


def test_what_a_state_must_agree_on() -> None:
    source = zoo([20, 4, 6], NAMES[:3])
    options: list[dict[str, Any]] = [
        {"balance": "classes"},
        {"samples_per_class": 12},
        {"samples_per_class": {"ant": 12, "bee": 12, "cat": 0}},
        {"samples_per_class": 12, "originals": False},
        {"samples_per_class": 12, "augment_probability": {"rich": 0.2}},
        {"samples_per_class": 12, "augment_probability": {"rich": 0.3}},
        {"balance": {"ant": 3, "bee": 1, "cat": 1}},
        {"balance": {"ant": 1, "bee": 3, "cat": 1}},
        {"augment_probability": 0.2},
        {},
        {"shuffle": False},
    ]
    keys = [Batches(source, POLICY, 4, **option).sampling.key for option in options]
    assert len(set(keys)) == len(keys)
    assert keys[1] == "balanced, 12 each of 3 classes"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"balance": "class"}, "balance='class'"),
        ({"balance": 3}, "balance=3"),
        ({"balance": {"cow": 1, "ant": 1, "bee": 1}}, "class 'cow', but the classes are ant, bee, cat"),
        ({"balance": {"ant": 1, "bee": 1}}, "leaves out class 'cat'"),
        ({"balance": {"ant": 1, 0: 1, "bee": 1, "cat": 1}}, "class 'ant' twice"),
        ({"balance": {"ant": -1, "bee": 1, "cat": 1}}, "-1 for class 'ant'"),
        ({"balance": {"ant": float("nan"), "bee": 1, "cat": 1}}, "nan for class 'ant'"),
        ({"balance": {"ant": 0, "bee": 0, "cat": 0}}, "share 0"),
        ({"balance": {3: 1}}, "class 3"),
        ({"balance": {"ant": 1, "bee": 1, "cat": 1}, "samples_per_class": 3}, "pass one of them"),
        ({"samples_per_class": 0}, "0 for class 'ant' is not a whole number from 1"),
        ({"samples_per_class": -2}, "-2"),
        ({"samples_per_class": 2.5}, "2.5"),
        ({"samples_per_class": True}, "True"),
        ({"samples_per_class": {"ant": 0, "bee": 0, "cat": 0}}, "no samples of any class"),
        ({"samples_per_class": {"ant": "5", "bee": 0, "cat": 0}}, "'5' for class 'ant'"),
        ({"balance": "classes", "shuffle": False}, "balance needs shuffle=True"),
        ({"samples_per_class": 3, "shuffle": "windowed"}, "samples_per_class needs shuffle=True"),
        ({"augment_probability": 1.5}, "augment_probability is 1.5"),
        ({"augment_probability": True}, "augment_probability is True"),
        ({"augment_probability": {"rich": -0.1}}, r"\['rich'\] is -0.1"),
        ({"augment_probability": {"poor": 0.1}}, "class 'poor'"),
        ({"samples_per_class": 4, "augment_probability": {"scarce": 0.5}}, "class 'bee', which is scarce"),
        ({"samples_per_class": 4, "augment_probability": {"bee": 0.5}}, "class 'bee', which is scarce"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        Batches(zoo([9, 2, 5], NAMES[:3]), POLICY, 4, **arguments)
    assert "\n" not in str(caught.value)


def test_sources_that_cannot_be_balanced() -> None:
    images = np.zeros((4, 6, 6, 3), np.uint8)
    for source in (data.ArraySource(images), data.ArraySource(images, np.zeros((4, 2), np.float32))):
        for arguments in ({"balance": "classes"}, {"samples_per_class": 2}, {"augment_probability": {"rich": 0.5}}):
            with pytest.raises(InputError, match="needs class numbers"):
                Batches(source, POLICY, 2, **arguments)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="labels have -1"):
        Batches(data.ArraySource(images, np.array([0, -1, 1, 0])), POLICY, 2, balance="classes")
    empty = data.ArraySource(images, np.array([0, 0, 2, 2]), class_names=NAMES[:3])
    with pytest.raises(InputError, match="class 'bee' has no samples"):
        Batches(empty, POLICY, 2, balance="classes")
    assert len(Batches(empty, POLICY, 2, balance={"ant": 1, "bee": 0, "cat": 1})) == 2


def test_a_transform_that_cannot_be_shown_plain() -> None:
    class Odd(RandomCrop):
        def deterministic(self, resize: float) -> tuple[Any, ...]:
            return ()

    class Strange(ow.Brightness):
        def deterministic(self, resize: float) -> tuple[Any, ...]:
            return (CenterCrop(3),)

    for transform in (Odd(4), Strange(0.2)):
        policy = ow.Policy([transform])
        with pytest.raises(PolicyError, match="cannot be shown plain.*originals=False"):
            Batches(zoo([4, 9]), policy, 2, augment_probability=0.5)
        assert len(Batches(zoo([4, 9]), policy, 2)) == 7


def test_a_million_samples_of_a_class_take_little_memory() -> None:
    labels = np.repeat([0, 1], [2000, 100])
    source = data.ArraySource(np.zeros((2100, 2, 2, 3), np.uint8), labels)
    batches = Batches(source, POLICY, 128, samples_per_class=1_000_000)
    sampling = batches.sampling
    assert isinstance(sampling, Balanced) and len(batches) == 15_625
    batches.indices(0, 9000)
    known, numbers = sampling._tables[0]
    assert known.sum() <= 128 and numbers.nbytes == 8_000_000


def test_frames_that_are_reused_keep_what_is_plain_and_what_differs() -> None:
    source = zoo([30, 4])
    options: dict[str, Any] = {"samples_per_class": 12, "augment_probability": {"rich": 0.5}, "seed": 2}
    plain, frames = Batches(source, COARSE, 8, **options), FrameBatches(source, COARSE, 8, reuse=2, **options)
    first = {}
    for index in range(3):
        same(frames.batch(4, index), plain.batch(4, index))
        chosen = frames.sampling.at(4, frames.positions(index))
        keys = zip(chosen.rows.tolist(), chosen.occurrence.tolist(), strict=True)
        first.update(zip(keys, frames.batch(4, index)["images"], strict=True))
    ahead = [frames.build(5, index) for index in range(3)]
    for index, built in enumerate(ahead):
        chosen = frames.sampling.at(5, frames.positions(index))
        keys = list(zip(chosen.rows.tolist(), chosen.occurrence.tolist(), strict=True))
        for key, image in zip(keys, built.entries["images"], strict=True):
            np.testing.assert_array_equal(image, first[key])
    for index in range(3):  # made ahead, while the others were shown
        same(frames.batch(6, index), plain.batch(6, index))
    shown = frames.by_class(sum(built.shown for built in ahead))
    assert shown[1] == (4, 8) and sum(shown[0]) == 12 and 0 < shown[0][0] < 12
    whole = FrameBatches(source, COARSE, 8, reuse=2, then=ow.Policy([ow.Rotate(30), ow.Rescale(1 / 255)]), **options)
    images = whole.batch(5, 0)["images"]
    originals = COARSE.deterministic()(np.stack([source[int(row)]["images"] for row in whole.indices(5, 0)])) / 255
    agree = np.array([np.allclose(a, b, atol=1e-5) for a, b in zip(images, originals, strict=True)])
    np.testing.assert_array_equal(agree, whole.sampling.at(5, whole.positions(0)).plain)
