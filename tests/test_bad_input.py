"""Batches and calls that cannot be used: one line that names the thing and the remedy, and nothing else is raised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onewarp as ow
from onewarp.data.store import prepare

X = np.zeros((4, 8, 10, 3), np.uint8)
POLICY = ow.Policy([ow.HorizontalFlip(), ow.Rotate(15)])


def refused(call: Callable[[], Any], *parts: str, error: type[Exception] = ow.InputError) -> None:
    """The call raises `error` with one line that holds all the parts."""
    with pytest.raises(error) as refusal:
        call()
    said = str(refusal.value)
    assert "\n" not in said
    for part in parts:
        assert part in said, f"{part!r} is not in: {said}"


def boxes(corners: Any, labels: Any = 0) -> dict[str, np.ndarray]:
    """The same boxes for each of the four images."""
    one = np.asarray(corners, float).reshape(-1, 4)
    return {"boxes": np.tile(one, (4, 1, 1)), "labels": np.full((4, len(one)), labels)}


def raw(boxes_shape: tuple[int, ...], labels_shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {"boxes": np.zeros(boxes_shape), "labels": np.zeros(labels_shape)}


SOURCE = ow.ArraySource(X, [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ([SOURCE, SOURCE], ("the source is a list", "ow.ConcatSource([...])")),
        (X, ("the source is a ndarray", "ow.ArraySource(images, labels)")),
        ({"images": X}, ("the source is a dict", "ow.ArraySource(images, labels)")),
        (None, ("the source is a NoneType", "ow.ArraySource(images, labels)")),
        ("photos", ("the source is a str", "open it, e.g. by ow.FolderSource('photos')")),
        (Path("photos"), ("the source is a ", "ow.StoreSource('photos')")),
    ],
)
def test_what_is_no_source(given: Any, remedy: tuple[str, ...], tmp_path: Path) -> None:
    refused(lambda: ow.Loader(given, POLICY, 2), *remedy)
    refused(lambda: ow.Loader(given, POLICY, 2, reuse=2), *remedy)
    refused(lambda: ow.Loader(given, POLICY, 2, store=tmp_path / "store"), *remedy)
    refused(lambda: ow.split(given, 0.5), *remedy)
    refused(lambda: prepare(given, tmp_path / "store"), *remedy)
    refused(lambda: ow.ConcatSource([SOURCE, given]), *(part.replace("the source", "source 2") for part in remedy))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        (ow.HorizontalFlip(), "pass one such as Policy([HorizontalFlip()])"),
        ([ow.HorizontalFlip()], "pass one such as Policy([HorizontalFlip()])"),
        (None, "Policy([]) changes nothing"),
        ("policy.yaml", "read it by Policy.from_yaml('policy.yaml')"),
    ],
)
def test_what_is_no_policy(given: Any, remedy: str) -> None:
    refused(lambda: ow.Loader(SOURCE, given, 2), "is not a Policy", remedy)
    refused(lambda: ow.Loader(SOURCE, given, 2, reuse=2), "is not a Policy", remedy)
    refused(lambda: ow.Loader(SOURCE, POLICY, 2).set_policy(given), "is not a Policy", remedy)


BATCHES: list[tuple[str, Any, tuple[str, ...]]] = [
    # what is wrong, the batch, what the message must hold
    ("one image", X[0], ("images must be an array [n, height, width, channels]", "(8, 10, 3)", "x[None]")),
    ("no channels", X[..., 0], ("images must be an array", "(4, 8, 10)", "x[..., None]")),
    ("a number", 7, ("images must be an array",)),
    ("nothing", None, ("images must be an array",)),
    ("a file name", "photo.jpg", ("images must be an array",)),
    ("no images in it", {"labels": np.arange(4)}, ("no entry 'images'", "'labels'", "add it")),
    ("an empty list", [], ("images must be an array",)),
    ("no samples", X[:0], ("empty",)),
    ("no samples of floats", X[:0].astype(np.float32), ("empty",)),
    ("no pixels", X[:, :0], ("images have no pixels", "(4, 0, 10, 3)", "leave empty images out")),
    ("no channels at all", X[..., :0], ("images have no pixels", "leave empty images out")),
    ("an image without pixels among others", [X[0], X[1, :0]], ("image 1", "no pixels", "leave")),
    ("object dtype", X.astype(object), ("dtype object", "uint8, uint16, float32", "convert")),
    ("int64", X.astype(np.int64), ("dtype int64", "uint8, uint16, float32", "convert")),
    ("float64", X.astype(np.float64), ("dtype float64", "astype('float32')")),
    ("bool", X.astype(bool), ("dtype bool", "convert")),
    ("kinds of images", [X[0], X[1, ..., :1]],
     ("image 1 has 1 channels of uint8, image 0 3", "convert them to one kind")),
    ("dtypes of images", [X[0], X[1].astype(np.uint16)], ("image 1 has 3 channels of uint16", "uint8", "convert")),
    ("NaN", np.where(np.arange(4)[:, None, None, None] == 2, np.nan, X).astype(np.float32),
     ("image 2 contains NaN", "nan_to_num")),
    ("infinity", (X + np.inf).astype(np.float32), ("[inf, inf]", "outside the value range [0, 1]", "value_range=")),
    ("0...255 as float", (X + 200).astype(np.float32),
     ("[200, 200]", "outside the value range [0, 1]", "value_range=(low, high)")),
    ("unknown role", {"images": X, "mask": X},
     ("no entry 'mask'", "images, labels, segmentation_masks, bounding_boxes")),
    ("three labels", (X, np.arange(3)), ("labels has 3 entries, images has 4", "one for each image")),
    ("one label for all", (X, 3), ("labels", "one for each image")),
    ("no labels", {"images": X, "labels": None}, ("labels",)),
    ("weights", (X, np.arange(4), np.ones(5)), ("sample_weight has 5 entries, images has 4",)),
    ("three masks", {"images": X, "segmentation_masks": X[:3, ..., 0]},
     ("segmentation_masks has 3 entries, images has 4",)),
    ("masks of another size", {"images": X, "segmentation_masks": np.zeros((4, 8, 9), np.uint8)},
     ("image 0 has 8x10 pixels, its segmentation mask 8x9", "a mask must have the size of its image")),
    ("a mask of another size", {"images": [X[0], X[1]], "segmentation_masks": [X[0, ..., 0], X[1, :5, :, 0]]},
     ("image 1 has 8x10 pixels, its segmentation mask 5x10", "a mask must have the size of its image")),
    ("flat masks", {"images": X, "segmentation_masks": np.zeros((4, 80), np.uint8)},
     ("(80,)", "must be [h, w] or [h, w, c]")),
    ("masks of objects", {"images": X, "segmentation_masks": np.zeros((4, 8, 10), object)}, ("dtype object", "uint8")),
    ("ranks of masks", {"images": [X[0], X[1]], "segmentation_masks": [X[0, ..., 0], X[1, ..., :1]]}, ("mask",)),
    ("dtypes of masks", {"images": [X[0], X[1]], "segmentation_masks": [X[0, ..., 0], X[1, ..., 0].astype(int)]},
     ("mask",)),
    ("points", {"images": X, "keypoints": np.zeros((4, 5))}, ("keypoints has shape (4, 5)", "[n, k, 2] (x, y)")),
    ("points of four numbers", {"images": X, "keypoints": np.zeros((4, 5, 4))},
     ("(4, 5, 4)", "[n, k, 3] (x, y, visibility)")),
    ("boxes as an array", {"images": X, "bounding_boxes": np.zeros((4, 1, 4))},
     ('{"boxes": [n, k, 4], "labels": [n, k]}',)),
    ("boxes without labels", {"images": X, "bounding_boxes": {"boxes": np.zeros((4, 1, 4))}}, ('"labels": [n, k]',)),
    ("boxes of five numbers", {"images": X, "bounding_boxes": raw((4, 1, 5), (4, 1))},
     ("boxes of shape (4, 1, 5)", "[n, k, 4]")),
    ("boxes of three images", {"images": X, "bounding_boxes": raw((3, 1, 4), (3, 1))},
     ("boxes (3, 1, 4)", "for 4 images", "[n, k, 4]")),
    ("labels of boxes", {"images": X, "bounding_boxes": raw((4, 1, 4), (4, 2))},
     ("labels (4, 2)", "[n, k]")),
    ("ragged boxes", {"images": X, "bounding_boxes": {"boxes": [[[0, 0, 1, 1]], []], "labels": [[0], []]}},
     ("boxes", "label -1")),
    ("x2 before x1", {"images": X, "bounding_boxes": boxes([(1, 1, 2, 2), (5, 1, 3, 4)])},
     ("box 1 of image 0 is [5.0, 1.0, 3.0, 4.0], which ends before it begins", "bounding_box_format=")),
    ("y2 before y1", {"images": X, "bounding_boxes": boxes([(5, 4, 6, 3)])},
     ("box 0 of image 0", "ends before it begins")),
    ("a box of NaN", {"images": X, "bounding_boxes": boxes([(np.nan, 0, 1, 1)])}, ("box 0 of image 0", "nan")),
]  # fmt: skip


@pytest.mark.parametrize(("batch", "parts"), [case[1:] for case in BATCHES], ids=[case[0] for case in BATCHES])
def test_a_batch_that_cannot_be_used_says_why(batch, parts) -> None:
    refused(lambda: POLICY(batch), *parts)


@pytest.mark.parametrize(
    "batch", [X, X.astype(np.float32), (X, np.arange(4)), {"images": X, "bounding_boxes": boxes([(0, 0, 5, 5)])}]
)
def test_what_is_right_about_these_batches_is_not_refused(batch) -> None:
    POLICY(batch)


def test_padding_may_be_anything() -> None:
    POLICY({"images": X, "bounding_boxes": boxes([(5, 1, 3, 4)], labels=-1)})


def test_a_value_range_that_is_stated_is_the_one_that_counts() -> None:
    floats = (X + 200).astype(np.float32)
    POLICY(floats, value_range=(0, 255))
    refused(lambda: POLICY(floats, value_range=(0, 100)), "[200, 200]", "[0, 100]")
    refused(lambda: POLICY(floats, value_range=(1, 0)), "value_range", "low < high")


@pytest.mark.parametrize("value_range", [5, (0,), (0, 1, 2), ("low", "high"), (0, np.nan)])
def test_a_value_range_that_is_none(value_range) -> None:
    refused(lambda: POLICY(X, value_range=value_range), "value_range", "low < high")


def test_an_unknown_box_format_says_which_exist() -> None:
    batch = {"images": X, "bounding_boxes": boxes([(0, 0, 5, 5)])}
    refused(
        lambda: POLICY(batch, bounding_box_format="coco"),
        "bounding_box_format='coco' is unknown",
        "xyxy",
        "rel_center_xywh",
    )
    refused(lambda: POLICY(batch, bounding_box_format=None), "bounding_box_format=None is unknown")


def test_wrong_boxes_are_judged_in_their_own_format() -> None:
    batch = {"images": X, "bounding_boxes": boxes([(5, 1, 3, 4)])}
    POLICY(batch, bounding_box_format="xywh")
    refused(lambda: POLICY(batch, bounding_box_format="xyxy"), "ends before it begins")


# --- keys ---------------------------------------------------------------------------------------------------------

CALLS: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"seed": -1}, ("seed must lie in [0, 2**64), got -1", "non-negative")),
    ({"seed": 2**64}, ("seed must lie in [0, 2**64)",)),
    ({"seed": 1.5}, ("seed", "1.5", "integer")),
    ({"seed": "today"}, ("seed", "'today'", "integer")),
    ({"seed": 0, "epoch": -1}, ("epoch must lie in [0, 2**32), got -1",)),
    ({"seed": 0, "epoch": 2**32}, ("epoch must lie in [0, 2**32)",)),
    ({"seed": 0, "epoch": 1.5}, ("epoch", "1.5", "integer")),
    ({"seed": 0, "ids": np.arange(3)}, ("ids has shape (3,)", "for 4 images", "[n] integers")),
    ({"seed": 0, "ids": np.arange(4.0)}, ("ids has", "float64", "[n] integers")),
    ({"seed": 0, "ids": np.zeros((4, 1), int)}, ("ids has shape (4, 1)",)),
    ({"ids": np.arange(4)}, ("only together with seed=",)),
    ({"epoch": 3}, ("only together with seed=",)),
    ({"seed": 0, "occurrence": np.arange(3)}, ("occurrence has shape (3,) for 4 images",)),
    ({"seed": 0, "occurrence": -1}, ("occurrence", ">= 0")),
    ({"threads": -1}, ("threads", "-1")),
    ({"threads": "many"}, ("threads", "'many'")),
    ({"params": 3}, ("params", "policy.draw")),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "parts"), CALLS, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_an_argument_of_a_call_that_cannot_be_used_says_why(arguments, parts) -> None:
    refused(lambda: POLICY(X, **arguments), *parts)


def test_drawing_for_a_spec_needs_ids_and_sizes() -> None:
    ids = np.arange(3)
    refused(lambda: POLICY.draw(ow.Spec((8, 8, 3)), seed=0), "draw(spec) needs ids=", "pass the batch itself")
    refused(lambda: POLICY.draw(ow.Spec((8, 8, 3)), seed=0, ids=5), "ids", "[n]")
    sized = ow.Policy([ow.Resize(8)])
    refused(lambda: sized.draw(ow.Spec((None, None, 3)), seed=0, ids=ids), "needs sizes=", "[n, 2] (height, width)")
    wrong = np.ones((2, 2), int)
    refused(lambda: sized.draw(ow.Spec((None, None, 3)), seed=0, ids=ids, sizes=wrong), "sizes", "(2, 2)")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"images": 8}, "images must be (height, width, channels)"),
        ({"images": (8, 8)}, "images must be (height, width, channels)"),
        ({"images": (8, 8, 0)}, "images must be (height, width, channels)"),
        ({"images": (8, 8, None)}, "images must be (height, width, channels)"),
        ({"images": (0, 8, 3)}, "height and width must be positive, or None"),
        ({"images": (8, "wide", 3)}, "images="),
        ({"images": (8.5, 8, 3)}, "images="),
        ({"images": (8, 8, 3), "dtype": "int8"}, "dtype must be one of uint8, uint16, float32"),
        ({"images": (8, 8, 3), "value_range": (1, 0)}, "value_range must be (low, high) with low < high"),
        ({"images": (8, 8, 3), "value_range": 5}, "value_range must be (low, high) with low < high"),
    ],
    ids=str,
)
def test_a_spec_that_is_none_says_why(arguments, part) -> None:
    refused(lambda: ow.Spec(**arguments), "Spec(", part)


def test_a_plan_is_made_for_a_spec() -> None:
    refused(lambda: POLICY.plan((8, 8, 3)), "Spec")  # type: ignore[arg-type]


# --- replay -------------------------------------------------------------------------------------------------------


def test_parameters_of_something_else_are_refused() -> None:
    params = POLICY.draw(X, seed=0)
    refused(lambda: ow.Policy([ow.Rotate(15)])(X, params=params), "drawn by another policy", "draw them again")
    refused(lambda: ow.Policy(POLICY.transforms, fill_mode="wrap")(X, params=params), "drawn by another policy")
    refused(lambda: POLICY(X.astype(np.float32), params=params), "another policy or for another kind of image")
    refused(lambda: POLICY(X[:3], params=params), "params hold 4 samples, the batch 3", "params.take(indices)")
    refused(lambda: POLICY(X[:, :6], params=params), "images of other sizes", "draw them again")
    np.testing.assert_array_equal(POLICY(X[1:3], params=params.take([1, 2])), POLICY(X, params=params)[1:3])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["0.matrix", "0.field0"])
def test_parameters_that_are_not_finite_are_refused(name, value) -> None:
    policy = ow.Policy([ow.Rotate(15), ow.ElasticTransform(p=1)])
    params = policy.draw(X, seed=0)
    broken = params.arrays[name].copy()
    broken[2].flat[0] = value
    refused(
        lambda: policy(X, params=replace(params, arrays={**params.arrays, name: broken})),
        "sample 2",
        "not finite",
        "params",
    )


def test_a_file_that_holds_no_parameters_is_refused(tmp_path) -> None:
    (tmp_path / "text.npz").write_text("nothing")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    for name in ("text.npz", "other.npz", "missing.npz"):
        refused(lambda name=name: ow.Params.load(tmp_path / name), name, "Params.save", "draw and save it again")
    params = POLICY.draw(X, seed=0)
    params.save(tmp_path / "params.npz")
    assert ow.Params.load(tmp_path / "params.npz") == params
