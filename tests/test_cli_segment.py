"""`onewarp segment`: what it writes, read by others; and what it refuses, in one line."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("keras")

from data_helpers import with_orientation
from onewarp.cli import main
from onewarp.picture import blend, colour_mask, legend
from onewarp.segment import DenseCRF
from street_helpers import CRF, NAMES, SHADES, VOID, nearest_colour, run_folder, street, three_classes

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside Keras


def run(*arguments: object) -> int:
    """The exit status of `onewarp segment ARGUMENTS`, in this process."""
    with pytest.raises(SystemExit) as stop:
        main(["segment", *(str(argument) for argument in arguments)])
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder(tmp_path_factory.mktemp("runs") / "tuned", crf=CRF)


@pytest.fixture(scope="module")
def untuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder(tmp_path_factory.mktemp("runs") / "untuned")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """a.png; in a folder b.jpg, which lies on its side: EXIF orientation 6, to be turned clockwise."""
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    Image.fromarray(street(1)[0]).save(tmp_path / "photos" / "a.png")
    sideways = np.rot90(street(2, 60, 96)[0])  # counterclockwise
    Image.fromarray(sideways).save(tmp_path / "photos" / "deep" / "b.jpg", quality=98, exif=with_orientation(6))
    return tmp_path / "photos"


def mask_of(path: Path) -> np.ndarray:
    with Image.open(path) as page:
        assert page.mode == "P"
        assert page.getpalette()[: 3 * len(SHADES)] == [level for shade in SHADES for level in shade]
        return np.array(page)


def test_masks_overlays_and_coco(model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(photos, "--model", model, "--out", out, "--coco") == 0
    assert "masks/ and overlays/ of 2 images, coco.json" in capsys.readouterr().out
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert files == {"masks/a.png", "masks/deep/b.png", "overlays/a.png", "overlays/deep/b.png", "coco.json"}
    for name, (image, truth) in {"a": street(1), "deep/b": street(2, 60, 96)}.items():
        mask = mask_of(out / "masks" / f"{name}.png")
        assert mask.shape == truth.shape
        counted = truth != VOID
        assert (mask == three_classes(truth))[counted].mean() > 0.95
        overlay = cv2.imread(str(out / "overlays" / f"{name}.png"))[..., ::-1].astype(int)
        expected = (image.astype(int) + colour_mask(mask, SHADES)) / 2
        assert np.abs(overlay - expected).mean() < (0.5 if name == "a" else 6)  # b.jpg lost a little in the file

    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        read = COCO(str(out / "coco.json"))
    assert {entry["name"]: entry["id"] for entry in read.dataset["categories"]} == {"sky": 1, "road": 2, "car": 3}
    assert {entry["file_name"] for entry in read.dataset["images"]} == {"a.png", "deep/b.jpg"}
    for number, entry in read.imgs.items():
        mask = mask_of(out / "masks" / Path(entry["file_name"]).with_suffix(".png"))
        assert (entry["height"], entry["width"]) == mask.shape
        found = read.loadAnns(read.getAnnIds(imgIds=number))
        assert [record["category_id"] - 1 for record in found] == np.unique(mask).tolist()
        for record in found:
            inside = mask == record["category_id"] - 1
            np.testing.assert_array_equal(read.annToMask(record), inside)
            rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
            assert record["area"] == inside.sum()
            assert record["bbox"] == [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]


def test_one_image_and_a_keras_file(
    untuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A photograph of the network's size: the mask is the model's own, pixel by pixel; the shares are said."""
    monkeypatch.chdir(tmp_path)
    image = street(3, 24, 32)[0]
    Image.fromarray(image).save("one.png")
    assert run("one.png", "--model", untuned / "model.keras") == 0
    expected = nearest_colour(image[None] / 255)[0].argmax(-1)
    mask = mask_of(Path("segmented/masks/one.png"))
    np.testing.assert_array_equal(mask, expected)
    said = capsys.readouterr().out
    first = np.bincount(mask.ravel()).argmax()
    assert f"{NAMES[first]} {(mask == first).mean():.1%}, " in said
    assert not Path("segmented/coco.json").exists()


