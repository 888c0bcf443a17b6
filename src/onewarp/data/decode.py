"""Encoded images: bytes -> pixels, exactly and completely, or an error that names the file.

JPEG goes through simplejpeg (libjpeg-turbo's accurate DCT and upsampling), PNG, WebP, BMP and TIFF through OpenCV,
and only what OpenCV reads wrongly or not at all (CMYK, Lab, YCbCr and RGBA TIFF, other formats) through Pillow.

What comes out, whatever went in: [height, width, channels], RGB order, in the frame *after* the EXIF orientation
(boxes, masks and points are expected in that frame). Values are as stored; 16-bit samples become 8-bit ones by
round(v / 257), 8-bit ones become 16-bit ones by v * 257. Grey becomes RGB by repetition, RGB becomes grey by 0.299 R
+ 0.587 G + 0.114 B, alpha is dropped (not blended) for 1 and 3 channels and kept for 4, where images without alpha
are opaque. Colour profiles and gamma chunks are not applied.
Damaged data are refused, never filled in: every warning of libjpeg counts as damage.

`fast` decoding takes libjpeg-turbo's faster DCT and upsampling, and can decode at a half, a quarter or an eighth of the
size, which costs a fraction; pixels then differ (docs/loading.md says by how much).
"""

from __future__ import annotations

import io
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg

from onewarp import _native
from onewarp.blocks import BLOCKS
from onewarp.data.header import Encoded, Header, read_header
from onewarp.errors import DataError, InputError

REMEDY = 'restore the file, or leave it out with on_error="skip"'
_GREY = np.array([0.299, 0.587, 0.114])
_CV_FLAGS = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION


