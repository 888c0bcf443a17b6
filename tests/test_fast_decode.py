"""decode="fast": close to exact decoding, at a fraction of the size where the warp would reduce the image anyway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onewarp as ow
from data_helpers import encode, picture, with_orientation
from onewarp import _native
from onewarp.data.batches import Batches
from onewarp.data.decode import EncodedImage
from onewarp.engine import host
from onewarp.errors import DataError, InputError


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture that JPEG keeps well, so that differences come from the decoder."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (max(height // 12, 2), max(width // 12, 2), 3), dtype=np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255.0**2 / max(np.mean(np.square(a.astype(float) - b)), 1e-9)))


def box_reduced(image: np.ndarray, r: int) -> np.ndarray:
    height, width = (-(-side // r) for side in image.shape[:2])
    whole = np.pad(image, [(0, height * r - image.shape[0]), (0, width * r - image.shape[1]), (0, 0)], mode="edge")
    return np.asarray(whole.reshape(height, r, width, r, -1).mean(axis=(1, 3)))


@pytest.mark.parametrize("r", [2, 4, 8])
@pytest.mark.parametrize("size", [(160, 224), (157, 211)])
def test_a_scaled_image_is_close_to_the_reduced_one(r: int, size: tuple[int, int]) -> None:
    data = encode(Image.fromarray(smooth(*size)), "JPEG", quality=95)
    encoded = EncodedImage(data, "x.jpg")
    scaled = encoded.decode(fast=True, reduction=r)
    assert encoded.scales(r) and scaled.shape == encoded.scaled(r)
    assert psnr(scaled, box_reduced(encoded.decode(), r)) > 38


def test_what_cannot_be_scaled() -> None:
    assert not EncodedImage(encode(Image.fromarray(picture()), "PNG"), "x.png").scales(2)
    turned = encode(Image.fromarray(smooth(61, 83)), "JPEG", exif=with_orientation(6))
    assert not EncodedImage(turned, "x.jpg").scales(2)  # the blocks would begin at another corner
    assert EncodedImage(encode(Image.fromarray(smooth(64, 96)), "JPEG", exif=with_orientation(6)), "x.jpg").scales(4)


def folder(tmp_path: Path, *, exif: Any = None) -> ow.FileSource:
    files, masks = [], []
    for k, size in enumerate([(240, 320), (239, 321), (480, 360), (64, 96)]):
        image = Image.fromarray(smooth(*size, seed=k))
        image.save(tmp_path / f"{k}.jpg", quality=95)
        Image.fromarray(np.full(size, k, np.uint8)).save(tmp_path / f"{k}.png")
        files.append(str(tmp_path / f"{k}.jpg"))
        masks.append(str(tmp_path / f"{k}.png"))
    return ow.FileSource(files, masks=masks)


@pytest.mark.parametrize("fill_mode", ["constant", "reflect"])
def test_fast_batches_are_close_to_exact_ones(tmp_path: Path, fill_mode: str) -> None:
    source = folder(tmp_path)
    policy = ow.Policy([ow.RandomResizedCrop(40, scale=(0.5, 1.0)), ow.Rotate(20)], fill_mode=fill_mode)
    exact, fast = (Batches(source, policy, 4, shuffle=False, decode=decode).batch(1, 0) for decode in ("exact", "fast"))
    assert psnr(exact["images"], fast["images"]) > 38
    assert not np.array_equal(exact["images"], fast["images"])
    np.testing.assert_array_equal(exact["segmentation_masks"], fast["segmentation_masks"])


def test_small_parts_of_files_are_decoded_for_small_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scales, decode = [], EncodedImage.decode

    def spy(self: EncodedImage, *args: Any, **options: Any) -> np.ndarray:
        scales.append(options.get("reduction", 1))
        return decode(self, *args, **options)

    monkeypatch.setattr(EncodedImage, "decode", spy)
    monkeypatch.setattr(host, "takes_jpegs", lambda plan: False)
    source = folder(tmp_path)
    Batches(source, ow.Policy([ow.Resize(30)]), 4, shuffle=False, decode="fast").batch(0, 0)
    assert scales == [8, 4, 8, 2]
    scales.clear()
    Batches(source, ow.Policy([ow.Resize(30)], antialias=False), 4, shuffle=False, decode="fast").batch(0, 0)
    Batches(source, ow.Policy([ow.Resize(30)]), 4, shuffle=False).batch(0, 0)
    assert set(scales) == {1}


@pytest.mark.parametrize("size", [30, (20, 25), (90, 120)])
def test_one_call_for_all_of_them_decodes_at_the_same_scales(tmp_path: Path, monkeypatch: Any, size: Any) -> None:
    policy = ow.Policy([ow.RandomResizedCrop(size, scale=(0.5, 1.0)), ow.Rotate(20)], fill_mode="reflect")
    batches, seen, run_jpegs = Batches(folder(tmp_path), policy, 4, shuffle=False, decode="fast"), [], host.run_jpegs

    def spy(plan: Any, params: Any, jpegs: Any, places: np.ndarray, *args: Any, **options: Any) -> Any:
        seen.append(places[:, 6].tolist())
        return run_jpegs(plan, params, jpegs, places, *args, **options)

    monkeypatch.setattr(host, "run_jpegs", spy)
    together = batches.batch(1, 0)["images"]
    monkeypatch.setattr(host, "takes_jpegs", lambda plan: False)
    one_by_one = batches.batch(1, 0)["images"]
    assert np.abs(together.astype(int) - one_by_one).max() <= 1  # coordinates are rounded once less
    assert (len(seen) == 1 and max(seen[0]) > 1) or not _native.decodes_parts


def test_damage_is_found_in_a_fast_decode_too(tmp_path: Path) -> None:
    whole = encode(Image.fromarray(smooth(240, 320)), "JPEG", quality=95)
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.jpg.*truncated"):
        Batches(ow.FileSource([tmp_path / "cut.jpg"]), ow.Policy([ow.Resize(30)]), 1, decode="fast").batch(0, 0)


def test_other_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"decode='quick' is not known; use 'exact' or 'fast'"):
        Batches(folder(tmp_path), ow.Policy([ow.Resize(30)]), 1, decode="quick")
