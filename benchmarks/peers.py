"""The other libraries: what to install for each, and how to get them to load and keep to their threads."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from typing import Any

# The versions that were compared. `cpu.py` shows these commands in its head, in the order in which they belong.
INSTALL = {
    "torch": "pip install torch==2.13.0",
    "jax": "pip install jax",
    "albumentations": "pip install albumentations==2.0.8",
    "kornia": "pip install kornia==0.9.0",
    "torchvision": "pip install --no-deps torchvision==0.28.0",
    "fuse_aug": "pip install --pre --no-deps fuse-augmentations",
    "tensorflow": "pip install tensorflow-cpu",
    "scipy": "pip install scipy",
    "nvidia.dali": "pip install --no-deps nvidia-dali-cuda120 nvidia-nvimgcodec-cu12"
    " && pip install gast astunparse dm-tree makefun",
}
DISTRIBUTIONS = (
    "onewarp",
    "numpy",
    "opencv-python-headless",
    "simplejpeg",
    "keras",
    "jax",
    "tensorflow-cpu",
    "tensorflow",
    "torch",
    "torchvision",
    "kornia",
    "albumentations",
    "albucore",
    "fuse-augmentations",
    "nvidia-dali-cuda120",
)


def installed(module: str) -> bool:
    """Whether it can be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package it lies in
        return False


def missing(needs: Iterable[str]) -> str | None:
    """One line that says what is not installed and how to install it; None where all is there."""
    lacking = [module for module in needs if not installed(module)]
    if not lacking:
        return None
    commands = " && ".join(INSTALL.get(module, f"pip install {module}") for module in lacking)
    return f"{' and '.join(lacking)} not installed: {commands}"


def keras_backend() -> str:
    """The user's choice, else the first that is installed: the loader imports Keras, but nothing computes with it."""
    chosen = os.environ.get("KERAS_BACKEND")
    return chosen or next((name for name in ("jax", "tensorflow", "torch") if installed(name)), "numpy")


_kept: list[Any] = []  # the definitions last as long as the object


def torchvision_v2() -> Any:
    """torchvision.transforms.v2. No wheel of it goes with the CPU build of torch: two operators that its import
    registers are missing, which no transform uses; they are declared here."""
    if not _kept:
        import torch

        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor a, Tensor b, float c) -> Tensor")
        _kept.append(library)
    from torchvision.transforms import v2

    return v2


def albumentations() -> Any:
    """albumentations, with OpenCV's own threads off: those of the benchmark are the only ones."""
    import albumentations as module
    import cv2

    cv2.setNumThreads(0)
    return module


def torch(threads: int) -> Any:
    import torch as module

    module.set_num_threads(threads)
    return module


def tensorflow(threads: int) -> Any:
    import tensorflow as module

    module.config.threading.set_intra_op_parallelism_threads(threads)
    module.config.threading.set_inter_op_parallelism_threads(threads)
    return module
