"""A small COCO file of our own, with everything that real ones have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from data_helpers import encode, picture

HEIGHT, WIDTH = 40, 60
SQUARE = [10.0, 8.0, 30.0, 8.0, 30.0, 28.0, 10.0, 28.0]
DISC = [v for t in np.linspace(0, 2 * np.pi, 40, endpoint=False) for v in (40 + 9 * np.cos(t), 20 + 9 * np.sin(t))]


def annotation(number: int, image: int, category: int, segmentation: Any, **fields: Any) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "iscrowd": 0,
        "area": 400.0,
        "bbox": [10.0, 8.0, 20.0, 20.0],
        "segmentation": segmentation,
        **fields,
    }


def content() -> dict[str, Any]:
    """Three images (the last without annotations), categories with gaps, polygons, both kinds of RLE, a crowd."""
    runs = [0, 5, HEIGHT * WIDTH - 5]
    return {
        "info": {"year": 2026},
        "licenses": [{"id": 1, "name": "free"}],
        "images": [
            {"id": 7, "file_name": "a.png", "height": HEIGHT, "width": WIDTH, "license": 1},
            {"id": 3, "file_name": "b.png", "height": HEIGHT, "width": WIDTH},
            {"id": 90, "file_name": "c.png", "height": HEIGHT, "width": WIDTH},
        ],
        "categories": [
            {"id": 40, "name": "dog", "supercategory": "animal"},
            {"id": 2, "name": "cat", "supercategory": "animal"},
        ],
        "annotations": [
            annotation(11, 7, 40, [SQUARE], note="kept"),
            annotation(12, 7, 2, [DISC, [1.0, 1.0, 6.0, 1.0, 6.0, 6.0]], area=260.0, bbox=[1.0, 1.0, 48.0, 28.0]),
            annotation(13, 3, 2, {"size": [HEIGHT, WIDTH], "counts": runs}, iscrowd=1, area=5.0, bbox=[0, 0, 1, 5]),
            annotation(14, 3, 40, [SQUARE]),
        ],
    }


def write(folder: Path, what: dict[str, Any] | None = None) -> Path:
    """The content as a file beside its images; images are `picture(seed=number)`."""
    what = content() if what is None else what
    for number, image in enumerate(what["images"]):
        (folder / image["file_name"]).write_bytes(encode(picture(HEIGHT, WIDTH, seed=number), "PNG"))
    path = folder / "instances.json"
    path.write_text(json.dumps(what))
    return path
