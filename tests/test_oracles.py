"""One transform alone gives what others define: torchvision, keras.applications, OpenCV, hand-made truths."""

from __future__ import annotations

import numpy as np
import pytest

import onewarp as ow
from oracles import torchvision


@pytest.fixture
def image(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:40, :56]
    smooth = np.stack([128 + 90 * np.sin(y / 7 + x / 9 + c) for c in range(3)], axis=-1)
    return np.rint((smooth + rng.normal(0, 20, smooth.shape)).clip(0, 255)).astype(np.uint8)


def alone(transform: ow.Transform, image: np.ndarray, **settings: object) -> np.ndarray:
    return ow.Policy([transform], **settings)(image[None], seed=0)[0]  # type: ignore[arg-type,no-any-return]


def close(ours: np.ndarray, theirs: np.ndarray, level: float = 1.0, share: float = 0.0) -> None:
    """No value, or at most `share` of them, is more than `level` off."""
    off = np.abs(ours.astype(float) - theirs.astype(float))
    assert (off > level).mean() <= share, f"{(off > level).mean():.3%} off, the worst by {off.max()}"


COLOUR = [
    (ow.Brightness((1.4, 1.4)), "adjust_brightness", (1.4,)),
    (ow.Brightness((0.3, 0.3)), "adjust_brightness", (0.3,)),
    (ow.Contrast((1.7, 1.7)), "adjust_contrast", (1.7,)),
    (ow.Contrast((0.2, 0.2)), "adjust_contrast", (0.2,)),
    (ow.Saturation((1.8, 1.8)), "adjust_saturation", (1.8,)),
    (ow.Saturation((0.0, 0.0)), "adjust_saturation", (0.0,)),
    (ow.Hue((0.23, 0.23), method="hsv"), "adjust_hue", (0.23,)),
    (ow.Hue((-0.4, -0.4), method="hsv"), "adjust_hue", (-0.4,)),
    (ow.Grayscale(p=1), "rgb_to_grayscale", (3,)),
    (ow.Invert(p=1), "invert", ()),
    (ow.Solarize(128 / 255, p=1), "solarize", (128,)),
    (ow.Posterize(3, p=1), "posterize", (3,)),
    (ow.Gamma((0.6, 0.6)), "adjust_gamma", (0.6,)),
    (ow.AutoContrast(p=1), "autocontrast", ()),
    (ow.Equalize(p=1), "equalize", ()),
]


@pytest.mark.parametrize("transform, name, arguments", COLOUR, ids=lambda v: v if isinstance(v, str) else "")
def test_colour_is_torchvisions(transform: ow.Transform, name: str, arguments: tuple, image: np.ndarray) -> None:
    theirs = torchvision(name, image, *arguments)
    # torchvision truncates where we round, and keeps 8 bits between HSV and RGB: one level.
    close(alone(transform, image), theirs)
    if name not in ("solarize", "posterize", "equalize", "autocontrast"):
        unit = image.astype(np.float32) / 255
        close(alone(transform, unit), torchvision(name, unit, *arguments).clip(0, 1), level=2e-4)


def test_linear_hue_is_a_rotation_about_grey(image: np.ndarray) -> None:
    unit = (0.3 + 0.4 * image / 255).astype(np.float32)  # far from the limits: nothing saturates
    turned = alone(ow.Hue((1 / 3, 1 / 3)), unit)
    np.testing.assert_allclose(turned, unit[..., [2, 0, 1]], atol=1e-6)  # a third of a turn is a permutation
    slightly = alone(ow.Hue((0.07, 0.07)), unit)
    np.testing.assert_allclose(slightly.sum(axis=-1), unit.sum(axis=-1), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(slightly, axis=-1), np.linalg.norm(unit, axis=-1), atol=1e-6)
    back = alone(ow.Hue((-0.07, -0.07)), slightly)
    np.testing.assert_allclose(back, unit, atol=1e-6)


def test_both_hues_turn_the_same_way() -> None:
    red = np.zeros((1, 4, 4, 3), np.float32)
    red[..., 0] = 1
    for method in ("linear", "hsv"):
        green = ow.Policy([ow.Hue((1 / 3, 1 / 3), method=method)])(red, seed=0)
        np.testing.assert_allclose(green[0, 0, 0], [0, 1, 0], atol=1e-6)


