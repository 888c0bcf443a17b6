"""A sample -> the bytes under which a store keeps it, and back.

A record is the image, then what there is of mask, boxes, their labels and keypoints, each part beginning at a multiple
of 8 bytes. Labels and ids are in the index.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import simplejpeg

from onewarp.data.base import Sample, Source
from onewarp.data.decode import EncodedImage, EncodedMask, LazyMask
from onewarp.data.header import Header
from onewarp.data.store.settings import StoreSettings
from onewarp.errors import DataError, OnewarpError

MASK_TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "bool")


@dataclass(frozen=True)
class Record:
    """The bytes of a sample, and the fields of its row in the index."""

    data: bytes
    fields: dict[str, int]


def record_of(source: Source, index: int, settings: StoreSettings, encoding: str, on_error: str = "raise") -> Record:
    """What a store keeps of sample `index`: a function of the sample and the settings alone.

    on_error: "raise", or "skip": the record then is the reason why the sample cannot be read.

    Raises:
        DataError: a sample that cannot be read or kept; the message names it.
    """
    try:
        return _record(source.lazy(index), source.name(index), settings, encoding)
    except OnewarpError as error:
        if on_error == "raise":
            raise
        return Record(_padded(str(error).encode()), {"height": 0, "width": 0, "image": 0})


def _record(sample: Sample, name: str, settings: StoreSettings, encoding: str) -> Record:
    image = sample["images"]
    height, width = image.shape[:2]
    size = settings.stored_size(height, width)
    parts = [_image(image, size, settings, encoding)]
    fields = {"height": size[0], "width": size[1], "image": len(parts[0])}
    if "segmentation_masks" in sample:
        mask = sample["segmentation_masks"]
        mask = mask.decode() if isinstance(mask, LazyMask) else np.asarray(mask)
        mask = mask[..., 0] if mask.ndim == 3 and mask.shape[2] == 1 else mask
        if mask.shape != (height, width) or mask.dtype.name not in MASK_TYPES:
            raise DataError(
                f"{name}: the segmentation mask is {mask.dtype} {mask.shape}, the image {height}x{width}; "
                "give it class numbers, and the size of its image"
            )
        parts.append(_mask(mask, size, encoding))
        fields |= {"mask": len(parts[-1]), "mask_type": MASK_TYPES.index(mask.dtype.name)}
    y, x = size[0] / height, size[1] / width
    if "bounding_boxes" in sample:
        boxes = np.asarray(sample["bounding_boxes"]["boxes"], np.float64).reshape(-1, 4)
        labels = np.asarray(sample["bounding_boxes"]["labels"]).reshape(-1)
        order = settings.bounding_box_format.removeprefix("center_")
        scale = [1.0] * 4 if order.startswith("rel_") else [y, x, y, x] if order.startswith("y") else [x, y, x, y]
        parts += [(boxes * scale).astype("<f4").tobytes(), labels.astype("<i8").tobytes()]
        fields["boxes"] = len(labels)
    if "keypoints" in sample:
        points = np.asarray(sample["keypoints"], np.float64)
        parts.append((points * [x, y, 1.0][: points.shape[-1]]).astype("<f4").tobytes())
        fields |= {"points": len(points), "point_size": points.shape[-1]}
    return Record(b"".join(map(_padded, parts)), fields)


def _padded(part: bytes) -> bytes:
    return part + bytes(-len(part) % 8)


def _image(image: Any, size: tuple[int, int], settings: StoreSettings, encoding: str) -> bytes:
    if isinstance(image, EncodedImage):
        pixels = image.decode()  # also where the bytes are kept: damage is found now, not in the middle of a training
        header = image.header
        own = header.format == "jpeg" and header.channels in (1, 3) and header.orientation == 1
        if encoding == "jpeg" and own and size == pixels.shape[:2]:
            return bytes(image.data)
    else:
        pixels = np.asarray(image)
    pixels = np.ascontiguousarray(resized(pixels, size))
    channels = pixels.shape[2]
    if encoding == "raw":
        return pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()
    if encoding == "png":
        return _png(pixels if channels < 3 else pixels[..., [2, 1, 0, 3][:channels]])
    options = {"colorspace": "GRAY", "colorsubsampling": "Gray"} if channels == 1 else {"colorsubsampling": "420"}
    encoded: bytes = simplejpeg.encode_jpeg(pixels, settings.quality, **options)
    return encoded


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image [h, w, c] at another size: a pixel is the mean of the area that it covers; longer sides are bilinear."""
    smaller = min(size[0], pixels.shape[0]), min(size[1], pixels.shape[1])
    for wanted, method in ((smaller, cv2.INTER_AREA), (size, cv2.INTER_LINEAR)):
        if pixels.shape[:2] != wanted:
            groups = [pixels[..., k : k + 4] for k in range(0, pixels.shape[2], 4)]  # OpenCV takes at most 4 channels
            parts = [cv2.resize(np.ascontiguousarray(group), wanted[::-1], interpolation=method) for group in groups]
            pixels = np.concatenate([part.reshape(*wanted, -1) for part in parts], axis=2)
    return pixels


