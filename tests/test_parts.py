"""Files of which no more is decoded than a batch shows: the batches of whole images, and the same complaints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onewarp as ow
import onewarp.data as data
from data_helpers import encode, picture, same, with_orientation
from onewarp import _native
from onewarp.data import file_warp
from onewarp.data.batches import Batches
from onewarp.data.decode import EncodedImage
from onewarp.data.prefetch import prefetch_batches
from onewarp.engine import host
from onewarp.errors import DataError

CROP = ow.RandomResizedCrop(24, scale=(0.1, 0.5))
ONE_PASS = ow.Policy([CROP, ow.HorizontalFlip(), ow.Rotate(15), ow.ColorJitter(0.2, 0.2), ow.Normalize("imagenet")])
TWO_PASSES = ow.Policy([CROP, ow.GaussianBlur(p=0.5), ow.Rotate(10)], fill_mode="reflect")
POLICIES = {
    "one pass": ONE_PASS,
    "two passes": TWO_PASSES,
    "all of it": ow.Policy([ow.Resize((20, 30))]),
    "field": ow.Policy([ow.ElasticTransform(0.05, 3), CROP]),
    "perspective": ow.Policy([ow.Perspective(0.3), CROP], interpolation="bicubic"),
}


def jpeg(seed: int, size: tuple[int, int] = (70, 90), **options: Any) -> bytes:
    return encode(picture(*size, seed=seed), "JPEG", quality=90, **options)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Every kind of file that decoders treat differently, and some plain ones."""
    grey = Image.fromarray(picture(60, 50, seed=7)[..., 0])
    kinds = {
        "plain.jpg": jpeg(0, subsampling=2),
        "full.jpg": jpeg(1, (64, 64), subsampling=0),
        "half.jpg": jpeg(2, (33, 101), subsampling=1),
        "progressive.jpg": jpeg(3, progressive=True),
        "turned.jpg": jpeg(4, exif=with_orientation(6)),
        "grey.jpg": encode(grey, "JPEG"),
        "inks.jpg": encode(Image.fromarray(picture(50, 60, seed=5)).convert("CMYK"), "JPEG"),
        "markers.jpg": jpeg(6, restart_marker_blocks=2),
        "lossless.png": encode(picture(40, 48, seed=8), "PNG"),
        "behind.jpg": jpeg(9) + bytes(10),  # something stands behind the end
    }
    for name, content in kinds.items():
        (tmp_path / name).write_bytes(content)
    return [str(tmp_path / name) for name in kinds]


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls a function with all images decoded as a whole, one by one."""

    def call(function: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(host, "takes_jpegs", lambda plan: False)
            patch.setattr(
                file_warp, "visited", lambda plan, params, sizes: np.concatenate([np.zeros_like(sizes), sizes], axis=1)
            )
            return function()

    return call


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_batches_are_those_of_whole_images(files: list[str], whole: Any, name: str, channels: int) -> None:
    policy = POLICIES[name]
    if channels == 1:
        policy = ow.Policy([one for one in policy.transforms if not isinstance(one, ow.ColorJitter | ow.Normalize)])
    if channels == 4:
        policy = ow.Policy([one for one in policy.transforms if not isinstance(one, ow.Normalize)])
    batches = Batches(data.FileSource(files, channels=channels), policy, 5, seed=3)
    for epoch in range(4):
        for index in range(len(batches)):
            same(batches.batch(epoch, index), whole(lambda e=epoch, i=index: batches.batch(e, i)))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_threads_change_nothing(files: list[str], whole: Any, threads: int) -> None:
    batches = Batches(data.FileSource(files * 6), ONE_PASS, 20, seed=1)
    ahead = prefetch_batches(batches, 0, 0, len(batches), threads, None)
    for index in range(len(batches)):
        same(ahead.get().entries, whole(lambda i=index: batches.batch(0, i)))


@pytest.mark.skipif(not _native.decodes_parts, reason="built without libjpeg-turbo: JPEGs are decoded whole")
def test_what_is_plain_never_reaches_the_other_decoder(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    decode = EncodedImage.decode

    def noted(self: EncodedImage, *args: Any, **options: Any) -> np.ndarray:
        asked.append(Path(self.name).name)
        return decode(self, *args, **options)

    monkeypatch.setattr(EncodedImage, "decode", noted)
    Batches(data.FileSource(files), ONE_PASS, len(files), shuffle=False).batch(0, 0)
    assert asked == ["progressive.jpg", "turned.jpg", "inks.jpg", "lossless.png", "behind.jpg"]


def test_masks_stay_with_them(tmp_path: Path, whole: Any) -> None:
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for k in range(4):
        (tmp_path / "images" / f"{k}.jpg").write_bytes(jpeg(k))
        (tmp_path / "masks" / f"{k}.png").write_bytes(encode(picture(70, 90, seed=k)[..., 0] // 64, "PNG"))
    batches = Batches(data.PairSource(tmp_path / "images", tmp_path / "masks"), ONE_PASS, 4)
    same(batches.batch(0, 0), whole(lambda: batches.batch(0, 0)))


def test_a_file_that_breaks_off_is_named_wherever_the_part_lies(files: list[str]) -> None:
    path = Path(files[0])
    path.write_bytes(path.read_bytes()[:-5])
    batches = Batches(data.FileSource(files), ow.Policy([ow.RandomCrop((8, 8))]), len(files), shuffle=False)
    for epoch in range(5):
        with pytest.raises(DataError, match=r"plain\.jpg: the JPEG data are damaged"):
            batches.batch(epoch, 0)


def test_a_part_of_one_image(files: list[str], tmp_path: Path) -> None:
    image = EncodedImage(Path(files[0]).read_bytes(), "plain.jpg")
    all_of_it = image.decode()
    out = np.full(image.shape, 1, np.uint8)
    assert image.decode(out, part=(10, 20, 50, 60)) is out
    np.testing.assert_array_equal(out[10:50, 20:60], all_of_it[10:50, 20:60])
    assert _native.decodes_parts == (out != all_of_it).any()
    for fast, reduction in ((True, 1), (False, 2)):  # these are decoded whole
        part = image.decode(fast=fast, reduction=reduction, part=(10, 20, 30, 40))
        np.testing.assert_array_equal(part, image.decode(fast=fast, reduction=reduction))
