"""Recipe: what one resample is worth. PSNR of policies of two to five geometric transforms against what a camera
would have seen, had the scene been turned instead of the picture.

The reference favours nobody, because no library's interpolation is in it:

1. The *scene* is a photograph at full size. The *source*, which everybody gets, is that photograph reduced REDUCE
   times by averaging areas of REDUCE x REDUCE pixels, rounded to 8 bits: a camera with square pixels.
2. The *reference* is the same camera on the mapped scene: each pixel of the result is the mean of REDUCE x REDUCE
   points spread evenly over its area; each point goes through the product of all maps, in float64, and the scene is
   read there by Lanczos interpolation (a = 3), in float64. Nothing is rounded. For the identity this is exactly the
   source before rounding.
3. Everybody realises the same maps (`chains.py`; `check` holds them to MAP_ERROR pixels), bilinear, in the frame of
   the source. Crops only enlarge and shifts are whole pixels, so neither antialiasing nor rounding of shifts
   decides anything.
4. Only pixels count whose points stay inside the frame at every step, so that no fill and no border is compared.

onewarp, albumentations and torchvision give 8 bits; kornia's floats are compared unrounded. PSNR is over all pixels
of all photographs and draws together; the gain is per photograph and draw, against the best chain there. The task
"full size" takes the photographs as they are: sources as most are used, softer than reduced ones. The scene then is
the source itself, and a pixel of the reference is one point of it, so that the reference is Lanczos' opinion.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from benchmarks import chains
from benchmarks.peers import missing
from benchmarks.photos import photos
from benchmarks.recipe import Setup
from benchmarks.stats import Summary, table

TITLE = "what one resample is worth: PSNR against a supersampled reference"
TASKS = ("reduced", "full size")
REDUCE = 3
COUNTS = (2, 3, 4, 5)
MAP_ERROR = 0.02  # pixels
MARGIN = 3.0  # pixels inside the frame, at every step
LANCZOS = 3


def area_mean(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean of factor x factor pixels, float64."""
    height, width = image.shape[0] // factor, image.shape[1] // factor
    cut = image[: height * factor, : width * factor].astype(np.float64)
    return np.asarray(cut.reshape(height, factor, width, factor, -1).mean(axis=(1, 3)))


def lanczos(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """image [h, w, c] at points (x, y) [n] -> float64 [n, c]; the first pixel's centre is 0.5, 0.5, borders repeat."""
    height, width, channels = image.shape
    flat = image.reshape(-1, channels).astype(np.float64)
    left, top = np.floor(x - 0.5), np.floor(y - 0.5)
    taps = np.arange(1 - LANCZOS, LANCZOS + 1)
    across, down = _weights(x - 0.5 - left, taps), _weights(y - 0.5 - top, taps)
    columns = [np.clip(left + tap, 0, width - 1).astype(np.intp) for tap in taps]
    total = np.zeros((len(x), channels))
    for i, tap in enumerate(taps):
        start = np.clip(top + tap, 0, height - 1).astype(np.intp) * width
        row = sum(across[:, j, None] * flat[start + columns[j]] for j in range(len(taps)))
        total += down[:, i, None] * row
    return total


def _weights(fraction: np.ndarray, taps: np.ndarray) -> np.ndarray:
    distance = fraction[..., None] - taps
    weights = np.sinc(distance) * np.sinc(distance / LANCZOS)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def mapped(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    w = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2]
    return (
        (matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]) / w,
        (matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]) / w,
    )


def reference(scene: np.ndarray, total: np.ndarray, pixels: np.ndarray, reduce: int, samples: int) -> np.ndarray:
    """What a camera whose pixels are `reduce` times the scene's sees of the mapped scene: float64 [n, c].

    pixels: [h, w] booleans, those that are wanted. samples: squared, how many points make up a pixel.
    """
    offsets = (np.arange(samples) + 0.5) / samples
    rows, columns = np.nonzero(pixels)
    seen = np.zeros((len(rows), scene.shape[2]))
    for down, across in itertools.product(offsets, repeat=2):
        x, y = mapped(total, columns + across, rows + down)
        seen += lanczos(scene, x * reduce, y * reduce)
    return seen / samples**2


def inside(matrices: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """[h, w]: whose point stays MARGIN pixels inside the frame from the result back to the source."""
    y, x = np.mgrid[0.5:height, 0.5:width]
    good = np.ones((height, width), bool)
    for step in [np.eye(3), *reversed(matrices)]:
        x, y = mapped(step, x, y)
        good &= (np.minimum(x, y) > MARGIN) & (x < width - MARGIN) & (y < height - MARGIN)
    return good


def psnr(square_error: float) -> float:
    return 10 * math.log10(255**2 / max(square_error, 1e-12))


def report(setup: Setup, task: str) -> dict[str, Any]:
    """{"libraries": {name: {"2": square errors, one per photograph and draw, ...}}, "skipped", "map_error"}."""
    reduce, samples = (REDUCE, REDUCE) if task == "reduced" else (1, 1)
    there = {name: missing(needs) for name, (_, needs) in chains.LIBRARIES.items()}
    names = [name for name, lacking in there.items() if lacking is None]
    errors: dict[str, dict[str, list[float]]] = {name: {str(n): [] for n in COUNTS} for name in names}
    rng, worst = np.random.default_rng(0), 0.0
    for scene in photos(setup.photos, 1 if setup.quick else 12):
        scene = scene if task == "reduced" else scene[120:360, 160:480]
        source = np.round(area_mean(scene, reduce)).astype(np.uint8)
        height, width = source.shape[:2]
        for _ in range(1 if setup.quick else 2):
            steps = chains.draw(rng, height, width)
            worst = max(worst, *(chains.check(name, step, height, width) for name in names for step in steps))
            if worst > MAP_ERROR:
                raise ValueError(f"a library's map is {worst:.3f} pixels off; the comparison would not be fair")
            matrices = [chains.matrix(step, height, width) for step in steps]
            for n in COUNTS:
                total = np.linalg.multi_dot(matrices[:n])
                good = inside(matrices[:n], height, width)
                truth = reference(scene, total, good, reduce, samples)
                for name in names:
                    result = chains.LIBRARIES[name][0](steps[:n], height, width)(source)[good]
                    errors[name][str(n)].append(float(np.mean((result - truth) ** 2)))
    skipped = {name: lacking for name, lacking in there.items() if lacking is not None}
    return {"libraries": errors, "skipped": skipped, "map_error": worst}


def tables(reports: dict[str, dict[str, Any]]) -> str:
    texts = []
    for task, found in reports.items():
        errors = found["libraries"]
        peers = [name for name in errors if name != "onewarp"]
        rows = []
        for n in map(str, COUNTS):
            shown = [f"{psnr(float(np.mean(of[n]))):.2f}" for of in errors.values()]
            gain = "–"
            if peers:
                best = np.min([errors[name][n] for name in peers], axis=0)
                gains = 10 * np.log10(best / np.array(errors["onewarp"][n]))
                gain = Summary(float(gains.min()), float(np.median(gains)), float(gains.max())).show(1)
            rows.append([n, *shown, gain])
        header = [
            "transforms",
            *(f"{name}, dB" for name in errors),
            "gain over the best chain, dB: low / median / high",
        ]
        cases = len(next(iter(errors.values()))[str(COUNTS[0])])
        text = f"Photographs {task}, {cases} cases; all maps agree within {found['map_error']:.4f} pixels:"
        texts.append(f"{text}\n\n{table(header, rows)}")
    return "\n\n".join(texts)
