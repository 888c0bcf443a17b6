"""A random forest on pixels and a dense CRF on CamVid: street scenes without a network, plain and augmented.

    python recipes/forest_crf.py --data PATH/camvid
    python recipes/forest_crf.py --data PATH/camvid --images 20 --pixels 30000 --trees 8      # a look

Data: folders train, trainannot, val, valannot, test, testannot (the SegNet tutorial's copy: 367/101/233 images of
480x360, 11 classes, number 11 is void and counts nowhere).

Found, mean IoU on the test images at 240x180, one seed: 35.3 % plain and 35.8 % augmented, after the CRF 36.6 % and
37.3 %. 7.4 minutes of processor time on two cores of an AMD EPYC (machine shared), both forests, both searches for
the CRF's parameters and the test included. The page docs/forest.md has the whole table and the picture.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer

import onewarp as ow
from onewarp.picture import sheet, write_png
from onewarp.segment import DenseCRF, PixelForest, Scores, Tuning, boundary_scores, scores, tune_crf

CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
VOID = len(CLASSES)
COLOURS = np.array(
    [(128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
     (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192), (0, 0, 0)], np.uint8
)  # fmt: skip
GRID = {  # images are small and trees see little, so kernels are narrower than those of `onewarp.segment.tune.GRID`
    "gaussian.sxy": (2,),
    "gaussian.compat": (0.3, 1, 3),
    "bilateral.sxy": (5, 10),
    "bilateral.srgb": (5, 10, 15),
    "bilateral.compat": (2, 4, 8),
}
ITERATIONS = 5
FOREST: dict[str, Any] = {"criterion": "entropy", "min_samples_leaf": 3, "max_features": 0.3}
WIDTHS = (1, 3, 5)  # pixels around borders
SHOWN = 4  # test images in the picture


def plain(height: int, width: int) -> ow.Policy:
    """The whole frame at the size that the forest works at."""
    return ow.Policy([ow.Resize((height, width))], mask_fill_value=VOID)


def augmented(height: int, width: int) -> ow.Policy:
    """The street in a mirror: colours and heights, which a forest asks for, stay as they are."""
    return ow.Policy([ow.Resize((height, width)), ow.HorizontalFlip()], mask_fill_value=VOID)


def main(
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The folder camvid.")],
    size: Annotated[tuple[int, int], typer.Option("--size", metavar="H W", help="Of the images, for all.")] = (
        180,
        240,
    ),
    trees: Annotated[int, typer.Option("--trees", min=1, metavar="N", help="Of each forest.")] = 24,
    depth: Annotated[int, typer.Option("--depth", min=1, metavar="N", help="Of each tree, at most.")] = 18,
    pixels: Annotated[int, typer.Option("--pixels", min=1, metavar="N", help="To train each forest on.")] = 200_000,
    passes: Annotated[int, typer.Option("--passes", min=1, metavar="N", help="Draws of each image, augmented.")] = 4,
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="A policy (YAML) to augment by instead of ours.")
    ] = None,
    tuned_on: Annotated[
        int, typer.Option("--tune", min=1, metavar="N", help="Validation images for the CRF's parameters.")
    ] = 25,
    images: Annotated[
        int | None, typer.Option("--images", min=1, metavar="N", help="At most so many of each split, evenly spread.")
    ] = None,
    train_images: Annotated[
        int | None, typer.Option("--train-images", min=1, metavar="N", help="At most so many to train on.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Of pixels, draws and trees.")] = 0,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="For results.json and the pictures.")] = Path(
        "runs/forest-crf"
    ),
) -> None:
    """Train two forests, tune a CRF for each on the validation images, and report both on the test images."""
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    frame = plain(*size)
    train = source(data, "train", train_images or images)
    val = list(frames(source(data, "val", min(tuned_on, images or tuned_on)), frame))
    test = list(frames(source(data, "test", images), frame))
    settings: dict[str, Any] = {"n_estimators": trees, "max_depth": depth, **FOREST, "seed": seed}
    policies = {"plain": (frame, 1), "augmented": (augmented(*size), passes)}
    if policy is not None:
        policies["augmented"] = ow.Policy.from_yaml(policy), passes
    found = {}
    for variant, (chosen, count) in policies.items():
        start = time.perf_counter()
        forest = PixelForest(VOID, **settings).fit(train, chosen, pixels=pixels, passes=count, void=VOID)
        print(f"{variant}: trained in {time.perf_counter() - start:.0f} s", flush=True)
        tuning = tuned(forest, val)
        print(f"{variant}: validation {tuning.before:.3f} -> {tuning.miou:.3f} with {tuning.best}", flush=True)
        found[variant] = judge(forest, tuning.crf, test)
        found[variant].facts |= {
            "validation": {"forest": tuning.before, "after CRF": tuning.miou},
            "crf": tuning.best,
            "policy": chosen.to_dict(),
            "importances": forest.importances,
        }
        write_png(out / f"{variant}.png", grid(test, found[variant]))
    seconds = time.perf_counter() - began
    print(table(found))
    print(f"\n{len(test)} test images of {size[0]}x{size[1]}; {seconds:.0f} s in all; pictures in {out}")
    record = {
        "seconds": seconds,
        "size": size,
        "images": {"train": len(train), "val": len(val), "test": len(test)},
        "pixels": pixels,
        "passes": passes,
        "forest": settings,
        "versions": {name: version(name) for name in ("onewarp", "numpy", "scikit-learn", "opencv-python-headless")},
        **{variant: result.as_dict() for variant, result in found.items()},
    }
    (out / "results.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


# Images


def source(data: Path, split: str, limit: int | None = None) -> Any:
    """The images and masks of a split; at most `limit`, evenly spread."""
    pairs = ow.PairSource(data / split, data / f"{split}annot", class_names=CLASSES, ignore=VOID, image_size=(360, 480))
    return pairs if limit is None else pairs.subset(spread(len(pairs), limit))


def spread(count: int, limit: int) -> np.ndarray:
    """At most `limit` of the numbers below `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(int))


def frames(pairs: Any, policy: ow.Policy) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Image uint8 [h, w, 3] and mask [h, w] after a policy that draws nothing, one after the other."""
    for sample in pairs:
        batch = {role: sample[role][None] for role in ("images", "segmentation_masks")}
        done = policy(batch, seed=0)
        yield done["images"][0], done["segmentation_masks"][0]


# Results


def tuned(forest: PixelForest, val: list[tuple[np.ndarray, np.ndarray]]) -> Tuning:
    """The best of GRID on validation images."""
    images, masks = zip(*val, strict=True)
    probs = [forest.predict(image) for image in images]
    return tune_crf(probs, masks, images, grid=GRID, iterations=ITERATIONS, void=VOID)


@dataclass
class Result:
    """What a forest said of the test images, and how good it was. before, after: the CRF; labels uint8 [h, w] each."""

    before: list[np.ndarray]
    after: list[np.ndarray]
    scores: dict[str, Scores]
    boundary_f1: dict[str, np.ndarray]
    facts: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        rows = {
            name: {
                "miou": found.miou,
                "accuracy": found.accuracy,
                "iou": {
                    label: None if np.isnan(v) else v for label, v in zip(CLASSES, found.iou.tolist(), strict=True)
                },
                "boundary_f1": dict(zip(map(str, WIDTHS), self.boundary_f1[name].tolist(), strict=True)),
            }
            for name, found in self.scores.items()
        }
        return {**rows, **self.facts}


def judge(forest: PixelForest, crf: DenseCRF, test: list[tuple[np.ndarray, np.ndarray]]) -> Result:
    """Labels of all test images with and without the CRF, and their scores."""
    said: dict[str, list[np.ndarray]] = {"forest": [], "after CRF": []}
    seconds = {"forest": 0.0, "crf": 0.0}
    for image, _ in test:
        start = time.perf_counter()
        probs = forest.predict(image)
        middle = time.perf_counter()
        refined = crf(image, probs)
        seconds["forest"] += middle - start
        seconds["crf"] += time.perf_counter() - middle
        said["forest"].append(probs.argmax(-1).astype(np.uint8))
        said["after CRF"].append(refined.argmax(-1).astype(np.uint8))
    truth = [mask for _, mask in test]
    return Result(
        *said.values(),
        scores={name: scores(truth, labels, VOID, VOID) for name, labels in said.items()},
        boundary_f1={name: boundary_scores(truth, labels, VOID, WIDTHS, VOID).f1 for name, labels in said.items()},
        facts={"seconds_per_image": {name: value / len(test) for name, value in seconds.items()}},
    )


def table(found: Mapping[str, Result]) -> str:
    """All scores in per cent, as a Markdown table: a column per forest, before and after its CRF."""
    columns = [(variant, name) for variant in found for name in ("forest", "after CRF")]
    lines = [["", *(f"{variant}, {name}" for variant, name in columns)], ["---", *["--:"] * len(columns)]]
    lines.append(["**mIoU**", *(f"**{found[v].scores[n].miou:.1%}**" for v, n in columns)])
    lines.append(["pixel accuracy", *(f"{found[v].scores[n].accuracy:.1%}" for v, n in columns)])
    for k, width in enumerate(WIDTHS):
        lines.append([f"boundary F1, {width} px", *(f"{found[v].boundary_f1[n][k]:.1%}" for v, n in columns)])
    for k, label in enumerate(CLASSES):
        values = [found[v].scores[n].iou[k] for v, n in columns]
        lines.append([f"IoU {label}", *("–" if np.isnan(value) else f"{value:.1%}" for value in values)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def grid(test: list[tuple[np.ndarray, np.ndarray]], result: Result) -> np.ndarray:
    """Some test images as rows: image, truth, forest, after CRF, and what is wrong then (red; void is white)."""
    rows = []
    for k in spread(len(test), SHOWN):
        image, mask = test[k]
        errors = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) // 2 + 50, cv2.COLOR_GRAY2RGB)
        errors[result.after[k] != mask] = (220, 30, 30)
        errors[mask == VOID] = 255
        rows.append([image, COLOURS[mask], COLOURS[result.before[k]], COLOURS[result.after[k]], errors])
    pictures = sheet(rows, column_names=("image", "truth", "forest", "after CRF", "errors"))
    tiles = [np.full((12, 72, 3), colour, np.uint8) for colour in COLOURS]
    key = sheet([tiles], column_names=(*CLASSES, "void"))
    width = max(pictures.shape[1], key.shape[1])
    wide = [np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in (pictures, key)]
    return np.concatenate(wide)


if __name__ == "__main__":
    typer.run(main)
