"""The plan: a small static value that says what will run. It can be printed, checked and cached.

Stages stand in the order in which they run: warps, colour passes, filters and erases, then the output, then mixes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import pairwise
from typing import Any

from onewarp.errors import PolicyError
from onewarp.fields import choice, interval, numbers, validate
from onewarp.random import Slot, Slots
from onewarp.spec import OUTPUT_DTYPES, Spec
from onewarp.transform import Combinator, Side, Transform


@dataclass(frozen=True)
class Settings:
    """What belongs to a policy as a whole, because there is one resample.

    interpolation: "bilinear", "nearest" or "bicubic" for images; masks are always nearest.
    fill_mode: what lies outside an image: "constant" (fill_value), "nearest" (the edge), "reflect" (mirrored, the edge
        repeated) or "wrap".
    fill_value: in image units (0...255 for uint8), a number or one per channel. mask_fill_value: the same for masks.
    antialias: an image that is shrunk by 2 or more is averaged over 2x2, 4x4 or 8x8 pixels first.
    min_area, min_visibility: a box is dropped when less than that many pixels, or that fraction of it, remains.
    dtype: of the result: "uint8", "uint16" (on the host), "float16", "bfloat16" (on the device) or "float32". By
        default float32 after Normalize or Rescale, else that of the images.
    data_format: "channels_last" or "channels_first" for the result.
    """

    interpolation: str = choice("bilinear", "nearest", "bicubic", default="bilinear")
    fill_mode: str = choice("constant", "nearest", "reflect", "wrap", default="constant")
    fill_value: Any = numbers(default=0.0)
    mask_fill_value: float = interval(-(2.0**31), 2.0**32, default=0)
    antialias: bool = True
    min_area: float = interval(0, 2.0**31, default=0.0, unit="pixels")
    min_visibility: float = interval(0, 1, default=0.0, unit="fraction of the box")
    dtype: str | None = None
    data_format: str = choice("channels_last", "channels_first", default="channels_last")

    def __post_init__(self) -> None:
        validate(self)
        if self.dtype is not None and self.dtype not in OUTPUT_DTYPES:
            raise PolicyError(f"Policy(dtype={self.dtype!r}): dtype must be one of {', '.join(OUTPUT_DTYPES)}, or None")
        if not isinstance(self.antialias, bool):
            raise PolicyError(f"Policy(antialias={self.antialias!r}): antialias must be True or False")


@dataclass(frozen=True)
class Place:
    """A transform's place in the policy: its random key, and the index of the combinator that holds it."""

    transform: Transform
    slot: Slot
    parent: int | None = None
    member: int = 0

    @property
    def label(self) -> str:
        return self.slot[0] if self.slot[1] == 0 else f"{self.slot[0]}#{self.slot[1] + 1}"


@dataclass(frozen=True)
class WarpStage:
    """One resample from a frame of `source` size to one of `size`.

    settle: for each of `places` the size to which a frame is stretched behind it where it may have another one, because
    a transform that sets the size did not fire; else None.
    levels: the box reductions that a draw may ask for; (1,) where the warp cannot shrink by 2, or antialiasing is off.
    """

    places: tuple[int, ...]
    source: tuple[Side, Side]
    size: tuple[int, int]
    settle: tuple[tuple[int, int] | None, ...]
    exact: bool
    fields: int = 0
    levels: tuple[int, ...] = (1, 2, 4, 8)


@dataclass(frozen=True)
class ColorOp:
    """One step of a colour pass: `kind` and the transforms that fused into it."""

    kind: str
    places: tuple[int, ...]


@dataclass(frozen=True)
class ColorStage:
    """One pass over the colours."""

    ops: tuple[ColorOp, ...]


@dataclass(frozen=True)
class FilterStage:
    place: int


@dataclass(frozen=True)
class EraseStage:
    places: tuple[int, ...]


@dataclass(frozen=True)
class OutputStage:
    """The end of the last pass: result = value * scale + offset per channel, cast to `dtype`."""

    places: tuple[int, ...]
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    dtype: str


@dataclass(frozen=True)
class MixStage:
    place: int


Stage = WarpStage | ColorStage | FilterStage | EraseStage | OutputStage | MixStage


@dataclass(frozen=True)
class Plan:
    """What will run on batches of `spec`: static, hashable, printable. See the module's docstring for the stages.

    slots: of the transforms that take uniforms. takes: for each place whether it does. They are made with the plan, so
    that a traced step finds numbers.
    """

    spec: Spec
    settings: Settings
    places: tuple[Place, ...]
    stages: tuple[Stage, ...]
    table_nodes: int = field(default=256)
    slots: Slots = field(init=False, repr=False, compare=False)
    takes: tuple[bool, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        counts = [int(place.transform.uniform_count()) + int(place.transform.p < 1.0) for place in self.places]
        asked = [(place.slot, k) for place, k in zip(self.places, counts, strict=True) if k]
        object.__setattr__(self, "slots", Slots.of(asked))
        object.__setattr__(self, "takes", tuple(k > 0 for k in counts))

    @cached_property
    def _hash(self) -> int:
        return hash((self.spec, self.settings, self.places, self.stages, self.table_nodes))

    def __hash__(self) -> int:
        return self._hash  # kept: what is derived from a plan is looked up under it several times per batch

    def __getstate__(self) -> dict[str, Any]:
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}  # hashes differ between processes

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the result."""
        height, width = self.spec.images[:2]
        for stage in self.stages:
            if isinstance(stage, WarpStage):
                height, width = stage.size
        assert height is not None and width is not None
        return height, width

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """Shape of one image of the result, in the result's layout."""
        (height, width), channels = self.size, self.spec.channels
        first = self.settings.data_format == "channels_first"
        return (channels, height, width) if first else (height, width, channels)

    @property
    def output(self) -> OutputStage:
        return next(stage for stage in self.stages if isinstance(stage, OutputStage))

    @property
    def output_dtype(self) -> str:
        return self.output.dtype

    def transform(self, place: int) -> Any:
        return self.places[place].transform

    @property
    def mixes(self) -> bool:
        """Whether samples are mixed with partners, so that labels become numbers per class."""
        return any(isinstance(stage, MixStage) for stage in self.stages)

    @property
    def moves(self) -> bool:
        """Whether anything is warped at all."""
        return any(isinstance(stage, WarpStage) for stage in self.stages)

    def __str__(self) -> str:
        return describe(self)


