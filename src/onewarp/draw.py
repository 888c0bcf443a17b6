"""Drawing: from the key of a batch to the parameters of a plan's stages. Written once for NumPy and for `keras.ops`.

Inside a compiled step `xp` is `keras.ops`: no data-dependent Python, nothing but operations that both have. See
`onewarp.params` for the names and shapes of what comes out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from onewarp.matrices import colour_identity, compose_colour, identity, matmul, window
from onewarp.params import Params, fingerprint
from onewarp.plan import ColorOp, ColorStage, EraseStage, FilterStage, MixStage, Plan, WarpStage
from onewarp.random import Array, constant, integer, uniforms_of
from onewarp.transform import Combinator


class Draw:
    """The draws of one batch while they are turned into stage parameters: uniforms and who fires, by place."""

    def __init__(self, plan: Plan, seed: int, epoch: Any, ids: Any, occurrence: Any, xp: Any) -> None:
        self.plan, self.xp = plan, xp
        wanted = [(place.slot, _uniform_count(place.transform)) for place in plan.places]
        asked = [(slot, k) for slot, k in wanted if k]
        drawn = iter(uniforms_of(seed, epoch, ids, occurrence, asked, xp))
        self.u: list[Array | None] = []
        self.fires: list[Array | None] = []  # [n] booleans; None: always
        chosen: dict[int, Array] = {}
        for index, place in enumerate(plan.places):
            transform, u = place.transform, next(drawn) if wanted[index][1] else None
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

    def active(self, place: int, n: int) -> Array:
        """[n] 1 where the transform fires, else 0."""
        xp, fires = self.xp, self.fires[place]
        on = xp.ones((n,), dtype="int32")
        return on if fires is None else xp.where(fires, on, 0 * on)


def _uniform_count(transform: Any) -> int:
    return int(transform.uniform_count()) + int(transform.p < 1.0)


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
) -> dict[str, Array]:
    """All parameter arrays of a batch of `n` samples, by name.

    height, width: [n] or [1] numbers, the sizes of the images.
    """
    draw = Draw(plan, seed, epoch, ids, occurrence, xp)
    found: dict[str, Array] = {}
    for number, stage in enumerate(plan.stages):
        arrays: dict[str, Array] = {}
        if isinstance(stage, WarpStage):
            arrays, height, width = _warp(stage, draw, height, width, n)
        elif isinstance(stage, ColorStage):
            for i, op in enumerate(stage.ops):
                arrays[f"active{i}"], value = _colour(op, draw, n)
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
    value = value.astype(dtype) if xp is np else xp.cast(value, dtype)
    return xp.broadcast_to(value, (n, *value.shape[1:])) if value.shape[0] != n else value


def _where(fires: Array | None, value: Array, otherwise: Array, xp: Any) -> Array:
    """`value` where the transform fires; `fires` [n] gains the axes it lacks."""
    if fires is None:
        return value
    return xp.where(xp.reshape(fires, (-1,) + (1,) * (len(value.shape) - 1)), value, otherwise)


def _warp(stage: WarpStage, draw: Draw, height: Array, width: Array, n: int) -> tuple[dict[str, Array], Array, Array]:
    xp, plan = draw.xp, draw.plan
    current = identity(xp)
    matrices: list[Array] = []
    frames: list[Array] = []
    arrays: dict[str, Array] = {}
    for index, settle in zip(stage.places, stage.settle, strict=True):
        transform, u, fires = plan.transform(index), draw.u[index], draw.fires[index]
        if transform.displaces:
            field = transform.field(u, height, width, xp)
            arrays[f"field{len(frames)}"] = _spread(_where(fires, field, 0.0 * field, xp), n, xp)
            frames.append(xp.stack([_full(height, n, xp), _full(width, n, xp)], axis=-1))
            matrices.append(current)
            current = identity(xp)
            continue
        matrix = _where(fires, transform.matrix(u, height, width, xp), identity(xp), xp)
        out_height, out_width = (_number(side, xp) for side in transform.frame(u, height, width, xp))
        height, width = _where(fires, out_height, height, xp), _where(fires, out_width, width, xp)
        current = matmul(current, matrix, xp)
        if settle is not None:
            zero = 0.0 * height
            current = matmul(current, window(zero, zero, width / settle[1], height / settle[0], xp), xp)
            height, width = _number(settle[0], xp), _number(settle[1], xp)
    matrices.append(current)
    arrays["matrix"] = xp.stack([_spread(m, n, xp) for m in matrices], axis=1)
    if frames:
        arrays["frames"] = (
            xp.cast(xp.stack(frames, axis=1), "float32") if xp is not np else np.stack(frames, 1, dtype=np.float32)
        )
    if not stage.exact and plan.settings.antialias and plan.settings.interpolation != "nearest":
        arrays["reduction"] = _spread(_reduction(matrices, height, width, xp), n, xp, "int32")
    return arrays, height, width


def _number(side: Any, xp: Any) -> Array:
    return constant([side], xp) if isinstance(side, int) else side


def _full(side: Array, n: int, xp: Any) -> Array:
    return xp.broadcast_to(side, (n,))


def _reduction(matrices: list[Array], height: Array, width: Array, xp: Any) -> Array:
    """1, 2, 4 or 8: the largest power of two by which the warp shrinks both axes of the source, at the centre."""
    total = matrices[0]
    for matrix in matrices[1:]:
        total = matmul(total, matrix, xp)
    x, y = 0.5 * width, 0.5 * height
    w = total[:, 2, 0] * x + total[:, 2, 1] * y + total[:, 2, 2]
    steps = []
    for row in range(2):
        at = (total[:, row, 0] * x + total[:, row, 1] * y + total[:, row, 2]) / w
        across, down = ((total[:, row, k] - at * total[:, 2, k]) / w for k in range(2))
        steps.append(xp.sqrt(across * across + down * down))
    shrink = xp.minimum(steps[0], steps[1]) * (1.0 + 1e-4)  # 2 means 2 in float32, too
    return sum((xp.where(shrink >= 2.0 * r, float(r), 0.0) for r in (1, 2, 4)), 1.0 + 0.0 * shrink)


def _colour(op: ColorOp, draw: Draw, n: int) -> tuple[Array, Array | None]:
    xp, plan = draw.xp, draw.plan
    active = draw.active(op.places[0], n)
    for index in op.places[1:]:
        active = xp.maximum(active, draw.active(index, n))
    if op.kind == "affine":
        channels = plan.spec.channels
        total = colour_identity(channels, xp)
        for index in op.places:
            step = plan.transform(index).affine(draw.u[index], channels, xp)
            total = compose_colour(_where(draw.fires[index], step, colour_identity(channels, xp), xp), total, xp)
        return active, _spread(total, n, xp)
    if op.kind == "table":
        x = constant(np.linspace(0.0, 1.0, plan.table_nodes)[None, :, None], xp)
        for index in op.places:
            curve = xp.clip(plan.transform(index).curve(draw.u[index], x, xp), 0.0, 1.0)
            x = _where(draw.fires[index], curve, x, xp)
        return active, _spread(x, n, xp)
    if op.kind == "hue":
        return active, _spread(plan.transform(op.places[0]).shift(draw.u[op.places[0]], xp), n, xp)
    return active, None


def _keys(u: Array, xp: Any) -> Array:
    """Two columns of uniforms -> two 24-bit words that key per-pixel noise."""
    words = u[:, :2] * 2.0**24
    return words.astype(np.int32) if xp is np else xp.cast(words, "int32")


def _filter(stage: FilterStage, draw: Draw, n: int) -> dict[str, Array]:
    transform, u, xp = draw.plan.transform(stage.place), draw.u[stage.place], draw.xp
    active = draw.active(stage.place, n)
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
        arrays[f"active{i}"] = draw.active(index, n)
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
        "active": draw.active(stage.place, n),
    }
    if rect is not None:
        arrays["rect"] = _spread(_where(fires, rect, 0.0 * rect, xp), n, xp, "int32")
    return arrays


def partners(draws: Array, valid: int, xp: Any = np) -> Array:
    """[n] indices of the partners among the first `valid` samples, never the sample itself (unless it is alone)."""
    n = draws.shape[0]
    own = constant(np.arange(n), xp)
    others = float(max(valid - 1, 1))
    return (own + 1.0 + integer(draws * 1.0, others, xp)) % float(max(valid, 1))


def _host_dtype(name: str) -> Any:
    """What the kernels take: flags as bytes, keys as words; None keeps the dtype."""
    entry = name.split(".")[1]
    return np.uint8 if entry.startswith("active") else np.uint32 if entry.startswith("keys") else None


def draw(plan: Plan, seed: int, epoch: int, ids: np.ndarray, occurrence: Any, sizes: np.ndarray) -> Params:
    """The parameters of a batch on the host. ids: [n] integers; sizes: [n, 2] (height, width) of the images."""
    same = plan.spec.images[0] is not None and plan.spec.images[1] is not None
    sides = np.asarray(sizes[:1] if same else sizes, dtype=np.float64)
    arrays = draw_arrays(plan, seed, epoch, ids, occurrence, sides[:, 0], sides[:, 1], len(ids))
    arrays = {name: np.ascontiguousarray(value, dtype=_host_dtype(name)) for name, value in arrays.items()}
    return Params(arrays, np.asarray(sizes, dtype=np.int32), fingerprint(plan))
