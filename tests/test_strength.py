"""policy.strength: every row of the table, from itself at 1 to nothing at 0, with the same plan all the way."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import onewarp as ow
from onewarp.transform import Combinator, Mix
from table import ROWS, VARIANTS, Row
from test_table import every_row, pictures

P = 0.7  # makes every row random


def made(row: Row, p: float = P) -> ow.Policy:
    return ow.Policy([row.make(1.0 if row.always else p)])


def batch(row: Row, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"images": pictures(row, rng), "labels": np.eye(4, dtype=np.float32)}


@every_row
def test_1_is_the_policy_itself(row: Row) -> None:
    for p in (1.0, P):
        assert made(row, p).strength(1) == made(row, p)


@every_row
def test_0_does_nothing_whatever_the_seed(row: Row, rng: np.random.Generator) -> None:
    given = batch(row, rng)
    for p in (1.0, P):
        policy = made(row, p)
        found = [policy.strength(0)(given, seed=seed, epoch=seed)["images"] for seed in (1, 2, 3)]
        for other in found[1:]:
            np.testing.assert_array_equal(found[0], other)
        if policy.deterministic() == policy:  # nothing random in it: it stays
            assert policy.strength(0) == policy.strength(0.3) == policy
        elif found[0].shape == given["images"].shape:
            np.testing.assert_array_equal(found[0], given["images"])


@every_row
def test_the_stages_and_the_numbers_drawn_keep_their_shapes(row: Row, rng: np.random.Generator) -> None:
    given = batch(row, rng)
    for p in (1.0, P):
        policy = made(row, p)
        spec = ow.Spec.of(given["images"])
        plan, params = policy.plan(spec), policy.draw(given, seed=3)
        for strength in (0.0, 0.4, 1.0):
            weaker = policy.strength(strength)
            other = weaker.plan(spec)
            assert (other.output_shape, other.output_dtype) == (plan.output_shape, plan.output_dtype)
            assert [type(stage) for stage in other.stages] == [type(stage) for stage in plan.stages]
            drawn = weaker.draw(given, seed=3).arrays
            assert {name: (v.shape[1:], v.dtype) for name, v in drawn.items()} == {
                name: (v.shape[1:], v.dtype) for name, v in params.arrays.items()
            }
            if p == P:  # whether there is a warp at all may be known to be so for p = 1 alone
                assert set(drawn) == set(params.arrays)


@every_row
def test_in_between_it_lies_in_between(row: Row) -> None:
    """A half is another policy, and a half of a half is a quarter."""
    policy = made(row)
    half = policy.strength(0.5)
    if policy.deterministic() == policy:
        assert half == policy
        return
    assert half != policy and half != policy.strength(0)
    quarter, twice = policy.strength(0.25), half.strength(0.5)
    for one, other in zip(_numbers(quarter.transforms[0]), _numbers(twice.transforms[0]), strict=True):
        assert one == pytest.approx(other, rel=1e-12)


def _numbers(transform: ow.Transform) -> list[float]:
    found: list[float] = []
    for field in dataclasses.fields(transform):
        value = getattr(transform, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, ow.Transform):
                found += _numbers(part)
            elif isinstance(part, (int, float)):
                found.append(part)
    return found


@every_row
def test_it_round_trips(row: Row) -> None:
    policy = made(row).strength(0.3)
    assert ow.Policy.from_dict(policy.to_dict()) == policy


def test_every_row_is_random_or_certain() -> None:
    """The tests above would pass for a transform that `strength` left alone though it draws."""
    for row in ROWS + VARIANTS:
        certain = made(row).deterministic() == made(row)
        assert certain == row.always


def test_what_the_docstring_says() -> None:
    def of(*transforms: ow.Transform) -> tuple[ow.Transform, ...]:
        return ow.Policy(transforms).strength(0.5).transforms

    assert of(ow.Rotate((-10, 30))) == (ow.Rotate((-5, 15)),)
    assert of(ow.Scale((0.5, 2.0), p=0.4)) == (ow.Scale((0.75, 1.5), p=0.4),)
    assert of(ow.ColorJitter(0.4, 0.2, 0, 0.1)) == (ow.ColorJitter(0.2, 0.1, 0, 0.05),)
    assert of(ow.Translate(0.2)) == (ow.Translate(0.1),)
    assert of(ow.HorizontalFlip(p=0.5), ow.MixUp(p=0.8)) == (ow.HorizontalFlip(p=0.25), ow.MixUp(p=0.4))
    assert of(ow.GaussianBlur(p=0.5), ow.Posterize(4)) == (ow.GaussianBlur(p=0.25), ow.Posterize(4, p=0.25))
    assert of(ow.RandomCrop(32, 4)) == (ow.RandomCrop(32, 4, reach=0.5),)
    assert of(ow.RandomCrop(32, 4, p=0.5)) == (ow.RandomCrop(32, 4, p=0.25),)
    assert of(ow.RandomResizedCrop(32, (0.5, 1), (0.5, 2))) == (ow.RandomResizedCrop(32, (0.75, 1), (0.75, 1.5)),)
    assert of(ow.OneOf([ow.Rotate(10), ow.HorizontalFlip(p=1)], p=0.6)) == (
        ow.OneOf([ow.Rotate(5), ow.HorizontalFlip(p=0.5)], p=0.6),
    )
    assert of(ow.OneOf([ow.RandomCrop(8), ow.Resize(8)])) == (ow.OneOf([ow.RandomCrop(8), ow.Resize(8)], p=0.5),)
    assert of(ow.Resize(8), ow.Invert(p=1), ow.Normalize("tf")) == (ow.Resize(8), ow.Invert(p=1), ow.Normalize("tf"))


def test_settings_and_names_stay() -> None:
    policy = ow.Policy([ow.Rotate(10, name="tilt")], fill_mode="reflect", min_area=3)
    weaker = policy.strength(0.5)
    assert weaker.settings == policy.settings and weaker.transforms[0].name == "tilt"


def test_a_random_crop_of_no_reach_is_a_centre_crop(rng: np.random.Generator) -> None:
    for size, shape in ((20, (37, 52)), ((30, 41), (31, 50)), (40, (33, 64)), (32, (32, 32))):
        images = rng.integers(0, 256, (3, *shape, 3), dtype=np.uint8)
        policy = ow.Policy([ow.RandomCrop(size, padding=4)])
        np.testing.assert_array_equal(policy.strength(0)(images, seed=1), policy.deterministic()(images))
    corners = {
        tuple(ow.Policy([ow.RandomCrop(20, reach=0.5)]).draw(images, seed=s).arrays["0.matrix"][0, 0, :2, 2])
        for s in range(200)
    }
    lefts, tops = zip(*corners, strict=True)  # 32 - 20 = 12 pixels of room, of which 3...9 are used
    assert {*lefts} == {*tops} == set(range(3, 10))


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan"), "half", None, True])
def test_other_strengths_are_refused(strength: object) -> None:
    with pytest.raises(ow.InputError, match="strength must be a number in \\[0, 1\\]"):
        ow.Policy([ow.Rotate(5)]).strength(strength)  # type: ignore[arg-type]


def test_every_kind_of_row_is_scaled() -> None:
    """One of each way: by its parameters, by p, by its members."""
    ways = {"p": 0, "members": 0, "parameters": 0}
    for row in ROWS:
        transform = made(row).transforms[0]
        scaled = made(row).strength(0.5).transforms[0]
        if isinstance(transform, Combinator):
            ways["members"] += 1
        elif scaled.p != transform.p:
            ways["p"] += 1
            assert dataclasses.replace(scaled, p=transform.p) == transform
        elif not row.always:
            ways["parameters"] += 1
            assert not isinstance(transform, Mix)
    assert ways["p"] >= 10 and ways["parameters"] >= 15 and ways["members"] == 3
