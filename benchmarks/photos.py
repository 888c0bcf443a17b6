"""What is worked on: photographs, encoded and decoded. Any folder of JPEG files of about 640x480 will do."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

HEIGHT, WIDTH = 480, 640
COLD = 150_000_000  # bytes: more than the caches hold
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@cache
def jpeg_files(folder: Path) -> tuple[str, ...]:
    files = tuple(map(str, sorted(folder.rglob("*.jpg"))))
    if not files:
        raise FileNotFoundError(f"{folder}: no .jpg file in this folder or below; name a folder of photos by --data")
    return files


def blobs(folder: Path) -> list[bytes]:
    """The files' bytes."""
    return [Path(file).read_bytes() for file in jpeg_files(folder)]


def cold(multiple: int, quick: bool) -> int:
    """How many photographs are more than the caches hold, in whole multiples; `quick` is content with one multiple."""
    return multiple if quick else -(-COLD // (HEIGHT * WIDTH * 3 * multiple)) * multiple


def photos(folder: Path, count: int) -> np.ndarray:
    """Decoded photographs of one size, uint8 [count, 480, 640, 3].

    Portraits are turned, all are resized; where there are not enough, they come again, mirrored.
    """
    import cv2
    import simplejpeg

    files = jpeg_files(folder)
    found = np.empty((count, HEIGHT, WIDTH, 3), np.uint8)
    for index in range(count):
        image = simplejpeg.decode_jpeg(Path(files[index % len(files)]).read_bytes())
        if image.shape[0] > image.shape[1]:
            image = np.ascontiguousarray(np.rot90(image))
        image = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        found[index] = image[:, ::-1] if index // len(files) % 2 else image
    return found


def channels_first(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
