"""MixUp and CutMix: images, labels, masks, boxes and points of a sample and of its partner."""

from __future__ import annotations

import numpy as np
import pytest

import onewarp as ow
from onewarp.draw import partners
from onewarp.engine.run import run

N, H, W = 16, 20, 30
MIXES = [ow.MixUp(1.0), ow.CutMix(1.0)]
each_mix = pytest.mark.parametrize("mix", MIXES, ids=lambda mix: type(mix).__name__)


def flat_images(n: int = N, dtype: str = "float32") -> np.ndarray:
    """Image i has the value i everywhere (float: i / n), so that a pixel tells where it comes from."""
    values = np.arange(n) if dtype == "uint8" else np.arange(n) / n
    return np.broadcast_to(values.reshape(-1, 1, 1, 1), (n, H, W, 3)).astype(dtype)


def mixed(mix, batch, seed=0, **call):
    """(result, partners [n], weights [n], rectangles [n, 4] or None) of a policy that only mixes."""
    policy = ow.Policy(mix if isinstance(mix, list) else [mix])
    params = policy.draw(batch, seed=seed)
    a = {name.split(".")[1]: value for name, value in params.arrays.items()}
    other = partners(a["partner"].astype(float), len(batch["images"])).astype(int)
    return policy(batch, params=params, **call), other, a["weight"].astype(float), a.get("rect")


