"""A U-Net on CamVid: image and mask through one policy, inside the train step or in the loader.

    python recipes/camvid_unet.py --data PATH/camvid --placement device --epochs 20

Data: folders train, trainannot, val, valannot, test, testannot (the SegNet tutorial's copy: 480x360, 11 classes, number
11 is void). Masks follow the images' draws; void and what lies outside the image (`mask_fill_value`) are left out of
loss and metric.

Found: 33.5 % mean IoU on the test images with `--epochs 40 --size 64 96 --filters 8`, seed 0, JAX, in 218 s on two
cores of an AMD EPYC. Small images, a small net, no pre-training: no published figure is answered by that.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import typer

import onewarp as ow
from onewarp.models import unet

CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
VOID = len(CLASSES)


def policy(height: int, width: int) -> ow.Policy:
    """What the network trains on: a part of the street, flipped, a little turned, in another light."""
    return ow.Policy(
        [
            ow.RandomResizedCrop((height, width), scale=(0.4, 1.0), ratio=(1.2, 1.5)),
            ow.HorizontalFlip(),
            ow.Rotate(5),
            ow.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.02),
            ow.Normalize("imagenet"),
        ],
        mask_fill_value=VOID,
    )


def plain(height: int, width: int) -> ow.Policy:
    """The whole frame, for validation and test."""
    return ow.Policy([ow.Resize((height, width)), ow.Normalize("imagenet")], mask_fill_value=VOID)


def source(data: Path, split: str) -> ow.PairSource:
    return ow.PairSource(data / split, data / f"{split}annot", class_names=CLASSES, ignore=VOID, image_size=(360, 480))


def compiled(model: Any, learning_rate: float) -> Any:
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(ignore_class=VOID),
        metrics=[keras.metrics.MeanIoU(VOID, ignore_class=VOID, sparse_y_pred=False, name="mean_iou")],
    )
    return model


def main(
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The folder camvid.")],
    placement: Annotated[str, typer.Option("--placement", help="host or device: where the policy runs.")] = "device",
    epochs: Annotated[int, typer.Option("--epochs", min=1, metavar="N", help="Passes over the 367 images.")] = 20,
    size: Annotated[tuple[int, int], typer.Option("--size", metavar="H W", help="Of what the network sees.")] = (
        96,
        128,
    ),
    filters: Annotated[int, typer.Option("--filters", min=1, metavar="N", help="Of the U-Net's first level.")] = 16,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, metavar="N", help="Images per step.")] = 16,
    learning_rate: Annotated[float, typer.Option("--learning-rate", help="Of Adam.")] = 1e-3,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Of weights and draws.")] = 0,
) -> None:
    """Train, and report mean IoU and pixel accuracy on the test images."""
    if placement not in ("host", "device"):
        raise typer.BadParameter(f"{placement!r}: use host or device", param_hint="--placement")
    keras.utils.set_random_seed(seed)
    height, width = size
    model = unet((height, width, 3), len(CLASSES), filters=filters)
    training, validation = policy(height, width), plain(height, width)
    options = {"batch_size": batch_size, "seed": seed, "placement": placement}
    train = ow.Loader(source(data, "train"), training, **options)
    val = ow.Loader(source(data, "val"), validation, shuffle=False, **options)
    trained = ow.AugmentedModel(model, training) if placement == "device" else model
    compiled(trained, learning_rate)
    began = time.perf_counter()
    trained.fit(train, validation_data=val, epochs=epochs, callbacks=[ow.PipelineMonitor()], verbose=2)
    seconds = time.perf_counter() - began
    test = ow.Loader(source(data, "test"), validation, batch_size=batch_size, shuffle=False)
    found = ow.evaluate(compiled(model, learning_rate) if placement == "device" else model, test)
    print(f"test: mean IoU {found['mean_iou']:.4f}, loss {found['loss']:.4f}; {epochs} epochs in {seconds:.0f} s")


if __name__ == "__main__":
    typer.run(main)
