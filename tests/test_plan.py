"""Lowering: what fuses, what is refused, what is printed; and that an illegal plan is noticed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import onewarp as ow
from onewarp.lower import lower
from onewarp.plan import ColorStage, EraseStage, MixStage, OutputStage, WarpStage, check_plan

PHOTO = ow.Spec(images=(480, 640, 3))


def stages(policy: ow.Policy, spec: ow.Spec = PHOTO) -> list[str]:
    return [type(stage).__name__.removesuffix("Stage") for stage in policy.plan(spec).stages]


def test_the_usual_policy_is_one_warp_one_colour_pass_one_erase() -> None:
    policy = ow.Policy(
        [
            ow.RandomResizedCrop(224, scale=(0.35, 1.0)),
            ow.HorizontalFlip(),
            ow.Rotate(15),
            ow.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1),
            ow.Shear(10),
            ow.RandomErasing(p=0.5),
            ow.Normalize("imagenet"),
        ],
        fill_mode="reflect",
    )
    plan = policy.plan(PHOTO)
    assert stages(policy) == ["Warp", "Color", "Erase", "Output"]
    assert (plan.output_shape, plan.output_dtype) == ((224, 224, 3), "float32")
    assert str(plan).splitlines() == [
        "480x640 x 3 uint8 in [0, 255]",
        "1 warp: RandomResizedCrop, HorizontalFlip, Rotate, Shear -> 224x224 bilinear, fill reflect, antialias",
        "2 colour pass: ColorJitter (map)",
        "3 erase: RandomErasing",
        "4 output: Normalize -> float32 channels_last",
    ]


FUSION = [
    ([ow.Rotate(5), ow.Shear(5), ow.ElasticTransform(), ow.Perspective()], ["Warp", "Output"]),
    ([ow.Brightness(), ow.Rotate(5), ow.Contrast()], ["Warp", "Color", "Output"]),
    ([ow.Rotate(5), ow.GaussianBlur(), ow.Rotate(5)], ["Warp", "Filter", "Warp", "Output"]),
    ([ow.Rotate(5), ow.RandomErasing(), ow.CoarseDropout(), ow.Rotate(5)], ["Warp", "Erase", "Warp", "Output"]),
    ([ow.RandomErasing(), ow.Invert()], ["Erase", "Color", "Output"]),
    ([ow.GaussianBlur(), ow.GaussianNoise()], ["Filter", "Filter", "Output"]),
    ([ow.Normalize(), ow.MixUp(), ow.CutMix()], ["Output", "Mix", "Mix"]),
    ([ow.Rescale(1 / 255), ow.Normalize(0.5, 0.5)], ["Output"]),
    ([ow.OneOf([ow.GaussianBlur(), ow.Rotate(5)]), ow.Invert()], ["Filter", "Warp", "Color", "Output"]),
    ([], ["Output"]),
]


@pytest.mark.parametrize("transforms, expected", FUSION, ids=["-".join(e) + str(i) for i, (_, e) in enumerate(FUSION)])
def test_fusion(transforms: list, expected: list[str]) -> None:
    assert stages(ow.Policy(transforms)) == expected


OPS = [
    ([ow.Brightness(), ow.Saturation(), ow.Hue(), ow.ChannelShift()], ["affine"]),
    ([ow.Gamma(), ow.Solarize(), ow.Posterize()], ["table"]),
    ([ow.Brightness(), ow.Gamma(), ow.Brightness()], ["affine", "table", "affine"]),
    ([ow.ColorJitter(0.1, 0.1, 0.1, 0.1, hue_method="hsv"), ow.Brightness()], ["affine", "hue", "affine"]),
    ([ow.AutoContrast(), ow.AutoContrast(), ow.Equalize()], ["autocontrast", "autocontrast", "equalize"]),
    ([ow.Invert(), ow.Normalize("caffe")], ["affine"]),
]


@pytest.mark.parametrize("transforms, expected", OPS)
def test_colour_ops_fuse_by_kind(transforms: list, expected: list[str]) -> None:
    stage = ow.Policy(transforms).plan(PHOTO).stages[0]
    assert isinstance(stage, ColorStage)
    assert [op.kind for op in stage.ops] == expected


def test_a_plan_is_cached_on_what_it_depends_on() -> None:
    make = lambda: ow.Policy([ow.Rotate(5), ow.Resize(32)])  # noqa: E731
    assert make().plan(PHOTO) is make().plan(ow.Spec((480, 640, 3)))
    assert make().plan(PHOTO) is not make().plan(ow.Spec((480, 641, 3)))
    assert hash(make().plan(PHOTO)) == hash(make().plan(PHOTO))


EXACT = [
    (ow.HorizontalFlip(p=1), lambda x: x[:, :, ::-1]),
    (ow.VerticalFlip(p=1), lambda x: x[:, ::-1]),
    (ow.CenterCrop((20, 31)), lambda x: x[:, 5:25, 3:34]),
    (ow.Pad((2, 3)), lambda x: np.pad(x, ((0, 0), (2, 2), (3, 3), (0, 0)))),
]


@pytest.mark.parametrize("transform, expected", EXACT, ids=lambda v: type(v).__name__)
def test_exact_copies(transform: ow.Transform, expected: object, rng: np.random.Generator) -> None:
    x = rng.integers(0, 256, (3, 31, 38, 3), dtype=np.uint8)
    policy = ow.Policy([transform])
    assert "exact copy" in str(policy.plan(ow.Spec.of(x)))
    np.testing.assert_array_equal(policy(x, seed=0), expected(x))  # type: ignore[operator]


def test_quarter_turns_and_transposes_are_exact_copies(rng: np.random.Generator) -> None:
    x = rng.integers(0, 256, (64, 9, 9, 3), dtype=np.uint8)
    turned = ow.Policy([ow.Rotate90()])(x, seed=0)
    counts = np.zeros(4, int)
    for before, after in zip(x, turned, strict=True):
        matches = [np.array_equal(after, np.rot90(before, k)) for k in range(4)]
        assert sum(matches) == 1
        counts += matches
    assert (counts > 5).all()
    np.testing.assert_array_equal(ow.Policy([ow.Transpose(p=1)])(x, seed=0), x.transpose(0, 2, 1, 3))
    symmetric = ow.Policy([ow.D4()])(x, seed=0)
    eight = [lambda i, k=k, m=m: np.rot90(i[:, ::-1] if m else i, k) for k in range(4) for m in (0, 1)]
    found = {next(j for j, f in enumerate(eight) if np.array_equal(a, f(b))) for b, a in zip(x, symmetric, strict=True)}
    assert found == set(range(8))


def test_odd_turns_of_frames_that_are_not_square_need_a_size() -> None:
    for transform in (ow.Rotate90(), ow.Transpose(), ow.D4()):
        with pytest.raises(ow.PolicyError, match=r"exchanges the sides of a frame of 480x640.*add Resize"):
            ow.Policy([transform]).plan(PHOTO)
        assert ow.Policy([transform, ow.CenterCrop(224)]).plan(PHOTO).size == (224, 224)
        assert ow.Policy([transform]).plan(ow.Spec((64, 64, 3))).size == (64, 64)


def test_a_quarter_turn_before_a_resize_keeps_its_frame(rng: np.random.Generator) -> None:
    x = rng.integers(0, 256, (32, 20, 30, 1), dtype=np.uint8)
    result = ow.Policy([ow.Transpose(p=0.5), ow.Resize((30, 20))])(x, seed=1)
    exact = [np.array_equal(r[..., 0], i[..., 0].T) for r, i in zip(result, x, strict=True)]
    assert 5 < sum(exact) < 27  # those that fired are exact transposes, the others are stretched


def test_sizes_that_are_not_fixed_are_refused_with_the_remedy() -> None:
    anything = ow.Spec((None, None, 3))
    for transforms in ([], [ow.HorizontalFlip()], [ow.ResizeShortest(20)], [ow.Pad(2)]):
        with pytest.raises(ow.PolicyError, match=r"differ in size.*RandomResizedCrop\(size\)"):
            ow.Policy(transforms).plan(anything)
    assert ow.Policy([ow.ResizeShortest(20), ow.CenterCrop(16)]).plan(anything).size == (16, 16)


def test_members_of_a_combinator_agree_in_size() -> None:
    with pytest.raises(ow.PolicyError, match=r"members of OneOf differ in output size .*Resize gives 20x20"):
        ow.Policy([ow.OneOf([ow.Resize(20), ow.HorizontalFlip()])]).plan(PHOTO)
    ow.Policy([ow.OneOf([ow.Resize(20), ow.CenterCrop(20)])]).plan(PHOTO)
    ow.Policy([ow.Sometimes([ow.Resize(40), ow.CenterCrop(20)])]).plan(PHOTO)


ORDER = [
    [ow.Normalize(), ow.Brightness()],
    [ow.Normalize(), ow.Rotate(5)],
    [ow.Normalize(), ow.RandomErasing()],
    [ow.MixUp(), ow.GaussianBlur()],
    [ow.MixUp(), ow.Normalize()],
]


@pytest.mark.parametrize("transforms", ORDER)
def test_what_must_be_last_is(transforms: list) -> None:
    first, second = (type(t).__name__ for t in transforms)
    with pytest.raises(ow.PolicyError, match=f"{second} comes after {first}, which must be last; move {first} behind"):
        ow.Policy(transforms).plan(PHOTO)


def test_normalize_is_not_left_to_chance() -> None:
    with pytest.raises(ow.PolicyError, match="Normalize stands in a combinator"):
        ow.Policy([ow.Sometimes([ow.Normalize()])]).plan(PHOTO)


def test_geometry_comes_before_colour_whatever_the_order(rng: np.random.Generator) -> None:
    x = rng.integers(0, 256, (2, 20, 20, 3), dtype=np.uint8)
    one = ow.Policy([ow.Invert(p=1), ow.Rotate(30)], fill_value=10)(x, seed=0)
    other = ow.Policy([ow.Rotate(30), ow.Invert(p=1)], fill_value=10)(x, seed=0)
    np.testing.assert_array_equal(one, other)
    assert (one[:, 0, 0] == 245).all()  # colour acts on the whole frame, the fill included


def test_fusion_samples_the_source_not_the_crop(rng: np.random.Generator) -> None:
    """What a crop cut off can come back where a later rotation looks for it."""
    x = rng.integers(100, 256, (1, 60, 60, 1), dtype=np.uint8)
    result = ow.Policy([ow.CenterCrop(30), ow.Rotate((45, 45))])(x, seed=0)
    assert (result > 0).all()


def test_check_plan_can_fail() -> None:
    plan = ow.Policy([ow.Rotate(5), ow.Brightness(), ow.GaussianBlur(), ow.Resize(32), ow.MixUp()]).plan(PHOTO)
    check_plan(plan)
    kinds = {type(stage): stage for stage in plan.stages}
    warp, colour, output, mix = (kinds[k] for k in (WarpStage, ColorStage, OutputStage, MixStage))
    wrong = {
        "output stages": [s for s in plan.stages if s is not output],
        "after the output": [*plan.stages, colour],
        "neighbouring": [warp, *plan.stages],
        "colour before geometry": [plan.stages[1], plan.stages[0], *plan.stages[2:]],
        "a mix before": [mix, *plan.stages],
        "a warp from": [dataclasses.replace(plan.stages[0], source=(1, 1)), *plan.stages[1:]],
        "an empty": [plan.stages[0], ColorStage((dataclasses.replace(colour.ops[0], places=()),)), *plan.stages[2:]],
    }
    for fact, broken in wrong.items():
        with pytest.raises(ow.PolicyError, match=rf"illegal plan: .*{fact}"):
            check_plan(dataclasses.replace(plan, stages=tuple(broken)))
    with pytest.raises(ow.PolicyError, match="illegal plan: a transform that no stage runs"):
        check_plan(dataclasses.replace(plan, places=(*plan.places, plan.places[0])))


def test_deterministic_keeps_what_sizes_and_normalises() -> None:
    policy = ow.Policy(
        [
            ow.RandomResizedCrop(224),
            ow.HorizontalFlip(),
            ow.Rotate(15),
            ow.ColorJitter(0.2),
            ow.GaussianBlur(),
            ow.OneOf([ow.Invert(), ow.Gamma()]),
            ow.RandomErasing(),
            ow.Normalize("imagenet"),
            ow.MixUp(),
        ],
        fill_mode="reflect",
    )
    kept = policy.deterministic()
    assert kept == ow.Policy([ow.ResizeCover(256), ow.CenterCrop(224), ow.Normalize("imagenet")], fill_mode="reflect")
    assert policy.deterministic(resize=1.0).transforms[0] == ow.ResizeCover(224)
    assert ow.Policy([ow.RandomCrop(32, padding=4)]).deterministic() == ow.Policy([ow.CenterCrop(32)])
    letter = ow.Policy([ow.LetterBox((64, 96)), ow.Rotate(3), ow.Rescale()])
    assert letter.deterministic() == ow.Policy([ow.LetterBox((64, 96)), ow.Rescale()])
    with pytest.raises(ow.InputError, match="resize must be at least 1"):
        policy.deterministic(resize=0.5)


def test_an_erase_stage_gathers_neighbouring_erases() -> None:
    stage = ow.Policy([ow.RandomErasing(), ow.GridDropout()]).plan(PHOTO).stages[0]
    assert isinstance(stage, EraseStage) and len(stage.places) == 2


def test_lower_is_a_function_of_transforms_settings_and_spec() -> None:
    policy = ow.Policy([ow.Rotate(5)])
    assert lower(policy.transforms, policy.settings, PHOTO) is policy.plan(PHOTO)
