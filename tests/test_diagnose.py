"""`onewarp doctor`: from measured parts to advice, with made-up measurements; and one real run over a small folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console

import onewarp as ow
import onewarp.data as data
from coco_helpers import write as write_coco
from data_helpers import class_folder, encode, tar_of
from onewarp.cli import main
from onewarp.cli.cases import (
    Case,
    Where,
    check_masks,
    is_coco,
    mask_classes,
    of_run,
    of_source,
    open_samples,
)
from onewarp.data.batches import has_class_numbers
from onewarp.data.store import prepare
from onewarp.errors import DataError, InputError
from onewarp.fit.diagnose import OnDevice, Parts, advise, bar, gain, report, verdict

# Photographs, a fast accelerator: the loader's two threads need 40 ms for a batch, the step 10 ms.
PHOTOS = Parts(
    batch_size=32,
    threads=2,
    processors=2,
    read=0.004,
    decode=0.060,
    augment=0.016,
    feed=0.040,
    copy=0.001,
    step=0.009,
    together=0.040,
    data_wait=0.75,
)
FAST_LOADER = replace(PHOTOS, decode=0.0, read=0.001, augment=0.003, feed=0.002, together=0.010, data_wait=0.01)


def named(parts: Parts) -> dict[str, float]:
    """First word or so of each piece of advice -> how many times as fast."""
    return {advice.what.split(":")[0].split(",")[-1].strip(" )."): gain(parts, advice) for advice in advise(parts)}


def said(parts: Parts) -> str:
    console = Console(width=100)
    with console.capture() as captured:
        report(parts, console.print)
    return captured.get()


class TestModel:
    def test_the_slower_of_two(self) -> None:
        assert PHOTOS.work == pytest.approx(0.080) and PHOTOS.busy == pytest.approx(0.010)
        assert PHOTOS.at_once == pytest.approx(2.0) and PHOTOS.contention == 0.0
        assert PHOTOS.predicted(PHOTOS.work) == pytest.approx(0.040)
        assert PHOTOS.predicted(0.030) == pytest.approx(0.015)
        assert PHOTOS.predicted(0.004) == pytest.approx(0.010)  # now the step is the slower one
        assert PHOTOS.predicted(PHOTOS.work, busy=0.050) == pytest.approx(0.050)

    def test_where_both_want_the_same_processors(self) -> None:
        """Measured: 40 ms and 10 ms take 45 ms together. So half of the faster one comes on top, whatever changes."""
        parts = replace(PHOTOS, together=0.045)
        assert parts.contention == pytest.approx(0.5)
        assert parts.predicted(parts.work) == pytest.approx(0.045)
        assert parts.predicted(0.030) == pytest.approx(0.015 + 0.005)

    def test_measurements_that_contradict_each_other_stay_in_bounds(self) -> None:
        assert replace(PHOTOS, together=0.020).contention == 0.0
        assert replace(PHOTOS, together=0.200).contention == 1.0
        assert replace(PHOTOS, feed=0.001).at_once == 2.0  # two threads do no more than the work of two
        for empty in (replace(PHOTOS, feed=0.0), replace(PHOTOS, copy=0.0, step=0.0)):
            assert np.isfinite(empty.predicted(0.01)) and empty.predicted(0.01) > 0


class TestAdvice:
    def test_a_store_where_decoding_takes_the_time(self) -> None:
        parts = replace(PHOTOS, short_side=256, shrunk=0.25, copied=0.002)
        found = advise(parts)
        assert [advice.what.split(" --")[0] for advice in found] == [
            "prepare a store of pixels: onewarp prepare SOURCE STORE",
            "prepare a store: onewarp prepare SOURCE STORE",
        ]
        assert "--short-side 256 --raw" in found[0].what and "4.0 times the pixels" in found[1].why
        # (0.002 / 4 + 0.016) / 2 threads: now 10 ms of the step are more; and (0.001 + 0.015 + 0.016) / 2.
        assert [gain(parts, advice) for advice in found] == pytest.approx([4.0, 2.5])

    def test_no_smaller_store_for_images_that_are_small(self) -> None:
        assert named(replace(PHOTOS, copied=0.002)) == {"prepare a store of pixels": pytest.approx(4.0)}

    def test_more_threads_where_processors_are_idle(self) -> None:
        assert named(replace(PHOTOS, processors=6)) == {"threads=6": pytest.approx(3.0)}
        assert named(replace(PHOTOS, processors=64)) == {"threads=64": pytest.approx(4.0)}  # then the step is slower
        assert named(replace(PHOTOS, processors=2)) == {}

    def test_threads_that_want_what_the_step_has(self) -> None:
        parts = replace(PHOTOS, processors=4, together=0.050)  # one works only while the other does not
        assert named(parts)["threads=4"] == pytest.approx(0.050 / 0.030)

    def test_the_device_where_augmenting_takes_the_time(self) -> None:
        slow = replace(PHOTOS, decode=0.010, augment=0.066)
        parts = replace(slow, on_device=OnDevice(host=0.020, copy=0.0005, step=0.012))
        assert named(parts) == {"AugmentedModel": pytest.approx(0.040 / 0.0125)}
        worse = replace(slow, on_device=OnDevice(host=0.020, copy=0.0005, step=0.050))
        assert named(worse) == {}

    def test_frames_and_fast_decoding(self) -> None:
        parts = replace(PHOTOS, frame=0.004, fast=0.060)
        assert named(parts) == {"reuse=10": pytest.approx(4.0), 'decode="fast"': pytest.approx(0.040 / 0.030)}
        slower = replace(PHOTOS, frame=0.032)
        assert named(slower) == {"reuse=10": pytest.approx(2.0)}

    def test_smaller_images_where_the_step_takes_the_time(self) -> None:
        assert named(FAST_LOADER) == {"smaller images": pytest.approx(16 / 9)}
        assert "The input keeps up" in verdict(FAST_LOADER)

    def test_gains_under_five_percent_are_left_out(self) -> None:
        assert named(replace(PHOTOS, fast=0.0765)) == {} and named(replace(PHOTOS, fast=0.0760))
        assert "Nothing that onewarp can change" in said(PHOTOS)


def test_the_report_says_who_waits_for_whom() -> None:
    text = said(replace(PHOTOS, short_side=256, shrunk=0.25))
    assert "The model alone could do 3,200 images/s; the training does 800." in text
    assert "waits for data 75% of the time; 75% of the loader's is decoding" in text
    assert "2.50x  prepare a store: onewarp prepare SOURCE STORE --short-side 256" in text
    lines = {line.split()[0]: line for line in text.splitlines() if "█" in line}
    assert lines["decode"].count("█") == 20 and lines["loader"].count("█") == 13 and "2 threads" in lines["loader"]
    assert "same processors" in verdict(replace(FAST_LOADER, together=0.012))


@pytest.mark.parametrize(("share", "text"), [(0, ""), (1, "█" * 20), (2, "█" * 20), (0.5, "█" * 10), (0.0125, "▎")])
def test_bars(share: float, text: str) -> None:
    assert bar(share) == text


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return class_folder(tmp_path / "photos", {"a": 6, "b": 6}, kind="JPEG", size=(80, 96))


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    ow.Policy([ow.RandomResizedCrop(32, scale=(0.8, 1.0)), ow.Rescale(1 / 255)]).to_yaml(tmp_path / "policy.yaml")
    return tmp_path / "policy.yaml"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


class TestCommand:
    @pytest.mark.parametrize("kind", ["classes", "flat", "tar"])
    def test_a_folder_or_tar(
        self, kind: str, photos: Path, policy_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = {"classes": photos, "flat": photos / "a"}.get(kind) or tar_of(photos, photos.with_suffix(".tar"))
        assert run("doctor", path, "--policy", policy_file, "--batch-size", 4, "--seconds", 0.05) == 0
        out = capsys.readouterr().out
        for part in ("read", "decode", "augment", "loader", "copy", "step", "training", "The model alone could do"):
            assert part in out
        assert f"{6 if kind == 'flat' else 12} samples, lenet5 on" in out

    @pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")  # Keras, in model.save
    def test_a_run_folder(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = tmp_path / "run"
        assert run("train", "digits", "--epochs", 1, "--no-compare", "--batch-size", 64, "--out", out) == 0
        capsys.readouterr()
        assert run("doctor", out, "--seconds", 0.05, "--threads", 1) == 0
        text = capsys.readouterr().out
        assert "1,150 samples, lenet5 on" in text and "batches of 64" in text and "1 thread" in text

    def test_what_a_run_records_is_what_is_looked_at(self, tmp_path: Path) -> None:
        config = {
            "command": "onewarp train cifar10 --data 'my data' --model resnet20",
            "data": {"name": "cifar10"},
            "policy": {"transforms": ["HorizontalFlip"]},
            "model": "resnet20",
            "batch_size": 64,
            "threads": None,
            "backend": "torch",
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        case = of_run(tmp_path)
        assert case.data.path == Path("my data") and case.model == "resnet20" and case.backend == "torch"
        with pytest.raises(DataError, match="my data"):
            open_samples(case)
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({**config, "data": {"name": "mnist"}, "command": "x"}))
        with pytest.raises(DataError, match="does not say where the samples of 'mnist' are; add path: to its entry"):
            of_run(tmp_path)

    @pytest.mark.parametrize("text", ["", "a: 1", "[1, 2", "data: 3", "\x00"])
    def test_a_config_of_something_else(self, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "config.yaml").write_text(text)
        assert run("doctor", tmp_path) == 2
        assert "not what onewarp train writes" in capsys.readouterr().err

    def test_no_images(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "notes.txt").write_text("")
        for path, message in [(tmp_path, "image"), (tmp_path / "none", "neither"), (tmp_path / "notes.txt", "neither")]:
            assert run("doctor", path) == 2
            assert message in capsys.readouterr().err

    def test_a_damaged_file_is_named(self, photos: Path, policy_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (photos / "b" / "003.jpeg").write_bytes(b"")
        assert run("doctor", photos, "--policy", policy_file, "--batch-size", 12, "--seconds", 0.05) == 2
        assert "003.jpeg" in capsys.readouterr().err

    def test_images_without_classes_get_two(self, photos: Path) -> None:
        flat, classes = (open_samples(of_source(path)) for path in (photos / "a", photos))
        assert not has_class_numbers(flat) and has_class_numbers(classes) and classes.class_names == ("a", "b")
        from onewarp.fit.measuring import TwoClasses

        two = TwoClasses(flat)
        assert two.num_classes == 2 and len(two) == 6 and two.outputs == ("images", "labels")

    def test_a_policy_for_masks_trains_on_masks(
        self, photos: Path, policy_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A run of someone's own: images and masks of two folders, a model that only its file knows."""
        keras = pytest.importorskip("keras")
        folder = photos.parent / "run"
        folder.mkdir()
        config = {
            "data": {"name": "streets", "images": str(photos / "a"), "masks": str(masks_of(photos / "a")), "ignore": 9},
            "policy": ow.Policy.from_yaml(policy_file).to_dict(),
            "model": {"name": "mine", "filters": 4},
            "batch_size": 4,
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        assert run("doctor", folder, "--seconds", 0.05) == 2
        assert "there is no model 'mine'; choose one by --model" in capsys.readouterr().err
        images = keras.Input((32, 32, 3))
        keras.Model(images, keras.layers.Conv2D(4, 1, activation="softmax")(images), name="mine").save(
            folder / "model.keras"
        )
        assert run("doctor", folder, "--seconds", 0.05) == 0
        out = capsys.readouterr().out
        assert f"{folder} (streets): 6 samples, mine on" in " ".join(out.split()) and "batches of 4" in out
        assert run("doctor", folder, "--masks", photos) == 2
        assert "a run says itself" in capsys.readouterr().err
        (folder / "model.keras").write_bytes(b"no model")
        assert run("doctor", folder, "--seconds", 0.05) == 2
        assert "not a Keras model" in capsys.readouterr().err


def masks_of(images: Path) -> Path:
    """A folder with a mask of classes 0, 1, 2 and void 9 for each image."""
    folder = images.parent.parent / "masks"
    folder.mkdir()
    for image in images.iterdir():
        mask = np.full((80, 96), 9, np.uint8)
        mask[:, :60] = np.arange(60) % 3
        (folder / f"{image.stem}.png").write_bytes(encode(mask, "PNG"))
    return folder


class TestSamples:
    """What a path, or the entry `data` of a config.yaml, stands for."""

    def test_a_store(self, photos: Path, tmp_path: Path) -> None:
        prepare(data.FolderSource(photos), tmp_path / "store")
        source = open_samples(of_source(tmp_path / "store"))
        assert isinstance(source, ow.StoreSource) and has_class_numbers(source)

    def test_a_table(self, photos: Path) -> None:
        lines = [f"a/{k:03d}.jpeg,{'cat' if k % 2 else 'dog'},{'train' if k < 4 else 'val'}" for k in range(6)]
        (photos / "list.csv").write_text("path,label,split\n" + "\n".join(lines) + "\n")
        assert len(open_samples(of_source(photos / "list.csv"))) == 6
        part = open_samples(Case("x", Where(path=photos / "list.csv", split="train"), {}))
        assert len(part) == 4 and part.class_names == ("cat", "dog") and has_class_numbers(part)
        with pytest.raises(InputError, match="a table names masks and boxes itself"):
            open_samples(of_source(photos / "list.csv", masks=photos))

    def test_coco(self, tmp_path: Path) -> None:
        source = open_samples(of_source(tmp_path, annotations=write_coco(tmp_path)))
        assert isinstance(source, ow.CocoSource) and "segmentation_masks" in source.roles
        assert mask_classes(source) == 3 and source.roles == ("images", "segmentation_masks")

    def test_pairs(self, photos: Path) -> None:
        case = Case("x", Where(path=photos / "a", masks=masks_of(photos / "a"), ignore=9, in_memory=True), {})
        source = open_samples(case)
        assert isinstance(source, ow.ArraySource) and "segmentation_masks" in source.roles
        assert source.ignore == source.subset([1, 0]).ignore == 9
        assert mask_classes(open_samples(replace(case, data=replace(case.data, in_memory=False)))) == 3
        with pytest.raises(InputError, match="unet gives a class for each pixel, but the samples have no masks"):
            check_masks(open_samples(of_source(photos / "a")), "unet")

    def test_boxes_by_image(self, photos: Path, tmp_path: Path) -> None:
        (tmp_path / "boxes.json").write_text('{"000.jpeg": {"boxes": [[1, 2, 3, 4]]}}')
        assert not is_coco(tmp_path / "boxes.json")
        source = open_samples(of_source(photos / "a", annotations=tmp_path / "boxes.json"))
        assert "bounding_boxes" in source.roles
        with pytest.raises(DataError, match="none.json: cannot be read"):
            open_samples(of_source(photos / "a", annotations=tmp_path / "none.json"))

    def test_a_command_that_names_a_folder_with_masks_beside_images(self, photos: Path, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        masks_of(photos / "a").rename(tmp_path / "set" / "trainannot")
        (photos / "a").rename(tmp_path / "set" / "train")
        config = {
            "command": f"python recipe.py --data '{tmp_path / 'set'}'",
            "data": {"name": "camvid"},
            "policy": {"transforms": ["HorizontalFlip"], "mask_fill_value": 9},
            "model": {"name": "unet"},
            "batch_size": 2,
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        case = of_run(tmp_path)
        assert case.model == "unet" and case.saved is None and case.threads is None
        source = open_samples(case)
        assert isinstance(source, ow.PairSource) and source.ignore == 9

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ({"path": "nowhere/photos"}, "nowhere/photos"),
            ({"path": "nowhere/list.csv"}, "nowhere/list.csv"),
            ({"images": "nowhere/images", "masks": "nowhere/masks"}, "nowhere/images"),
            ({"path": "nowhere/images", "annotations": "nowhere/coco.json"}, "nowhere/coco.json"),
        ],
    )
    def test_what_is_not_there_is_named(self, entry: dict[str, str], message: str, tmp_path: Path) -> None:
        config = {"data": entry, "policy": {"transforms": []}, "model": "lenet5", "batch_size": 2}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        with pytest.raises(DataError, match=message):
            open_samples(of_run(tmp_path))
