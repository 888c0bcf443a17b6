"""The same geometric maps in every library, step by step, each step as the library's own transform with a fixed range.

A step is a name and its numbers; `matrix` is its map, output point to input point, in onewarp's convention (centre
of the first pixel at 0.5, 0.5). How a library's signs and centres differ is settled here, and `check` proves it: a
ramp of coordinates that is put through a step must come out as the matrix says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import peers

Chain = Callable[[np.ndarray], np.ndarray]
"""uint8 or float32 [h, w, 3] -> the same, or float32 where the library works in floats."""

ORDER = ("crop", "rotate", "shear", "scale", "translate")  # a policy of n transforms is the first n


@dataclass(frozen=True)
class Step:
    """crop: (top, left, height, width) in whole pixels, then resized to the frame. rotate, shear: (degrees,),
    counter-clockwise, along x. scale: (factor,). translate: (right, down) in whole pixels: some peers round shifts."""

    kind: str
    values: tuple[float, ...]


def draw(rng: np.random.Generator, height: int, width: int) -> tuple[Step, ...]:
    """One of each, from the ranges that people use. The crop only enlarges, so nobody has to antialias."""
    side = rng.uniform(0.75, 0.95)
    rows, columns = round(side * height), round(side * width)
    top, left = (int(rng.integers(0, free + 1)) for free in (height - rows, width - columns))
    numbers = {
        "crop": (top, left, rows, columns),
        "rotate": (_away(rng, 15),),
        "shear": (_away(rng, 10),),
        "scale": (rng.uniform(0.9, 1.2),),
        "translate": tuple(int(rng.integers(-side // 10, side // 10 + 1)) for side in (width, height)),
    }
    return tuple(Step(kind, numbers[kind]) for kind in ORDER)


def _away(rng: np.random.Generator, most: float) -> float:
    """From -most to most, but not close to 0, where a transform would do nothing."""
    return float(rng.choice([-1, 1]) * rng.uniform(0.2 * most, most))


def matrix(step: Step, height: int, width: int) -> np.ndarray:
    """3x3, output point (x, y, 1) to input point."""
    if step.kind == "crop":
        top, left, rows, columns = step.values
        return np.array([[columns / width, 0, left], [0, rows / height, top], [0, 0, 1]])
    if step.kind == "translate":
        return np.array([[1, 0, -step.values[0]], [0, 1, -step.values[1]], [0, 0, 1.0]])
    there, back = np.eye(3), np.eye(3)
    there[:2, 2], back[:2, 2] = (width / 2, height / 2), (-width / 2, -height / 2)
    value, middle = step.values[0], np.eye(3)
    if step.kind == "rotate":
        cos, sin = math.cos(math.radians(value)), math.sin(math.radians(value))
        middle[:2, :2] = [[cos, -sin], [sin, cos]]
    elif step.kind == "shear":
        middle[0, 1] = math.tan(math.radians(value))
    else:
        middle[0, 0] = middle[1, 1] = 1 / value
    return there @ middle @ back


def onewarp(steps: Sequence[Step], height: int, width: int) -> Chain:
    """One policy, one resample. The crop is fixed by a transform of our own, because RandomResizedCrop draws."""
    import onewarp as ow

    @dataclass(frozen=True)
    class Window(ow.Geometric):
        """A crop of whole pixels, resized to the frame."""

        def matrix(self, u: Any, height: Any, width: Any, xp: Any) -> Any:
            return matrix(steps[0], *frame)[None]

    frame = (height, width)
    made = {
        "crop": lambda v: Window(),
        "rotate": lambda v: ow.Rotate((v[0], v[0])),
        "shear": lambda v: ow.Shear((v[0], v[0])),
        "scale": lambda v: ow.Scale((v[0], v[0])),
        "translate": lambda v: ow.Translate((v[0] / width, v[0] / width), (v[1] / height, v[1] / height)),
    }
    policy = ow.Policy([made[step.kind](step.values) for step in steps])
    return lambda image: policy(image[None], seed=0)[0]


def albumentations(steps: Sequence[Step], height: int, width: int) -> Chain:
    A = peers.albumentations()
    made = {
        "crop": lambda v: A.Compose([A.Crop(v[1], v[0], v[1] + v[3], v[0] + v[2]), A.Resize(height, width)]),
        "rotate": lambda v: A.Rotate((v[0], v[0]), p=1),
        "shear": lambda v: A.Affine(shear={"x": (v[0], v[0]), "y": (0, 0)}, p=1),
        "scale": lambda v: A.Affine(scale=(v[0], v[0]), p=1),
        "translate": lambda v: A.Affine(translate_px={"x": (v[0], v[0]), "y": (v[1], v[1])}, p=1),
    }
    chain = A.Compose([made[step.kind](step.values) for step in steps])
    return lambda image: chain(image=image)["image"]


def torchvision(steps: Sequence[Step], height: int, width: int) -> Chain:
    v2 = peers.torchvision_v2()
    import torch

    f, bilinear = v2.functional, v2.InterpolationMode.BILINEAR

    def affine(image: Any, angle: float = 0, translate: Any = (0, 0), scale: float = 1, shear: Any = (0, 0)) -> Any:
        return f.affine(image, angle, list(translate), scale, list(shear), interpolation=bilinear)

    made = {
        "crop": lambda image, v: f.resized_crop(image, *v, size=[height, width], interpolation=bilinear),
        "rotate": lambda image, v: f.rotate(image, v[0], interpolation=bilinear),
        "shear": lambda image, v: affine(image, shear=(v[0], 0)),
        "scale": lambda image, v: affine(image, scale=v[0]),
        "translate": lambda image, v: affine(image, translate=v),
    }

    def chain(image: np.ndarray) -> np.ndarray:
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        for step in steps:
            tensor = made[step.kind](tensor, step.values)
        return tensor.numpy().transpose(1, 2, 0)

    return chain


def kornia(steps: Sequence[Step], height: int, width: int) -> Chain:
    """In floats throughout: no rounding between the steps, nor at the end."""
    import kornia.augmentation as K
    import torch

    def crop(v: Any) -> Any:
        resize = K.Resize((height, width), align_corners=False)
        return lambda image: resize(image[..., v[0] : v[0] + v[2], v[1] : v[1] + v[3]])

    made = {
        "crop": crop,
        "rotate": lambda v: K.RandomRotation((v[0], v[0]), p=1.0),
        "shear": lambda v: K.RandomShear((v[0], v[0]), p=1.0),
        "scale": lambda v: K.RandomAffine(0.0, scale=(v[0], v[0]), p=1.0),
        "translate": lambda v: K.RandomTranslate((v[0] / width, v[0] / width), (v[1] / height, v[1] / height), p=1.0),
    }
    chain = [made[step.kind](step.values) for step in steps]

    def run(image: np.ndarray) -> np.ndarray:
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
        tensor = tensor.float() / 255 if image.dtype == np.uint8 else tensor
        for part in chain:
            tensor = part(tensor)
        result = tensor[0].numpy().transpose(1, 2, 0)
        return result * 255 if image.dtype == np.uint8 else result

    return run


LIBRARIES: dict[str, tuple[Callable[..., Chain], tuple[str, ...]]] = {
    "onewarp": (onewarp, ()),
    "albumentations": (albumentations, ("albumentations",)),
    "torchvision": (torchvision, ("torch", "torchvision")),
    "kornia": (kornia, ("torch", "kornia")),
}


def check(library: str, step: Step, height: int, width: int) -> float:
    """The largest distance, in pixels, between where `library` takes values from and where the matrix says, well inside
    the frame."""
    y, x = np.mgrid[0.5:height, 0.5:width]
    ramp = np.stack([x / width, y / height, 0 * x], axis=-1).astype(np.float32)
    seen = LIBRARIES[library][0]((step,), height, width)(ramp) * [width, height, 1]
    points = np.stack([x, y, np.ones_like(x)], axis=-1) @ matrix(step, height, width).T
    margin = 2
    inside = np.logical_and.reduce(
        [
            np.minimum(points[..., 0], points[..., 1]) > margin,
            points[..., 0] < width - margin,
            points[..., 1] < height - margin,
            x > margin,
            x < width - margin,
            y > margin,
            y < height - margin,
        ]
    )
    return float(np.abs(seen - points)[inside][:, :2].max())
