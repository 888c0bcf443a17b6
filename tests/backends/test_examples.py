"""Pictures of what the model is trained on: run once per backend, with KERAS_BACKEND set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from augmented_helpers import augmented, classifier, ignore_inside_keras
from loader_helpers import BATCH, POLICY, StopAfter, model, source
from PIL import Image

import onewarp as ow

pytestmark = ignore_inside_keras
RICH = [ow.RandomCrop(6), ow.HorizontalFlip(), ow.Rotate(20), ow.ColorJitter(0.2, 0.2, 0.2, 0.1)]
ENDS = {
    "plain": (ow.Rescale(1 / 255),),
    "imagenet": (ow.Normalize("imagenet"),),
    "caffe": (ow.Normalize("caffe"),),
    "uint8": (),
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def grey_levels(batch: np.ndarray, end: str) -> np.ndarray:
    """What the model got as grey levels, Normalize taken back by hand."""
    values = np.asarray(batch, np.float64)
    if end == "plain":
        values = values * 255
    elif end == "imagenet":
        values = (values * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406]) * 255
    elif end == "caffe":
        values = np.add(values, [103.939, 116.779, 123.68])[..., ::-1]
    return np.rint(values).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("device", [False, True])
def test_a_picture_is_what_the_model_gets(end: str, device: bool, tmp_path: Path) -> None:
    policy = ow.Policy([*RICH, *ENDS[end]])
    loader = ow.Loader(source(), policy, BATCH, placement="device" if device else "host")
    examples = ow.SaveExamples(tmp_path / "pictures", loader, 1.0, None)
    if device:
        network = augmented(policy, model=classifier())
    else:
        network = classifier()
        network.compile("sgd", "sparse_categorical_crossentropy")
    network.fit(loader, epochs=2, verbose=0, callbacks=[examples])
    assert len(names(tmp_path / "pictures")) == 2 * 6 * BATCH  # probability 1 and no limit: all of them
    on_host = ow.Loader(source(), policy, BATCH).batches
    for epoch in range(2):
        for index in range(6):
            batch = on_host.batch(epoch, index)
            for row in range(BATCH):
                name = f"e{epoch:04d}-b{index:06d}-{row:03d}-{batch['labels'][row]}.png"
                picture = read(tmp_path / "pictures" / name)
                np.testing.assert_array_equal(picture, grey_levels(batch["images"], end)[row])


def test_which_samples_are_written_depends_on_seed_and_place_alone(tmp_path: Path) -> None:
    def run(
        folder: str, probability: float = 0.3, seed: int = 0, stop: int | None = None, batch_size: int = BATCH
    ) -> Any:
        loader = ow.Loader(source(), POLICY, batch_size, seed=seed)
        examples = ow.SaveExamples(tmp_path / folder, loader, probability, None)
        callbacks = [examples] if stop is None else [StopAfter(stop, epoch=1), examples]
        ow.resume_fit(model(), loader, tmp_path / f"{folder}.npz", epochs=3, callbacks=callbacks, verbose=0)
        return names(tmp_path / folder)

    whole = run("a")
    assert 10 < len(whole) < 35  # 72 samples, 21.6 expected, four standard deviations
    assert run("b", seed=1) != whole
    early = run("c", stop=3)
    assert set(early) < set(whole) and run("c") == whole  # gone on with
    more = run("d", probability=0.6)
    assert set(whole) < set(more)
    assert {name[:5] for name in whole} == {"e0000", "e0001", "e0002"}


def test_a_ring_keeps_the_latest(tmp_path: Path) -> None:
    loader = ow.Loader(source(), POLICY, BATCH)
    (tmp_path / "notes.png").write_bytes(b"mine")
    model().fit(loader, epochs=2, verbose=0, callbacks=[ow.SaveExamples(tmp_path, loader, 1, 5)])
    found = names(tmp_path)
    assert found.pop() == "notes.png"
    assert [name[:16] for name in found] == ["e0001-b000004-00", *["e0001-b000005-00"] * 4]
    again = ow.SaveExamples(tmp_path / "none", loader, 0.0)
    model().fit(loader, verbose=0, callbacks=[again])
    assert not (tmp_path / "none").exists()


def test_masks_boxes_and_points_are_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((8, 40, 60), np.uint8)
    masks[:, 10:20, 5:25] = 2
    boxes = {"boxes": np.tile([[0.5, 0.5, 0.4, 0.4]], (8, 1, 1)), "labels": np.full((8, 1), 3)}
    targets = {"segmentation_masks": masks, "bounding_boxes": boxes, "keypoints": np.tile([[30.0, 20.0]], (8, 1, 1))}
    images = rng.integers(100, 120, (8, 40, 60, 3), dtype=np.uint8)
    policy = ow.Policy([ow.Resize((40, 60)), ow.Normalize("imagenet")])
    loader = ow.Loader(
        ow.ArraySource(images, **targets),
        policy,
        4,
        shuffle=False,
        bounding_box_format="rel_center_xywh",
    )
    examples = ow.SaveExamples(tmp_path, loader)
    (path,) = examples.save(0, 1, np.array([2]))
    picture, plain = read(path).astype(int), images[6].astype(int)
    changed = np.abs(picture - plain).max(axis=2) > 30
    assert changed[10:20, 5:25].all()  # the mask
    assert (
        changed[12, 18:42].all() and changed[12:28, 18].all() and changed[20, 30]
    )  # the box about the middle; the point
    assert not changed[30:].any() and not changed[:9].any()
    assert path.name == "e0000-b000001-002.png"


def test_mixed_samples_are_shown_mixed(tmp_path: Path) -> None:
    policy = ow.Policy([ow.CenterCrop(6), ow.Rescale(1 / 255), ow.CutMix(p=1)])
    loader = ow.Loader(source(class_names=("ant", "red bee", "cat/dog")), policy, BATCH)
    files = ow.SaveExamples(tmp_path, loader).save(1, 2, np.arange(BATCH))
    batch = loader.batches.batch(1, 2)
    for row, path in enumerate(files):
        np.testing.assert_array_equal(read(path), grey_levels(batch["images"], "plain")[row])
        name = ("ant", "red_bee", "cat_dog")[int(batch["labels"][row].argmax())]
        assert path.name == f"e0001-b000002-{row:03d}-{name}.png"


def test_changes_of_the_policy_are_seen(tmp_path: Path) -> None:
    loader = ow.Loader(source(), POLICY, BATCH)
    examples = ow.SaveExamples(tmp_path, loader)
    other = ow.Policy([ow.CenterCrop(6), ow.Invert(p=1), ow.Rescale(1 / 255)])
    (before,) = examples.save(0, 0, np.array([1]))
    first = read(before)
    loader.set_policy(other)
    (after,) = examples.save(0, 0, np.array([1]))
    np.testing.assert_array_equal(read(after), grey_levels(loader.batches.batch(0, 0)["images"], "plain")[1])
    assert (read(after) != first).any()


def test_small_pictures_can_be_enlarged_and_arguments_are_checked(tmp_path: Path) -> None:
    loader = ow.Loader(source(), POLICY, BATCH)
    (path,) = ow.SaveExamples(tmp_path, loader, side=60).save(0, 0, np.array([0]))
    assert read(path).shape == (60, 60, 3)
    for options, says in (
        ({"probability": 1.5}, "probability=1.5"),
        ({"probability": "often"}, "probability='often'"),
        ({"n_files": 0}, "n_files=0"),
        ({"n_files": 2.5}, "n_files=2.5"),
        ({"side": -1}, "side=-1"),
    ):
        with pytest.raises(ow.InputError, match=says):
            ow.SaveExamples(tmp_path, loader, **options)
    with pytest.raises(ow.InputError, match="pass the Loader"):
        ow.SaveExamples(tmp_path, source())