def test_jitter_is_brightness_contrast_saturation_hue(image: np.ndarray) -> None:
    unit = (0.4 + 0.1 * image / 255).astype(np.float32)
    jitter = ow.ColorJitter((1.1, 1.1), (0.8, 0.8), (1.3, 1.3), (0.05, 0.05), hue_method="hsv")
    theirs = unit
    for name, value in (("brightness", 1.1), ("contrast", 0.8), ("saturation", 1.3), ("hue", 0.05)):
        theirs = torchvision(f"adjust_{name}", theirs, value)
    close(alone(jitter, unit), theirs, level=1e-5)


@pytest.mark.parametrize("mode", ["tf", "torch", "caffe"])
def test_normalize_presets_are_those_of_keras_applications(mode: str, image: np.ndarray) -> None:
    keras = pytest.importorskip("keras")
    theirs = keras.applications.imagenet_utils.preprocess_input(image[None].astype(np.float32), mode=mode)
    ours = ow.Policy([ow.Normalize(mode)])(image[None], seed=0)
    np.testing.assert_allclose(ours, theirs, atol=1e-4 if mode == "caffe" else 1e-6)
    if mode == "torch":
        np.testing.assert_array_equal(ours, ow.Policy([ow.Normalize("imagenet")])(image[None], seed=0))


def test_rescale_is_keras_rescaling_and_composes_with_normalize(image: np.ndarray) -> None:
    ours = ow.Policy([ow.Rescale(1 / 127.5, offset=-1)])(image[None], seed=0)
    np.testing.assert_allclose(ours, image[None] / 127.5 - 1, atol=1e-6)
    both = ow.Policy([ow.Rescale(1 / 255), ow.Normalize("imagenet")])(image[None], seed=0)
    np.testing.assert_allclose(both, ow.Policy([ow.Normalize("imagenet")])(image[None], seed=0), atol=1e-6)


