"""Street scenes by U-Net or DeepLab: CamVid, 11 classes, with and without augmentation, before and after a dense CRF.

    python recipes/camvid_deeplab.py --data PATH/camvid --filters 64 --backend torch --crf --out runs/augmented

Split: 367 images to train, 101 to validate, 233 to test, 480x360, as in SegNet; void (11) counts nowhere. Nothing is
chosen on the test images: the last epoch is what counts, CRF parameters are tuned on validation images. Scores are
means over the classes of the whole split, at the 480x360 pixels of the labels, whatever the network saw.

Published mean IoU on this split's test images at 480x360, in %: SegNet 46.4, DeepLab-LargeFOV + CRF 61.6,
FC-DenseNet103 66.9.
Found, by the command above, network at 160x120, random weights, seed 0: 43.7 % on test (val 54.3), 45.4 after the
CRF; with --no-augment 38.2 (val 54.3) and 38.7. 23 minutes each on one core of an AMD EPYC, PyTorch, OMP_NUM_THREADS=1.

The page docs/recipes/camvid-deeplab.md has the tables, the pictures and what they tell.
"""

from __future__ import annotations

import csv
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer
import yaml
from rich.console import Console

import onewarp as ow
from onewarp.cli.options import BackendOption, OutOption, SeedOption, choose_backend
from onewarp.data.palettes import CAMVID_CLASSES

if TYPE_CHECKING:
    from onewarp.fit.segmenter import Segmenter

# The colours in which this split's classes are usually drawn, by class number.
COLOURS = (
    *((128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0)),
    *((192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192)),
)
CLASSES = dict(zip(CAMVID_CLASSES, COLOURS, strict=True))
VOID = len(CLASSES)
PUBLISHED = (
    ("SegNet", "test, 480x360", 46.4),
    ("DeepLab-LargeFOV + CRF", "test, 480x360, ImageNet weights", 61.6),
    ("FC-DenseNet103", "test, 480x360, random weights", 66.9),
)
WIDTHS = (1, 3, 5)  # pixels within which a boundary counts as found
RED = (214, 39, 40)  # where a prediction is wrong
TUNED_ON = 5  # the CRF is tuned on every fifth validation image

ModelName = Literal["unet", "deeplab_v1", "deeplab_v3plus"]


# What goes in


def augmented(height: int, width: int) -> ow.Policy:
    """What the network trains on: a part of the street, flipped, in another light."""
    return ow.Policy(
        [
            ow.RandomResizedCrop((height, width), scale=(0.3, 1.0), ratio=(1.1, 1.6)),
            ow.HorizontalFlip(),
            ow.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.02),
            ow.Normalize("imagenet"),
        ],
        mask_fill_value=VOID,
    )


def plain(height: int, width: int) -> ow.Policy:
    """The whole frame: for validation and test, and for training without augmentation."""
    return ow.Policy([ow.Resize((height, width)), ow.Normalize("imagenet")], mask_fill_value=VOID)


def source(data: Path, split: str) -> ow.PairSource:
    return ow.PairSource(data / split, data / f"{split}annot", class_names=tuple(CLASSES), ignore=VOID)


def network(
    name: str, size: tuple[int, int], filters: int | None, backbone: str, alpha: float, weights: str | None
) -> Any:
    """The model for images of `size`.

    DeepLab v3+ has ordinary convolutions around random weights, and atrous rates that reach as far in the image as the
    published ones do in crops of 513 pixels.
    """
    from onewarp import models

    options: dict[str, Any] = {} if filters is None else {"filters": filters}
    if name == "unet":
        return models.unet((*size, 3), VOID, **options)
    if name == "deeplab_v1":
        return models.deeplab_v1((*size, 3), VOID, batch_norm=weights is None, weights=weights, **options)
    rates = [max(1, round(rate * max(size) / 513)) for rate in (6, 12, 18)]
    options |= {"backbone": backbone, "alpha": alpha, "rates": rates, "separable": weights is not None}
    return models.deeplab_v3plus((*size, 3), VOID, weights=weights, **options)


