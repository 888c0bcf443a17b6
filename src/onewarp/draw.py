"""Drawing: from the key of a batch to the parameters of a plan's stages. Written once for NumPy and for `keras.ops`.

Inside a compiled step `xp` is `keras.ops`: no data-dependent Python, nothing but operations that both have. See
`onewarp.params` for the names and shapes of what comes out.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from onewarp.matrices import ZERO, Step, colour_identity, compose, compose_colour, matmul, samples_last, window
from onewarp.params import Params, fingerprint
from onewarp.plain import Form, plain_forms
from onewarp.plan import ColorOp, ColorStage, EraseStage, FilterStage, MixStage, Plan, WarpStage
from onewarp.random import Array, constant, float_dtype, integer, uniforms_of
from onewarp.transform import Combinator


class Draw:
    """The draws of one batch while they are turned into stage parameters: uniforms and who fires, by place.

    `instead` holds what takes the place of a transform for the rows that are `plain`.
    """

    def __init__(
        self, plan: Plan, seed: int, epoch: Any, ids: Any, occurrence: Any, xp: Any, plain: Array | None = None
    ) -> None:
        self.plan, self.xp, self.plain = plan, xp, plain
        self.instead: dict[int, tuple[Any, ...]] = {}
        drawn = iter(uniforms_of(seed, epoch, ids, occurrence, plan.slots, xp))
        self.u: list[Array | None] = []
        self.fires: list[Array | None] = []  # [n] booleans; None: always
        chosen: dict[int, Array] = {}
        for index, place in enumerate(plan.places):
            transform, u = place.transform, next(drawn) if plan.takes[index] else None
            fires = None
            if transform.p < 1.0:
                assert u is not None
                fires, u = u[:, -1] < transform.p, u[:, :-1]  # last: changing p leaves the other numbers
            if place.parent is not None:
                fires = _both(fires, chosen[place.parent][:, place.member], xp)
                fires = _both(fires, self.fires[place.parent], xp)
            if isinstance(transform, Combinator):
                chosen[index] = transform.select(u, xp)
            self.u.append(u)
            self.fires.append(fires)
        if plain is not None:
            for index, form in enumerate(plain_forms(plan)):
                self._settle(index, form, plain)

    def _settle(self, index: int, form: Form, plain: Array) -> None:
        """What a place does for the rows that are `plain`."""
        fires, xp = self.fires[index], self.xp
        if form is None or isinstance(self.plan.transform(index), Combinator):
            return
        if not form:
            self.fires[index] = _both(fires, xp.logical_not(plain), xp)
            return
        self.fires[index] = None if fires is None else xp.logical_or(fires, plain)
        if form != (self.plan.transform(index),):
            self.instead[index] = form

    def active(self, places: tuple[int, ...], n: int) -> Array:
        """[n] 1 where any of the transforms fires, else 0."""
        xp, any_of = self.xp, self.fires[places[0]]
        for place in places[1:]:
            fires = self.fires[place]
            any_of = None if any_of is None or fires is None else xp.logical_or(any_of, fires)
        if any_of is None:
            return xp.ones((n,), dtype=_flag_dtype(xp))
        return _spread(any_of, n, xp, _flag_dtype(xp))


def _flag_dtype(xp: Any) -> str:
    return "uint8" if xp is np else "int32"  # uint8: what the kernels take


def _both(a: Array | None, b: Array | None, xp: Any) -> Array | None:
    if a is None or b is None:
        return b if a is None else a
    return xp.logical_and(a, b)


def draw_arrays(
    plan: Plan,
    seed: int,
    epoch: Any,
    ids: Any,
    occurrence: Any,
    height: Array,
    width: Array,
    n: int,
    xp: Any = np,
    plain: Array | None = None,
) -> dict[str, Array]:
    """All parameter arrays of a batch of `n` samples, by name.

    height, width: [n] or [1] numbers, the sizes of the images. plain: [n] booleans, rows that `policy.deterministic()`
    would show; the plan is then one of `onewarp.plain.with_plain`.
    """
    draw = Draw(plan, seed, epoch, ids, occurrence, xp, plain)
    found: dict[str, Array] = {}
    for number, stage in enumerate(plan.stages):
        arrays: dict[str, Array] = {}
        if isinstance(stage, WarpStage):
            arrays, height, width = _warp(stage, draw, height, width, n)
        elif isinstance(stage, ColorStage):
            for i, op in enumerate(stage.ops):
                arrays[f"active{i}"] = draw.active(op.places, n)
                value = _colour(op, draw, n)
                if value is not None:
                    arrays[f"op{i}"] = value
        elif isinstance(stage, FilterStage):
            arrays = _filter(stage, draw, n)
        elif isinstance(stage, EraseStage):
            arrays = _erase(stage, draw, height, width, n)
        elif isinstance(stage, MixStage):
            arrays = _mix(stage, draw, n)
        found.update((f"{number}.{name}", value) for name, value in arrays.items())
    return found


def _spread(value: Array, n: int, xp: Any, dtype: str = "float32") -> Array:
    """Broadcast the leading dimension to n and cast."""
    value = np.ascontiguousarray(value, dtype) if xp is np else xp.cast(value, dtype)
    return xp.broadcast_to(value, (n, *value.shape[1:])) if value.shape[0] != n else value


def _where(fires: Array | None, value: Array, otherwise: Array, xp: Any) -> Array:
    """`value` where the transform fires; `fires` [n] gains the axes it lacks."""
    if fires is None:
        return value
    return xp.where(fires[(slice(None), *(None,) * (len(value.shape) - 1))], value, otherwise)


def _warp(stage: WarpStage, draw: Draw, height: Array, width: Array, n: int) -> tuple[dict[str, Array], Array, Array]:
    xp, plan = draw.xp, draw.plan
    steps: list[Step] = []  # since the last field
    matrices: list[Array] = []
    frames: list[Array] = []
    arrays: dict[str, Array] = {}
    for index, settle in zip(stage.places, stage.settle, strict=True):
        transform, u, fires = plan.transform(index), draw.u[index], draw.fires[index]
        if transform.displaces:
            field = transform.field(u, height, width, xp)
            arrays[f"field{len(frames)}"] = _spread(_where(fires, field, 0.0 * field, xp), n, xp)
            frames.append(_spread(xp.stack([_full(height, n, xp), _full(width, n, xp)], axis=-1), n, xp))
            matrices.append(compose(steps, n, xp))
            steps = []
            continue
        matrix = transform.matrix(u, height, width, xp)
        out_height, out_width = transform.frame(u, height, width, xp)
        if index in draw.instead:
            matrix, out_height, out_width = _instead(draw, index, matrix, out_height, out_width, height, width, n)
        steps.append((matrix, fires))
        if out_height is not height:
            height = _where(fires, _number(out_height, n, xp), height, xp)
        if out_width is not width:
            width = _where(fires, _number(out_width, n, xp), width, xp)
        if settle is not None:
            steps.append((window(ZERO, ZERO, width / settle[1], height / settle[0], xp), None))
            height, width = _number(settle[0], n, xp), _number(settle[1], n, xp)
    matrices.append(compose(steps, n, xp))
    arrays["matrix"] = _along([_spread(m, n, xp) for m in matrices], xp)
    if frames:
        arrays["frames"] = _along(frames, xp)
    if len(stage.levels) > 1:
        projective = any(plan.transform(index).projective for index in stage.places)
        arrays["reduction"] = _spread(_reduction(matrices, projective, stage.levels, height, width, xp), n, xp, "int32")
    return arrays, height, width


def _instead(
    draw: Draw, index: int, matrix: Array, out_height: Any, out_width: Any, height: Array, width: Array, n: int
) -> tuple[Array, Array, Array]:
    """(matrix, height, width) of a place, those of what stands there instead for the rows that are plain."""
    xp, steps = draw.xp, []
    for transform in draw.instead[index]:
        steps.append((transform.matrix(None, height, width, xp), None))
        height, width = (_number(side, n, xp) for side in transform.frame(None, height, width, xp))
    return (
        _where(draw.plain, compose(steps, n, xp), matrix, xp),
        _where(draw.plain, height, _number(out_height, n, xp), xp),
        _where(draw.plain, width, _number(out_width, n, xp), xp),
    )


def _along(parts: list[Array], xp: Any) -> Array:
    """Stacked along axis 1."""
    return xp.stack(parts, axis=1) if len(parts) > 1 else parts[0][:, None]


def _number(side: Any, n: int, xp: Any) -> Array:
    return xp.full((n,), float(side), dtype=float_dtype(xp)) if isinstance(side, int) else side


def _full(side: Array, n: int, xp: Any) -> Array:
    return xp.broadcast_to(side, (n,))


def _reduction(
    matrices: list[Array], projective: bool, levels: tuple[int, ...], height: Array, width: Array, xp: Any
) -> Array:
    """The largest of `levels` (1, 2, 4, 8) by which the warp shrinks both axes of the source, at the centre."""
    total = matrices[0]
    for matrix in matrices[1:]:
        total = matmul(total, matrix, xp)
    total = samples_last(total, xp)  # [3, 3, n]
    slopes = total[:2, :2]  # of source x and y along x and y
    if projective:
        at = total[:, 0] * (0.5 * width) + total[:, 1] * (0.5 * height) + total[:, 2]  # the source of the centre
        slopes = (slopes - (at[:2] / at[2])[:, None] * total[2, :2]) / at[2]
    squares = slopes * slopes
    steps = squares[:, 0] + squares[:, 1]
    square = xp.minimum(steps[0], steps[1]) * (1.0 + 1e-4) ** 2  # of how much it shrinks; 2 means 2 in float32, too
    reduction = xp.ones_like(square)
    for level in levels[1:]:
        reduction = xp.where(square >= float(level * level), float(level), reduction)
    return reduction


def _colour(op: ColorOp, draw: Draw, n: int) -> Array | None:
    xp, plan = draw.xp, draw.plan
    if op.kind == "affine":
        channels, total = plan.spec.channels, None
        for index in op.places:
            step = plan.transform(index).affine(draw.u[index], channels, xp)
            step = _where(draw.fires[index], step, colour_identity(channels, xp), xp)
            total = step if total is None else compose_colour(step, total, xp)
        return _spread(total, n, xp)
    if op.kind == "table":
        x, bounded = constant(_nodes(plan.table_nodes), xp), True
        for index in op.places:
            transform = plan.transform(index)
            x = x if bounded else xp.clip(x, 0.0, 1.0)
            x = _where(draw.fires[index], transform.curve(draw.u[index], x, xp), x, xp)
            bounded = transform.bounded
        return _spread(x if bounded else _clipped(x, xp), n, xp)
    if op.kind == "hue":
        return _spread(plan.transform(op.places[0]).shift(draw.u[op.places[0]], xp), n, xp)
    return None


def _clipped(x: Array, xp: Any) -> Array:
    """float32, within [0, 1]; on the host in one piece of new memory, which can cost more than the numbers."""
    if xp is not np:
        return xp.clip(xp.cast(x, "float32"), 0.0, 1.0)
    table = np.empty(x.shape, np.float32)
    return np.clip(x, 0.0, 1.0, out=table, casting="same_kind")


@lru_cache(maxsize=8)
def _nodes(count: int) -> np.ndarray:
    """Values [1, count, 1] that divide [0, 1] evenly."""
    return np.linspace(0.0, 1.0, count)[None, :, None]


def _keys(u: Array, xp: Any) -> Array:
    """Two columns of uniforms -> two 24-bit words that key per-pixel noise."""
    words = u[:, :2] * 2.0**24
    return np.ascontiguousarray(words, np.uint32) if xp is np else xp.cast(words, "int32")


def _filter(stage: FilterStage, draw: Draw, n: int) -> dict[str, Array]:
    transform, u, xp = draw.plan.transform(stage.place), draw.u[stage.place], draw.xp
    active = draw.active((stage.place,), n)
    if transform.method == "blur":
        return {"weights": _spread(transform.blur(u, xp), n, xp), "active": active}
    return {"std": _spread(transform.noise(u, xp), n, xp), "keys": _keys(u, xp), "active": active}


def _erase(stage: EraseStage, draw: Draw, height: Array, width: Array, n: int) -> dict[str, Array]:
    xp, arrays = draw.xp, {}
    for i, index in enumerate(stage.places):
        transform, u = draw.plan.transform(index), draw.u[index]
        if transform.method == "rects":
            arrays[f"erase{i}"] = _spread(transform.rects(u, height, width, xp), n, xp, "int32")
        else:
            arrays[f"erase{i}"] = _spread(transform.grid(u, height, width, xp), n, xp)
        if transform.fill_value == "noise":
            arrays[f"keys{i}"] = _keys(u, xp)
        arrays[f"active{i}"] = draw.active((index,), n)
    return arrays


def _mix(stage: MixStage, draw: Draw, n: int) -> dict[str, Array]:
    xp, transform, u = draw.xp, draw.plan.transform(stage.place), draw.u[stage.place]
    assert u is not None
    height, width = draw.plan.size
    weight = transform.weight(u, xp)
    rect = transform.rect(u, weight, height, width, xp)
    if rect is not None:
        area = (rect[:, 2] - rect[:, 0]) * (rect[:, 3] - rect[:, 1])
        weight = 1.0 - area / float(height * width)
    fires = draw.fires[stage.place]
    arrays = {
        "weight": _spread(_where(fires, weight, 1.0 + 0.0 * weight, xp), n, xp),
        "partner": _spread(u[:, 0], n, xp),
        "active": draw.active((stage.place,), n),
    }
    if rect is not None:
        arrays["rect"] = _spread(_where(fires, rect, 0.0 * rect, xp), n, xp, "int32")
    return arrays


def partners(draws: Array, valid: int, xp: Any = np) -> Array:
    """[n] indices of the partners among the first `valid` samples, never the sample itself (unless it is alone)."""
    n = draws.shape[0]
    own = xp.arange(n, dtype=float_dtype(xp))
    others = float(max(valid - 1, 1))
    return (own + 1.0 + integer(draws * 1.0, others, xp)) % float(max(valid, 1))


def draw(
    plan: Plan,
    seed: int,
    epoch: int,
    ids: np.ndarray,
    occurrence: Any,
    sizes: np.ndarray,
    plain: np.ndarray | None = None,
) -> Params:
    """The parameters of a batch on the host.

    ids: [n] integers; sizes: [n, 2] (height, width) of the images; plain: [n] booleans, see `draw_arrays`.
    """
    height, width = np.array(sizes.T, np.float64)  # rows: operations are fastest on arrays of one length
    arrays = draw_arrays(plan, seed, epoch, ids, occurrence, height, width, len(ids), plain=plain)
    arrays = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    return Params(arrays, np.asarray(sizes, dtype=np.int32), fingerprint(plan))