def inside(rect: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[:H, :W]
    top, left, bottom, right = rect
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


# --- partners -----------------------------------------------------------------------------------------------------


def test_a_partner_is_never_the_sample_itself_and_all_others_are_as_likely() -> None:
    draws = np.arange(4096) / 4096
    for n in (2, 3, 7, 64):
        counts = np.zeros((n, n), int)
        for u in draws:
            counts[np.arange(n), partners(np.full(n, u), n).astype(int)] += 1
        assert (np.diag(counts) == 0).all()
        others = counts[~np.eye(n, dtype=bool)]
        assert others.max() - others.min() <= 1


@pytest.mark.parametrize("valid", [1, 2, 5, 16])
def test_padded_rows_are_never_partners(valid) -> None:
    for seed in range(30):
        found = partners(np.random.default_rng(seed).random(N), valid)
        assert (found >= 0).all() and (found < valid).all()
        own = np.arange(valid)
        assert valid == 1 or (found[:valid] != own).all()


@each_mix
def test_a_padded_batch_mixes_its_samples_as_the_samples_alone(mix) -> None:
    policy, valid = ow.Policy([mix]), 5
    images, labels = flat_images(), np.arange(N)
    params = policy.draw(images, seed=1)
    plan = policy.plan(ow.Spec((H, W, 3), "float32"))
    padded = run(plan, params, {"images": images, "labels": labels}, num_classes=N, valid=valid)
    alone = policy((images[:valid], labels[:valid]), seed=1, num_classes=N)
    np.testing.assert_array_equal(padded["images"][:valid], alone[0])
    np.testing.assert_array_equal(padded["labels"][:valid], alone[1])
    assert (padded["labels"][:valid, valid:] == 0).all()


@each_mix
def test_a_sample_alone_stays_as_it_is(mix) -> None:
    image = flat_images()[3:4]
    result, labels = ow.Policy([mix])((image, np.array([2])), seed=0, num_classes=4)
    np.testing.assert_allclose(result, image, atol=1e-6)
    np.testing.assert_allclose(labels, [[0, 0, 1, 0]], atol=1e-6)


# --- labels and pixels --------------------------------------------------------------------------------------------


@each_mix
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_labels_are_weighted_as_the_pixels_are(mix, dtype) -> None:
    images = flat_images(dtype=dtype)
    result, other, weight, rect = mixed(mix, {"images": images, "labels": np.arange(N)}, num_classes=N)
    labels = result["labels"]
    assert labels.shape == (N, N) and labels.dtype == np.float32
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    own = np.arange(N)
    np.testing.assert_allclose(labels[own, own], weight, atol=1e-6)
    np.testing.assert_allclose(labels[own, other], 1 - weight, atol=1e-6)
    for i in own:
        if rect is None:
            expected = weight[i] * images[i] + (1 - weight[i]) * images[other[i]]
            np.testing.assert_allclose(result["images"][i], expected, atol=0.501 if dtype == "uint8" else 1e-6)
        else:
            np.testing.assert_array_equal(
                result["images"][i], np.where(inside(rect[i])[..., None], images[other[i]], images[i])
            )
            assert weight[i] == pytest.approx((result["images"][i] == images[i]).mean(), abs=1e-6)  # the true area
    assert len(np.unique(weight.round(3))) > N // 2


def test_the_area_is_the_true_one_where_the_rectangle_is_cut_by_the_border() -> None:
    _, _, weight, rect = mixed(ow.CutMix(0.5), {"images": flat_images(200), "labels": np.arange(200)}, num_classes=200)
    areas = (rect[:, 2] - rect[:, 0]) * (rect[:, 3] - rect[:, 1])
    np.testing.assert_allclose(weight, 1 - areas / (H * W), atol=1e-6)
    assert (rect[:, :2] == 0).any() and (rect[:, 2] == H).any() and (rect[:, 3] == W).any()


def test_weights_have_the_beta_distribution() -> None:
    stats = pytest.importorskip("scipy.stats")
    policy = ow.Policy([ow.MixUp(0.4)])
    weight = policy.draw(ow.Spec((H, W, 3)), seed=0, ids=np.arange(20_000)).arrays["1.weight"]
    assert stats.kstest(weight, stats.beta(0.4, 0.4).cdf).statistic < 0.015


@each_mix
def test_class_numbers_need_the_number_of_classes(mix) -> None:
    name = type(mix).__name__
    with pytest.raises(ow.InputError, match=f"{name} mixes labels, which are class numbers here; pass num_classes="):
        ow.Policy([mix])((flat_images(), np.arange(N)))
    with pytest.raises(ow.InputError, match="labels reach 15, num_classes is 10; classes count from 0"):
        ow.Policy([mix])((flat_images(), np.arange(N)), num_classes=10)


@each_mix
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
def test_one_hot_labels_are_mixed_as_they_are(mix, dtype) -> None:
    images, numbers = flat_images(), np.arange(N) % 4
    as_numbers = ow.Policy([mix])((images, numbers), seed=3, num_classes=4)[1]
    one_hot = ow.Policy([mix])((images, np.eye(4, dtype=dtype)[numbers]), seed=3)[1]
    np.testing.assert_allclose(one_hot, as_numbers, atol=1e-6)
    column = ow.Policy([mix])((images, numbers[:, None]), seed=3, num_classes=4)[1]
    np.testing.assert_array_equal(column, as_numbers)


@each_mix
def test_without_labels_there_is_nothing_to_ask(mix) -> None:
    assert ow.Policy([mix])(flat_images()).shape == (N, H, W, 3)


@pytest.mark.parametrize("cls", [ow.MixUp, ow.CutMix])
def test_what_does_not_fire_stays_as_it_is(cls) -> None:
    images = flat_images(dtype="uint8")
    batch = {"images": images, "labels": np.arange(N), "sample_weight": np.arange(N) / 7}
    result, other, weight, _ = mixed(cls(1.0, p=0.5), batch, num_classes=N)
    still = weight == 1
    assert 2 < still.sum() < N - 2
    np.testing.assert_array_equal(result["images"][still], images[still])
    np.testing.assert_array_equal(result["labels"][still], np.eye(N)[still])
    expected = weight * batch["sample_weight"] + (1 - weight) * batch["sample_weight"][other]
    np.testing.assert_allclose(result["sample_weight"], expected, atol=1e-6)


def test_labels_stay_true_to_the_pixels_when_one_of_two_mixes_fires() -> None:
    images = flat_images(64)
    result, labels = ow.Policy([ow.OneOf(MIXES)])((images, np.arange(64)), seed=0, num_classes=64)
    assert {1, 2} <= {len(np.unique(image)) for image in result}  # a blend is flat, a paste has two values
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(labels @ images[:, 0, 0, 0], result.mean(axis=(1, 2, 3)), atol=1e-5)


def test_mixing_comes_after_normalisation_in_either_layout() -> None:
    images = flat_images(dtype="uint8")
    last = ow.Policy([ow.Rescale(1 / 255), ow.CutMix()], data_format="channels_last")
    first = ow.Policy([ow.Rescale(1 / 255), ow.CutMix()], data_format="channels_first")
    np.testing.assert_array_equal(first(images, seed=0), np.moveaxis(last(images, seed=0), -1, 1))


# --- masks --------------------------------------------------------------------------------------------------------


@each_mix
@pytest.mark.parametrize("shape", [(), (1,)], ids=str)
def test_a_mask_follows_its_pixels_and_no_class_is_invented(mix, shape) -> None:
    masks = np.broadcast_to((10 * np.arange(N)).reshape(N, 1, 1, *(1,) * len(shape)), (N, H, W, *shape)).astype(
        np.uint8
    )
    result, other, weight, rect = mixed(mix, {"images": flat_images(), "segmentation_masks": masks})
    found = result["segmentation_masks"]
    assert found.dtype == np.uint8 and found.shape == masks.shape
    for i in range(N):
        if rect is None:  # the heavier image's classes
            np.testing.assert_array_equal(found[i], masks[i] if weight[i] >= 0.5 else masks[other[i]])
        else:
            pasted = inside(rect[i]).reshape(H, W, *(1,) * len(shape))
            np.testing.assert_array_equal(found[i], np.where(pasted, masks[other[i]], masks[i]))


def test_soft_masks_are_blended() -> None:
    masks = np.broadcast_to(np.arange(N).reshape(N, 1, 1), (N, H, W)).astype(np.float32)
    result, other, weight, _ = mixed(ow.MixUp(1.0), {"images": flat_images(), "segmentation_masks": masks})
    np.testing.assert_allclose(
        result["segmentation_masks"][:, 0, 0], weight * np.arange(N) + (1 - weight) * other, rtol=1e-5
    )
