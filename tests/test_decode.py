"""Decoding: every format and sample type against Pillow, the eight orientations, and damaged data that must be
refused.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from data_helpers import encode, picture, pillow, with_orientation
from onewarp.data.decode import EncodedImage, decode_mask, read_file, turn
from onewarp.data.header import read_header
from onewarp.errors import DataError, InputError

RGB = Image.fromarray(picture())
ALPHA = Image.fromarray(picture(seed=9)[..., 0])
RGBA = Image.merge("RGBA", [*RGB.split(), ALPHA])
PALETTE = RGB.convert("P", palette=Image.Palette.ADAPTIVE, colors=20)

STORED: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
    "jpeg": (RGB, "JPEG", {"quality": 90}),
    "jpeg 444": (RGB, "JPEG", {"subsampling": 0}),
    "jpeg progressive": (RGB, "JPEG", {"progressive": True}),
    "jpeg grey": (RGB.convert("L"), "JPEG", {}),
    "jpeg cmyk": (RGB.convert("CMYK"), "JPEG", {}),
    "png": (RGB, "PNG", {}),
    "png grey": (RGB.convert("L"), "PNG", {}),
    "png grey alpha": (Image.merge("LA", [RGB.convert("L"), ALPHA]), "PNG", {}),
    "png rgba": (RGBA, "PNG", {}),
    "png palette": (PALETTE, "PNG", {}),
    "png palette of 4 bits": (RGB.convert("P", palette=Image.Palette.ADAPTIVE, colors=5), "PNG", {"bits": 4}),
    "png palette with transparency": (PALETTE, "PNG", {"transparency": 3}),
    "png 1 bit": (RGB.convert("1"), "PNG", {}),
    "webp": (RGB, "WEBP", {}),
    "webp lossless": (RGB, "WEBP", {"lossless": True}),
    "webp rgba": (RGBA, "WEBP", {"lossless": True, "exact": True}),
    "bmp": (RGB, "BMP", {}),
    "bmp palette": (PALETTE, "BMP", {}),
    "bmp 1 bit": (RGB.convert("1"), "BMP", {}),
    "tiff": (RGB, "TIFF", {}),
    "tiff lzw": (RGB, "TIFF", {"compression": "tiff_lzw"}),
    "tiff deflate": (RGB, "TIFF", {"compression": "tiff_adobe_deflate"}),
    "tiff grey": (RGB.convert("L"), "TIFF", {}),
    "tiff 1 bit": (RGB.convert("1"), "TIFF", {}),
    "tiff palette": (PALETTE, "TIFF", {}),
    "tiff rgba": (RGBA, "TIFF", {}),
    "tiff cmyk": (RGB.convert("CMYK"), "TIFF", {}),
    "tiff lab": (RGB.convert("LAB"), "TIFF", {}),
    "gif": (PALETTE, "GIF", {}),
}


@pytest.mark.parametrize("case", STORED)
def test_every_kind_of_file_is_read_as_pillow_reads_it(case: str) -> None:
    image, kind, options = STORED[case]
    data = encode(image, kind, **options)
    encoded = EncodedImage(data, "x")
    assert encoded.shape == (12, 18, 3)
    pixels = encoded.decode()
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, pillow(data, "RGB"))


@pytest.mark.parametrize("case", [case for case, (_, kind, _) in STORED.items() if kind != "GIF"])
def test_four_channels_keep_alpha_or_are_opaque(case: str) -> None:
    image, kind, options = STORED[case]
    data = encode(image, kind, **options)
    pixels = EncodedImage(data, "x", channels=4).decode()
    reference = pillow(data, "RGBA") if kind != "TIFF" or image.mode != "LAB" else None
    if reference is None:
        assert (pixels[..., 3] == 255).all()
    else:
        np.testing.assert_array_equal(pixels, reference)


@pytest.mark.parametrize("case", STORED)
def test_one_channel_is_the_usual_grey(case: str) -> None:
    image, kind, options = STORED[case]
    data = encode(image, kind, **options)
    pixels = EncodedImage(data, "x", channels=1).decode()
    assert pixels.shape == (12, 18, 1)
    colour = pillow(data, "RGB").astype(float)
    # A JPEG's stored luminance differs from that of its rounded RGB values, most where they were clipped.
    near = 3 if case in ("jpeg", "jpeg 444", "jpeg progressive") else 1
    assert np.abs(pixels[..., 0] - colour @ [0.299, 0.587, 0.114]).max() <= near


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied(kind: str, orientation: int) -> None:
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    data = encode(RGB, kind, exif=with_orientation(orientation), **options)
    with Image.open(io.BytesIO(encode(RGB, kind, **options))) as stored:
        # The definition, from the EXIF standard's table: where row 0 and column 0 of the stored image are shown.
        stored_pixels = np.array(stored.convert("RGB"))
    turns = (
        Image.Transpose.FLIP_LEFT_RIGHT,
        Image.Transpose.ROTATE_180,
        Image.Transpose.FLIP_TOP_BOTTOM,
        Image.Transpose.TRANSPOSE,
        Image.Transpose.ROTATE_270,
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_90,
    )
    shown = Image.fromarray(stored_pixels)
    expected = np.array(shown if orientation == 1 else shown.transpose(turns[orientation - 2]))
    encoded = EncodedImage(data, "x")
    assert read_header(data).orientation == orientation
    assert encoded.shape == expected.shape
    np.testing.assert_array_equal(encoded.decode(), expected)
    out = np.empty(expected.shape, np.uint8)
    assert encoded.decode(out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("order", ["II", "MM"])
def test_orientation_in_both_byte_orders(order: str) -> None:
    exif = with_orientation(6).tobytes()
    if order == "II":
        little = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + b"\0\0\0\0"
        exif = little
    data = encode(RGB, "JPEG", exif=exif)
    assert read_header(data).orientation == 6
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(EncodedImage(data, "x").decode(), np.array(ImageOps.exif_transpose(image)))


def test_turn_is_a_view_and_keeps_more_axes() -> None:
    pixels = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    turned = turn(pixels, 6)
    assert turned.shape == (3, 2, 4) and np.shares_memory(turned, pixels)
    np.testing.assert_array_equal(
        turned[0, -1], pixels[0, 0]
    )  # turned clockwise: the left top corner goes to the right top


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_sixteen_bits(kind: str, rng: np.random.Generator) -> None:
    deep = rng.integers(0, 65536, (9, 7, 3), dtype=np.uint16)
    deep[0, :3, 0] = (0, 65535, 128)
    data = cv2.imencode("." + kind, deep[..., ::-1])[1].tobytes()
    np.testing.assert_array_equal(EncodedImage(data, "x", dtype="uint16").decode(), deep)
    np.testing.assert_array_equal(EncodedImage(data, "x").decode(), np.rint(deep / 257.0).astype(np.uint8))
    grey = cv2.imencode("." + kind, deep[..., 0])[1].tobytes()
    np.testing.assert_array_equal(EncodedImage(grey, "x", channels=1, dtype="uint16").decode(), deep[..., :1])


def test_eight_bits_as_sixteen_span_the_range() -> None:
    data = encode(RGB, "PNG")
    np.testing.assert_array_equal(
        EncodedImage(data, "x", dtype="uint16").decode(), np.array(RGB).astype(np.uint16) * 257
    )


def test_a_16_bit_tiff_with_an_orientation() -> None:
    deep = np.arange(6 * 5, dtype=np.uint16).reshape(6, 5) * 1000
    data = encode(Image.fromarray(deep), "TIFF", exif=with_orientation(8))
    np.testing.assert_array_equal(EncodedImage(data, "x", channels=1, dtype="uint16").decode()[..., 0], np.rot90(deep))


@pytest.mark.parametrize(
    "case", ["jpeg", "jpeg progressive", "png", "webp", "webp lossless", "bmp", "tiff", "tiff lzw"]
)
@pytest.mark.parametrize("keep", [0.999, 0.75, 0.5, 0.1])
def test_truncated_files_are_refused_by_name(case: str, keep: float) -> None:
    image, kind, options = STORED[case]
    data = encode(np.array(image.resize((90, 60))), kind, **options)
    cut = data[: min(int(len(data) * keep), len(data) - 13)]
    with pytest.raises(DataError, match=r"^photos/cat\.img: ") as caught:
        EncodedImage(cut, "photos/cat.img").decode()
    assert 'on_error="skip"' in str(caught.value) and "\n" not in str(caught.value)
    EncodedImage(data, "photos/cat.img").decode()  # the whole file is fine


def test_a_jpeg_that_lacks_its_last_byte_is_refused() -> None:
    data = encode(picture(64, 64), "JPEG")
    with pytest.raises(DataError, match="truncated"):
        EncodedImage(data[:-1], "cat.jpg").decode()


def test_a_jpeg_with_damaged_data_is_refused() -> None:
    data = bytearray(encode(picture(64, 64), "JPEG"))
    data[len(data) // 2 : len(data) // 2 + 30] = b"\x12\x34\xff" * 10
    with pytest.raises(DataError, match="damaged"):
        EncodedImage(bytes(data), "cat.jpg").decode()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"this is text, called .jpg", "not an image"),
        (b"\xff\xd8\xff", "truncated"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"BM", "truncated"),
        (b"II*\0", "truncated"),
        (b"RIFF\0\0\0\0WAVE", "not an image"),
        (b"GIF89a", "not an image"),
        (b"\xff\xd8\xff\xd9" * 3, "damaged"),
    ],
)
def test_no_image_at_all(data: bytes, says: str) -> None:
    with pytest.raises(DataError, match=f"^folder/file: .*{says}"):
        _ = EncodedImage(data, "folder/file").shape


def test_floating_point_tiffs_say_where_to_go() -> None:
    data = encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    with pytest.raises(DataError, match="ArraySource"):
        EncodedImage(data, "x.tiff").decode()


def test_headers_need_no_pixels() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF"):  # a TIFF's directory may lie at its end
        data = encode(picture(100, 200), kind)
        assert EncodedImage(data[: len(data) // 2], kind).shape == (100, 200, 3), kind


def test_out_must_match() -> None:
    encoded = EncodedImage(encode(RGB, "PNG"), "x.png")
    with pytest.raises(InputError, match="x.png"):
        encoded.decode(np.empty((18, 12, 3), np.uint8))
    with pytest.raises(InputError, match="uint16"):
        encoded.decode(np.empty((12, 18, 3), np.uint16))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_out_may_be_any_view(kind: str) -> None:
    encoded = EncodedImage(encode(RGB, kind), "x")
    wide = np.zeros((24, 36, 3), np.uint8)
    encoded.decode(wide[::2, ::2])
    np.testing.assert_array_equal(wide[::2, ::2], encoded.decode())
    assert not wide[1::2].any()


def test_wrong_arguments_and_pickling() -> None:
    with pytest.raises(InputError, match="channels=2"):
        EncodedImage(b"", "x", channels=2)
    with pytest.raises(InputError, match="float32"):
        EncodedImage(b"", "x", dtype="float32")
    encoded = EncodedImage(encode(RGB, "PNG"), "x")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(encoded)).decode(), encoded.decode())


def test_masks_keep_their_class_numbers() -> None:
    classes = np.array([[0, 1, 2], [3, 11, 255]], np.uint8)
    palette = Image.new("P", (3, 2))
    palette.putdata(classes.ravel().tolist())
    palette.putpalette([value for index in range(256) for value in (index * 7 % 256, 0, 255 - index)])
    for data in (
        encode(classes, "PNG"),
        encode(palette, "PNG"),
        encode(np.repeat(classes[..., None], 3, 2), "PNG"),
        encode(classes, "BMP"),
    ):
        np.testing.assert_array_equal(decode_mask(data, "m"), classes)
    deep = classes.astype(np.uint16) * 200
    np.testing.assert_array_equal(decode_mask(encode(deep, "PNG"), "m"), deep)
    binary = np.array([[True, False], [False, True]])
    np.testing.assert_array_equal(decode_mask(encode(binary, "PNG"), "m"), binary.astype(np.uint8))
    np.testing.assert_array_equal(
        decode_mask(encode(classes, "PNG", exif=with_orientation(6)), "m"), np.rot90(classes, -1)
    )


def test_a_coloured_mask_is_refused() -> None:
    with pytest.raises(DataError, match=r"^m\.png: .*class numbers"):
        decode_mask(encode(RGB, "PNG"), "m.png")


def test_reading_missing_and_forbidden_files(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_file(tmp_path / "none.jpg")
    with pytest.raises(DataError, match="cannot be read"):
        read_file(tmp_path)

    def forbidden(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", forbidden)
    with pytest.raises(DataError, match="no permission"):
        read_file(tmp_path / "x.jpg")
