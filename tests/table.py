"""One row per transform. From its row a transform gets every test of `test_table.py`, on every engine, and its picture.

A public transform without a row fails the suite. `make` takes p, so that the tests can switch the transform on and off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onewarp as ow


@dataclass(frozen=True)
class Row:
    """`make(p)` makes the transform. `channels`: numbers of channels that it accepts; `square`: it needs square frames
    (or a resize behind it); `steps`: its result jumps (tables with steps, nearest), so single values may be far off."""

    make: Callable[[float], Any]
    channels: tuple[int, ...] = (1, 3, 4)
    square: bool = False
    steps: bool = False
    always: bool = False  # p is 1, whatever `make` gets

    @property
    def tables(self) -> bool:
        """Whether it makes tables, before which a value is rounded."""
        members = getattr(self.make(1.0), "transforms", (self.make(1.0),))
        return any(isinstance(member, ow.Color) and "table" in member.colour_steps() for member in members)

    @property
    def name(self) -> str:
        return type(self.make(1.0)).__name__


ANY = (1, 2, 3, 4, 5)
RGB = (3, 4)

ROWS = [
    # geometry
    Row(lambda p: ow.HorizontalFlip(p=p), ANY),
    Row(lambda p: ow.VerticalFlip(p=p), ANY),
    Row(lambda p: ow.Rotate(40, p=p), ANY),
    Row(lambda p: ow.Rotate90(p=p), ANY, square=True),
    Row(lambda p: ow.Transpose(p=p), ANY, square=True),
    Row(lambda p: ow.D4(p=p), ANY, square=True),
    Row(lambda p: ow.Translate(0.2, p=p), ANY),
    Row(lambda p: ow.Scale((0.6, 1.7), p=p), ANY),
    Row(lambda p: ow.Shear(20, 10, p=p), ANY),
    Row(lambda p: ow.Affine(30, 0.1, (0.7, 1.3), 10, p=p), ANY),
    Row(lambda p: ow.Perspective(0.4, p=p), ANY),
    Row(lambda p: ow.ElasticTransform(0.04, 3, p=p), ANY),
    Row(lambda p: ow.GridDistortion(4, 0.4, p=p), ANY),
    Row(lambda p: ow.RandomCrop((20, 24), p=p), ANY),
    Row(lambda p: ow.CenterCrop((21, 30), p=p), ANY),
    Row(lambda p: ow.RandomResizedCrop((24, 28), p=p), ANY),
    Row(lambda p: ow.Resize((19, 52), p=p), ANY),
    Row(lambda p: ow.ResizeShortest(25, p=p), ANY),
    Row(lambda p: ow.ResizeLongest(25, p=p), ANY),
    Row(lambda p: ow.ResizeCover((20, 30), p=p), ANY),
    Row(lambda p: ow.LetterBox((40, 30), p=p), ANY),
    Row(lambda p: ow.Pad((3, 5), p=p), ANY),
    # colour
    Row(lambda p: ow.Brightness(0.5, p=p), ANY),
    Row(lambda p: ow.Contrast(0.5, p=p)),
    Row(lambda p: ow.Saturation(0.7, p=p), RGB),
    Row(lambda p: ow.Hue(0.2, p=p), RGB),
    Row(lambda p: ow.ColorJitter(0.3, 0.3, 0.3, 0.1, p=p), RGB),
    Row(lambda p: ow.Grayscale(p=p), RGB),
    Row(lambda p: ow.Invert(p=p), ANY),
    Row(lambda p: ow.Solarize((0.3, 0.7), p=p), ANY, steps=True),
    Row(lambda p: ow.Posterize((2, 6), p=p), ANY, steps=True),
    Row(lambda p: ow.Gamma((0.5, 2.0), p=p), ANY),
    Row(lambda p: ow.ChannelShuffle(p=p), RGB),
    Row(lambda p: ow.ChannelShift(0.3, p=p)),
    Row(lambda p: ow.AutoContrast(p=p), ANY),
    Row(lambda p: ow.Equalize(p=p), ANY, steps=True),
    Row(lambda p: ow.Normalize(0.4, 0.3), ANY, always=True),
    Row(lambda p: ow.Rescale(1 / 127.5, -1), ANY, always=True),
    # filters, erasing, mixing
    Row(lambda p: ow.GaussianBlur((0.5, 2.0), p=p), ANY),
    Row(lambda p: ow.GaussianNoise((0.02, 0.1), p=p), ANY),
    Row(lambda p: ow.RandomErasing(p=p), ANY),
    Row(lambda p: ow.CoarseDropout((2, 5), fill_value="noise", p=p), ANY),
    Row(lambda p: ow.GridDropout(0.4, p=p), ANY),
    Row(lambda p: ow.MixUp(0.5, p=p), ANY),
    Row(lambda p: ow.CutMix(1.0, p=p), ANY),
    # combinators
    Row(lambda p: ow.OneOf([ow.HorizontalFlip(p=1), ow.Rotate(20), ow.Invert(p=1)], weights=(1, 2, 1), p=p), ANY),
    Row(lambda p: ow.SomeOf([ow.Translate(0.1), ow.Rotate(20), ow.Brightness(0.4)], n=(1, 2), p=p), ANY),
    Row(lambda p: ow.Sometimes([ow.Rotate(20), ow.Gamma((0.5, 0.9))], p=p), ANY),
]

# The same transforms with other settings, which take other paths.
VARIANTS = [
    Row(lambda p: ow.Hue(0.2, method="hsv", p=p), RGB),
    Row(lambda p: ow.ColorJitter(0.3, 0.3, 0.3, 0.1, hue_method="hsv", p=p), RGB),
    Row(lambda p: ow.Translate(0.0, (-0.3, 0.0), p=p), ANY),
    Row(lambda p: ow.RandomCrop((64, 20), p=p), ANY),  # taller than the frame
    Row(lambda p: ow.RandomCrop((30, 40), padding=4, p=p), ANY),
    Row(lambda p: ow.RandomResizedCrop(12, scale=(0.9, 1.0), p=p), ANY),  # shrinks by 2 and more
    Row(lambda p: ow.Resize((7, 9), p=p), ANY),  # by 4
    Row(lambda p: ow.RandomErasing(fill_value="noise", p=p), ANY),
    Row(lambda p: ow.GridDropout(0.5, (0.2, 0.4), fill_value=7.0, p=p), ANY),
    Row(lambda p: ow.Normalize("tf"), ANY, always=True),
    Row(lambda p: ow.Normalize("caffe"), (3,), always=True),
    Row(lambda p: ow.OneOf([ow.RandomCrop((20, 24)), ow.Resize((20, 24)), ow.LetterBox((20, 24))], p=p), ANY),
]