class EncodedImage:
    """One encoded image in memory; nothing is decoded before `decode()`.

    Args:
        data: the bytes of the file.
        name: what error messages call it, usually its path.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA) channels of the result.
        dtype: "uint8" or "uint16".
        exif: whether the EXIF orientation is applied; False leaves the frame as it is stored.
        header: where it is known already; read from the bytes when it is needed otherwise.
    """

    def __init__(
        self,
        data: Encoded,
        name: str,
        channels: int = 3,
        dtype: str = "uint8",
        *,
        exif: bool = True,
        header: Header | None = None,
    ) -> None:
        if channels not in (1, 3, 4):
            raise InputError(f"channels={channels!r} is not known; use 1 (grey), 3 (RGB) or 4 (RGBA)")
        if dtype not in ("uint8", "uint16"):
            raise InputError(f'dtype={dtype!r} is not known for files; use "uint8" or "uint16"')
        self.data, self.name, self.channels, self.dtype = data, name, channels, dtype
        self.exif = exif
        if header is not None:
            self.header = header

    def __repr__(self) -> str:
        return f"EncodedImage({self.name!r}, {len(self.data)} bytes, channels={self.channels}, dtype={self.dtype!r})"

    @cached_property
    def header(self) -> Header:
        """Format, stored size and orientation; raises `DataError`, naming the file, where there is none."""
        try:
            return read_header(self.data)
        except DataError as error:
            raise DataError(f"{self.name}: {error}; {REMEDY}") from None

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) after the EXIF orientation (unless exif=False), from the header alone."""
        header = self.header
        size = header.turned_size if self.exif else (header.height, header.width)
        return (*size, self.channels)

    @property
    def orientation(self) -> int:
        """The EXIF orientation that `decode` applies, 1 to 8."""
        return self.header.orientation if self.exif else 1

    def scaled(self, reduction: int) -> tuple[int, int, int]:
        """The shape of the image decoded at 1 / reduction of its size: sides are rounded up."""
        height, width, channels = self.shape
        return -(-height // reduction), -(-width // reduction), channels

    def scales(self, reduction: int) -> bool:
        """Whether `decode(reduction=)` can scale: a JPEG whose blocks begin at the corner where its pixels do."""
        header = self.header
        whole = header.height % reduction == 0 and header.width % reduction == 0
        return header.format == "jpeg" and header.channels != 4 and (whole or self.orientation == 1)

    @property
    def straight(self) -> bool:
        """Whether the pixels are those of a JPEG as it lies there: not turned, nor made deeper, nor given an alpha."""
        return self.header.format == "jpeg" and self.orientation == 1 and self.dtype == "uint8" and self.channels != 4

    def decode(
        self,
        out: np.ndarray | None = None,
        *,
        fast: bool = False,
        reduction: int = 1,
        part: tuple[int, int, int, int] | None = None,
    ) -> np.ndarray:
        """The pixels [height, width, channels] of `dtype`, in the frame after the EXIF orientation.

        Args:
            out: array of that shape and dtype to write into; a new one by default.
            fast: whether a JPEG may be decoded by the faster DCT and upsampling, whose pixels differ.
            reduction: 1, 2, 4 or 8: decode at that fraction of the size (see `scaled`), where `scales(reduction)`.
            part: (top, left, bottom, right), the last two exclusive: nothing else of `out` need be right. Inside they
                are the pixels of the whole image. Damage that lies below a part is not noticed.

        Raises:
            DataError: truncated or damaged data, or a sample type other than 8 or 16 bits; the message names the file.
            InputError: `out` has another shape or dtype.
        """
        shape = self.scaled(reduction)
        if out is not None and (out.shape != shape or out.dtype != self.dtype):
            raise InputError(
                f"{self.name}: out is {out.dtype} {out.shape}, the image {self.dtype} {shape}; make them equal"
            )
        header = self.header
        try:
            ready = out if self.dtype == "uint8" else None
            if out is not None and part is not None and not fast and reduction == 1 and self._decode_part(out, part):
                return out
            pixels = _jpeg(self.data, header, self.channels, ready, fast, reduction)
            if pixels is None:
                pixels = _stored(self.data, header)
        except DataError as error:
            raise DataError(f"{self.name}: {error}; {REMEDY}") from None
        if pixels is out and out is not None:
            return out
        pixels = turn(_as_channels(_as_depth(pixels, self.dtype), self.channels), self.orientation)
        if pixels.shape != shape:
            raise DataError(f"{self.name}: the header says {shape}, the pixels are {pixels.shape}; {REMEDY}")
        if out is None:
            return np.ascontiguousarray(pixels)
        out[...] = pixels
        return out

    def _decode_part(self, out: np.ndarray, part: tuple[int, int, int, int]) -> bool:
        """Decode a part alone, where that is possible and not all of the image."""
        if not self.straight or not out.flags.c_contiguous or part == (0, 0, *self.shape[:2]):
            return False
        return _native.jpeg_part(self.data, out, *part)


class LazyMask:
    """A mask that is not there before `decode()` -> [height, width] or [height, width, channels], whole numbers."""

    def decode(self) -> np.ndarray:
        raise NotImplementedError


class EncodedMask(LazyMask):
    """One mask file in memory: class numbers per pixel, decoded by `decode()` -> [height, width] uint8 or uint16."""

    def __init__(self, data: Encoded, name: str) -> None:
        self.data, self.name = data, name

    def decode(self) -> np.ndarray:
        return decode_mask(self.data, self.name)


def decode_mask(data: Encoded, name: str) -> np.ndarray:
    """A mask file -> class numbers [height, width], uint8 or uint16, as stored: palette files give their palette index.

    A colour file is accepted where its three channels agree. The file's own EXIF orientation is applied.
    Raises `DataError` naming the file.
    """
    header = EncodedImage(data, name).header
    try:
        if header.format == "png" and header.photometric == 3:
            pixels = _pillow(data, mode=None)
        else:
            pixels = _stored(data, header)
    except DataError as error:
        raise DataError(f"{name}: {error}; {REMEDY}") from None
    if pixels.ndim == 3:
        if pixels.shape[2] != 1 and not (pixels[..., :1] == pixels[..., :3]).all():
            raise DataError(
                f"{name}: a mask of {pixels.shape[2]} channels that differ; save class numbers as a grey or palette "
                "PNG, or say what its colours mean (PairSource(palette=))"
            )
        pixels = pixels[..., 0]
    if header.format == "png" and header.photometric == 0 and header.bits < 8:
        pixels = pixels // (255 // (2**header.bits - 1))  # the decoder stretched 1, 2 or 4 bits to 0..255
    return np.ascontiguousarray(turn(pixels, header.orientation))


def decode_colours(data: Encoded, name: str) -> np.ndarray:
    """A mask file that is a picture -> its colours, uint8 [height, width, 3]; the palette's for palette files.

    The file's own EXIF orientation is applied. Raises `DataError` naming the file.
    """
    header = EncodedImage(data, name).header
    try:
        indexed = header.format == "png" and header.photometric == 3
        pixels = _pillow(data, mode="RGB") if indexed else _stored(data, header)
    except DataError as error:
        raise DataError(f"{name}: {error}; {REMEDY}") from None
    if pixels.dtype != np.uint8:
        raise DataError(f"{name}: a mask of {pixels.dtype} colours; colours of masks are 8-bit, save it as such")
    return np.ascontiguousarray(turn(_as_channels(pixels, 3), header.orientation))


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation (1 to 8) to [height, width, ...]; a view."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def read_file(path: str | Path) -> memoryview:
    """The bytes of a file; a `DataError` naming it where it is missing or unreadable."""
    try:
        file = os.open(path, os.O_RDONLY)
        try:
            content = BLOCKS.empty((os.fstat(file).st_size,), np.uint8)
            read = 0
            while read < len(content) and (more := os.readv(file, [content.data[read:]])):
                read += more
            return content[:read].data.toreadonly()
        finally:
            os.close(file)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path, or {REMEDY}") from None
    except PermissionError:
        raise DataError(f"{path}: no permission to read it; change its permissions (chmod u+r), or {REMEDY}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); {REMEDY}") from None


def _jpeg(
    data: Encoded, header: Header, channels: int, out: np.ndarray | None, fast: bool, reduction: int
) -> np.ndarray | None:
    """A JPEG's pixels, unturned, uint8 [h, w, c], into `out` if that needs no turning; None for anything else."""
    if header.format != "jpeg" or header.channels == 4:
        return None
    straight = out is not None and header.orientation == 1 and out.flags.c_contiguous and out.flags.writeable
    space = {1: "GRAY", 3: "RGB", 4: "RGBA"}[channels]
    pixels = _libjpeg(data, header, space, out if straight else None, fast, reduction)
    return out if straight else pixels


