"""Parts of JPEGs: the pixels of the whole image, into their places; everything unusual is left to others."""

from __future__ import annotations

import io

import numpy as np
import pytest

from native_cases import call, exact, native, random_images, run, setup

pytestmark = pytest.mark.skipif(not native.decodes_parts, reason="built without libjpeg-turbo: JPEGs are decoded whole")
simplejpeg = pytest.importorskip("simplejpeg")
SAMPLINGS = ("444", "422", "420", "440", "411", "Gray")
SPACES = {1: "GRAY", 3: "RGB"}


def smooth(rng, height: int, width: int) -> np.ndarray:
    """Noise with neighbours that resemble each other, so that upsampled colour depends on them."""
    coarse = rng.integers(0, 256, (height // 3 + 2, width // 3 + 2, 3)).astype(float)
    fine = coarse.repeat(3, 0).repeat(3, 1)
    mixed = (fine[:-1, :-1] + fine[1:, :-1] + fine[:-1, 1:] + fine[1:, 1:]) / 4
    return np.ascontiguousarray(mixed[:height, :width].astype(np.uint8))


def encoded(image: np.ndarray, sampling: str = "420", quality: int = 90) -> bytes:
    if sampling == "Gray":
        return simplejpeg.encode_jpeg(np.ascontiguousarray(image[..., :1]), quality, "GRAY", "Gray")
    return simplejpeg.encode_jpeg(image, quality, "RGB", sampling)


def part_of(rng, height: int, width: int) -> tuple[int, int, int, int]:
    top, bottom = sorted(rng.choice(height + 1, 2, replace=False).tolist())
    left, right = sorted(rng.choice(width + 1, 2, replace=False).tolist())
    return top, left, bottom, right


def decoded(data: bytes, shape: tuple[int, ...], part: tuple[int, int, int, int]) -> np.ndarray | None:
    out = np.full(shape, 170, np.uint8)
    return out if native.jpeg_part(exact(np.frombuffer(data, np.uint8)), out, *part) else None


@pytest.mark.parametrize("channels", SPACES)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_part_has_the_pixels_of_the_whole_image(rng, sampling, channels) -> None:
    for _ in range(12):
        height, width = rng.integers(1, 80, 2).tolist()
        data = encoded(smooth(rng, height, width), sampling, int(rng.integers(20, 100)))
        whole = simplejpeg.decode_jpeg(data, SPACES[channels])
        for _ in range(8):
            top, left, bottom, right = part = part_of(rng, height, width)
            found = decoded(data, whole.shape, part)
            assert found is not None
            np.testing.assert_array_equal(found[top:bottom, left:right], whole[top:bottom, left:right], str(part))


def test_all_of_it_is_a_part_and_every_pixel_is_written(rng) -> None:
    data = encoded(smooth(rng, 37, 53))
    found = decoded(data, (37, 53, 3), (0, 0, 37, 53))
    np.testing.assert_array_equal(found, simplejpeg.decode_jpeg(data))


def test_rows_outside_a_part_are_left_alone(rng) -> None:
    found = decoded(encoded(smooth(rng, 64, 64)), (64, 64, 3), (20, 30, 40, 50))
    assert found is not None and (found[:20] == 170).all() and (found[40:] == 170).all()
    assert (found[20:40, :8] == 170).all()  # columns of whole blocks, and what upsampling needs beside them


def test_restart_markers_and_tables_of_its_own(rng) -> None:
    image = pytest.importorskip("PIL.Image").fromarray(smooth(rng, 70, 90))
    for options in ({"restart_marker_blocks": 3}, {"restart_marker_rows": 1}, {"optimize": True}):
        file = io.BytesIO()
        image.save(file, "JPEG", **options)
        whole = simplejpeg.decode_jpeg(file.getvalue())
        found = decoded(file.getvalue(), whole.shape, (33, 21, 60, 77))
        assert found is not None, options
        np.testing.assert_array_equal(found[33:60, 21:77], whole[33:60, 21:77])


def test_what_is_unusual_is_left_to_others(rng) -> None:
    picture, shape, part = smooth(rng, 48, 64), (48, 64, 3), (8, 8, 24, 24)
    good = encoded(picture)
    assert decoded(good, shape, part) is not None
    assert decoded(b"", shape, part) is None
    assert decoded(b"\x89PNG\r\n\x1a\n" + bytes(40) + b"\xff\xd9", shape, part) is None
    assert decoded(good[:-2], shape, part) is None  # no end: the part lies above where it breaks off
    assert decoded(good[: len(good) // 3] + b"\xff\xd9", shape, (0, 0, 48, 60)) is None  # an end, but rows are missing
    assert decoded(good, (48, 63, 3), part) is None  # of another size than was said
    image = pytest.importorskip("PIL.Image").fromarray(picture)
    for mode, options in (("RGB", {"progressive": True}), ("CMYK", {})):
        file = io.BytesIO()
        image.convert(mode).save(file, "JPEG", **options)
        assert decoded(file.getvalue(), shape, part) is None, mode


def test_damage_does_no_harm_and_is_never_made_up(rng) -> None:
    """Bytes changed at random: either a part comes out whole, or others are asked, who say what is wrong."""
    data, refused = encoded(smooth(rng, 64, 96), "422"), 0
    for _ in range(300):
        changed = bytearray(data)
        for at in rng.integers(2, len(data) - 2, 3).tolist():
            changed[at] = int(rng.integers(256))
        part = part_of(rng, 64, 96)
        found = decoded(bytes(changed), (64, 96, 3), part)
        refused += found is None
        try:
            whole = simplejpeg.decode_jpeg(bytes(changed))
        except ValueError:
            continue
        if found is not None and whole.shape == found.shape:
            top, left, bottom, right = part
            np.testing.assert_array_equal(found[top:bottom, left:right], whole[top:bottom, left:right])
    assert 0 < refused < 300


@pytest.mark.parametrize(
    ("out", "part", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), (0, 0, 8, 8), "out: expected contiguous uint8"),
        (np.zeros((8, 8, 6), np.uint8)[..., ::2], (0, 0, 8, 8), "out: expected contiguous uint8"),
        (np.zeros((8, 8), np.uint8), (0, 0, 8, 8), "out: expected contiguous uint8"),
        (np.zeros((8, 8, 4), np.uint8), (0, 0, 8, 8), "1 or 3 channels, got 4"),
        (np.zeros((8, 8, 3), np.uint8), (-1, 0, 8, 8), "must be a part of"),
        (np.zeros((8, 8, 3), np.uint8), (0, 0, 9, 8), "must be a part of"),
        (np.zeros((8, 8, 3), np.uint8), (4, 0, 4, 8), "must be a part of"),
        (np.zeros((8, 8, 3), np.uint8), (0, 5, 8, 5), "must be a part of"),
    ],
)
def test_arguments_are_checked(out, part, message) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        native.jpeg_part(b"", out, *part)
    with pytest.raises(TypeError, match="data: expected bytes"):
        native.jpeg_part(np.zeros((2, 2), np.uint8), np.zeros((8, 8, 3), np.uint8), 0, 0, 8, 8)


# ------------------------------------------------------------------------------------------- decoded and warped in one


def jpeg_case(rng, n: int = 5, channels: int = 3):
    """JPEGs of several sizes, what `Pass` makes of their pixels, and the arguments."""
    sizes = [tuple(rng.integers(20, 70, 2).tolist()) for _ in range(n)]
    jpegs = [encoded(smooth(rng, *size), "420") for size in sizes]
    images = [simplejpeg.decode_jpeg(data, SPACES[channels]) for data in jpegs]
    s = setup(channels, fill_mode="reflect")
    matrices = np.tile(np.eye(3, dtype=np.float32), (n, 1, 1, 1))
    matrices[:, 0, :2] += rng.normal(0, 0.2, (n, 2, 3)).astype(np.float32)
    c = call(images, (24, 30), s, matrices=matrices)
    return jpegs, [(*size, 0, 0, *size, 1) for size in sizes], s, c


@pytest.mark.parametrize("channels", SPACES)
def test_jpegs_in_one_call_are_their_pixels_warped(rng, channels) -> None:
    jpegs, whole, s, c = jpeg_case(rng, channels=channels)
    expected = run(s, c).copy()
    assert expected.any()
    again = {name: value for name, value in c.items() if name not in ("images", "threads")}
    again["out"] = np.zeros_like(expected)
    left = native.Pass(**s).run_jpegs(jpegs, np.array(whole, np.int32), **again)
    assert left == []
    np.testing.assert_array_equal(again["out"], expected)


def test_those_that_were_not_done_are_named_and_the_others_are_done(rng) -> None:
    jpegs, whole, s, c = jpeg_case(rng)
    expected = run(s, c).copy()
    again = {name: value for name, value in c.items() if name not in ("images", "threads")}
    again["out"] = np.zeros_like(expected)
    jpegs[1], jpegs[3] = b"", jpegs[3][:-40]
    left = native.Pass(**s).run_jpegs(jpegs, np.array(whole, np.int32), **again)
    assert left == [1, 3]
    np.testing.assert_array_equal(again["out"][[0, 2, 4]], expected[[0, 2, 4]])
    assert not again["out"][[1, 3]].any()


def test_places_are_checked(rng) -> None:
    jpegs, whole, s, c = jpeg_case(rng)
    again = {name: value for name, value in c.items() if name not in ("images", "threads")}
    kernel = native.Pass(**s)
    good = whole[0]
    for wrong in ((0,) * 6 + (1,), (10, 10, 0, 0, 11, 10, 1), (10, 10, 5, 0, 5, 10, 1), (*good[:6], 3), (*good[:6], 0)):
        numbers = np.array([*whole[:2], wrong, *whole[3:]], np.int32)
        with pytest.raises(ValueError, match=r"places\[2\]: needs height, width, a part inside"):
            kernel.run_jpegs(jpegs, numbers, **again)
    with pytest.raises(ValueError, match="places: expected int32"):
        kernel.run_jpegs(jpegs, np.array(whole[:3], np.int32), **again)
    with pytest.raises(TypeError, match=r"jpegs\[0\]"):
        kernel.run_jpegs([random_images(rng, (4, 4), "float32"), *jpegs[1:]], np.array(whole, np.int32), **again)
