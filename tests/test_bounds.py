"""What a plan says beforehand about every draw: how far a warp can shrink, and where a colour map uses no mean."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import onewarp as ow
from onewarp.draw import draw
from onewarp.plan import WarpStage
from onewarp.transform import Color, Geometric
from table import ROWS, VARIANTS, Row
from test_table import ALL, ids

N = 400
SPECS = [ow.Spec((37, 53, 3)), ow.Spec((160, 90, 3)), ow.Spec((64, 64, 3))]


def warp_of(policy: ow.Policy, spec: ow.Spec) -> WarpStage:
    return next(stage for stage in policy.plan(spec).stages if isinstance(stage, WarpStage))


def worst_reduction(policy: ow.Policy, spec: ow.Spec) -> int:
    """The largest box reduction among many draws, whatever the plan says of it."""
    plan = policy.plan(spec)
    stages = tuple(
        dataclasses.replace(stage, levels=(1, 2, 4, 8)) if isinstance(stage, WarpStage) else stage
        for stage in plan.stages
    )
    sizes = np.array([spec.images[:2]] * N)
    params = draw(dataclasses.replace(plan, stages=stages), 3, 0, np.arange(N), None, sizes)
    return max(int(value.max()) for name, value in params.arrays.items() if name.endswith(".reduction"))


@pytest.mark.parametrize("row", ALL, ids=ids(ALL))
def test_no_draw_shrinks_more_than_the_plan_allows(row: Row) -> None:
    transform = row.make(1.0)
    if not isinstance(transform, Geometric):
        pytest.skip("it moves nothing")
    for spec in SPECS:
        if row.square and spec.images[0] != spec.images[1]:
            continue
        for steps in ([transform], [ow.Scale((0.6, 1.0)), transform, ow.Shear(20, 5)], [row.make(0.5)]):
            policy = ow.Policy(steps)
            assert worst_reduction(policy, spec) <= warp_of(policy, spec).levels[-1], (row.name, spec)


def test_levels_that_are_known() -> None:
    spec = ow.Spec((256, 256, 3))
    for steps, levels in (
        ([ow.HorizontalFlip(), ow.Rotate(20), ow.Translate(0.2)], (1,)),
        ([ow.RandomResizedCrop(224), ow.Rotate(20)], (1,)),
        ([ow.RandomResizedCrop(128)], (1, 2)),
        ([ow.Resize(60)], (1, 2, 4)),
        ([ow.Scale((0.6, 1.2))], (1,)),
        ([ow.Scale((0.6, 1.2)), ow.Shear(30)], (1, 2)),
        ([ow.Perspective(0.4)], (1, 2, 4, 8)),
        ([ow.RandomResizedCrop(224, p=0.5)], (1, 2, 4, 8)),  # what does not fire may be stretched
    ):
        assert warp_of(ow.Policy(steps), spec).levels == levels, steps
        assert warp_of(ow.Policy(steps, antialias=False), spec).levels == (1,)
    assert warp_of(ow.Policy([ow.RandomResizedCrop(224)]), ow.Spec((None, None, 3))).levels == (1, 2, 4, 8)


@pytest.mark.parametrize(
    "row", [row for row in ROWS + VARIANTS if isinstance(row.make(1.0), Color)], ids=lambda r: r.name
)
def test_a_map_without_mean_has_none(row: Row, rng: np.random.Generator) -> None:
    transform = row.make(1.0)
    if "affine" not in transform.colour_steps():
        pytest.skip("no map")
    channels = max(c for c in row.channels if c <= 4)
    maps = transform.affine(rng.random((N, max(transform.uniform_count(), 1))), channels, np)
    used = bool(np.any(maps[:, :, channels : 2 * channels]))
    assert used == transform.uses_mean()