def _libjpeg(
    data: Encoded,
    header: Header,
    space: str,
    out: np.ndarray | None = None,
    fast: bool = False,
    reduction: int = 1,
) -> np.ndarray:
    if header.bits != 8:
        raise DataError(f"a JPEG of {header.bits} bits per sample is not supported")
    try:
        pixels: np.ndarray = simplejpeg.decode_jpeg(
            data,
            space,
            fastdct=fast,
            fastupsample=fast,
            min_height=-(-header.height // reduction) if reduction > 1 else 0,
            min_width=-(-header.width // reduction) if reduction > 1 else 0,
            buffer=out,
        )
    except ValueError as error:
        ended = "truncated: " if "Premature end" in str(error) else ""
        raise DataError(f"the JPEG data are damaged ({ended}{error})") from None
    return pixels


def _stored(data: Encoded, header: Header) -> Any:
    """The pixels as stored, unturned: [h, w] or [h, w, 3 or 4] in RGB(A) order, uint8 or uint16."""
    if header.format == "jpeg":
        if header.channels == 1:
            return _libjpeg(data, header, "GRAY")
        if header.channels != 4:
            return _libjpeg(data, header, "RGB")
        inks = _libjpeg(data, header, "CMYK").astype(np.uint16)  # stored inverted, as every writer since Photoshop does
        return ((inks[..., :3] * inks[..., 3:] + 127) // 255).astype(np.uint8)
    if header.format == "png" and b"IEND" not in bytes(data[-64:]) and b"IEND\xaeB`\x82" not in bytes(data):
        raise DataError("the PNG has no end (truncated)")
    if header.format == "tiff":
        data = _without_orientation(data, header)
        if header.photometric > 3 or (header.bits <= 8 and header.channels in (2, 4)):
            return _pillow(
                data, mode="RGBA" if header.photometric == 2 else "RGB"
            )  # OpenCV would premultiply or misread them
    if header.format == "other":
        return _pillow(data, mode="RGBA")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _CV_FLAGS)
    except cv2.error as error:
        raise DataError(f"the {header.format.upper()} data cannot be decoded ({str(error).splitlines()[0]})") from None
    if pixels is None:
        raise DataError(f"the {header.format.upper()} data are damaged or truncated")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"samples of type {pixels.dtype} are not supported in files; pass them as an array (ArraySource)"
        )
    if pixels.ndim == 3 and pixels.shape[2] > 1:
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    return pixels


def _without_orientation(data: Encoded, header: Header) -> bytes:
    """A TIFF with its orientation set to 1: decoders differ in whether they turn a TIFF by themselves."""
    if header.orientation == 1:
        return bytes(data)
    value = (1).to_bytes(2, "big" if header.big_endian else "little")
    return bytes(data[: header.orientation_at]) + value + bytes(data[header.orientation_at + 2 :])


def _pillow(data: Encoded, mode: str | None) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image if mode is None or image.mode in ("L", mode) else image.convert(mode))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"the data are damaged or not supported ({str(error).splitlines()[0]})") from None


def _as_depth(pixels: np.ndarray, dtype: str) -> np.ndarray:
    if pixels.dtype == dtype:
        return pixels
    if dtype == "uint8":
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return pixels.astype(np.uint16) * np.uint16(257)


def _as_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    stored = pixels.shape[2]
    if stored == channels:
        return pixels
    if channels == 1:
        grey: np.ndarray = np.rint(pixels[..., :3] @ _GREY).astype(pixels.dtype)
        return grey[..., None]
    colour = np.repeat(pixels, 3, axis=2) if stored == 1 else pixels[..., :3]
    if channels == 3:
        return colour
    opaque = np.full((*colour.shape[:2], 1), np.iinfo(pixels.dtype).max, pixels.dtype)
    return np.concatenate([colour, opaque], axis=2)
