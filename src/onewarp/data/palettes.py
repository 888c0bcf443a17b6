"""What the values of a mask file mean: ids or colours -> class numbers. Tables of Pascal VOC, Cityscapes and CamVid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from onewarp.data.decode import LazyMask, decode_colours, decode_mask
from onewarp.data.header import Encoded
from onewarp.errors import DataError, InputError

VOID = 255  # the class number of "no class" in the tables below

VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
CITYSCAPES_CLASSES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
# ids 0 to 33; what is not listed (ego vehicle, ground, parking, bridge, trailer ...) does not count in the benchmark
CITYSCAPES_IDS = dict.fromkeys(range(34), VOID) | {
    label: number
    for number, label in enumerate((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33))
}
CAMVID_CLASSES = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"),
)


def voc_colours(count: int = 21) -> tuple[tuple[int, int, int], ...]:
    """Pascal VOC's colours of the classes 0 to count - 1: bits 0, 3, 6 of the number are the highest bits of red, bits
    1, 4, 7 of green, 2, 5 of blue, and so on downwards."""

    def channel(number: int, first: int) -> int:
        return sum((number >> (3 * k + first) & 1) << (7 - k) for k in range(3))

    return tuple((channel(number, 0), channel(number, 1), channel(number, 2)) for number in range(count))


VOC_COLOURS = {colour: number for number, colour in enumerate(voc_colours())} | {(224, 224, 192): VOID}

# The 32 colours of CamVid in the 11 classes that SegNet and its successors report.
CAMVID_COLOURS = {
    (128, 128, 128): 0,  # sky
    **dict.fromkeys(
        [(128, 0, 0), (192, 0, 128), (0, 128, 64), (64, 0, 64), (64, 192, 0)], 1
    ),  # arch, bridge, tunnel, wall
    **dict.fromkeys([(192, 192, 128), (0, 0, 64)], 2),  # column or pole, traffic cone
    **dict.fromkeys([(128, 64, 128), (128, 0, 192), (192, 0, 64)], 3),  # road, its markings
    **dict.fromkeys([(0, 0, 192), (64, 192, 128), (128, 128, 192)], 4),  # sidewalk, parking block, road shoulder
    **dict.fromkeys([(128, 128, 0), (192, 192, 0)], 5),  # tree, other vegetation
    **dict.fromkeys([(192, 128, 128), (128, 128, 64), (0, 64, 64)], 6),  # sign, other text, traffic light
    (64, 64, 128): 7,  # fence
    **dict.fromkeys(
        [(64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)], 8
    ),  # truck, train ...
    **dict.fromkeys([(64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)], 9),  # child, pram, animal
    **dict.fromkeys([(0, 128, 192), (192, 0, 192)], 10),  # bicyclist, motorcycle
    (0, 0, 0): VOID,
}

PALETTES: dict[str, tuple[Mapping[Any, int], tuple[str, ...]]] = {
    "voc": (VOC_COLOURS, VOC_CLASSES),
    "camvid": (CAMVID_COLOURS, CAMVID_CLASSES),
}
MAPPINGS: dict[str, tuple[Mapping[Any, int], tuple[str, ...]]] = {"cityscapes": (CITYSCAPES_IDS, CITYSCAPES_CLASSES)}


@dataclass(frozen=True)
class MaskTable:
    """Class numbers of the values that may stand in a mask file.

    Attributes:
        argument: "palette" (values are colours, as red * 65536 + green * 256 + blue) or "mapping" (whole numbers).
        values: in rising order.
        classes: the class number of each, at least 0.
    """

    argument: str
    values: tuple[int, ...]
    classes: tuple[int, ...]

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        kind = np.uint8 if max(self.classes) < 256 else np.uint16
        return np.array(self.values, np.uint32), np.array(self.classes, kind)

    def decode(self, data: Encoded, name: str) -> np.ndarray:
        """A mask file -> class numbers [height, width], uint8, or uint16 where a class number is above 255.

        Raises:
            DataError: damaged data, or a value that the table does not hold; the message names file, value and place.
        """
        if self.argument == "palette":
            colours = decode_colours(data, name).astype(np.uint32)
            found = colours[..., 0] << 16 | colours[..., 1] << 8 | colours[..., 2]
        else:
            found = decode_mask(data, name).astype(np.uint32)
        values, classes = self._arrays
        at = np.minimum(np.searchsorted(values, found), len(values) - 1)
        unknown = values[at] != found
        if unknown.any():
            row, column = (int(i) for i in np.argwhere(unknown)[0])
            raise DataError(f"{name}: {self._unknown(int(found[row, column]), row, column)}")
        return classes[at]

    def _unknown(self, value: int, row: int, column: int) -> str:
        if self.argument == "palette":
            colour = (value >> 16, value >> 8 & 255, value & 255)
            hint = "add it, leave palette= out where masks hold class numbers, and save masks without loss (PNG)"
            return (
                f"the mask has the colour {colour} in row {row}, column {column}, which palette= does not hold; {hint}"
            )
        hint = "add it; mapping it to the number of `ignore` leaves it out"
        return f"the mask has the value {value} in row {row}, column {column}, which mapping= does not hold; {hint}"


class TableMask(LazyMask):
    """A mask file in memory whose values become class numbers by a table when it is decoded."""

    def __init__(self, data: Encoded, name: str, table: MaskTable) -> None:
        self.data, self.name, self.table = data, name, table

    def decode(self) -> np.ndarray:
        return self.table.decode(self.data, self.name)


def mask_table(palette: Any, mapping: Any) -> tuple[MaskTable | None, tuple[str, ...] | None]:
    """The table for the arguments of `PairSource`, and the class names that come with a table known by its name."""
    if palette is not None and mapping is not None:
        raise InputError("palette= (colours) and mapping= (numbers) are both given; masks hold the one or the other")
    if palette is None and mapping is None:
        return None, None
    argument, given, known = ("palette", palette, PALETTES) if palette is not None else ("mapping", mapping, MAPPINGS)
    names = None
    if isinstance(given, str):
        if given not in known:
            raise InputError(
                f"{argument}={given!r} is not known; use {', '.join(map(repr, known))}, or a table of your own"
            )
        given, names = known[given]
    entries = list(given.items()) if isinstance(given, Mapping) else [(value, k) for k, value in enumerate(given)]
    if not entries:
        raise InputError(f"{argument}= is empty; give each value of the masks its class number")
    checked = sorted((_value(argument, value), _number(argument, number)) for value, number in entries)
    values = tuple(value for value, _ in checked)
    if len(set(values)) != len(values):
        raise InputError(f"{argument}= holds a value twice; give each one class number")
    return MaskTable(argument, values, tuple(number for _, number in checked)), names


def _number(argument: str, number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or not 0 <= number < 2**16:
        raise InputError(f"{argument}= has the class number {number!r}; it must be a whole number of 0 to 65535")
    return int(number)


def _value(argument: str, value: Any) -> int:
    if argument == "mapping":
        return _number(argument, value)
    colour: Sequence[Any] = value if isinstance(value, Sequence) else np.asarray(value).tolist()
    if np.shape(colour) != (3,) or any(not 0 <= c <= 255 or c != int(c) for c in colour):
        raise InputError(f"palette= has the colour {value!r}; it must be (red, green, blue), each 0 to 255")
    red, green, blue = (int(c) for c in colour)
    return red << 16 | green << 8 | blue