def check_plan(plan: Plan) -> None:
    """Raise PolicyError unless the plan is legal: an executable statement of what engines may rely on."""

    def require(condition: bool, fact: str) -> None:
        if not condition:
            raise PolicyError(f"illegal plan: {fact}; this is a fault of onewarp, please report it with the policy")

    names = [type(stage).__name__ for stage in plan.stages]
    require(names.count("OutputStage") == 1, f"{names.count('OutputStage')} output stages")
    tail = names[names.index("OutputStage") + 1 :]
    require(all(name == "MixStage" for name in tail), f"{tail} after the output")
    require("MixStage" not in names[: names.index("OutputStage")], "a mix before the output")
    for first, second in pairwise(names):
        require(
            not (first == second and first in ("WarpStage", "ColorStage", "EraseStage")),
            f"two neighbouring {first}s",
        )
        require((first, second) != ("ColorStage", "WarpStage"), "colour before geometry without a barrier")
    size = plan.spec.images[:2]
    for stage in plan.stages:
        if isinstance(stage, WarpStage):
            require(stage.source == size, f"a warp from {stage.source} where the frame is {size}")
            require(bool(stage.places), "an empty warp")
            size = stage.size
        if isinstance(stage, ColorStage):
            require(all(op.places for op in stage.ops), "an empty colour op")
            kinds = [op.kind for op in stage.ops]
            require(
                all(a != b or a not in ("affine", "table") for a, b in pairwise(kinds)),
                f"unfused {kinds}",
            )
    require(None not in size, f"the result has no fixed size: {size}")
    used = [i for stage in plan.stages for i in _places(stage)]
    leaves = {i for i, place in enumerate(plan.places) if not isinstance(place.transform, Combinator)}
    require(set(used) == leaves, "a transform that no stage runs")
    require(len(plan.output.scale) == plan.spec.channels, "an output scale of the wrong length")


def _places(stage: Stage) -> tuple[int, ...]:
    if isinstance(stage, ColorStage):
        return tuple(i for op in stage.ops for i in op.places)
    if isinstance(stage, (FilterStage, MixStage)):
        return (stage.place,)
    return stage.places


def describe(plan: Plan) -> str:
    """One line per stage: what is fused, sizes, interpolation, dtypes."""
    spec, settings = plan.spec, plan.settings
    height, width, channels = spec.images
    size = "any size" if height is None or width is None else f"{height}x{width}"
    lines = [f"{size} x {channels} {spec.dtype} in [{spec.range[0]:g}, {spec.range[1]:g}]"]

    def labels(indices: tuple[int, ...]) -> str:
        return ", ".join(dict.fromkeys(plan.places[i].label for i in indices))

    warps = 0
    for number, stage in enumerate(plan.stages, 1):
        if isinstance(stage, WarpStage):
            warps += 1
            to = f"{stage.size[0]}x{stage.size[1]}"
            how = "exact copy" if stage.exact else settings.interpolation
            fill = f"{settings.fill_mode} {settings.fill_value:g}" if _plain_constant(settings) else settings.fill_mode
            text = f"warp: {labels(stage.places)} -> {to} {how}, fill {fill}"
            if not stage.exact and settings.antialias and settings.interpolation != "nearest":
                text += ", antialias"
        elif isinstance(stage, ColorStage):
            ops = "; ".join(f"{labels(op.places)} ({'map' if op.kind == 'affine' else op.kind})" for op in stage.ops)
            text = f"colour pass: {ops}"
        elif isinstance(stage, FilterStage):
            text = f"filter: {plan.places[stage.place].label} (a barrier)"
        elif isinstance(stage, EraseStage):
            text = f"erase: {labels(stage.places)}"
        elif isinstance(stage, MixStage):
            text = f"mix: {plan.places[stage.place].label}"
        else:
            text = (
                f"output: {labels(stage.places) + ' ' if stage.places else ''}-> {stage.dtype} {settings.data_format}"
            )
        lines.append(f"{number} {text}")
    if warps > 1:
        lines.append(
            f"resampled {warps} times: a filter or erase separates the geometry; move it behind to save a resample"
        )
    return "\n".join(lines)


def _plain_constant(settings: Settings) -> bool:
    return settings.fill_mode == "constant" and not isinstance(settings.fill_value, tuple)
