"""Frames: keeping them changes how long a batch takes and never what it holds; where they lie; how they are made."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onewarp as ow
import onewarp.data as data
from data_helpers import class_folder, encode, picture, same
from onewarp.data.batches import Batches
from onewarp.data.divide import divided
from onewarp.data.frame_memory import FrameMemory, Generation, parse_bytes
from onewarp.data.frames import FrameBatches, kept_or_not
from onewarp.data.prefetch import prefetch_batches
from onewarp.data.travel import PARAMS
from onewarp.errors import DataError, InputError, PolicyError

GEOMETRY = (ow.RandomResizedCrop(8), ow.HorizontalFlip(), ow.Brightness(0.3))
POLICY = ow.Policy([*GEOMETRY, ow.RandomErasing(p=0.5), ow.Normalize("imagenet"), ow.MixUp(0.4)])
PLAIN = ow.Policy(GEOMETRY)
N = 11


def arrays(n: int = N) -> data.ArraySource:
    rng = np.random.default_rng(0)
    boxes = {"boxes": rng.uniform(1, 9, (n, 2, 4)).cumsum(2).clip(0, 10).astype(np.float32), "labels": np.ones((n, 2))}
    return data.ArraySource(
        np.stack([picture(10, 14, seed=k) for k in range(n)]),
        np.arange(n) % 3,
        segmentation_masks=rng.integers(0, 5, (n, 10, 14), dtype=np.int32),
        bounding_boxes={**boxes, "labels": boxes["labels"].astype(np.int64)},
        keypoints=np.concatenate([rng.uniform(0, 10, (n, 3, 2)), np.ones((n, 3, 1))], axis=2).astype(np.float32),
    )


def pairs(root: Path, n: int = N) -> data.PairSource:
    """Photos of different sizes with masks of eight and of sixteen bits."""
    for name in ("images", "masks"):
        (root / name).mkdir()
    for k in range(n):
        (root / "images" / f"{k:02d}.png").write_bytes(encode(picture(10 + k % 3, 14, seed=k), "PNG"))
        mask = np.full((10 + k % 3, 14), k, np.uint16 if k % 4 == 3 else np.uint8)
        (root / "masks" / f"{k:02d}.png").write_bytes(encode(mask, "PNG"))
    return data.PairSource(root / "images", root / "masks")


@pytest.fixture(params=["arrays", "files", "pairs"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> data.Source:
    if request.param == "arrays":
        return arrays()
    if request.param == "pairs":
        return pairs(tmp_path)
    return data.FolderSource(class_folder(tmp_path / "photos", {"a": 5, "b": 6}, size=(10, 14)))


def policy_for(source: data.Source) -> ow.Policy:
    return POLICY if source.labels is not None else ow.Policy(POLICY.transforms[:-1])


def direct(source: Any, policy: ow.Policy, *arguments: Any, **options: Any) -> FrameBatches:
    """Batches that keep nothing: every frame is made when it is asked for."""
    batches = FrameBatches(source, policy, *arguments, **options)

    @contextmanager
    def nothing(number: int) -> Iterator[None]:
        yield None

    batches.assemble.generations.open = nothing  # type: ignore[method-assign]
    return batches


class TestMeaning:
    def test_the_first_epoch_of_a_generation_is_that_without_reuse(self) -> None:
        fresh, reused = Batches(arrays(), PLAIN, 4, seed=3), FrameBatches(arrays(), PLAIN, 4, seed=3, reuse=3)
        for epoch in (0, 3, 6):
            for index in range(3):
                same(reused.batch(epoch, index), fresh.batch(epoch, index))

    def test_a_generation_shows_the_same_frames_in_another_order(self) -> None:
        batches = FrameBatches(arrays(), PLAIN, N, seed=3, reuse=3)
        by_row = []
        for epoch in range(6):
            rows, images = batches.indices(epoch, 0), batches.batch(epoch, 0)["images"]
            by_row.append(images[np.argsort(rows)])
            assert (np.sort(rows) == np.arange(N)).all()
        orders = {tuple(batches.indices(epoch, 0).tolist()) for epoch in range(6)}
        assert len(orders) == 6
        for epoch in range(6):
            np.testing.assert_array_equal(by_row[epoch], by_row[epoch - epoch % 3])
        assert (by_row[0] != by_row[3]).any(axis=(1, 2, 3)).all()

    def test_normalising_happens_to_the_frame(self) -> None:
        frames = FrameBatches(arrays(), PLAIN, 4, seed=3, reuse=2)
        normalised = ow.Policy([*GEOMETRY, ow.Normalize("imagenet")], dtype="float16", data_format="channels_first")
        reused = FrameBatches(arrays(), normalised, 4, seed=3, reuse=2)
        last = ow.Policy([ow.Normalize("imagenet")], dtype="float16", data_format="channels_first")
        for epoch in (0, 1, 2):
            expected = last(frames.batch(epoch, 1)["images"])
            np.testing.assert_array_equal(reused.batch(epoch, 1)["images"], expected)

    def test_samples_are_mixed_anew_in_every_epoch(self) -> None:
        mixed = ow.Policy([*GEOMETRY, ow.MixUp(1.0)])
        fresh = Batches(arrays(), mixed, 4, seed=3, labels="one_hot")
        reused = FrameBatches(arrays(), mixed, 4, seed=3, labels="one_hot", reuse=4)
        same(reused.batch(4, 0), fresh.batch(4, 0))
        frames = FrameBatches(arrays(), PLAIN, 4, seed=3, labels="one_hot", reuse=4)
        ids = reused.indices(6, 0)
        mix = ow.Policy([ow.MixUp(1.0)])
        expected = mix(frames.batch(6, 0), seed=3, epoch=6, ids=ids)
        same(reused.batch(6, 0), expected)

    def test_what_follows_then_varies_frames_under_keys_of_its_own(self) -> None:
        flips = ow.Policy([ow.HorizontalFlip()])
        fixed = ow.Policy([ow.HorizontalFlip(), ow.Resize(10)])
        batches = FrameBatches(arrays(64), fixed, 64, shuffle=False, reuse=4, then=flips)
        frames = FrameBatches(arrays(64), fixed, 64, shuffle=False, reuse=4)
        flipped = []
        for epoch in range(4):
            images, own = batches.batch(epoch, 0)["images"], frames.batch(epoch, 0)["images"]
            turned = (images == own[:, :, ::-1]).all(axis=(1, 2, 3))
            np.testing.assert_array_equal(turned | (images == own).all(axis=(1, 2, 3)), True)
            flipped.append(turned)
        first = ow.Policy([ow.HorizontalFlip()]).draw(ow.Spec((10, 14, 3)), seed=0, epoch=0, ids=np.arange(64))
        before = first.arrays["0.matrix"][:, 0, 0, 0] < 0
        for a, b in [(flipped[0], flipped[1]), (flipped[1], flipped[3]), (flipped[0], before)]:
            assert 10 < (a != b).sum() < 54
        whole = Batches(arrays(64), ow.Policy([*fixed.transforms, *flips.transforms]), 64, shuffle=False)
        for role in ("images", "segmentation_masks", "labels"):  # flips resample nothing: as if the policies were one
            same(batches.batch(0, 0)[role], whole.batch(0, 0)[role])

    def test_a_wrapped_sample_has_a_frame_of_its_own(self) -> None:
        batches = FrameBatches(arrays(5), PLAIN, 10, reuse=2)
        images = batches.batch(0, 0)["images"]
        assert not any(np.array_equal(images[k], images[k + 5]) for k in range(5))

    def test_floating_point_images_stay_what_they_are(self) -> None:
        images = np.random.default_rng(0).random((N, 10, 14, 3), dtype=np.float32)
        fresh = Batches(data.ArraySource(images), PLAIN, 4)
        same(FrameBatches(data.ArraySource(images), PLAIN, 4, reuse=2).batch(2, 0), fresh.batch(2, 0))


class TestKeeping:
    """Against batches that keep nothing, byte for byte."""

    @pytest.mark.parametrize("threads", [1, 2, 4])
    def test_epochs_in_a_row(self, source: data.Source, threads: int) -> None:
        policy = policy_for(source)
        kept, bare = FrameBatches(source, policy, 4, seed=1, reuse=3), direct(source, policy, 4, seed=1, reuse=3)
        for epoch in range(7):
            ahead = prefetch_batches(kept, epoch, 0, len(kept), threads, None)
            for index in range(len(kept)):
                same(ahead.get().entries, bare.batch(epoch, index))
            ahead.join(5)

    def test_any_order(self, source: data.Source) -> None:
        policy = policy_for(source)
        kept, bare = FrameBatches(source, policy, 4, seed=1, reuse=3), direct(source, policy, 4, seed=1, reuse=3)
        asked = np.random.default_rng(0).integers(0, [12, 3], (60, 2)).tolist()
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda at: kept.batch(*at), asked))
        for at, batch in zip(asked, found, strict=True):
            same(batch, bare.batch(*at))

    def test_from_the_middle_of_a_generation(self, source: data.Source) -> None:
        policy = policy_for(source)
        kept, bare = FrameBatches(source, policy, 4, seed=1, reuse=3), direct(source, policy, 4, seed=1, reuse=3)
        for epoch, start in ((4, 2), (5, 0), (6, 0), (1, 0)):
            ahead = prefetch_batches(kept, epoch, start, len(kept) - start, 2, None)
            for index in range(start, len(kept)):
                same(ahead.get().entries, bare.batch(epoch, index))
            ahead.join(5)

    @pytest.mark.parametrize("placement", ["host", "device"])
    def test_what_travels_to_a_device(self, source: data.Source, placement: str) -> None:
        policy = policy_for(source)
        kept, bare = (
            make(source, policy, 4, seed=1, reuse=2, placement=placement, on_error="skip")
            for make in (FrameBatches, direct)
        )
        for epoch in range(4):
            for index in range(len(kept)):
                found = kept.batch(epoch, index)
                same(found, bare.batch(epoch, index))
                if placement == "device":
                    assert found["images"].dtype == np.uint8 and found["images"].shape == (4, 8, 8, 3)
                    assert any(name.endswith("weight") for name in found[PARAMS]) == (source.labels is not None)

    def test_skipping_what_cannot_be_read(self, tmp_path: Path) -> None:
        folder = data.FolderSource(class_folder(tmp_path / "photos", {"a": 5, "b": 6}, size=(10, 14)))
        for k in (2, 7):
            Path(folder.name(k)).write_bytes(b"")
        kept, bare = (make(folder, POLICY, 4, seed=1, reuse=3, on_error="skip") for make in (FrameBatches, direct))
        for epoch in range(7):
            for index in range(3):
                built = kept.build(epoch, index)
                same(built.entries, bare.batch(epoch, index))
                rows = kept.indices(epoch, index)
                assert len(built.skipped) == np.isin(rows, [2, 7]).sum()

    @pytest.mark.parametrize("last_batch", ["wrap", "drop", "keep"])
    @pytest.mark.parametrize("shuffle", [True, "windowed"])
    def test_shards_show_the_epoch_and_keep_what_they_need(self, last_batch: str, shuffle: Any) -> None:
        options = {"seed": 1, "reuse": 3, "last_batch": last_batch, "shuffle": shuffle, "labels": "one_hot"}
        whole = FrameBatches(arrays(50), PLAIN, 8, **options)
        shards = [FrameBatches(arrays(50), PLAIN, 4, shard=(index, 2), **options) for index in range(2)]
        for epoch in range(6):
            rows, images = [], []
            for shard in shards:
                for index in range(len(shard)):
                    rows.append(shard.indices(epoch, index))
                    images.append(shard.build(epoch, index).entries["images"])
                if epoch % 3:  # nothing but its share of the next generation is made
                    assert abs(shard.frames(epoch)[1] - len(shard.sampling.places) / 3) <= 2
            all_rows = np.concatenate([whole.indices(epoch, index) for index in range(len(whole))])
            np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.sort(all_rows))
            shown = {image.tobytes() for batch in images for image in batch}
            assert shown == {i.tobytes() for index in range(len(whole)) for i in whole.batch(epoch, index)["images"]}

    @pytest.mark.parametrize("last_batch", ["wrap", "drop"])
    def test_every_sample_once_for_evaluation(self, last_batch: str) -> None:
        batches = FrameBatches(arrays(), PLAIN, 4, reuse=3, last_batch=last_batch)
        for epoch in (0, 1):
            for index in range(len(batches)):
                batches.build(epoch, index)
        made = batches.assemble.generations.made(1)
        every = batches.keeping_all()
        rows = np.concatenate([every.indices(1, index) for index in range(3)])
        np.testing.assert_array_equal(np.sort(rows), np.arange(N))
        images = np.concatenate([every.batch(1, index)["images"] for index in range(3)])[np.argsort(rows)]
        expected = Batches(arrays(), PLAIN, N, shuffle=False).batch(0, 0)["images"]
        np.testing.assert_array_equal(images, expected)
        assert batches.assemble.generations.made(1) == made

    def test_a_frame_that_is_not_there_would_show(self) -> None:
        """These tests can fail: a cache that answers for the wrong generation does not give the same bytes."""
        kept, bare = FrameBatches(arrays(), PLAIN, 4, reuse=3), direct(arrays(), PLAIN, 4, reuse=3)
        for index in range(3):
            kept.batch(0, index)
        kept.assemble.generations._kept[0].number = 3
        with pytest.raises(AssertionError):
            same(kept.batch(3, 0), bare.batch(3, 0))

    def test_a_copy_in_another_process_keeps_frames_of_its_own(self) -> None:
        kept = FrameBatches(arrays(), POLICY, 4, reuse=3)
        kept.batch(0, 0)
        copy = pickle.loads(pickle.dumps(kept))
        assert copy.assemble.generations.made(0) == 0
        same(copy.batch(4, 1), kept.batch(4, 1))


class TestMaking:
    def test_in_advance_evenly(self) -> None:
        """The first generation is made as it is shown, each further one while the one before is shown."""
        batches = FrameBatches(arrays(60), PLAIN, 6, reuse=4)
        for epoch in range(12):
            before = batches.assemble.generations.made(epoch)
            for index in range(10):
                batches.build(epoch, index)
                made = batches.assemble.generations.made(epoch) - (60 if epoch == 0 else 0)
                if epoch:
                    assert abs(made - before - 1.5 * (index + 1)) <= 2
            assert batches.frames(epoch) == ("reused" if epoch % 4 else "new", 75 if epoch == 0 else 15)

    def test_catching_up_after_a_late_start(self) -> None:
        batches = FrameBatches(arrays(60), PLAIN, 6, reuse=4)
        for epoch in (3, 4):
            ahead = prefetch_batches(batches, epoch, 0, 10, 2, None)
            for _ in range(10):
                ahead.get()
            ahead.join(5)
        assert batches.frames(3) == ("reused", 120)
        kind, made = batches.frames(4)  # two threads round their shares, each for itself
        assert kind == "new" and 15 <= made <= 17

    def test_looking_at_another_epoch_disturbs_nothing(self) -> None:
        batches = FrameBatches(arrays(60), PLAIN, 6, reuse=4)
        batches.begin(0)
        for index in range(10):
            batches.build(0, index)
        batches.batch(400, 0)
        batches.begin(1)
        batches.build(1, 0)
        assert batches.frames(1)[1] in (1, 2)  # its share of the next generation; its own frames were there

    def test_an_error_shows_where_the_frame_is_needed(self, tmp_path: Path) -> None:
        folder = data.FolderSource(class_folder(tmp_path / "photos", {"a": 5, "b": 6}, size=(10, 14)))
        batches = FrameBatches(folder, PLAIN, 4, last_batch="keep", reuse=2)
        for index in range(3):
            batches.build(0, index)
        last = int(batches.indices(2, 2)[-1])
        Path(folder.name(last)).unlink()
        for index in range(3):
            batches.build(1, index)  # the frames of epoch 2 are made meanwhile
        for index in range(3):
            if last in batches.indices(2, index):
                with pytest.raises(DataError, match=re.escape(folder.name(last))):
                    batches.build(2, index)
            else:
                batches.build(2, index)
        assert batches.frames(2)[1] < 11


class TestMemory:
    def test_two_generations_and_no_more(self) -> None:
        source, each = arrays(60), 60 * 8 * 8 * 3
        batches = FrameBatches(source.subset(range(60)), PLAIN, 6, reuse=2)
        for epoch in range(8):
            for index in range(10):
                batches.build(epoch, index)
        memory = batches.assemble.generations.memory
        targets = 60 * (8 * 8 * 4 + 2 * 4 * 4 + 2 * 8 + 3 * 3 * 4)
        assert memory.in_ram == 2 * (each + targets) and memory.in_files == 0

    def test_beyond_the_limit_in_files_without_a_name(self, tmp_path: Path) -> None:
        limit = 20_000  # one generation's images are 11,520 bytes
        kept = FrameBatches(arrays(60), POLICY, 6, reuse=2, frames_memory=limit, frames_dir=tmp_path)
        bare = direct(arrays(60), POLICY, 6, reuse=2)
        for epoch in range(5):
            for index in range(10):
                same(kept.batch(epoch, index), bare.batch(epoch, index))
        memory = kept.assemble.generations.memory
        assert 0 < memory.in_ram <= limit < memory.in_files
        assert not list(tmp_path.iterdir())

    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells what is in RAM")
    @pytest.mark.parametrize(("limit", "most"), [("1GB", 2.3), ("1MB", 0.4)])
    def test_what_the_system_says(self, limit: str, most: float, tmp_path: Path) -> None:
        """Ten generations of 25 MB: two of them in RAM, or none."""
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, limit, str(tmp_path)], capture_output=True, text=True, env=os.environ
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert float(done.stdout) < most

    def test_a_generation_in_use_is_not_overwritten(self) -> None:
        batches = FrameBatches(arrays(), PLAIN, 4, reuse=2)
        generations = batches.assemble.generations
        batches.begin(0)
        batches.build(0, 0)
        with generations.open(0) as shown, generations.open(2):
            assert isinstance(shown, Generation)
            batches.begin(4)
            with generations.open(4) as later:
                assert later is None  # both are being read; it is made without being kept
            same(batches.batch(4, 0), direct(arrays(), PLAIN, 4, reuse=2).batch(4, 0))
            assert shown.number == 0
        with generations.open(4) as later:
            assert later is not None and later.number == 4

    def test_no_room_on_the_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*arguments: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        batches = FrameBatches(arrays(), PLAIN, 4, reuse=2, frames_memory=0, frames_dir=tmp_path)
        for _ in range(2):
            with pytest.raises(InputError, match=r"No space left on device; pass frames_dir="):
                batches.batch(0, 0)

    def test_sizes(self) -> None:
        memory = FrameMemory(100)
        assert memory.empty((10, 10), np.uint8).shape == (10, 10) and memory.in_ram == 100
        array = memory.empty((7,), np.float32)
        array[:] = 3
        assert memory.in_files == 28 and memory.empty((0,), np.uint8).size == 0

    @pytest.mark.parametrize(
        ("given", "meant"),
        [("4GB", 4 * 10**9), ("1.5 GiB", 3 << 29), ("512mb", 512 * 10**6), ("100", 100), (0, 0), ("7 kB", 7000)],
    )
    def test_amounts(self, given: Any, meant: int) -> None:
        assert parse_bytes(given, "frames_memory") == meant

    @pytest.mark.parametrize("given", ["", "4 apples", "GB", "-1GB", -1, 1.5, None, True, "1e9", "4GBs"])
    def test_no_amounts(self, given: Any) -> None:
        with pytest.raises(InputError, match="frames_memory=.* is not an amount of memory"):
            FrameBatches(arrays(), PLAIN, 4, reuse=2, frames_memory=given)


PROGRAM = """
import sys
import numpy as np
import onewarp as ow
from onewarp.data import ArraySource
from onewarp.data.frames import FrameBatches
images = np.zeros((512, 16, 16, 3), np.uint8)
policy = ow.Policy([ow.Resize(128), ow.HorizontalFlip()])
batches = FrameBatches(ArraySource(images), policy, 8, reuse=2, frames_memory=sys.argv[1], frames_dir=sys.argv[2])
for index in range(2):  # what the library itself needs
    FrameBatches(ArraySource(images[:32]), policy, 8, reuse=2).batch(0, index)
