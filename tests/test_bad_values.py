"""Policies that cannot be: every declared rule of every parameter, and what does not fit together. One line each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import onewarp as ow
from onewarp.plan import Settings
from onewarp.transform import Combinator
from onewarp.transforms import vocabulary

NEEDED = {"size": 8, "padding": 2}  # what has no default
RULES = [
    (cls, field.name, field.metadata["rule"], bad)
    for cls in vocabulary().values()
    for field in dataclasses.fields(cls)
    if "rule" in field.metadata
    for bad in field.metadata["rule"].bad
]


def needed(cls: type) -> dict[str, Any]:
    """Values for the arguments of a transform that have no default."""
    found = {f.name: NEEDED[f.name] for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING}
    return {**found, "transforms": [ow.Rotate(), ow.Shear()]} if issubclass(cls, Combinator) else found


def message(call: Callable[[], Any], error: type[Exception]) -> str:
    with pytest.raises(error) as refusal:
        call()
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("cls", "name", "rule", "bad"), RULES, ids=[f"{cls.__name__}-{name}-{bad}" for cls, name, _, bad in RULES]
)
def test_every_rule_refuses_what_it_declares_bad(cls, name, rule, bad) -> None:
    said = message(lambda: cls(**{**needed(cls), name: bad}), ow.InputError)
    assert said == f"{cls.__name__}({name}={bad!r}): {name} must be {rule.wanted}"


@pytest.mark.parametrize("cls", vocabulary().values())
def test_every_parameter_declares_its_rule(cls) -> None:
    for field in dataclasses.fields(cls):
        rule = field.metadata.get("rule")
        if field.name in ("name", "transforms"):
            continue
        assert rule is not None and len(rule.bad) >= 2 and rule.wanted, f"{cls.__name__}.{field.name} has no rule"
        if field.default is not dataclasses.MISSING:
            rule.check(cls.__name__, field.name, field.default)
    cls(**needed(cls))  # what is needed and the defaults are enough


@pytest.mark.parametrize("cls", vocabulary().values())
def test_the_probability_is_given_by_name(cls) -> None:
    (p,) = (field for field in dataclasses.fields(cls) if field.name == "p")
    if p.kw_only:
        with pytest.raises(TypeError):
            cls(*needed(cls).values(), *[0.5] * 20)
    else:
        pytest.fail(f"{cls.__name__}: p can be passed by position")


SETTING_RULES = [
    (field.name, bad)
    for field in dataclasses.fields(Settings)
    if "rule" in field.metadata
    for bad in field.metadata["rule"].bad
]


@pytest.mark.parametrize(("name", "bad"), [*SETTING_RULES, ("dtype", "int8"), ("dtype", 8), ("antialias", "often")])
def test_every_setting_of_a_policy_is_checked(name, bad) -> None:
    said = message(lambda: ow.Policy([], **{name: bad}), (ow.InputError, ow.PolicyError))
    assert f"({name}={bad!r}): {name} must be " in said


# --- what is no policy --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [[ow.Rotate], [3], ["Rotate"], "Rotate", [[ow.Rotate()]], 3, None])
def test_what_holds_no_transforms_is_no_policy(given) -> None:
    said = message(lambda: ow.Policy(given), ow.PolicyError)
    assert "HorizontalFlip()" in said and "not a transform" in said


@pytest.mark.parametrize("resize", [0.5, 0, -1, float("nan"), "large"])
def test_a_deterministic_policy_covers_its_crop(resize) -> None:
    said = message(lambda: ow.Policy([ow.RandomResizedCrop(8)]).deterministic(resize=resize), ow.InputError)
    assert f"resize={resize!r}" in said and "at least 1" in said


MEMBERS: list[tuple[Callable[[], Any], str]] = [
    (lambda: ow.OneOf([]), "transforms must be a list of at least one transform"),
    (lambda: ow.OneOf(["Rotate"]), "transforms must be a list of at least one transform"),
    (lambda: ow.Sometimes(None), "transforms must be a list of at least one transform"),
    (lambda: ow.OneOf([ow.Rotate(), ow.Shear()], weights=(1, 2, 3)), "weights must be 2 numbers >= 0, not all zero"),
    (lambda: ow.OneOf([ow.Rotate(), ow.Shear()], weights=(0, 0)), "weights must be 2 numbers >= 0, not all zero"),
    (lambda: ow.OneOf([ow.Rotate(), ow.Shear()], weights=(-1, 2)), "weights must be 2 numbers >= 0, not all zero"),
    (lambda: ow.OneOf([ow.Rotate(), ow.Shear()], weights=2.0), "weights must be 2 numbers >= 0, not all zero"),
    (lambda: ow.SomeOf([ow.Rotate()], n=2), "n must not exceed the number of members, 1"),
    (lambda: ow.Normalize(mean=0.5), "give a preset alone (imagenet, torch, tf, caffe), or both mean and std"),
    (lambda: ow.Normalize("imagenet", std=0.5), "give a preset alone"),
    (lambda: ow.Normalize(0.5, 0), "std must be positive"),
    (lambda: ow.Normalize("imagenet", p=0.5), "p must be 1"),
    (lambda: ow.Rescale(p=0.5), "p must be 1"),
    (lambda: ow.Normalize.fit([]), "the source is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "part"), MEMBERS)
def test_a_transform_whose_arguments_do_not_fit_together(make, part) -> None:
    assert part in message(make, ow.InputError)


# --- what does not fit the images ---------------------------------------------------------------------------------

OPEN, WIDE, GREY, RGBA, FIVE = ((None, None, 3), (8, 10, 3), (8, 8, 1), (8, 8, 4), (8, 8, 5))
SIZING = ("RandomResizedCrop(size)", "Resize(size)", "LetterBox(size)", "CenterCrop(size)")
PLANS: list[tuple[list[Any], Any, tuple[str, ...]]] = [
    ([ow.Rotate()], OPEN, ("the images differ in size and the policy sets none", *SIZING)),
    ([], OPEN, ("the images differ in size", *SIZING)),
    ([ow.ResizeShortest(8)], OPEN, ("the images differ in size", *SIZING)),
    ([ow.Pad(2)], OPEN, ("the images differ in size", *SIZING)),
    ([ow.Rotate(), ow.GaussianBlur(), ow.Resize(8)], OPEN, ("differ in size", "before a filter or erase", *SIZING)),
    ([ow.Rotate90()], WIDE,
     ("Rotate90 exchanges the sides of a frame of 8x10", "add Resize(size) or a crop behind it")),
    ([ow.Transpose()], WIDE, ("Transpose exchanges the sides of a frame of 8x10", "add Resize(size)")),
    ([ow.Rotate(), ow.D4()], WIDE, ("D4 exchanges the sides", "add Resize(size)")),
    ([ow.OneOf([ow.Rotate90(), ow.HorizontalFlip()])], WIDE, ("members of OneOf differ in output size",)),
    ([ow.OneOf([ow.Resize(8), ow.RandomCrop(9)])], WIDE,
     ("the members of OneOf differ in output size", "Resize gives 8x8", "RandomCrop gives 9x9", "resize after OneOf")),
    ([ow.SomeOf([ow.Resize(8), ow.Rotate()], n=1)], WIDE,
     ("the members of SomeOf differ in output size", "Rotate gives 8x10")),
    ([ow.Saturation()], GREY, ("Saturation needs RGB", "the images have 1", "remove it or convert")),
    ([ow.Hue()], FIVE, ("Hue needs RGB", "the images have 5")),
    ([ow.Hue(method="hsv")], GREY, ("Hue needs RGB",)),
    ([ow.Grayscale()], GREY, ("Grayscale needs RGB",)),
    ([ow.ChannelShuffle()], GREY, ("ChannelShuffle needs RGB",)),
    ([ow.Contrast()], FIVE, ("Contrast needs RGB",)),
    ([ow.ColorJitter(saturation=0.1)], GREY, ("ColorJitter needs RGB",)),
    ([ow.ChannelShift()], FIVE, ("ChannelShift takes images of 1, 3 or 4 channels, not 5", "remove it")),
    ([ow.OneOf([ow.Hue(), ow.Gamma()])], GREY, ("Hue needs RGB",)),
    ([ow.Normalize("caffe")], RGBA, ("Normalize('caffe') needs 3 channels, the images have 4", "mean= and std=")),
    ([ow.Normalize("imagenet")], GREY,
     ("Normalize's mean has 3 numbers, the images have 1 channels", "one for each channel")),
    ([ow.Normalize(0.5, (1, 2))], WIDE, ("Normalize's std has 2 numbers", "one for each channel")),
    ([ow.Rescale((1, 2))], WIDE, ("Rescale's scale has 2 numbers", "one for each channel")),
    ([ow.RandomErasing(fill_value=(1, 2))], WIDE,
     ("RandomErasing", "fill_value", "3 channels", "one for each channel")),
    ([ow.Normalize(), ow.Rotate()], WIDE,
     ("Rotate comes after Normalize, which must be last", "move Normalize behind it")),
    ([ow.Rescale(), ow.GaussianBlur()], WIDE, ("GaussianBlur comes after Rescale, which must be last",)),
    ([ow.MixUp(), ow.Normalize()], WIDE, ("Normalize comes after MixUp, which must be last",)),
    ([ow.CutMix(), ow.Rotate()], WIDE, ("Rotate comes after CutMix, which must be last",)),
    ([ow.Sometimes([ow.Normalize()])], WIDE, ("Normalize stands in a combinator", "move Normalize to the end")),
]  # fmt: skip


@pytest.mark.parametrize(("transforms", "shape", "parts"), PLANS, ids=[f"{case[0]}"[:60] for case in PLANS])
def test_a_policy_that_does_not_fit_the_images_says_why(transforms, shape, parts) -> None:
    policy = ow.Policy(transforms)
    said = message(lambda: policy.plan(ow.Spec(shape)), ow.PolicyError)
    for part in parts:
        assert part in said


def test_the_same_is_said_when_the_policy_is_called() -> None:
    images = [np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)]
    said = message(lambda: ow.Policy([ow.Rotate()])(images), ow.PolicyError)
    assert all(part in said for part in SIZING)


def test_fill_values_fit_the_channels_and_the_dtype_of_masks() -> None:
    images = np.zeros((2, 8, 8, 3), np.uint8)
    said = message(lambda: ow.Policy([ow.Rotate()], fill_value=(1, 2))(images), ow.PolicyError)
    assert "fill_value has 2 numbers, the images have 3 channels" in said
    batch = {"images": images, "segmentation_masks": images[..., 0]}
    said = message(lambda: ow.Policy([ow.Rotate()], mask_fill_value=-1)(batch), ow.InputError)
    assert "mask_fill_value=-1 does not fit the masks' dtype uint8" in said and "widen the masks" in said


def test_a_class_of_no_kind_is_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Kindless(ow.Transform):
        pass

    said = message(lambda: ow.Policy([Kindless()]).plan(ow.Spec(WIDE)), ow.PolicyError)
    assert "Kindless is none of Geometric, Color, Filter, Erase, Mix" in said
