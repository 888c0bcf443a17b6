"""Which random numbers a transform gets: its own, whatever else a policy holds; a name pins them for good."""

from __future__ import annotations

import numpy as np
import pytest

import onewarp as ow
from onewarp.draw import Draw

SPEC = ow.Spec((16, 16, 3))
IDS = np.arange(32)


def numbers(policy: ow.Policy) -> dict[str, np.ndarray]:
    """Label of a transform -> the uniforms it gets, the one for `p` left out."""
    plan = policy.plan(SPEC)
    drawn = Draw(plan, 7, 3, IDS, None, np)
    return {place.label: u for place, u in zip(plan.places, drawn.u, strict=True) if u is not None and u.size}


BASE = [ow.Rotate(20), ow.Scale(), ow.Brightness(), ow.GaussianNoise(), ow.RandomErasing(), ow.MixUp()]


@pytest.mark.parametrize(
    "added", [ow.HorizontalFlip(), ow.Translate(), ow.Contrast(), ow.Grayscale(), ow.GaussianBlur(), ow.CoarseDropout()]
)
@pytest.mark.parametrize("place", [0, 1, 3, 5])
def test_adding_a_transform_of_another_class_leaves_the_others_alone(added, place) -> None:
    before = numbers(ow.Policy(BASE))
    after = numbers(ow.Policy([*BASE[:place], added, *BASE[place:]]))
    assert set(before) <= set(after)
    for label, u in before.items():
        np.testing.assert_array_equal(after[label], u, err_msg=label)


def test_removing_and_reordering_leave_the_others_alone() -> None:
    everything = numbers(ow.Policy(BASE))
    fewer = numbers(ow.Policy([BASE[2], BASE[0]]))
    assert set(fewer) == {"Brightness", "Rotate"}
    for label, u in fewer.items():
        np.testing.assert_array_equal(everything[label], u)


def test_parameters_and_settings_do_not_change_the_numbers() -> None:
    few = numbers(ow.Policy([ow.Rotate(5), ow.Scale()]))
    np.testing.assert_array_equal(few["Rotate"], numbers(ow.Policy([ow.Rotate(90)], fill_mode="wrap"))["Rotate"])
    often, seldom = (numbers(ow.Policy([ow.Rotate(5, p=p)]))["Rotate"] for p in (0.9, 0.1))
    np.testing.assert_array_equal(often, seldom)


def test_two_of_one_class_have_different_numbers() -> None:
    found = numbers(ow.Policy([ow.Rotate(20), ow.Scale(), ow.Rotate(20)]))
    assert set(found) == {"Rotate", "Scale", "Rotate#2"}
    assert not np.intersect1d(found["Rotate"], found["Rotate#2"]).size


def test_classes_have_different_numbers() -> None:
    found = list(numbers(ow.Policy(BASE)).values())
    assert len(np.unique(np.concatenate([u.ravel() for u in found]))) == sum(u.size for u in found)


def test_a_combinator_around_a_transform_leaves_its_numbers_alone() -> None:
    alone = numbers(ow.Policy([ow.Rotate(20), ow.Shear()]))
    for combined in (ow.OneOf([ow.Rotate(20), ow.Shear()]), ow.Sometimes([ow.Rotate(20), ow.Shear()], p=0.5)):
        inside = numbers(ow.Policy([combined]))
        for label in ("Rotate", "Shear"):
            np.testing.assert_array_equal(inside[label], alone[label])


def test_a_name_pins_the_numbers_for_good() -> None:
    pinned = ow.Rotate(20, name="tilt")
    alone = numbers(ow.Policy([pinned]))["name:tilt"]
    for transforms in (
        [ow.Rotate(5), pinned],
        [pinned, ow.Rotate(5)],
        [ow.OneOf([ow.Rotate(3), pinned, ow.Rotate(9)])],
    ):
        np.testing.assert_array_equal(numbers(ow.Policy(transforms))["name:tilt"], alone)


def test_a_named_transform_does_not_count_among_its_class() -> None:
    without = numbers(ow.Policy([ow.Rotate(20), ow.Rotate(5)]))
    among = numbers(ow.Policy([ow.Rotate(20), ow.Rotate(7, name="tilt"), ow.Rotate(5)]))
    for label in ("Rotate", "Rotate#2"):
        np.testing.assert_array_equal(among[label], without[label])


def test_a_name_is_no_class_name() -> None:
    found = numbers(ow.Policy([ow.Rotate(20), ow.Shear(name="Rotate")]))
    assert not np.intersect1d(found["Rotate"], found["name:Rotate"]).size


def test_a_pinned_class_may_be_replaced() -> None:
    """The name alone is the key: another class under the same name gets the same numbers."""
    a = numbers(ow.Policy([ow.Rotate(20, name="mine")]))["name:mine"]
    b = numbers(ow.Policy([ow.Scale(name="mine")]))["name:mine"]
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "transforms",
    [
        [ow.Rotate(20, name="mine"), ow.Rotate(5, name="mine")],
        [ow.Rotate(20, name="mine"), ow.Brightness(name="mine")],
        [ow.Rotate(20, name="mine"), ow.Sometimes([ow.Brightness(name="mine")])],
    ],
)
def test_a_name_twice_is_refused(transforms) -> None:
    with pytest.raises(ow.PolicyError, match="two transforms have the name 'mine'"):
        ow.Policy(transforms).plan(SPEC)


@pytest.mark.parametrize("name", [5, ["a"], b"tilt"])
def test_a_name_that_is_no_text_is_refused(name) -> None:
    with pytest.raises(ow.InputError, match="name"):
        ow.Rotate(20, name=name)
