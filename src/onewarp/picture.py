"""Pictures of samples: images with their masks, boxes and points drawn in, tiled to a sheet with names, written as PNG.

Everything is a pure function on NumPy arrays; a drawn picture is uint8 RGB [h, w, 3], and no argument is written to.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from onewarp.errors import InputError

BACKGROUND, INK, FAINT = (255, 255, 255), (45, 45, 45), (120, 120, 120)
TEXT_SIZE, TITLE_SIZE, GAP = 14, 17, 8
LONGEST_NAME = 190  # pixels; longer row names lose their middle
SUBPIXEL = 4  # bits of OpenCV's fixed-point coordinates


def to_rgb(image: np.ndarray, value_range: tuple[float, float] | None = None) -> np.ndarray:
    """An image [h, w, c] of any dtype as uint8 RGB [h, w, 3].

    One channel becomes grey, two get an empty third, of more than three the first three are shown.

    Args:
        image: [h, w, c] or [h, w].
        value_range: (low, high), which become 0 and 255; by default the range of an integer dtype, (0, 1) for float.
    """
    pixels = image[..., None] if image.ndim == 2 else image
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    elif pixels.shape[-1] == 2:
        pixels = np.concatenate([pixels, np.zeros_like(pixels[..., :1])], axis=-1)
    pixels = pixels[..., :3]
    integer = pixels.dtype.kind in "ui"
    low, high = value_range or ((0, np.iinfo(pixels.dtype).max) if integer else (0, 1))
    if pixels.dtype == np.uint8 and (low, high) == (0, 255):
        return pixels.copy()
    unit = (np.nan_to_num(pixels.astype(np.float64)) - low) / (high - low)
    levels: np.ndarray = np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)
    return levels


def colour(number: int) -> tuple[int, int, int]:
    """A strong RGB colour for a class number: neighbours differ clearly; the same number always has the same one."""
    hue = (0.02 + number * 0.61803398875) % 1.0  # the golden section spreads any number of hues
    strong = np.array([[[round(hue * 179), 200 - 60 * (number // 3 % 2), 245 - 50 * (number // 2 % 2)]]], np.uint8)
    red, green, blue = (int(v) for v in cv2.cvtColor(strong, cv2.COLOR_HSV2RGB)[0, 0])
    return red, green, blue


def render(sample: Mapping[str, Any], side: int = 160, value_range: tuple[float, float] | None = None) -> np.ndarray:
    """A sample at a size to look at: scaled so that its longer side has `side` pixels, its targets drawn in.

    Small images are enlarged by whole pixels (as near to `side` as that allows), so that what is seen is what is there.

    Args:
        sample: `images` [h, w, c] and any of `segmentation_masks` [h, w] or [h, w, 1], `bounding_boxes` {"boxes" [k, 4]
            as corners in pixels, "labels" [k]} (label -1: padding), `keypoints` [k, 2 or 3] (visibility 0: not drawn).
        side: pixels of the longer side.
        value_range: of the image, see `to_rgb`.
    """
    image = to_rgb(np.asarray(sample["images"]), value_range)
    height, width = image.shape[:2]
    scale: float = side / max(height, width)
    if scale > 1:
        scale = max(1, round(scale))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture: np.ndarray = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    if sample.get("segmentation_masks") is not None:
        mask = np.asarray(sample["segmentation_masks"])
        picture = paint_mask(picture, _resized_mask(mask[..., 0] if mask.ndim == 3 else mask, size))
    exact = np.array([size[0] / width, size[1] / height])  # rounding makes the two sides' scales differ a little
    if sample.get("bounding_boxes") is not None:
        boxes = sample["bounding_boxes"]
        picture = paint_boxes(picture, np.asarray(boxes["boxes"]) * np.tile(exact, 2), boxes["labels"])
    if sample.get("keypoints") is not None:
        points = np.array(sample["keypoints"], np.float64)
        points[:, :2] *= exact
        picture = paint_points(picture, points)
    return picture


def paint_mask(image: np.ndarray, mask: np.ndarray, strength: float = 0.45) -> np.ndarray:
    """An RGB image [h, w, 3] tinted by the classes of a mask [h, w], bordered; 0, 255 and below 0 stay clear."""
    classes = mask.astype(np.int64)
    clear = (classes == 0) | (classes == 255) | (classes < 0)
    present = np.unique(classes[~clear])
    tint = np.zeros_like(image)
    for number in present:
        tint[classes == number] = colour(int(number))
    border = np.zeros(classes.shape, bool)
    border[:, 1:] |= classes[:, 1:] != classes[:, :-1]
    border[1:] |= classes[1:] != classes[:-1]
    weight = np.where(clear, 0.0, np.where(border, 1.0, strength))[..., None]
    painted: np.ndarray = np.rint(image * (1 - weight) + tint * weight).astype(np.uint8)
    return painted


def colour_mask(mask: np.ndarray, colours: Sequence[Sequence[int]], other: Sequence[int] = (0, 0, 0)) -> np.ndarray:
    """A mask [h, w] as RGB [h, w, 3]: class i in colours[i], every other number in `other`."""
    table = np.array([*colours, other], np.uint8)
    classes = mask.astype(np.int64)
    inside = (classes >= 0) & (classes < len(colours))
    painted: np.ndarray = table[np.where(inside, classes, len(colours))]
    return painted


def blend(image: np.ndarray, tint: np.ndarray, strength: float = 0.5) -> np.ndarray:
    """Two RGB pictures of one size, `strength` of the second in the first."""
    mixed: np.ndarray = cv2.addWeighted(image, 1 - strength, tint, strength, 0)
    return mixed


def legend(names: Sequence[str], colours: Sequence[Sequence[int]], width: int) -> np.ndarray:
    """Names beside squares of their colours, in as many lines as `width` pixels take; uint8 RGB [h, width, 3]."""
    lines: list[list[int]] = [[]]
    right = GAP
    for name in names:
        room = TEXT_SIZE + GAP // 2 + _text_width(name) + 2 * GAP
        if right + room > width and lines[-1]:
            lines.append([])
            right = GAP
        lines[-1].append(right)
        right += room
    step = TEXT_SIZE + GAP
    page = Image.new("RGB", (width, step * len(lines) + GAP), BACKGROUND)
    pen = ImageDraw.Draw(page)
    places = [(x, GAP + step * row) for row, line in enumerate(lines) for x in line]
    for (x, y), name, shade in zip(places, names, colours, strict=True):
        pen.rectangle((x, y, x + TEXT_SIZE - 1, y + TEXT_SIZE - 1), fill=tuple(shade), outline=FAINT)
        pen.text((x + TEXT_SIZE + GAP // 2, y + TEXT_SIZE // 2), name, INK, _font(), anchor="lm")
    return np.asarray(page)


def paint_boxes(image: np.ndarray, boxes: np.ndarray, labels: Sequence[int] | np.ndarray) -> np.ndarray:
    """An RGB image with boxes [k, 4] (corners in its pixels) in the colours of their labels [k]; -1 is padding."""
    picture = image.copy()
    edges = np.clip(np.rint(np.asarray(boxes, np.float64)), 0, np.tile(image.shape[1::-1], 2)).astype(int)
    for (left, top, right, bottom), label in zip(edges, np.asarray(labels), strict=True):
        if label < 0:
            continue
        region = picture[top:bottom, left:right]
        inside = region[2:-2, 2:-2].copy()
        region[:] = colour(int(label))
        region[2:-2, 2:-2] = inside
    return picture


def paint_points(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """An RGB image with points [k, 2 or 3] (x, y in its pixels; visibility 0: left out), a colour for each of the k."""
    picture = image.copy()
    for number, point in enumerate(np.asarray(points, np.float64)):
        if len(point) == 3 and point[2] == 0:
            continue
        centre = _fixed(point[None, :2])[0]
        for radius, shade in ((4.5, (255, 255, 255)), (3, colour(number))):
            cv2.circle(picture, centre, round(radius * (1 << SUBPIXEL)), shade, cv2.FILLED, cv2.LINE_AA, SUBPIXEL)
    return picture


def sheet(
    rows: Sequence[Sequence[np.ndarray]],
    row_names: Sequence[str] | None = None,
    column_names: Sequence[str] | None = None,
    title: str = "",
) -> np.ndarray:
    """Pictures [h, w, 3] of any sizes as one picture: a title, names above the columns and before the rows.

    Args:
        rows: lines of uint8 RGB pictures, each centred in its cell; lines may have different lengths.
        row_names, column_names: one name per line and per column; long row names lose their middle.
        title: a line above everything.

    Raises:
        InputError: there is no picture, or not one name per line.
    """
    if not rows or not any(len(row) for row in rows):
        raise InputError("a sheet needs at least one picture, got none")
    if row_names is not None and len(row_names) != len(rows):
        raise InputError(f"there are {len(rows)} rows of pictures but {len(row_names)} row names; name each row")
    columns = max(len(row) for row in rows)
    heights = [max((tile.shape[0] for tile in row), default=0) for row in rows]
    names = [_shortened(name, LONGEST_NAME) for name in row_names or ()]
    heads = list(column_names or ())
    widths = [max(tile.shape[1] for row in rows for tile in row[i : i + 1]) for i in range(columns)]
    widths = [max(width, _text_width(head) + 4) for width, head in zip(widths, heads + [""] * columns, strict=False)]
    left = max((_text_width(name) for name in names), default=-GAP) + 2 * GAP
    top = GAP + (TITLE_SIZE + GAP if title else 0) + (TEXT_SIZE + GAP if heads else 0)
    total = max(left + sum(widths) + GAP * columns, _text_width(title, TITLE_SIZE) + 2 * GAP)
    canvas = np.full((top + sum(heights) + GAP * len(rows), total, 3), BACKGROUND, np.uint8)
    y = top
    for row, height in zip(rows, heights, strict=True):
        x = left
        for tile, width in zip(row, widths, strict=False):
            at = y + (height - tile.shape[0]) // 2, x + (width - tile.shape[1]) // 2
            canvas[at[0] : at[0] + tile.shape[0], at[1] : at[1] + tile.shape[1]] = tile
            x += width + GAP
        y += height + GAP
    page = Image.fromarray(canvas)
    pen = ImageDraw.Draw(page)
    if title:
        pen.text((GAP, GAP), title, INK, _font(TITLE_SIZE))
    for i, head in enumerate(heads[:columns]):
        pen.text((left + sum(widths[:i]) + GAP * i + widths[i] // 2, top - GAP // 2), head, FAINT, _font(), anchor="ms")
    for i, name in enumerate(names):
        pen.text((left - GAP, top + sum(heights[:i]) + GAP * i + heights[i] // 2), name, INK, _font(), anchor="rm")
    return np.asarray(page)


def write_png(path: str | Path, picture: np.ndarray) -> None:
    """Write a uint8 RGB picture [h, w, 3] as PNG; folders on the way are made.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
    except OSError as fault:
        raise InputError(f"{path}: the picture cannot be written: {fault.strerror}; choose another place") from None


