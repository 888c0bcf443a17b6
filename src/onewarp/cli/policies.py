"""The policies of `onewarp train` and `doctor` without --policy.

Files in recipes/policies say the same; a test compares them.
"""

from __future__ import annotations

from typing import Any

DIGITS: dict[str, Any] = {
    "transforms": [
        {"Rotate": 10},
        {"Shear": 8},
        {"Scale": [0.9, 1.1]},
        {"Translate": 0.08},
        {"Resize": 32},
        "Rescale",
    ]
}
CIFAR10: dict[str, Any] = {
    "transforms": [
        {"Translate": 0.1},
        "HorizontalFlip",
        {"Normalize": {"mean": [0.4914, 0.4822, 0.4465], "std": [0.247, 0.2435, 0.2616]}},
    ],
    "fill_mode": "nearest",
}
PHOTOS: dict[str, Any] = {
    "transforms": [
        {"RandomResizedCrop": {"size": 224, "scale": [0.35, 1.0]}},
        "HorizontalFlip",
        {"Rotate": 15},
        {"ColorJitter": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2}},
        {"Normalize": "imagenet"},
    ]
}