def _mask(mask: np.ndarray, size: tuple[int, int], encoding: str) -> bytes:
    if mask.shape != size:  # the pixel under the centre of each new one
        y, x = (((2 * np.arange(new) + 1) * old) // (2 * new) for old, new in zip(mask.shape, size, strict=True))
        mask = mask[y][:, x]
    plain = np.ascontiguousarray(mask).astype(mask.dtype.newbyteorder("<"), copy=False)
    if encoding == "raw":
        return plain.tobytes()
    return _png(plain) if mask.dtype in (np.uint8, np.uint16) else zlib.compress(plain.tobytes())


def _png(pixels: np.ndarray) -> bytes:
    done, encoded = cv2.imencode(".png", pixels)
    if not done:
        raise DataError(f"{pixels.dtype} pixels of shape {pixels.shape} cannot be written as PNG; pass raw=True")
    return encoded.tobytes()


def reason(data: memoryview) -> str:
    """Why a sample could not be read when its store was prepared."""
    return bytes(data).rstrip(b"\0").decode(errors="replace")


def sample_of(data: memoryview, fields: Mapping[str, Any], about: dict[str, Any], name: str) -> Sample:
    """A record as a sample without its label: images and masks undecoded, or as views of `data` where they are raw.

    fields: those of its row in the index.
    """
    raw = about["encoding"] == "raw"
    height, width, channels, size = fields["height"], fields["width"], about["channels"], fields["image"]
    image, at = data[:size], size + -size % 8
    if raw:
        sample: Sample = {"images": np.frombuffer(image, about["dtype"]).reshape(height, width, channels)}
    else:
        # A JPEG is stored upright, and the header that it has is the one that was written: the record has a checksum.
        header = Header("jpeg", height, width, channels=channels) if about["encoding"] == "jpeg" else None
        sample = {"images": EncodedImage(image, name, channels, about["dtype"], header=header)}
    if "mask" in fields:
        mask = data[at : at + fields["mask"]]
        at += len(mask) + -len(mask) % 8
        kind = np.dtype(MASK_TYPES[fields["mask_type"]])
        if not raw and kind in (np.uint8, np.uint16):
            sample["segmentation_masks"] = EncodedMask(mask, name)
        else:
            plain = mask if raw else zlib.decompress(mask)
            sample["segmentation_masks"] = np.frombuffer(plain, kind).reshape(height, width)
    if "boxes" in fields:
        count = fields["boxes"]
        boxes = np.frombuffer(data, "<f4", 4 * count, at).reshape(count, 4)
        labels = np.frombuffer(data, "<i8", count, at + 16 * count)
        at += 24 * count
        sample["bounding_boxes"] = {"boxes": boxes.copy(), "labels": labels.copy()}
    if "points" in fields:
        count, size = fields["points"], fields["point_size"]
        sample["keypoints"] = np.frombuffer(data, "<f4", count * size, at).reshape(count, size).copy()
    return sample