def _resized_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The nearest class at `size` (width, height); any integer dtype."""
    height, width = mask.shape
    rows = (2 * np.arange(size[1]) + 1) * height // (2 * size[1])
    columns = (2 * np.arange(size[0]) + 1) * width // (2 * size[0])
    resized: np.ndarray = mask[rows[:, None], columns]
    return resized


def _fixed(points: np.ndarray) -> list[tuple[int, int]]:
    """Coordinates whose first pixel's centre is (0.5, 0.5) as OpenCV's fixed-point ones, where it is (0, 0)."""
    far = 30000.0  # OpenCV draws nothing sensible beyond 16-bit pixels
    numbers = np.rint((np.clip(points, -far, far) - 0.5) * (1 << SUBPIXEL)).astype(int)
    return [(int(x), int(y)) for x, y in numbers]


@functools.lru_cache
def _font(size: int = TEXT_SIZE) -> Any:
    import matplotlib  # brings a font with letters of many scripts; OpenCV's own writes ASCII alone

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _text_width(text: str, size: int = TEXT_SIZE) -> int:
    return int(np.ceil(_font(size).getlength(text))) if text else 0


def _shortened(text: str, width: int) -> str:
    """`text`, its middle replaced by an ellipsis where it is wider than `width` pixels."""
    if _text_width(text) <= width:
        return text
    keep = len(text) - 1
    while keep > 2 and _text_width(f"{text[: keep // 2]}…{text[-(keep - keep // 2) :]}") > width:
        keep -= 1
    return f"{text[: keep // 2]}…{text[-(keep - keep // 2) :]}"