def test_normalize_fit_measures_mean_and_std_in_one_pass(rng: np.random.Generator) -> None:
    x = rng.integers(0, 200, (7, 5, 6, 3), dtype=np.uint8)
    fitted = ow.Normalize.fit(x)
    np.testing.assert_allclose(fitted.mean, x.reshape(-1, 3).mean(0) / 255)
    np.testing.assert_allclose(fitted.std, x.reshape(-1, 3).std(0) / 255)
    out = ow.Policy([fitted])(x, seed=0)
    np.testing.assert_allclose(out.reshape(-1, 3).mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(out.reshape(-1, 3).std(0), 1, atol=1e-5)
    flat = ow.Normalize.fit(np.full((2, 3, 3, 1), 7, np.uint8))
    assert flat.std == (1.0,)  # no spread: divide by 1, not by 0


def test_rotation_is_counter_clockwise_as_seen() -> None:
    x = np.zeros((1, 11, 11, 1), np.uint8)
    x[0, 5, 9] = 255  # right of the centre
    turned = ow.Policy([ow.Rotate((90, 90))])(x, seed=0)
    assert turned[0, 1, 5, 0] == 255  # now above it
    np.testing.assert_array_equal(turned[0], np.rot90(x[0]))


@pytest.mark.parametrize("angle", [-33.0, 12.5, 90.0])
def test_rotation_is_torchvisions(angle: float, image: np.ndarray) -> None:
    square = image[:40, :40]
    theirs = torchvision("rotate", square.astype(np.float32), angle, interpolation="bilinear")
    ours = alone(ow.Rotate((angle, angle)), square)
    inner = np.s_[12:28, 12:28]  # torchvision blends with the fill at the border in another way
    close(ours[inner], theirs[inner])


@pytest.mark.parametrize("size", [(40, 56), (60, 99), (35, 40)])
def test_resize_without_antialias_is_torchvisions(size: tuple[int, int], image: np.ndarray) -> None:
    theirs = torchvision("resize", image.astype(np.float32), list(size), interpolation="bilinear", antialias=False)
    close(alone(ow.Resize(size), image, fill_mode="nearest"), theirs)


def test_halving_is_the_box_mean(image: np.ndarray) -> None:
    theirs = image.reshape(20, 2, 28, 2, 3).mean(axis=(1, 3))
    close(alone(ow.Resize((20, 28)), image), theirs, level=0.5001)
    raw = alone(ow.Resize((20, 28)), image, antialias=False)
    assert np.abs(raw.astype(float) - theirs).max() <= 0.5001  # bilinear at scale 2 reads the same four pixels
    quarter = image.reshape(10, 4, 14, 4, 3).mean(axis=(1, 3))
    close(alone(ow.Resize((10, 14)), image), quarter, level=0.5001)


@pytest.mark.parametrize("distortion", [0.2, 0.6])
def test_perspective_moves_corners_as_torchvision_does(distortion: float, image: np.ndarray) -> None:
    policy = ow.Policy([ow.Perspective(distortion, p=1)])
    points = np.array([[[0, 0], [56, 0], [56, 40], [0, 40]]], float)
    result = policy({"images": image[None], "keypoints": points}, seed=4)
    moved = result["keypoints"][0]
    reach = np.array([56, 40]) * distortion / 2
    inwards = (moved - points[0]) * [[1, 1], [-1, 1], [-1, -1], [1, -1]]
    assert (inwards >= 0).all() and (inwards <= reach).all() and inwards.max() > 0.3 * reach.min()


def test_random_resized_crop_has_the_stated_areas_and_ratios() -> None:
    spec, n = ow.Spec((300, 400, 3)), 4000
    policy = ow.Policy([ow.RandomResizedCrop(100, scale=(0.05, 0.3), ratio=(0.5, 1.5))])
    m = policy.draw(spec, seed=0, ids=np.arange(n)).arrays["0.matrix"][:, 0]
    width, height = m[:, 0, 0] * 100, m[:, 1, 1] * 100
    left, top = m[:, 0, 2], m[:, 1, 2]
    area, ratio = width * height / (300 * 400), width / height
    assert area.min() >= 0.05 - 1e-5 and area.max() <= 0.3 + 1e-5
    assert ratio.min() >= 0.5 - 1e-5 and ratio.max() <= 1.5 + 1e-5
    assert (left >= -1e-3).all() and (left + width <= 400.01).all()
    assert (top >= -1e-3).all() and (top + height <= 300.01).all()
    assert abs(np.log(ratio).mean() - np.log(0.5 * 1.5) / 2) < 0.05


def test_random_crop_reaches_every_offset_equally_often() -> None:
    policy = ow.Policy([ow.RandomCrop(32, padding=4)])
    m = policy.draw(ow.Spec((32, 32, 3)), seed=1, ids=np.arange(8100)).arrays["0.matrix"][:, 0]
    offsets = np.stack([m[:, 0, 2], m[:, 1, 2]], axis=1).astype(int)
    cells, counts = np.unique(offsets, axis=0, return_counts=True)
    assert len(cells) == 81 and cells.min() == -4 and cells.max() == 4
    assert ((counts - 100) ** 2 / 100).sum() < 130  # chi-square with 80 degrees of freedom


def test_flips_of_keras_default_are_not_repeated_here() -> None:
    """Keras' RandomFlip() turns by 180 degrees or does nothing; here both axes flip independently."""
    x = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1).repeat(400, axis=0)
    out = ow.Policy([ow.HorizontalFlip(), ow.VerticalFlip()])(x, seed=0).reshape(400, 4)
    kinds, counts = np.unique(out, axis=0, return_counts=True)
    assert len(kinds) == 4 and counts.min() > 60


def test_p_1_means_always() -> None:
    """Keras' RandomInvert(1.0) and RandomErasing(1.0) act on half of the images."""
    x = np.full((200, 16, 16, 3), 40, np.uint8)
    assert (ow.Policy([ow.Invert(p=1)])(x, seed=0) == 215).all()
    erased = ow.Policy([ow.RandomErasing(p=1, fill_value=255)])(x, seed=0)
    assert (erased == 255).any(axis=(1, 2, 3)).all()