# The command


def main(
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The folder camvid: train, trainannot, ...")],
    model: Annotated[ModelName, typer.Option("--model", metavar="NAME", help="unet, deeplab_v1, deeplab_v3plus.")] = (
        "deeplab_v3plus"
    ),
    backbone: Annotated[
        str, typer.Option("--backbone", metavar="NAME", help="Of deeplab_v3plus, see its docstring.")
    ] = "resnet18",
    alpha: Annotated[float, typer.Option("--alpha", metavar="X", help="Width of a MobileNet or resnet18.")] = 0.375,
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="NAME", help="imagenet, for DeepLab; random ones without it.")
    ] = None,
    filters: Annotated[
        int | None, typer.Option("--filters", min=1, metavar="N", help="Width of the model; its own default.")
    ] = None,
    size: Annotated[tuple[int, int], typer.Option("--size", metavar="H W", help="Of what the network sees.")] = (
        120,
        160,
    ),
    epochs: Annotated[int, typer.Option("--epochs", min=1, metavar="N", help="Passes over the training images.")] = 60,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, metavar="N", help="Images per step.")] = 4,
    learning_rate: Annotated[float, typer.Option("--learning-rate", metavar="X", help="Of AdamW, at its highest.")] = (
        2e-3
    ),
    schedule: Annotated[
        Literal["cosine", "poly"], typer.Option("--schedule", metavar="NAME", help="cosine, or poly (power 0.9).")
    ] = "cosine",
    weight_decay: Annotated[float, typer.Option("--weight-decay", metavar="X", help="Of AdamW.")] = 1e-2,
    augment: Annotated[bool, typer.Option("--augment/--no-augment", help="Crop, flip, change the light.")] = True,
    balance: Annotated[
        float, typer.Option("--balance", metavar="P", help="Power of median-frequency class weights; 0: none.")
    ] = 0.5,
    crf: Annotated[bool, typer.Option("--crf/--no-crf", help="Tune a dense CRF, and score with it, too.")] = False,
    placement: Annotated[
        Literal["host", "device"], typer.Option("--placement", metavar="NAME", help="Where the policy runs.")
    ] = "host",
    backend: BackendOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    report: Annotated[
        bool, typer.Option("--report", help="Train nothing: score and draw again what is in --out.")
    ] = False,
    beside: Annotated[
        Path | None, typer.Option("--beside", metavar="RUN", help="A finished run, drawn into history.png as well.")
    ] = None,
) -> None:
    """Train, score on val and test before and after a dense CRF, and write it all into a run folder."""
    chosen = choose_backend(backend)
    from onewarp.fit import folder as files

    console = Console()
    if report:
        if out is None:
            raise typer.BadParameter("--report needs the run folder", param_hint="--out")
        return write_report(out, data, crf, beside, console)
    folder = files.new_folder(out, f"camvid-{model}-{chosen}")
    command = shlex.join(["python", "recipes/camvid_deeplab.py", *sys.argv[1:]])
    settings = {
        "model": {"name": model, "filters": filters, "backbone": backbone, "alpha": alpha, "weights": weights},
        "size": list(size),
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "weight_decay": weight_decay,
        "augment": augment,
        "balance": balance,
        "placement": placement,
        "seed": seed,
    }
    train(folder, data, settings, chosen, command, console)
    write_report(folder, data, crf, beside, console)


# Training


