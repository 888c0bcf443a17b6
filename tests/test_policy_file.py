"""Policies as values: dictionaries, JSON, YAML, pickles; and what a file says that is not a policy."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import yaml

import onewarp as ow
from onewarp.fields import interval
from onewarp.lower import lower
from onewarp.matrices import identity
from onewarp.params import fingerprint
from onewarp.transforms import vocabulary

POLICIES = {
    "empty": ow.Policy([]),
    "defaults": ow.Policy([ow.HorizontalFlip(), ow.Rotate(), ow.ColorJitter(), ow.Normalize()]),
    "arguments": ow.Policy(
        [
            ow.RandomResizedCrop((224, 192), scale=(0.35, 1.0), ratio=(0.8, 1.25)),
            ow.Rotate((-5, 20), p=0.25),
            ow.Translate(0.1, height=(0, 0.2)),
            ow.ColorJitter(0.2, contrast=(0.5, 1.5), hue=0.1, hue_method="hsv"),
            ow.RandomErasing(fill_value="noise"),
            ow.CoarseDropout(holes=(2, 5), fill_value=(1, 2, 3)),
            ow.Normalize(mean=(0.1, 0.2, 0.3), std=0.5),
            ow.CutMix(0.7, p=0.5),
        ]
    ),
    "settings": ow.Policy(
        [ow.LetterBox(64)],
        interpolation="bicubic",
        fill_mode="reflect",
        fill_value=(124, 116.5, 104),
        mask_fill_value=255,
        antialias=False,
        min_area=16,
        min_visibility=0.25,
        dtype="float16",
        data_format="channels_first",
    ),
    "combinators": ow.Policy(
        [
            ow.OneOf([ow.GaussianBlur((0.1, 2)), ow.Sometimes([ow.Invert(), ow.Gamma(2.0)], p=0.3)], weights=(3, 1)),
            ow.SomeOf([ow.Brightness(), ow.Contrast(), ow.Solarize(0.3, name="sun")], n=(0, 2), p=0.9),
        ]
    ),
    "names": ow.Policy([ow.Rotate(10, name="tilt"), ow.Rotate(5)]),
}
each_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)


# --- there and back -----------------------------------------------------------------------------------------------


@each_policy
def test_a_policy_comes_back_from_every_form(policy, tmp_path) -> None:
    assert ow.Policy.from_dict(policy.to_dict()) == policy
    assert ow.Policy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy
    policy.to_json(tmp_path / "policy.json")
    policy.to_yaml(str(tmp_path / "policy.yaml"))
    assert ow.Policy.from_json(str(tmp_path / "policy.json")) == policy
    assert ow.Policy.from_yaml(tmp_path / "policy.yaml") == policy
    assert eval(repr(policy), {**vocabulary(), "Policy": ow.Policy}) == policy


@each_policy
def test_a_policy_can_be_pickled_and_copied(policy) -> None:
    for twin in (pickle.loads(pickle.dumps(policy)), copy.copy(policy), copy.deepcopy(policy)):
        assert twin == policy and hash(twin) == hash(policy) and repr(twin) == repr(policy)


def test_the_numbers_are_the_same_after_the_round_trip(tmp_path) -> None:
    policy = POLICIES["arguments"]
    policy.to_yaml(tmp_path / "policy.yaml")
    x = np.random.default_rng(0).integers(0, 256, (4, 240, 200, 3), dtype=np.uint8)
    np.testing.assert_array_equal(ow.Policy.from_yaml(tmp_path / "policy.yaml")(x, seed=1), policy(x, seed=1))


def test_a_file_leaves_defaults_out_and_reads_like_the_code(tmp_path) -> None:
    policy = ow.Policy([ow.Rotate(30), ow.HorizontalFlip(), ow.RandomResizedCrop(224)], fill_mode="reflect")
    assert policy.to_dict() == {
        "transforms": [
            {"Rotate": {"degrees": [-30, 30]}},
            "HorizontalFlip",
            {"RandomResizedCrop": {"size": [224, 224]}},
        ],
        "fill_mode": "reflect",
    }
    policy.to_yaml(tmp_path / "policy.yaml")
    assert (tmp_path / "policy.yaml").read_text().startswith("transforms:\n")


def test_numpy_numbers_are_written_as_numbers() -> None:
    policy = ow.Policy(
        [ow.Rotate(np.float32(30)), ow.Resize(np.int64(8)), ow.Normalize(np.array([0.5] * 3), np.full(3, 2))]
    )
    assert ow.Policy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- Rotate: 15", [ow.Rotate(15)]),
        ("- Rotate: [-5, 15]", [ow.Rotate((-5, 15))]),
        ("- Rotate: {degrees: 15, p: 0.5}", [ow.Rotate(15, p=0.5)]),
        ("- Rotate", [ow.Rotate()]),
        ("- Rotate:", [ow.Rotate()]),
        ("- Resize: 32", [ow.Resize(32)]),
        ("- Resize: [32, 48]", [ow.Resize((32, 48))]),
        ("- Normalize: imagenet", [ow.Normalize("imagenet")]),
        ("- OneOf: [Rotate, {Shear: 5}]", [ow.OneOf([ow.Rotate(), ow.Shear(5)])]),
        ("- OneOf: {transforms: [Hue, Shear], weights: [1, 2]}", [ow.OneOf([ow.Hue(), ow.Shear()], (1, 2))]),
        ("- Sometimes: {transforms: [{OneOf: [Hue]}], p: 0.2}", [ow.Sometimes([ow.OneOf([ow.Hue()])], p=0.2)]),
        ("[]", []),
    ],
)  # fmt: skip
def test_short_forms(text, expected, tmp_path) -> None:
    assert ow.Policy.from_dict(yaml.safe_load(text)) == ow.Policy(expected)
    (tmp_path / "policy.yaml").write_text("transforms:\n" + text if text != "[]" else "transforms: []")
    assert ow.Policy.from_yaml(tmp_path / "policy.yaml") == ow.Policy(expected)


# --- a value ------------------------------------------------------------------------------------------------------


def test_equal_policies_are_equal_and_different_ones_are_not() -> None:
    assert ow.Policy([ow.Rotate(15)]) == ow.Policy([ow.Rotate((-15, 15))]) == ow.Policy(ow.Rotate(15))
    assert hash(ow.Policy([ow.Rotate(15)])) == hash(ow.Policy([ow.Rotate((-15, 15))]))
    others = [
        ow.Policy([ow.Rotate(16)]),
        ow.Policy([ow.Rotate(15, p=0.5)]),
        ow.Policy([ow.Rotate(15, name="tilt")]),
        ow.Policy([ow.Rotate(15)], fill_mode="wrap"),
        ow.Policy([ow.Rotate(15), ow.Rotate(15)]),
        ow.Policy([ow.Hue(0.1)]),
    ]
    assert len({ow.Policy([ow.Rotate(15)]), *others}) == 1 + len(others)
    assert ow.Policy([]) != [] and ow.Policy([]) != "Policy([])"


def test_equal_policies_have_equal_fingerprints() -> None:
    """15 and 15.0 are one number: parameters saved under one policy may be replayed under an equal one."""
    a, b = ow.Policy([ow.Rotate(15)], min_area=16), ow.Policy([ow.Rotate(15.0)], min_area=16.0)
    assert a == b
    spec = ow.Spec((8, 8, 3))
    first, second = (fingerprint(lower.__wrapped__(policy.transforms, policy.settings, spec)) for policy in (a, b))
    assert first == second


def test_a_policy_does_not_change() -> None:
    policy = ow.Policy([ow.Rotate(15)])
    for name in ("transforms", "settings", "anything"):
        with pytest.raises(AttributeError, match="a Policy does not change"):
            setattr(policy, name, ())
    with pytest.raises(AttributeError):
        policy.settings.fill_mode = "wrap"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        policy.transforms[0].degrees = 3  # type: ignore[attr-defined]
    given = [ow.Rotate(15)]
    policy = ow.Policy(given)
    given.append(ow.Shear())
    assert len(policy) == 1 and list(policy) == [ow.Rotate(15)]


# --- transforms of one's own --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Nothing(ow.Geometric):
    """Moves nothing, by a strength that somebody chose."""

    strength: float = interval(0, 1, default=0.5)

    def matrix(self, u, height, width, xp):
        return identity(xp)


def test_a_file_may_name_transforms_of_ones_own(tmp_path) -> None:
    policy = ow.Policy([Nothing(0.25), ow.OneOf([Nothing(), ow.Rotate()])])
    policy.to_yaml(tmp_path / "policy.yaml")
    policy.to_json(tmp_path / "policy.json")
    assert ow.Policy.from_yaml(tmp_path / "policy.yaml", transforms=[Nothing]) == policy
    assert ow.Policy.from_json(tmp_path / "policy.json", transforms=[Nothing]) == policy
    with pytest.raises(ow.PolicyError, match="there is no transform 'Nothing'"):
        ow.Policy.from_yaml(tmp_path / "policy.yaml")
    assert "Nothing" not in vocabulary()  # no global was changed


# --- what is wrong with a file ------------------------------------------------------------------------------------

WRONG = [
    ("transforms: [Rotat]", "there is no transform 'Rotat' (did you mean 'Rotate'?); there are Affine, AutoContrast, "),
    ("transforms: [{horizontalflip: 1}]", "there is no transform 'horizontalflip' (did you mean 'HorizontalFlip'?)"),
    ("transforms: [{Rotate: {degree: 5}}]", "Rotate has no argument 'degree' (did you mean 'degrees'?); it takes "),
    ("transforms: [{Rotate: {angle: 5}}]", "Rotate has no argument 'angle'; it takes p, name, degrees"),
    ("transforms: []\nfill: 3", "a policy has no setting 'fill' (did you mean 'fill_mode'?); the settings are "),
    ("transforms: [{Rotate: {degrees: 500}}]", "Rotate(degrees=500): degrees must be s for (-s, s) with 0 <= s <= 360"),
    ("transforms: [{Rotate: much}]", "Rotate(degrees='much'): degrees must be "),
    ("transforms: [{Rotate: {p: 2}}]", "Rotate(p=2): p must be a probability in [0, 1]"),
    ("transforms: [{Resize: {}}]", "size"),
    ("transforms: [Resize]", "Resize"),
    ("transforms: [{HorizontalFlip: 0.5}]", "HorizontalFlip takes no argument without a name; write "),
    ("transforms: [{OneOf: []}]", "transforms must be a list of at least one transform"),
    ("transforms: [{OneOf: Rotate}]", "OneOf has transforms 'Rotate'; write a list of transforms"),
    ("transforms: [{OneOf: [Rotat]}]", "there is no transform 'Rotat'"),
    ("transforms: [{SomeOf: {transforms: [Rotate], n: 3}}]", "n must not exceed the number of members, 1"),
    ("transforms: [5]", "5 is not a transform; write its name, or 'Name: {argument: value}'"),
    ("transforms: [{Rotate: 5, Shear: 3}]", "is not a transform; write its name, or "),
    ("transforms: []\nfill_mode: mirror", "fill_mode must be one of 'constant', 'nearest', 'reflect', 'wrap'"),
    ("transforms: []\ndtype: int8", "dtype must be one of uint8, uint16, float16, bfloat16, float32, or None"),
    ("transforms: []\nantialias: often", "antialias must be True or False"),
    ("just a sentence", "a policy is a dictionary with a list 'transforms', got 'just a sentence'; write transforms: "),
    ("", "a policy is a dictionary with a list 'transforms', got None"),
    ("transforms: Rotate", "a policy is a dictionary with a list 'transforms'"),
    ("learning_rate: 0.1", "a policy is a dictionary with a list 'transforms', got {'learning_rate': 0.1}"),
    ("transforms: [Rotate", "is not YAML: "),
    ("\ttransforms: []", "is not YAML: "),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_file_that_is_no_policy_says_what_is_wrong(text, message, tmp_path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(ow.PolicyError) as refusal:
        ow.Policy.from_yaml(path)
    said = str(refusal.value)
    assert said.startswith(str(path)) and message in said
    assert "\n" not in said


@pytest.mark.parametrize("read", [ow.Policy.from_yaml, ow.Policy.from_json])
def test_a_file_that_cannot_be_read_is_named(read, tmp_path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "picture").write_bytes(b"\xff\xd8\xff\xe0 no text")
    (tmp_path / "broken").write_text("{")
    for name, reason in (
        ("missing", "No such file"),
        ("folder", "Is a directory"),
        ("picture", "not UTF-8"),
        ("broken", "is not "),
    ):
        with pytest.raises(ow.PolicyError, match=reason) as refusal:
            read(tmp_path / name)
        assert str(tmp_path / name) in str(refusal.value) and "\n" not in str(refusal.value)


def test_numbers_with_an_exponent_are_numbers_in_yaml(tmp_path) -> None:
    """YAML 1.1 reads 1e-2 as a word, people do not."""
    (tmp_path / "policy.yaml").write_text("transforms: [{GaussianNoise: {std: 1e-2}}]")
    assert ow.Policy.from_yaml(tmp_path / "policy.yaml") == ow.Policy([ow.GaussianNoise(0.01)])
