"""Lowering: a policy's transforms and a spec become a plan, before any pixel moves. The rules of fusion:

    kind        stage it becomes        fuses with neighbours of its kind
    Geometric   WarpStage               yes: matrices multiply, displacement fields join the same coordinates
    Color       ColorStage              yes: colour maps multiply, curves compose; both become `ColorOp`s of one pass
    Filter      FilterStage             no: a barrier
    Erase       EraseStage              with other erases; runs in the same pass as the colour before it; a barrier
    Mix         MixStage                no: last
    Normalize,  OutputStage             yes: scales and offsets multiply; ends the last pass (saturate, scale, cast)
    Rescale

Between two barriers geometry comes first and colour after it, whatever the order in the policy.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import numpy as np

from onewarp.errors import PolicyError
from onewarp.plan import (
    ColorOp,
    ColorStage,
    EraseStage,
    FilterStage,
    MixStage,
    OutputStage,
    Place,
    Plan,
    Settings,
    Stage,
    WarpStage,
    check_plan,
)
from onewarp.spec import Spec
from onewarp.transform import Color, Combinator, Erase, Filter, Geometric, Mix, Side, Transform


def _flatten(transforms: tuple[Transform, ...]) -> tuple[Place, ...]:
    """All transforms and combinators in order, each with its key: (class name, position among those of that class)."""
    seen: Counter[str] = Counter()
    pinned: dict[str, Transform] = {}
    places: list[Place] = []

    def visit(transform: Transform, parent: int | None, member: int) -> None:
        if transform.name is not None:
            if transform.name in pinned:
                raise PolicyError(
                    f"two transforms have the name {transform.name!r}; a name pins random numbers, so it must be unique"
                )
            pinned[transform.name] = transform
            slot = ("name:" + transform.name, 0)
        else:
            kind = type(transform).__name__
            slot = (kind, seen[kind])
            seen[kind] += 1
        index = len(places)
        places.append(Place(transform, slot, parent, member))
        if isinstance(transform, Combinator):
            for position, child in enumerate(transform.transforms):
                visit(child, index, position)

    for transform in transforms:
        visit(transform, None, 0)
    return tuple(places)


class _Lowering:
    """Builds the stages, one transform after the other. `size` is that of the frame so far."""

    def __init__(self, places: tuple[Place, ...], settings: Settings, spec: Spec) -> None:
        self.places, self.settings, self.spec = places, settings, spec
        self.size: tuple[Side, Side] = spec.images[:2]
        self.blocker: str | None = None  # the transform that made the size depend on the draw
        self.warp: dict[int, tuple[int, int] | None] = {}  # place -> settle
        self.shrink = 1.0  # of the warp so far, at most
        self.colour: list[ColorOp] = []
        self.source = self.size
        self.outputs: list[int] = []
        self.stages: list[Stage] = []
        self.mixes: list[int] = []

    def close(self) -> None:
        """End the segment: its geometry as one warp, its colour as one pass."""
        if self.warp:
            transforms: list[Geometric] = [self.places[i].transform for i in self.warp]  # type: ignore[misc]
            settle = tuple(self.warp.values())
            exact = all(t.exact for t in transforms) and settle.count(None) == len(settle)
            fields = sum(t.displaces for t in transforms)
            size = self._fixed_size(" before a filter or erase")
            levels = (1,) if exact else self._levels(settle)
            self.stages.append(WarpStage(tuple(self.warp), self.source, size, settle, exact, fields, levels))
        if self.colour:
            self.stages.append(ColorStage(tuple(self.colour)))
        self.warp, self.shrink, self.colour, self.source = {}, 1.0, [], self.size

    def _levels(self, settle: tuple[tuple[int, int] | None, ...]) -> tuple[int, ...]:
        """The box reductions that a draw of the warp may ask for."""
        if not self.settings.antialias or self.settings.interpolation == "nearest":
            return (1,)
        known = settle.count(None) == len(settle)  # a transform that does not fire may be stretched by anything
        most = self.shrink * (1.0 + 1e-3) if known else np.inf
        return tuple(level for level in (1, 2, 4, 8) if level <= most)

    def add_group(self, index: int) -> None:
        """One transform of the policy, with its members if it is a combinator."""
        before, transform = self.size, self.places[index].transform
        self.add(index)
        may_stay = transform.p < 1.0 or isinstance(transform, Combinator)
        height, width = self.size
        if may_stay and self.size != before and self.warp and height is not None and width is not None:
            self.warp[next(reversed(self.warp))] = (height, width)

    def add(self, index: int) -> None:
        transform = self.places[index].transform
        if isinstance(transform, Combinator):
            self._add_members(index, transform)
            return
        if isinstance(transform, Color):
            transform.check_channels(self.spec.channels)
        self._check_order(index, transform)
        if isinstance(transform, Geometric):
            self._add_geometric(index, transform)
        elif isinstance(transform, Color):
            self._add_colour(index, transform)
        elif isinstance(transform, Filter):
            self.close()
            self.stages.append(FilterStage(index))
        elif isinstance(transform, Erase):
            self._check_fill(index, getattr(transform, "fill_value", 0.0))
            self.close()
            last = self.stages[-1] if self.stages else None
            if isinstance(last, EraseStage):
                self.stages[-1] = EraseStage((*last.places, index))
            else:
                self.stages.append(EraseStage((index,)))
        elif isinstance(transform, Mix):
            self.mixes.append(index)
        else:
            raise PolicyError(
                f"{type(transform).__name__} is none of Geometric, Color, Filter, Erase, Mix; derive it from "
                "one of them"
            )

    def _check_order(self, index: int, transform: Transform) -> None:
        output = isinstance(transform, Color) and "output" in transform.colour_steps()
        if output and self.places[index].parent is not None:
            name = type(transform).__name__
            raise PolicyError(
                f"{name} stands in a combinator, but a model wants all its images alike; move {name} to the end"
            )
        last = self.mixes or self.outputs
        if last and not isinstance(transform, Mix) and (self.mixes or not output):
            late = self.places[last[-1]].label
            raise PolicyError(
                f"{self.places[index].label} comes after {late}, which must be last; move {late} behind it"
            )

    def _check_fill(self, index: int, fill: object) -> None:
        if isinstance(fill, tuple) and len(fill) != self.spec.channels:
            raise PolicyError(
                f"{self.places[index].label} has a fill_value of {len(fill)} numbers, the images have "
                f"{self.spec.channels} channels; give one for each channel"
            )

    def _add_geometric(self, index: int, transform: Geometric) -> None:
        self.shrink *= max(1.0, transform.shrink(*self.size))
        before, self.size = self.size, transform.output_size(*self.size)
        if None in self.size and None not in before:
            self.blocker = self.places[index].label
        self.warp[index] = None

    def _add_members(self, index: int, combinator: Combinator) -> None:
        entry, sizes = self.size, {}
        for child, place in enumerate(self.places):
            if place.parent != index:
                continue
            if not combinator.sequential:
                self.size = entry
            self.add(child)
            sizes[place.label] = self.size
        if not combinator.sequential and len(set(sizes.values())) > 1:
            listed = ", ".join(f"{label} gives {size[0]}x{size[1]}" for label, size in sizes.items())
            name = self.places[index].label
            raise PolicyError(
                f"the members of {name} differ in output size ({listed}); give them one size, or resize after {name}"
            )

    def _add_colour(self, index: int, transform: Color) -> None:
        for kind in transform.colour_steps():
            if kind == "output":
                self.outputs.append(index)
            elif kind in ("affine", "table") and self.colour and self.colour[-1].kind == kind:
                self.colour[-1] = ColorOp(kind, (*self.colour[-1].places, index))
            else:
                self.colour.append(ColorOp(kind, (index,)))

    def finish(self) -> tuple[Stage, ...]:
        self._fixed_size("")
        self.close()
        self.stages.append(self._output())
        self.stages.extend(MixStage(index) for index in self.mixes)
        return tuple(self.stages)

    def _fixed_size(self, before: str) -> tuple[int, int]:
        """The frame's size; raises PolicyError where it differs from sample to sample."""
        height, width = self.size
        if height is not None and width is not None:
            return height, width
        if self.blocker is not None:
            frame = f"{self.spec.images[0]}x{self.spec.images[1]}"
            raise PolicyError(
                f"{self.blocker} exchanges the sides of a frame of {frame}, so the images of a batch would "
                "differ in size"
                f"{before}; add Resize(size) or a crop behind it"
            )
        raise PolicyError(
            f"the images differ in size and the policy sets none{before}; add a transform that does: "
            "RandomResizedCrop(size), Resize(size), LetterBox(size) or CenterCrop(size)"
        )

    def _output(self) -> OutputStage:
        channels = self.spec.channels
        scale, offset = np.ones(channels), np.zeros(channels)
        low, high = self.spec.range
        for index in self.outputs:
            transform: Color = self.places[index].transform  # type: ignore[assignment]
            step_scale, step_offset = transform.output(low, high, channels)
            scale, offset = scale * step_scale, offset * step_scale + step_offset
            ends = (np.array([low, high])[:, None] * step_scale + step_offset).mean(axis=1)
            low, high = float(min(ends)), float(max(ends))
        dtype = self.settings.dtype or ("float32" if self.outputs else self.spec.dtype)
        return OutputStage(tuple(self.outputs), tuple(scale.tolist()), tuple(offset.tolist()), dtype)


# Tables of uint16 and float images have 16 nodes per level of 1/255: the steps of an eight-bit curve fall on nodes.
FINE_NODES = 16 * 255 + 1


@lru_cache(maxsize=256)
def lower(transforms: tuple[Transform, ...], settings: Settings, spec: Spec) -> Plan:
    """The plan of `transforms` for batches of `spec`; cached. Raises PolicyError where the policy cannot run."""
    places = _flatten(transforms)
    fill = settings.fill_value
    if isinstance(fill, tuple) and len(fill) != spec.channels:
        raise PolicyError(
            f"fill_value has {len(fill)} numbers, the images have {spec.channels} channels; give one for each channel"
        )
    lowering = _Lowering(places, settings, spec)
    for index, place in enumerate(places):
        if place.parent is None:
            lowering.add_group(index)
    plan = Plan(spec, settings, places, lowering.finish(), 256 if spec.dtype == "uint8" else FINE_NODES)
    check_plan(plan)
    return plan