def train(folder: Path, data: Path, settings: dict[str, Any], backend: str, command: str, console: Console) -> None:
    """Train, and write config.yaml, history.csv, samples.png and model.keras."""
    import keras

    from onewarp.fit import folder as files
    from onewarp.fit.run import fit_watched
    from onewarp.fit.schedule import LearningRate, factor
    from onewarp.fit.segmenter import MODEL, Task
    from onewarp.picture import write_png
    from onewarp.samples import sample_sheet
    from onewarp.segment import MeanIoU, PixelCrossentropy, median_frequency

    keras.utils.set_random_seed(settings["seed"])
    height, width = size = tuple(settings["size"])
    named = settings["model"]
    model = network(**named, size=size)
    images, validation = (source(data, split).in_memory() for split in ("train", "val"))
    fixed = plain(height, width)
    policy = augmented(height, width) if settings["augment"] else fixed
    shown = np.linspace(0, len(images) - 1, 6).astype(int)
    names = [Path(images.name(int(i))).stem for i in shown]
    title = "training images, and what six epochs make of them"
    write_png(folder / "samples.png", sample_sheet(images, policy, shown, 6, names=names, side=128, title=title))

    rare = None
    if settings["balance"]:
        frequency = median_frequency(source(data, "train"), void=VOID, progress=False)
        rare = (frequency ** settings["balance"]).tolist()
    config = {
        "command": command,
        "data": {
            "name": "camvid",
            "images": str(data / "train"),
            "masks": str(data / "trainannot"),
            "ignore": VOID,
            "in_memory": True,
            "train": len(images),
            "validation": len(validation),
            "size": list(size),
        },
        **settings,
        "class_weights": rare,
        "parameters": model.count_params(),
        "policy": policy.to_dict(),
        "segmentation": Task(tuple(CLASSES), tuple(CLASSES.values()), fixed).to_dict(),
        "backend": backend,
        "versions": files.versions(backend),
    }
    files.write_config(folder, config)

    options = {"batch_size": settings["batch_size"], "seed": settings["seed"], "placement": settings["placement"]}
    learning = ow.Loader(images, policy, **options)
    watched = ow.Loader(validation, fixed, shuffle=False, **options)
    total, warmup = settings["epochs"] * len(learning), len(learning) if settings["epochs"] > 1 else 0

    def rate_at(step: int) -> float:
        return float(settings["learning_rate"] * factor(step, total, settings["schedule"], warmup, np))

    trained = ow.AugmentedModel(model, policy) if settings["placement"] == "device" else model
    trained.compile(
        keras.optimizers.AdamW(
            LearningRate(settings["learning_rate"], total, settings["schedule"], warmup),
            weight_decay=settings["weight_decay"],
        ),
        loss=PixelCrossentropy(rare, void=VOID),
        metrics=[MeanIoU(VOID, void=VOID)],
    )
    console.print(
        f"{named['name']} with {model.count_params():,} parameters at {height}x{width}, {backend}: "
        f"{len(images)} images to train, {len(validation)} to validate",
        highlight=False,
        soft_wrap=True,
    )
    name = "augmented" if settings["augment"] else "plain"
    rows = fit_watched(
        trained,
        learning,
        watched,
        settings["epochs"],
        name,
        rate_at,
        console,
        lambda row: files.append_history(folder, name, row),
    )
    files.save_model(folder / MODEL, model)
    files.write_config(folder, {**config, "compile_seconds": round(rows.compile_seconds, 1)})


# What comes out


