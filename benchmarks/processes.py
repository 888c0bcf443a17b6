"""What worker processes bring where a Python function runs before the policy: images/s with threads and processes.

python -m benchmarks.processes [--count 2] [--batches 24]
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np


def nothing(sample: dict[str, Any]) -> dict[str, Any]:
    return sample


def in_python(sample: dict[str, Any]) -> dict[str, Any]:
    """Sorts the values of every row of pixels in plain Python: about a millisecond that holds Python's lock."""
    rows = [sorted(row) for row in sample["images"][..., 0].tolist()]
    images = sample["images"].copy()
    images[..., 0] = rows
    return {**sample, "images": images}


def albumentations() -> Any:
    import albumentations as A

    import onewarp as ow

    return ow.Albumentations(
        [A.HueSaturationValue(p=1.0), A.CLAHE(p=1.0), A.ImageCompression(quality_range=(40, 90), p=1.0)]
    )


def epoch(loader: Any) -> float:
    """Images per second of one epoch."""
    start = time.perf_counter()
    count = sum(len(batch) for batch in loader)
    return count / (time.perf_counter() - start)


def main() -> None:
    import onewarp as ow
    from benchmarks import processes as functions

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2, help="threads, and processes")
    parser.add_argument("--batches", type=int, default=24)
    given = parser.parse_args()
    images = np.random.default_rng(0).integers(0, 256, (32 * given.batches, 128, 128, 3), dtype=np.uint8)
    source = ow.ArraySource(images)
    policy = ow.Policy([ow.RandomResizedCrop(96), ow.HorizontalFlip(), ow.Rotate(15), ow.Rescale(1 / 255)])
    cases = {
        "no function": source,
        "a function that does nothing": source.map(functions.nothing),
        "a function in plain Python": source.map(functions.in_python),
        "Albumentations: hue, CLAHE, JPEG": source.map(albumentations(), random=True),
    }
    print(f"images/s, medians of three epochs; {given.count} threads, {given.count} processes")
    for name, mapped in cases.items():
        threads = ow.Loader(mapped, policy, batch_size=32, threads=given.count)
        processes = ow.Loader(mapped, policy, batch_size=32, processes=given.count)
        start = time.perf_counter()
        next(iter(processes))
        first = time.perf_counter() - start
        rates = [statistics.median(epoch(loader) for _ in range(3)) for loader in (threads, processes)]
        print(
            f"{name:34} {rates[0]:8.0f} {rates[1]:8.0f} {rates[1] / rates[0]:6.2f}x   first batch after {first:.2f} s"
        )
        del processes


if __name__ == "__main__":
    main()
