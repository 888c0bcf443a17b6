"""What decode="fast" changes: PSNR of its batches against exact ones, and its gain, by the size of the result.

python -m benchmarks.fast_decode --data FOLDER [--threads 2]
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

from benchmarks.photos import jpeg_files


def batches(files: list[str], size: int, decode: str) -> list[np.ndarray]:
    import onewarp as ow

    policy = ow.Policy([ow.RandomResizedCrop(size, scale=(0.35, 1.0)), ow.HorizontalFlip(), ow.Rotate(15)])
    loader = ow.Loader(ow.FileSource(files), policy, batch_size=32, shuffle=False, threads=2, decode=decode)
    return list(loader)


def rate(files: list[str], size: int, decode: str, threads: int) -> float:
    import onewarp as ow

    policy = ow.Policy([ow.RandomResizedCrop(size, scale=(0.35, 1.0)), ow.HorizontalFlip(), ow.Rotate(15)])
    loader = ow.Loader(ow.FileSource(files * 2), policy, batch_size=32, threads=threads, decode=decode)
    best = 0.0
    for _ in range(4):
        start = time.perf_counter()
        count = sum(len(batch) for batch in loader)
        best = max(best, count / (time.perf_counter() - start))
    return best


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[n] decibels, for images of 0...255."""
    error = np.mean(np.square(a.astype(np.float64) - b), axis=(1, 2, 3))
    return np.asarray(10 * np.log10(255.0**2 / np.maximum(error, 1e-10)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("ONEWARP_DATA")
    parser.add_argument("--data", default=None if default is None else os.path.join(default, "coco_tiny"))
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    if given.data is None:
        parser.error("no photographs: name a folder of JPEG files by --data, or set ONEWARP_DATA")
    files = list(jpeg_files(Path(given.data)))
    print("result   PSNR median, lowest 5 %   images/s exact, fast, gain")
    for size in (224, 160, 96, 48):
        exact, fast = batches(files, size, "exact"), batches(files, size, "fast")
        values = np.concatenate([psnr(a, b) for a, b in zip(exact, fast, strict=True)])
        rates = [rate(files, size, decode, given.threads) for decode in ("exact", "fast")]
        print(
            f"{size:>4}     {np.median(values):5.1f} dB, {np.percentile(values, 5):5.1f} dB       "
            f"{rates[0]:7.0f} {rates[1]:7.0f} {rates[1] / rates[0]:5.2f}x"
        )


if __name__ == "__main__":
    main()
