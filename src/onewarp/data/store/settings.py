"""What a store is to hold: the settings of `onewarp prepare`, and which source it was made from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from onewarp.data.base import Source
from onewarp.errors import InputError
from onewarp.spec import BOX_FORMATS


@dataclass(frozen=True)
class StoreSettings:
    """What becomes of a sample on its way into a store.

    Attributes:
        short_side: pixels to which the shorter side of a larger image is reduced (by averaging areas), its masks,
            boxes and keypoints with it; None keeps every size. Nothing is enlarged.
        quality: of the JPEGs that are written, 1 to 100. A JPEG that is neither turned nor reduced is not encoded
            again: it keeps its bytes.
        raw: keep pixels as they are in memory, which takes no decoding and several times the room. Needed for
            floating-point images; uint16 images and images with an alpha channel become PNG without it.
        bounding_box_format: of the source's boxes, one of Keras' names; the store keeps them in that format.
        size: (height, width) that every image gets, or a number for a square; proportions are not kept, and smaller
            sides are enlarged (bilinear). In place of `short_side`; with `raw` the store is as fast as an array.
    """

    short_side: int | None = None
    quality: int = 90
    raw: bool = False
    bounding_box_format: str = "xyxy"
    size: int | tuple[int, int] | None = None

    def __post_init__(self) -> None:
        side = self.short_side
        if side is not None and (not isinstance(side, (int, np.integer)) or side < 1):
            raise InputError(f"short_side={side!r} is not a positive whole number; pass pixels, e.g. 256, or None")
        if self.size is not None:
            both = (self.size, self.size) if isinstance(self.size, (int, np.integer)) else tuple(self.size)
            if len(both) != 2 or not all(isinstance(one, (int, np.integer)) and one >= 1 for one in both):
                raise InputError(f"size={self.size!r} must be (height, width) in pixels; pass e.g. (224, 224), or None")
            if side is not None:
                raise InputError(f"size={self.size!r} and short_side={side!r} both say how large; pass one of them")
            object.__setattr__(self, "size", (int(both[0]), int(both[1])))
        if not isinstance(self.quality, (int, np.integer)) or not 1 <= self.quality <= 100:
            raise InputError(f"quality={self.quality!r} must be a whole number from 1 to 100; pass e.g. 90")
        if not isinstance(self.raw, bool):
            raise InputError(f"raw={self.raw!r} must be True or False")
        if self.bounding_box_format not in BOX_FORMATS:
            raise InputError(
                f"bounding_box_format={self.bounding_box_format!r} is unknown; use one of {', '.join(BOX_FORMATS)}"
            )

    def encoding(self, source: Source) -> str:
        """How images of `source` are kept: "jpeg", "png" or "raw". Raises InputError where they cannot be encoded."""
        channels = source.image_shape[2]
        if self.raw:
            return "raw"
        if source.dtype == "uint8" and channels in (1, 3):
            return "jpeg"
        if source.dtype in ("uint8", "uint16") and channels in (1, 3, 4):
            return "png"
        raise InputError(f"{source.dtype} images of {channels} channels cannot be encoded; pass raw=True (--raw)")

    def stored_size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) at which an image is stored."""
        if isinstance(self.size, tuple):
            return self.size
        short, side = min(height, width), self.short_side
        if side is None or short <= side:
            return height, width
        return max(1, round(height * side / short)), max(1, round(width * side / short))

    def described(self) -> dict[str, Any]:
        """The settings by name, for a manifest; what older stores do not know is there only where it is set."""
        found = dataclasses.asdict(self)
        if self.size is None:
            del found["size"]
        else:
            found["size"] = list(found["size"])
        return found


def fingerprint(source: Source) -> str:
    """A short text that tells this source from another, or from itself after a change; see `Source.stamps`."""
    digest = hashlib.blake2b(digest_size=16)
    for stamp in source.stamps():
        digest.update(len(stamp).to_bytes(8, "little"))
        digest.update(stamp)
    return digest.hexdigest()


def describe(source: Source, settings: StoreSettings, shard_samples: int) -> dict[str, Any]:
    """The part of a store's manifest that is known before anything is prepared. `build` is a checksum of all of it."""
    labels = source.labels
    ids = source.ids(np.arange(len(source)))
    known: dict[str, Any] = {
        "settings": settings.described(),
        "encoding": settings.encoding(source),
        "fingerprint": fingerprint(source),
        "samples": len(source),
        "shard_samples": shard_samples,
        "channels": source.image_shape[2],
        "dtype": source.dtype,
        "value_range": list(source.value_range),
        "roles": list(source.roles),
        "outputs": [entry if isinstance(entry, str) else list(entry) for entry in source.outputs],
        "class_names": None if source.class_names is None else list(source.class_names),
        "num_classes": source.num_classes,
        "ignore": source.ignore,
        "labels": None if labels is None else [labels.dtype.newbyteorder("<").str, list(labels.shape[1:])],
        "most": {role: _most(source, role) for role in ("bounding_boxes", "keypoints") if role in source.roles},
        "ids": not np.array_equal(ids, np.arange(len(source))),
    }
    build = hashlib.blake2b(json.dumps(known, sort_keys=True).encode(), digest_size=6).hexdigest()
    return {**known, "build": build}


def _most(source: Source, role: str) -> int | None:
    """What the source says; None where it does not know, and the samples will tell."""
    try:
        return source.most(role)
    except InputError:
        return None
