"""The host engine: a plan carried out on NumPy arrays by the native kernels, straight into the caller's arrays.

One kernel call does a pass (`onewarp.engine.passes`) for a whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from onewarp import _native
from onewarp.blocks import BLOCKS
from onewarp.engine.passes import Pass, fills, passes, per_channel, smooth
from onewarp.errors import InputError, PolicyError
from onewarp.params import Params
from onewarp.plan import ColorStage, FilterStage, Plan, WarpStage

Images = np.ndarray | list[np.ndarray]

_STREAMED = 1 << 23  # bytes


@dataclass(frozen=True)
class _Step:
    """One kernel call: a pass with what the kernel needs to know beforehand."""

    parts: Pass
    kernel: Any = None
    size: tuple[int, int] | None = None  # of the frame it makes; None: that of its input
    fields: int = 0
    ops: int = 0
    erases: int = 0
    method: str = ""  # of a filter


@lru_cache(maxsize=256)
def _steps(plan: Plan) -> tuple[_Step, ...]:
    """The kernel calls of a plan."""
    return tuple(_step(plan, parts) for parts in passes(plan))


def _step(plan: Plan, parts: Pass) -> _Step:
    if parts.filter is not None:
        stage = plan.stages[parts.filter]
        assert isinstance(stage, FilterStage)
        return _Step(parts, method=plan.transform(stage.place).method)
    settings, channels, output = plan.settings, plan.spec.channels, plan.output
    size, fields, exact = None, 0, False
    ops: list[str] = []
    if parts.warp is not None:
        warp = plan.stages[parts.warp]
        assert isinstance(warp, WarpStage)
        size, fields, exact = warp.size, warp.fields, warp.exact
    if parts.colour is not None:
        colour = plan.stages[parts.colour]
        assert isinstance(colour, ColorStage)
        ops = [op.kind for op in colour.ops]
    erases = fills(plan, parts.erase)
    kernel = _native.Pass(
        channels,
        "nearest" if exact else settings.interpolation,
        settings.fill_mode,
        per_channel(settings.fill_value, channels),
        *plan.spec.range,
        ops,
        smooth(plan, parts.colour),
        erases,
        list(output.scale) if parts.last else [1.0] * channels,
        list(output.offset) if parts.last else [0.0] * channels,
        parts.last and settings.data_format == "channels_first",
    )
    return _Step(parts, kernel, size, fields, len(ops), len(erases))


def allocate(plan: Plan, n: int) -> np.ndarray:
    """An uninitialised array for the resulting images of a batch: [n, ...] in the plan's shape and dtype."""
    if plan.output_dtype == "bfloat16":  # NumPy has no such type
        raise PolicyError("bfloat16 is made on the device only; place the policy there, or use dtype='float32'")
    return BLOCKS.empty((n, *plan.output_shape), plan.output_dtype)


def streams(out: np.ndarray) -> bool:
    """Whether an array is more than the caches keep until it is used: writing it past them takes less time."""
    return out.nbytes >= _STREAMED


def _check_finite(plan: Plan, params: Params, start: int, count: int) -> None:
    for number, stage in enumerate(plan.stages):
        if isinstance(stage, WarpStage):
            names = ["matrix", *(f"field{i}" for i in range(stage.fields))]
            for name in names:
                values = params.arrays[f"{number}.{name}"][start : start + count]
                if not np.isfinite(values).all():
                    bad = start + int(np.argmax(~np.isfinite(values).all(axis=(1, 2, 3))))
                    raise InputError(
                        f"the warp's {name} of sample {bad} is not finite; check the transforms' parameters or the "
                        "params given"
                    )


def run_images(
    plan: Plan,
    params: Params,
    images: Images,
    out: np.ndarray | None = None,
    *,
    start: int = 0,
    threads: int = 1,
    streamed: bool | None = None,
) -> np.ndarray:
    """Everything but the mix, for images only.

    images: [n, h, w, c] or a list of [h, w, c]; out: where to write, [n, *plan.output_shape] (new by default);
    start: the row of the parameters that belongs to images[0]. The images are not written to. streamed: whether
    `out` is written past the caches; by default where it is more than they hold.
    """
    n = len(images)
    out = allocate(plan, n) if out is None else out
    streamed = streams(out) if streamed is None else streamed
    _check_finite(plan, params, start, n)
    current = images
    for step in _steps(plan):
        if step.parts.filter is not None:
            current = _run_filter(plan, params, step, current, start, threads)
            continue
        target = out if step.parts.last else _intermediate(plan, step, current)
        numbers = _numbers(step, params)
        step.kernel.run(current, target, **numbers, start=start, threads=threads, streamed=streamed and target is out)
        current = target
    return out


def _numbers(step: _Step, params: Params) -> dict[str, Any]:
    """The parameter arrays of a pass, as the kernel takes them."""
    arrays, w, c, e = params.arrays, step.parts.warp, step.parts.colour, step.parts.erase
    return {
        "matrices": None if w is None else arrays[f"{w}.matrix"],
        "fields": [arrays[f"{w}.field{i}"] for i in range(step.fields)],
        "frames": arrays[f"{w}.frames"] if step.fields else None,
        "reduction": arrays.get(f"{w}.reduction"),
        "ops": [(arrays.get(f"{c}.op{i}"), arrays[f"{c}.active{i}"]) for i in range(step.ops)],
        "erase": [
            (arrays[f"{e}.erase{i}"], arrays[f"{e}.active{i}"], arrays.get(f"{e}.keys{i}")) for i in range(step.erases)
        ],
    }