def test_the_crf(model: Path, untuned: Path, tmp_path: Path) -> None:
    """That of the run, or what is given instead of it; threads change nothing."""
    image = street(4, 24, 32)[0]
    Image.fromarray(image).save(tmp_path / "x.png")
    probs = nearest_colour(image[None] / 255)[0].astype(np.float32)

    def segmented(*options: object) -> np.ndarray:
        assert run(tmp_path / "x.png", "--model", *options, "--out", tmp_path / "out") == 0
        return mask_of(tmp_path / "out" / "masks" / "x.png")

    def expected(**terms: object) -> np.ndarray:
        return DenseCRF(**{**CRF, **terms})(image, probs).argmax(-1)

    np.testing.assert_array_equal(segmented(model, "--crf"), expected())
    np.testing.assert_array_equal(segmented(model, "--crf", "--threads", 1), expected())
    wide = {"sxy": 9.0, "compat": 30.0}
    strong = segmented(model, "--crf", "--gaussian", 9, 30, "--iterations", 3)
    np.testing.assert_array_equal(strong, expected(gaussian=wide, iterations=3))
    assert (strong != expected()).any()
    given = segmented(untuned, "--crf", "--bilateral", 10, 20, 3)
    np.testing.assert_array_equal(given, expected(gaussian=None))


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on stderr."""
    capsys.readouterr()
    assert run(*arguments) == 2
    text = capsys.readouterr().err.strip()
    assert text.startswith("error: ") and "\n" not in text
    return text


def test_what_it_refuses(
    model: Path, untuned: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", tmp_path / "out")
    assert "nowhere.jpg: no such file or folder" in refused(capsys, tmp_path / "nowhere.jpg", "--model", model, *out)
    (tmp_path / "empty").mkdir()
    assert "no image in this folder" in refused(capsys, tmp_path / "empty", "--model", model, *out)
    assert "no model.keras in it" in refused(capsys, photos, "--model", tmp_path / "empty", *out)
    assert "runs/x: no such file" in refused(capsys, photos, "--model", tmp_path / "runs/x", *out)
    assert "where the next run would take" in refused(capsys, photos, "--model", model, "--out", photos / "out")
    assert "the run has tuned none; give --gaussian" in refused(capsys, photos, "--model", untuned, "--crf", *out)
    assert "must be a number above 0" in refused(capsys, photos, "--model", model, "--crf", "--gaussian", 0, 1, *out)
    (photos / "a.jpg").write_bytes((photos / "a.png").read_bytes())
    assert "would both become a.png; rename" in refused(capsys, photos, "--model", model, *out)
    assert not (tmp_path / "out").exists()
    (photos / "a.jpg").unlink()
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(capsys, photos, "--model", model, "--out", tmp_path / "file")


def test_images_that_cannot_be_read(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "0.png").write_bytes((photos / "a.png").read_bytes()[:99])
    out = tmp_path / "out"
    text = refused(capsys, photos, "--model", model, "--out", out)
    assert "0.png" in text and "--skip-unreadable" in text
    assert run(photos, "--model", model, "--out", out, "--coco", "--skip-unreadable") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "left out: " in said and "of 2 images, coco.json, 1 left out" in said
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 2
    assert refused(capsys, photos / "0.png", "--model", model, "--out", out)


def test_pictures_of_classes() -> None:
    mask = np.array([[0, 1], [2, 255]], np.uint8)
    painted = colour_mask(mask, SHADES, other=(1, 2, 3))
    np.testing.assert_array_equal(painted, [[SHADES[0], SHADES[1]], [SHADES[2], (1, 2, 3)]])
    np.testing.assert_array_equal(colour_mask(np.array([[-1]]), SHADES), [[(0, 0, 0)]])
    half = blend(np.full((1, 1, 3), 100, np.uint8), np.full((1, 1, 3), 200, np.uint8), 0.25)
    assert half.tolist() == [[[125, 125, 125]]]
    wide, narrow = legend(NAMES, SHADES, 600), legend(NAMES, SHADES, 90)
    assert wide.shape[1] == 600 and narrow.shape[1] == 90 and narrow.shape[0] > 2 * wide.shape[0]
    for shade in SHADES:
        assert (wide == shade).all(-1).sum() > 100