def in_ram():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024
before, most = in_ram(), 0
for epoch in range(20):
    for index in range(64):
        batches.build(epoch, index)
        most = max(most, in_ram())
print((most - before) / (512 * 128 * 128 * 3))
"""


class TestArguments:
    @pytest.mark.parametrize("reuse", [0, -1, 1.5, "3", None, True])
    def test_reuse(self, reuse: Any) -> None:
        with pytest.raises(InputError, match="reuse=.* must be a whole number of epochs"):
            kept_or_not(reuse, None, "4GB", None)(arrays(), PLAIN, 4)

    def test_no_reuse(self) -> None:
        assert type(kept_or_not(1, None, "4GB", None)(arrays(), PLAIN, 4)) is Batches
        with pytest.raises(InputError, match="pass reuse=N"):
            kept_or_not(1, PLAIN, "4GB", None)

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="is not a folder"):
            FrameBatches(arrays(), PLAIN, 4, reuse=2, frames_dir=tmp_path / "none")

    def test_then(self) -> None:
        flip = ow.Policy([ow.HorizontalFlip()])
        with pytest.raises(PolicyError, match="Normalize cannot be part of what is kept as frames; move Normalize"):
            divided(POLICY, flip)
        with pytest.raises(PolicyError, match="dtype='float32' belongs to the policy then="):
            divided(ow.Policy(GEOMETRY, dtype="float32"), flip)
        with pytest.raises(InputError, match="is not a Policy"):
            divided(PLAIN, [ow.HorizontalFlip()])  # type: ignore[arg-type]
        named = ow.Policy([ow.HorizontalFlip(name="flip")])
        with pytest.raises(PolicyError, match="two transforms have the name 'flip'"):
            FrameBatches(arrays(), ow.Policy([*GEOMETRY, *named]), 4, reuse=2, then=named)

    def test_where_a_policy_is_cut(self) -> None:
        made, rest = divided(POLICY)
        assert made.transforms == POLICY.transforms[:-2] and rest.transforms == POLICY.transforms[-2:]
        either = ow.Policy([*GEOMETRY, ow.OneOf([ow.MixUp(), ow.CutMix()])], dtype="float16")
        made, rest = divided(either)
        assert made.transforms == GEOMETRY and made.settings.dtype is None and rest.settings.dtype == "float16"
        assert divided(PLAIN)[1].transforms == ()