def write_report(folder: Path, data: Path, crf: bool, beside: Path | None, console: Console) -> None:
    """Score what is in a run folder on val and test, and write results.json, the pictures and summary.md."""
    import onewarp.segment as seg
    from onewarp.fit import folder as files
    from onewarp.fit.plots import plot_history
    from onewarp.fit.segmenter import CONFIG, Segmenter, crf_terms
    from onewarp.picture import write_png

    segmenter = Segmenter.load(folder)
    config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    splits = {split: source(data, split) for split in ("val", "test")}
    found = {split: probabilities(segmenter, images, split, console) for split, images in splits.items()}
    results: dict[str, Any] = {}
    refiners: dict[str, Any] = {"before": None}
    if crf:
        began = time.perf_counter()
        chosen = range(0, len(splits["val"]), TUNED_ON)
        pixels, truth = zip(*(pair(splits["val"], i) for i in chosen), strict=True)
        guesses = [full(found["val"][i], pixels[0]) for i in chosen]
        tuning = seg.tune_crf(guesses, truth, pixels, void=VOID, progress=console.is_terminal)
        refiners["after"] = tuning.crf
        config["segmentation"]["crf"] = crf_terms(tuning.crf)
        files.write_config(folder, config)
        results["tuning"] = {
            "images": [splits["val"].name(i).rpartition("/")[2] for i in chosen],
            "before": tuning.before,
            "best": tuning.best,
            "miou": tuning.miou,
            "seconds": time.perf_counter() - began,
        }
    for split, images in splits.items():
        results[split] = {name: measured(found[split], images, refine) for name, refine in refiners.items()}
        line = ", ".join(f"{scores['miou']:.1%}" + crf * f" {name} the CRF" for name, scores in results[split].items())
        console.print(f"{split}: mean IoU {line}", highlight=False)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_png(folder / "predictions.png", grid(found["test"], splits["test"], refiners.get("after")))
    name, rows = history(folder)
    title = f"{config['model']['name']} on CamVid at {config['size'][0]}x{config['size'][1]}, {len(rows)} epochs"
    histories, scores = {name: rows}, {name: results["test"]["before"]["miou"]}
    if beside is not None:
        other, others = history(beside)
        reached = json.loads((beside / "results.json").read_text(encoding="utf-8"))
        histories, scores = {other: others, **histories}, {other: reached["test"]["before"]["miou"], **scores}
    plot_history(histories, folder / "history.png", title, scores, score="mean_iou")
    files.write_page(folder, title, config["command"], summary(config, rows, results))
    console.print(f"Results are in {folder}: summary.md, history.png, predictions.png", soft_wrap=True, highlight=False)


def history(folder: Path) -> tuple[str, list[dict[str, float]]]:
    """The name of a run, augmented or plain, and its epochs."""
    with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    return lines[0]["training"], [{k: float(v) for k, v in line.items() if k != "training"} for line in lines]