def takes_jpegs(plan: Plan) -> bool:
    """Whether `run_jpegs` can do anything under this plan: it is one pass from uint8 images of 1 or 3 channels."""
    one = len(_steps(plan)) == 1 and _steps(plan)[0].kernel is not None
    return _native.decodes_parts and one and plan.spec.dtype == "uint8" and plan.spec.channels in (1, 3)


def run_jpegs(
    plan: Plan,
    params: Params,
    jpegs: list[Any],
    places: np.ndarray,
    out: np.ndarray,
    *,
    start: int,
    streamed: bool,
    fast: bool,
) -> list[int]:
    """`run_images` on JPEGs: each is decoded as far as the plan reads it and warped while its pixels are in the cache.

    Nothing of Python happens between images: the decoder would have pushed its code out of the caches each time.

    jpegs: the bytes of each; places: int32 [n, 7], their heights, widths, parts (`onewarp.engine.visited`) and by how
    much they are reduced in decoding (`reduction`; 1 where that is left to the warp). fast: decode faster, with other
    pixels. Returns the numbers of those that have to be decoded by other means: several scans, CMYK, damage, no JPEG.
    """
    (step,) = _steps(plan)
    _check_finite(plan, params, start, len(jpegs))
    numbers = _numbers(step, params)
    options = {"start": start, "streamed": streamed, "fast": fast}
    left: list[int] = step.kernel.run_jpegs(jpegs, places, out, **numbers, **options)
    return left


def reduction(plan: Plan, params: Params, row: int) -> int:
    """By how much (1, 2, 4, 8) the image of a row is reduced before the plan's first warp samples it.

    1, too, where a smaller image could not stand for it: something comes before the warp, or it has a field.
    """
    first = plan.stages[0]
    if not isinstance(first, WarpStage) or first.fields or "0.reduction" not in params.arrays:
        return 1
    return int(params.arrays["0.reduction"][row])


def reduced_source(plan: Plan, params: Params, row: int, r: int) -> Params:
    """Parameters of one row for an image that has been reduced by r = `reduction(...)` already, by whatever means."""
    own = params.take(slice(row, row + 1))
    matrix = own.arrays["0.matrix"].copy()
    matrix[..., :2, :] /= r  # output to input point
    ones = np.ones_like(own.arrays["0.reduction"])
    return Params({**own.arrays, "0.matrix": matrix, "0.reduction": ones}, own.sizes, own.plan)


def _intermediate(plan: Plan, step: _Step, images: Images) -> Images:
    """Arrays for the result of a pass that is not the last."""
    if step.size is None:
        return _empty_like(images) if isinstance(images, np.ndarray) else [_empty_like(image) for image in images]
    return BLOCKS.empty((len(images), *step.size, plan.spec.channels), plan.spec.dtype)


def _empty_like(array: np.ndarray) -> np.ndarray:
    return BLOCKS.empty(array.shape, array.dtype)


def _run_filter(plan: Plan, params: Params, step: _Step, images: Images, start: int, threads: int) -> Images:
    arrays, s = params.arrays, step.parts.filter
    active = arrays[f"{s}.active"]
    if not active[start : start + len(images)].any():
        return images
    if not isinstance(images, np.ndarray):  # images of different sizes, one by one
        singles = [_run_filter(plan, params, step, image[None], start + i, 1) for i, image in enumerate(images)]
        return [single[0] for single in singles]
    out = _empty_like(images)
    if step.method == "blur":
        _native.gaussian_blur(images, out, arrays[f"{s}.weights"], active, start, threads)
    else:
        keys, std = arrays[f"{s}.keys"], arrays[f"{s}.std"]
        _native.gaussian_noise(images, out, std, keys, active, *plan.spec.range, start, threads)
    return out


def run_masks(plan: Plan, params: Params, masks: Images, *, start: int = 0, threads: int = 1) -> np.ndarray:
    """Masks [n, h, w] or [n, h, w, c] (or a list without n) through the plan's warps: nearest, dtype kept."""
    flat = masks[0].ndim == 2
    current: Images = (
        masks[..., None] if flat and isinstance(masks, np.ndarray) else [m[..., None] for m in masks] if flat else masks
    )
    dtype, channels = current[0].dtype, current[0].shape[2]
    fill = np.asarray(plan.settings.mask_fill_value)
    if np.issubdtype(dtype, np.integer) and not np.iinfo(dtype).min <= fill <= np.iinfo(dtype).max:
        raise InputError(
            f"mask_fill_value={plan.settings.mask_fill_value:g} does not fit the masks' dtype {dtype}; widen the masks"
        )
    moved = False
    for number, stage in enumerate(plan.stages):
        if not isinstance(stage, WarpStage):
            continue
        out = BLOCKS.empty((len(masks), *stage.size, channels), dtype)
        arrays = params.arrays
        _native.nearest(
            current,
            out,
            arrays[f"{number}.matrix"],
            [arrays[f"{number}.field{i}"] for i in range(stage.fields)],
            arrays[f"{number}.frames"] if stage.fields else None,
            plan.settings.fill_mode,
            fill.astype(dtype).tobytes(),
            start,
            threads,
        )
        current, moved = out, True
    result = np.asarray(current) if moved else np.array(current)
    return result[..., 0] if flat else result
