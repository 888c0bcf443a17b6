"""COCO: opening a file of a million annotations beside json.load, and polygons drawn at the size of the result beside
masks drawn at the size of the photograph and resampled: images per second, and how far edges lie from the truth.

python -m benchmarks.coco [--data FOLDER] [--annotations 1000000]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.machine import machine, versions

OPENERS = {
    "json.load": "import json; found = json.load(open(path))",
    "CocoFile": "from onewarp.coco import CocoFile; found = CocoFile(path)",
}
MEASURE = (
    "import resource, sys, time; path = sys.argv[1]; start = time.perf_counter(); {opener}; "
    "print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)"
)
FINE = 8  # how much larger the truth is drawn


def write_large(path: Path, n: int) -> None:
    """A COCO file of n annotations of 6 to 60 corners, on one line; about 420 bytes each."""
    draw = random.Random(0)
    images = max(1, n // 8)
    with open(path, "w") as file:
        file.write('{"info": {}, "images": [')
        file.write(
            ", ".join(f'{{"id": {i}, "file_name": "{i:012d}.jpg", "height": 480, "width": 640}}' for i in range(images))
        )
        file.write('], "categories": [' + ", ".join(f'{{"id": {i}, "name": "c{i}"}}' for i in range(80)))
        file.write('], "annotations": [')
        for i in range(n):
            numbers = [round(draw.random() * 479, 2) for _ in range(draw.choice((12, 16, 26, 46, 66)))]
            record = {
                "segmentation": [numbers],
                "area": round(draw.random() * 9000, 4),
                "iscrowd": 0,
                "image_id": draw.randrange(images),
                "bbox": numbers[:4],
                "category_id": draw.randrange(80),
                "id": i,
            }
            file.write((", " if i else "") + json.dumps(record))
        file.write("]}")


def opening(n: int, rounds: int) -> dict[str, object]:
    """Seconds and GiB of each way, each in a process of its own, in alternating rounds."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in OPENERS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.json"
        write_large(path, n)
        for _ in range(rounds):
            for name, opener in OPENERS.items():
                command = [sys.executable, "-c", MEASURE.format(opener=opener), str(path)]
                seconds, memory = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
                found[name].append((float(seconds), float(memory)))
        size = path.stat().st_size / 1e6
    best = {name: min(values) for name, values in found.items()}
    for name, (seconds, memory) in best.items():
        print(f"{name:>10}: {seconds:6.2f} s, {memory:5.2f} GiB at the most ({n:,} annotations, {size:.0f} MB)")
    return {"annotations": n, "megabytes": size, "seconds_and_gib": found}


def polygons(folder: Path, rounds: int) -> dict[str, object]:
    """Photographs with their masks to 224 x 224: polygons that follow against masks resampled, one thread."""
    import onewarp as ow
    from onewarp.coco.annotations import Rle
    from onewarp.coco.shapes import Shapes
    from onewarp.data.batches import Batches
    from onewarp.engine import host

    # Unlike a policy for training it never shrinks by 2 or more, where both ways alias alike.
    policy = ow.Policy([ow.RandomResizedCrop(224, scale=(0.1, 0.4)), ow.HorizontalFlip(), ow.Rotate(15)])
    source = ow.CocoSource(
        folder / "val2017", folder / "annotations" / "instances_val2017.json", masks="semantic", crowd="drop"
    )
    batches = Batches(source, policy, 16, shuffle=False)
    plan = batches.plan
    shapes = [source.lazy(index)["segmentation_masks"] for index in range(len(source))]
    assert all(isinstance(one, Shapes) for one in shapes)
    ids = np.arange(len(source))
    sizes = np.array([one.shape[:2] for one in shapes])
    from onewarp.draw import draw

    params = draw(plan, 0, 0, ids, np.zeros_like(ids), sizes)

    def drawn() -> list[np.ndarray]:
        return [one.draw(plan, params, slot)[0] for slot, one in enumerate(shapes)]

    def resampled() -> list[np.ndarray]:
        return [host.run_masks(plan, params, [one.decode()], start=slot)[0] for slot, one in enumerate(shapes)]

    rates: dict[str, list[float]] = {"polygons": [], "resampled": []}
    for _ in range(rounds):
        for name, way in (("polygons", drawn), ("resampled", resampled)):
            start = time.perf_counter()
            way()
            rates[name].append(len(shapes) / (time.perf_counter() - start))
    wrong = {"polygons": 0, "resampled": 0}
    edges = 0
    for slot, one in enumerate(shapes):
        if any(isinstance(shape.segmentation, Rle) for shape in one.shapes):
            continue
        fine = np.zeros((one.height * FINE, one.width * FINE), np.uint8)
        for shape in one.shapes:
            united = np.zeros_like(fine)
            for part in shape.segmentation:
                corners = np.rint((np.array(part).reshape(-1, 2) * FINE - 0.5) * 256).astype(np.int32)
                inside = np.zeros_like(fine)
                cv2.fillPoly(inside, [corners], 1, shift=8)
                united |= inside
            fine[united > 0] = shape.value
        matrix = params.arrays["0.matrix"][slot, 0].astype(np.float64)
        y, x = np.mgrid[:224, :224] + 0.5
        places = (np.stack([x, y, np.ones_like(x)], -1) @ matrix.T)[..., :2] * FINE
        column, row = (places[..., i].astype(int) for i in (0, 1))
        seen = (column >= 0) & (column < fine.shape[1]) & (row >= 0) & (row < fine.shape[0])
        truth = np.where(seen, fine[np.clip(row, 0, len(fine) - 1), np.clip(column, 0, fine.shape[1] - 1)], 0)
        border = cv2.morphologyEx(truth.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        edges += int(border.sum())
        wrong["polygons"] += int((one.draw(plan, params, slot)[0] != truth)[seen].sum())
        wrong["resampled"] += int((host.run_masks(plan, params, [one.decode()], start=slot)[0] != truth)[seen].sum())
    for name, values in rates.items():
        share = 100 * wrong[name] / edges
        print(f"{name:>10}: {np.median(values):6.0f} images/s, {share:.1f} % as many wrong pixels as lie along edges")
    return {"images_per_second": rates, "wrong_pixels": wrong, "edge_pixels": edges}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("ONEWARP_DATA")
    parser.add_argument("--data", default=None if default is None else os.path.join(default, "coco_tiny"))
    parser.add_argument("--annotations", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="keep the figures as JSON")
    given = parser.parse_args()
    results = {"machine": machine(), "versions": versions(), "opening": opening(given.annotations, given.rounds)}
    if given.data:
        results["masks"] = polygons(Path(given.data), given.rounds + 2)
    if given.out:
        given.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
