"""The header of an encoded image: its format, size and EXIF orientation, read without decoding a pixel.

JPEG, PNG, WebP, BMP and TIFF are parsed here, in plain Python and in a few microseconds; any other format that Pillow
can open goes through Pillow's lazy `open`. Nothing here looks at pixel data, so a header can be right where the image
is damaged.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

from onewarp.errors import DataError

Encoded = bytes | memoryview  # of a whole file

_STARTS_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_ORIENTATION = 274


@dataclass(frozen=True)
class Header:
    """What the first bytes of an encoded image say.

    Attributes:
        format: "jpeg", "png", "webp", "bmp", "tiff" or "other" (Pillow's business).
        height, width: stored size in pixels, before the EXIF orientation.
        orientation: EXIF orientation, 1 to 8; 1 where the file has none or one that is not legal.
        channels: stored samples per pixel where the format says so, else 0.
        bits: bits per sample where the format says so, else 8.
        photometric: PNG colour type or TIFF photometric interpretation, else -1.
        orientation_at: for TIFF the byte offset of the orientation's value (0: none).
        big_endian: TIFF byte order.
    """

    format: str
    height: int
    width: int
    orientation: int = 1
    channels: int = 0
    bits: int = 8
    photometric: int = -1
    orientation_at: int = 0
    big_endian: bool = False

    @property
    def turned_size(self) -> tuple[int, int]:
        """(height, width) after the EXIF orientation."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_header(data: Encoded) -> Header:
    """Parse the header of an encoded image; a `DataError` without the file's name says what is wrong."""
    if not data:
        raise DataError("the file is empty (0 bytes)")
    for magic, parse in _PARSERS:
        if data[: len(magic)] == magic:
            try:
                header = parse(data)
            except (struct.error, IndexError):
                raise DataError(f"the file ends inside its header ({len(data)} bytes: truncated)") from None
            if header.height < 1 or header.width < 1:
                raise DataError(f"the header says {header.height} x {header.width} pixels (damaged)")
            return header
    return _other(data)


def _legal(orientation: int) -> int:
    return orientation if 1 <= orientation <= 8 else 1


def _exif_orientation(data: Encoded) -> int:
    """Orientation from an EXIF block, with or without its "Exif" prefix; damaged EXIF counts as none."""
    if data[:6] == b"Exif\0\0":
        data = data[6:]
    try:
        tags = _directory(data)
        return _legal(tags[_ORIENTATION][0]) if _ORIENTATION in tags else 1
    except (struct.error, IndexError):
        return 1


def _directory(data: Encoded) -> dict[int, tuple[int, int, int]]:
    """The first TIFF directory: tag -> (first value or offset, byte offset of the value field, count)."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None or struct.unpack_from(order + "H", data, 2)[0] != 42:
        return {}
    start = struct.unpack_from(order + "I", data, 4)[0]
    tags = {}
    for entry in range(struct.unpack_from(order + "H", data, start)[0]):
        at = start + 2 + 12 * entry
        tag, kind, count = struct.unpack_from(order + "HHI", data, at)
        short = kind == 3 and count <= 2  # two shorts fit into the field itself
        tags[tag] = (struct.unpack_from(order + ("H" if short else "I"), data, at + 8)[0], at + 8, count)
    return tags


def _jpeg(data: Encoded) -> Header:
    orientation, at = 1, 2
    while True:
        while data[at] != 0xFF:  # legal files have markers here; damaged ones may not
            at += 1
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        at += 1
        if marker in _STANDALONE:
            continue
        if marker in (0xD9, 0xDA):
            raise DataError("the JPEG has no frame header before its data (damaged)")
        length = struct.unpack_from(">H", data, at)[0]
        if marker == 0xE1 and data[at + 2 : at + 8] == b"Exif\0\0":
            orientation = _exif_orientation(data[at + 2 : at + length])
        elif marker in _STARTS_OF_FRAME:
            bits, height, width, channels = struct.unpack_from(">BHHB", data, at + 2)
            return Header("jpeg", height, width, orientation, channels, bits)
        at += length


def _png(data: Encoded) -> Header:
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    orientation, at = 1, 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"eXIf":
            orientation = _exif_orientation(data[at + 8 : at + 8 + length])
            break
        at += 12 + length
    return Header("png", height, width, orientation, {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 0), bits, colour)


def _webp(data: Encoded) -> Header:
    if data[8:12] != b"WEBP":
        return _other(data)
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("webp", height & 0x3FFF, width & 0x3FFF)
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return Header("webp", (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1)
    width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    orientation, at = 1, 12
    while data[20] & 0x08 and at + 8 <= len(data):  # the flag says that there is an EXIF chunk
        name, length = struct.unpack_from("<4sI", data, at)
        if name == b"EXIF":
            orientation = _exif_orientation(data[at + 8 : at + 8 + length])
            break
        at += 8 + length + (length & 1)
    return Header("webp", height, width, orientation)


def _bmp(data: Encoded) -> Header:
    if struct.unpack_from("<I", data, 14)[0] == 12:  # the OS/2 header
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return Header("bmp", abs(height), width)  # a negative height says that rows run downwards


def _tiff(data: Encoded) -> Header:
    tags = _directory(data)

    def value(tag: int, default: int) -> int:
        if tag not in tags:
            return default
        first, _, count = tags[tag]
        if tag == 258 and count > 2:  # bits per sample: one number per channel, elsewhere in the file
            return int(struct.unpack_from(">H" if big else "<H", data, first)[0])
        return first

    big = data[:2] == b"MM"
    return Header(
        "tiff",
        height=value(257, 0),
        width=value(256, 0),
        orientation=_legal(value(_ORIENTATION, 1)),
        channels=value(277, 1),
        bits=value(258, 1),
        photometric=value(262, 1),
        orientation_at=tags[_ORIENTATION][1] if _ORIENTATION in tags else 0,
        big_endian=big,
    )


def _other(data: Encoded) -> Header:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            return Header("other", height, width, _legal(int(image.getexif().get(_ORIENTATION, 1))))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise DataError(
            f"not an image that can be read (it starts with {bytes(data[:8])!r}); "
            "JPEG, PNG, WebP, BMP or TIFF is expected"
        ) from None


_PARSERS = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"RIFF", _webp),
    (b"BM", _bmp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
)
