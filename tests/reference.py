"""The slow twin of a whole policy: one sample, one transform after the other, float64, nothing fused or cached.

It asks the transforms for their own numbers (matrix, field, curve, ...) and does everything else by itself: keys, who
fires, the order of stages, coordinates pushed through one transform at a time, colours changed one transform at a time.
What it shares with the library is the definition, not the code: `onewarp.plan`, `lower`, `draw` and the engine are not
used here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from onewarp.random import uniforms
from onewarp.transform import Color, Combinator, Erase, Filter, Geometric, Mix
from twin_color import one_op
from twin_random import normal, uniform
from twin_warp import Points, reduced, sample


@dataclass
class Step:
    transform: Any
    u: np.ndarray  # [1, draws]
    fires: bool
    settle: bool = False  # the end of something that may leave the frame at another size


def steps_of(policy: Any, seed: int, epoch: int, sample_id: int) -> list[Step]:
    """Every leaf transform in order with its uniforms, and whether it fires for this sample."""
    seen: Counter[str] = Counter()
    steps: list[Step] = []

    def visit(transform: Any, allowed: bool) -> None:
        kind = type(transform).__name__
        slot = (kind, seen[kind])
        if transform.name is None:
            seen[kind] += 1
        else:
            slot = ("name:" + transform.name, 0)
        count = transform.uniform_count() + (transform.p < 1)
        u = uniforms(seed, epoch, np.array([sample_id]), None, slot, count) if count else np.zeros((1, 0))
        fires = allowed
        if transform.p < 1:
            fires, u = allowed and u[0, -1] < transform.p, u[:, :-1]
        if isinstance(transform, Combinator):
            chosen = np.broadcast_to(transform.select(u, np), (1, len(transform.transforms)))[0]
            for member, on in zip(transform.transforms, chosen, strict=True):
                visit(member, fires and bool(on))
        else:
            steps.append(Step(transform, u, bool(fires)))

    for transform in policy.transforms:
        visit(transform, True)
        if steps and (transform.p < 1 or isinstance(transform, Combinator)):
            steps[-1].settle = True
    return steps


def run_policy(policy: Any, images: Any, seed: int, epoch: int = 0, ids: Any = None, value_range: Any = None) -> list:
    """The frames [h, w, c] that the policy makes, float64, before the last rounding; mixes are left out."""
    ids = range(len(images)) if ids is None else ids
    return [
        _run_one(policy, np.asarray(image), seed, epoch, int(i), value_range)
        for image, i in zip(images, ids, strict=True)
    ]


def _run_one(policy: Any, image: np.ndarray, seed: int, epoch: int, sample_id: int, value_range: Any) -> np.ndarray:
    integer = image.dtype.kind in "iu"
    low, high = value_range or ((0.0, float(np.iinfo(image.dtype).max)) if integer else (0.0, 1.0))
    frame = _Frame(image, low, high, integer, policy.settings)
    segment: list[Step] = []
    scale, offset, unit = 1.0, 0.0, (low, high)
    for step in steps_of(policy, seed, epoch, sample_id):
        transform = step.transform
        if isinstance(transform, Filter | Erase):
            frame.segment(segment)
            segment = []
            frame.filter(step) if isinstance(transform, Filter) else frame.erase(step)
        elif isinstance(transform, Color) and "output" in transform.colour_steps():
            s, o = transform.output(*unit, image.shape[2])
            scale, offset = scale * s, offset * s + o
            unit = tuple(np.mean([u * s + o]) for u in unit)  # type: ignore[assignment]
            segment.append(step)
        elif not isinstance(transform, Mix):
            segment.append(step)
    frame.segment(segment)
    return np.clip(frame.pixels, low, high) * scale + offset


class _Frame:
    """The pixels so far, float64 in raw units; between passes they have the precision of the image's dtype."""

    def __init__(self, image: np.ndarray, low: float, high: float, integer: bool, settings: Any) -> None:
        self.pixels, self.dtype = image.astype(np.float64), image.dtype
        self.low, self.high, self.integer, self.settings = low, high, integer, settings
        self.erased = False  # since the last pass

    def settle(self) -> None:
        self.pixels = np.clip(self.pixels, self.low, self.high)
        if self.integer:
            self.pixels = np.rint(self.pixels)

    def segment(self, steps: list[Step]) -> None:
        """What stands between two barriers: geometry first, colour after it."""
        geometry = [step for step in steps if isinstance(step.transform, Geometric)]
        colours = [step for step in steps if isinstance(step.transform, Color)]
        if self.erased and (geometry or any(s.transform.colour_steps() != ("output",) for s in colours)):
            self.settle()  # a pass ended with the erase
        if geometry or colours:
            self.erased = False
        if geometry:
            self.warp(steps)
        kind = None
        for step in steps:
            if isinstance(step.transform, Color):
                kind = self.colour(step, kind)

    def warp(self, steps: list[Step]) -> None:
        height, width = (np.array([float(side)]) for side in self.pixels.shape[:2])
        static: tuple[Any, Any] = self.pixels.shape[:2]
        moves: list[tuple[str, Any, Any]] = []  # input side first
        exact = True
        for step in steps:
            transform = step.transform
            if isinstance(transform, Geometric):
                exact &= transform.exact
                if transform.displaces:
                    if step.fires:
                        field = transform.field(step.u, height, width, np)[0]
                        moves.append(("field", field, (height[0], width[0])))
                else:
                    if step.fires:
                        moves.append(("matrix", transform.matrix(step.u, height, width, np)[0], None))
                        sides = transform.frame(step.u, height, width, np)
                        height, width = (np.array([float(np.ravel(side)[0])]) for side in sides)
                    out = transform.output_size(*static)
                    static = out
            if step.settle and None not in static and (height[0], width[0]) != static:
                exact = False
                stretch = np.diag([width[0] / static[1], height[0] / static[0], 1.0])
                moves.append(("matrix", stretch, None))
                height, width = (np.array([float(side)]) for side in static)
        self.sample(moves, int(height[0]), int(width[0]), exact)

    def sample(self, moves: list[tuple[str, Any, Any]], height: int, width: int, exact: bool) -> None:
        points = Points(height, width)
        for kind, value, frame in reversed(moves):
            points.transform(value) if kind == "matrix" else points.displace(value, frame)
        interpolation = "nearest" if exact else self.settings.interpolation
        r = 1
        if interpolation != "nearest" and self.settings.antialias:
            r = reduction([m for kind, m, _ in moves if kind == "matrix"], height, width)
        fill = np.broadcast_to(np.asarray(self.settings.fill_value, np.float64), self.pixels.shape[2:])
        mode = self.settings.fill_mode
        pixels = sample(reduced(self.pixels, r), points.x / r, points.y / r, interpolation, mode, fill)
        if mode == "constant":
            pixels = np.where(points.inside[..., None], pixels, fill)
        self.pixels = pixels

    def colour(self, step: Step, previous: str | None) -> str | None:
        transform = step.transform
        for kind in transform.colour_steps():
            if kind == "output":
                return previous
            if step.fires:
                numbers = None
                if kind == "affine":
                    numbers = transform.affine(step.u, self.pixels.shape[2], np)[0]
                elif kind == "hue":
                    numbers = transform.shift(step.u, np)[0]
                if kind == "table":
                    self.curve(step, fused=previous == "table")
                else:
                    self.pixels = one_op(self.pixels, kind, numbers, self.low, self.high, self.dtype, True)
            previous = kind
        return previous

    def curve(self, step: Step, fused: bool) -> None:
        x = (np.clip(self.pixels, self.low, self.high) - self.low) / (self.high - self.low)
        if self.dtype == np.uint8 and not fused:
            x = np.rint(x * 255) / 255
        shaped = x.reshape(1, -1, 1)
        x = np.clip(step.transform.curve(step.u, shaped, np), 0, 1).reshape(x.shape)
        self.pixels = self.low + x * (self.high - self.low)

    def filter(self, step: Step) -> None:
        self.settle()
        if not step.fires:
            return
        transform, span = step.transform, self.high - self.low
        if transform.method == "blur":
            weights = transform.blur(step.u, np)[0]
            radius = len(weights) // 2
            for axis in (0, 1):
                pad = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
                padded = np.pad(self.pixels, pad, mode="reflect")
                size = self.pixels.shape[axis]
                moved = [np.take(padded, range(k, k + size), axis=axis) for k in range(len(weights))]
                self.pixels = sum(w * m for w, m in zip(weights, moved, strict=True))
        else:
            keys = (step.u[0, :2] * 2**24).astype(np.uint32)
            z = normal(keys, self.pixels.size).reshape(self.pixels.shape)
            self.pixels = self.pixels + transform.noise(step.u, np)[0] * span * z
        self.settle()

    def erase(self, step: Step) -> None:
        self.erased = True
        if not step.fires:
            return
        transform, (height, width) = step.transform, self.pixels.shape[:2]
        frame = (np.array([float(height)]), np.array([float(width)]))
        rows, columns = np.mgrid[:height, :width]
        hidden = np.zeros((height, width), bool)
        if transform.method == "rects":
            for top, left, bottom, right in transform.rects(step.u, *frame, np)[0]:
                hidden |= (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
        else:
            unit_h, unit_w, hole_h, hole_w, y, x = transform.grid(step.u, *frame, np)[0]
            hidden = ((rows + 0.5 + y) % unit_h < hole_h) & ((columns + 0.5 + x) % unit_w < hole_w)
        if transform.fill_value == "noise":
            keys = (step.u[0, :2] * 2**24).astype(np.uint32)
            fill = self.low + (self.high - self.low) * uniform(keys, self.pixels.size, 1).reshape(self.pixels.shape)
        else:
            fill = np.broadcast_to(np.asarray(transform.fill_value, float), self.pixels.shape)
        self.pixels = np.where(hidden[..., None], fill, self.pixels)


def reduction(matrices: list[np.ndarray], height: int, width: int) -> int:
    """1, 2, 4 or 8 from the distance, in source pixels, between neighbouring pixels at the centre of the result."""
    total = np.eye(3)
    for matrix in matrices:
        total = total @ matrix

    def at(x: float, y: float) -> np.ndarray:
        p = total @ [x, y, 1.0]
        return p[:2] / p[2]

    x, y, d = width / 2, height / 2, 1e-4
    across, down = (at(x + d, y) - at(x - d, y)) / (2 * d), (at(x, y + d) - at(x, y - d)) / (2 * d)
    shrink = min(np.hypot(across[0], down[0]), np.hypot(across[1], down[1])) * (1 + 1e-4)
    return next((r for r in (8, 4, 2) if shrink >= r), 1)