def pair(images: Any, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 [h, w, 3] and labels [h, w] of a sample."""
    sample = images[index]
    return sample["images"], sample["segmentation_masks"].reshape(sample["images"].shape[:2])


def full(probabilities: np.ndarray, image: np.ndarray) -> np.ndarray:
    from onewarp.fit.segmenter import enlarged

    return enlarged(probabilities, image.shape[:2])


def probabilities(segmenter: Segmenter, images: Any, split: str, console: Console) -> np.ndarray:
    """What the network says of every image, at its own resolution: float32 [n, h, w, classes]."""
    loader = ow.Loader(images, segmenter.task.preprocess, batch_size=8, shuffle=False, outputs=("images",))
    with console.status(f"{split}: {len(images)} images"):
        return np.asarray(ow.predict(segmenter.model, loader), np.float32)


def measured(found: np.ndarray, images: Any, crf: Any) -> dict[str, Any]:
    """Scores of a split at the size of its labels, through `crf` if there is one."""
    import onewarp.segment as seg

    truths, masks = [], []
    for index, small in enumerate(found):
        image, truth = pair(images, index)
        large = full(small, image)
        masks.append((large if crf is None else crf(image, large)).argmax(-1).astype(np.uint8))
        truths.append(truth)
    scores = seg.scores(truths, masks, VOID, VOID)
    near = seg.boundary_scores(truths, masks, VOID, WIDTHS, VOID)
    return {
        "miou": scores.miou,
        "accuracy": scores.accuracy,
        "class_accuracy": float(np.nanmean(scores.class_accuracy)),
        "iou": {
            name: None if value != value else value for name, value in zip(CLASSES, scores.iou.tolist(), strict=True)
        },
        "boundary_f1": dict(zip(map(str, WIDTHS), near.f1.tolist(), strict=True)),
        "trimap_miou": dict(zip(map(str, WIDTHS), near.miou.tolist(), strict=True)),
    }


def grid(found: np.ndarray, images: Any, crf: Any, rows: int = 5) -> np.ndarray:
    """A picture: image, truth, prediction, after the CRF, and where that is wrong; with a legend."""
    from onewarp.picture import colour_mask, legend, sheet

    colours, lines, names = list(CLASSES.values()), [], []
    heads = ["image", "truth", "prediction", *([] if crf is None else ["after the CRF"]), "error (red)"]
    for index in np.linspace(0, len(images) - 1, rows).astype(int):
        image, truth = pair(images, int(index))
        large = full(found[index], image)
        masks = [large.argmax(-1)] + ([] if crf is None else [crf(image, large).argmax(-1)])
        wrong = (masks[-1] != truth) & (truth != VOID)
        grey = np.repeat(image.mean(-1, keepdims=True) / 2 + 127, 3, -1)
        error = np.where(wrong[..., None], RED, grey).astype(np.uint8)
        shown = [image, *(colour_mask(mask, colours) for mask in (truth, *masks)), error]
        lines.append([picture[::2, ::2] for picture in shown])  # colours stay those of the legend
        names.append(Path(images.name(int(index))).stem)
    page = sheet(lines, names, heads, "CamVid, test images")
    keys = legend([*CLASSES, "void"], [*colours, (0, 0, 0)], page.shape[1])
    return np.concatenate([page, keys])


def summary(config: Mapping[str, Any], rows: Sequence[Mapping[str, float]], results: Mapping[str, Any]) -> list[str]:
    """The parts of summary.md."""
    from onewarp.fit.describe import describe_markdown, markdown
    from onewarp.fit.run import typical

    def percent(value: float | None) -> str:
        return "" if value is None else f"{100 * value:.1f}"

    columns = {
        f"{split}, {name} the CRF" if "tuning" in results else split: scores
        for split in ("val", "test")
        for name, scores in results[split].items()
    }
    table = [
        ["mean IoU", *(percent(scores["miou"]) for scores in columns.values())],
        ["pixel accuracy", *(percent(scores["accuracy"]) for scores in columns.values())],
        ["mean class accuracy", *(percent(scores["class_accuracy"]) for scores in columns.values())],
        *(
            [f"boundary F1, {width} px", *(percent(scores["boundary_f1"][str(width)]) for scores in columns.values())]
            for width in WIDTHS
        ),
        *([f"IoU, {name}", *(percent(scores["iou"][name]) for scores in columns.values())] for name in CLASSES),
    ]
    test = results["test"]
    ours = [["this run", f"test, network at {config['size'][1]}x{config['size'][0]}", percent(test["before"]["miou"])]]
    if "after" in test:
        ours.append(["this run + CRF", ours[0][1], percent(test["after"]["miou"])])
    seconds = sum(row["seconds"] for row in rows)
    tuned = results.get("tuning")
    return [
        markdown(["%", *columns], table),
        "Scores of the last epoch, over all pixels of a split at the 480x360 of the labels: probabilities are enlarged "
        "bilinearly. Void counts nowhere, and a class's IoU comes from the sum over the split.",
        markdown(["mean IoU", "on", "%"], [*ours, *([name, on, f"{value}"] for name, on, value in PUBLISHED)]),
        f"{config['parameters']:,} parameters, {len(rows)} epochs in {seconds:,.0f} s "
        f"({typical(rows, 'seconds'):.1f} s each, validation included; data_wait {typical(rows, 'data_wait'):.1%}, "
        f"{typical(rows, 'images_per_second'):.0f} images/s; medians after the first epoch).",
        *(
            [
                f"CRF: {tuned['best']}, of {len(tuned['images'])} validation images: "
                f"{percent(tuned['before'])} before, {percent(tuned['miou'])} after. They are among those of val above."
            ]
            if tuned
            else []
        ),
        "![predictions](predictions.png)",
        "![history](history.png)",
        "![augmented samples](samples.png)",
        f"## The policy\n\n```\n{yaml.safe_dump(config['policy'], sort_keys=False).strip()}\n```",
        f"## History\n\n{describe_markdown(rows)}",
    ]


if __name__ == "__main__":
    typer.run(main)
