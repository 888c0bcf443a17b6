"""docs/convolutions.md: the page is what the code computes, and the code computes what loops over pixels do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

DOCS = Path(__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS))

import convolutions as measured  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside Keras


def slow_convolution(image: np.ndarray, kernel: np.ndarray, stride: int = 1, rate: int = 1) -> np.ndarray:
    """One number of the result at a time, without padding."""
    reach = [rate * (side - 1) + 1 for side in kernel.shape]
    height, width = ((side - r) // stride + 1 for side, r in zip(image.shape, reach, strict=True))
    found = np.zeros((height, width), int)
    for i in range(height):
        for j in range(width):
            for (a, b), weight in np.ndenumerate(kernel):
                found[i, j] += weight * image[i * stride + a * rate, j * stride + b * rate]
    return found


def slow_transposed(image: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Each number puts its multiple of the kernel where it came from."""
    found = np.zeros([stride * (n - 1) + k for n, k in zip(image.shape, kernel.shape, strict=True)], int)
    for (i, j), value in np.ndenumerate(image):
        found[i * stride : i * stride + kernel.shape[0], j * stride : j * stride + kernel.shape[1]] += value * kernel
    return found


def test_the_page_is_current() -> None:
    done = subprocess.run([sys.executable, "docs/convolutions.py", "--check"], cwd=DOCS.parent)
    assert done.returncode == 0, "docs/convolutions.md differs from the code: run python docs/convolutions.py"


def test_the_page_says_what_was_counted_by_hand() -> None:
    text = (DOCS / "convolutions.md").read_text(encoding="utf-8")
    for counted in (
        f"ordinary 3x3 | {3 * 3 * 16 * 32:,} | 3x3",
        f"dilated 3x3, rate 2 | {3 * 3 * 16 * 32:,} | 5x5",
        f"| {3 * 3 * 16} + {16 * 32} = {3 * 3 * 16 + 16 * 32} |",
        f"filled\nwith {5 * 5 - 9} zeros",
        "1, 2, 4 | 15x15 | 225 of 225",
        "2, 2, 2 | 13x13 | 49 of 169",
        "C is 4x25",
        "C x and the layer are equal, Cᵀ y and the transposed layer are equal",
        "6 numbers instead of 9",
        "`deeplab_v1` | 8 | 412",
        "VGG-16 up to its last pooling | 32 | 212",  # 1 + 2 (2 + 4 + 12 + 24 + 48) - ... as published for pool5
    ):
        assert counted in text, counted
    assert "DIFFERENT" not in text and "{" not in text.replace("{name", "").replace("weights = {", "").replace(
        "== {", ""
    )


@pytest.mark.parametrize("rate", [1, 2, 3])
def test_a_rate_fills_the_kernel_with_zeros(rate: int) -> None:
    acting = measured.kernel_that_acts(rate)
    expected = np.zeros((2 * rate + 1,) * 2, int)
    expected[::rate, ::rate] = measured.KERNEL
    np.testing.assert_array_equal(acting, expected)
    image = np.random.default_rng(0).integers(0, 9, (11, 13))
    slow = slow_convolution(image, measured.KERNEL, rate=rate)
    np.testing.assert_array_equal(measured.run(image[None], measured.conv(rate), kernel=measured.KERNEL)[0], slow)
    np.testing.assert_array_equal(slow_convolution(image, acting), slow)


def test_the_matrix_and_its_transpose() -> None:
    c = measured.matrix(measured.conv(strides=2), 5)
    y = slow_convolution(measured.IMAGE, measured.KERNEL, stride=2)
    assert c.shape == (4, 25) and (c > 0).sum() == 4 * 9
    np.testing.assert_array_equal(c @ measured.IMAGE.ravel(), y.ravel())
    back = slow_transposed(y, measured.KERNEL, 2)
    assert back.shape == (5, 5) and (back != measured.IMAGE).any()
    np.testing.assert_array_equal((c.T @ y.ravel()).reshape(5, 5), back)
    layer = keras.layers.Conv2DTranspose(1, 3, strides=2, use_bias=False)
    np.testing.assert_array_equal(measured.run(y[None], layer, kernel=measured.KERNEL)[0], back)


def test_what_stacks_see() -> None:
    """In one dimension the sums of three steps of -rate, 0 or rate; two dimensions are their product."""
    for rates in measured.STACKS:
        one = np.zeros(2 * sum(rates) + 1, int)
        for a in (-rates[0], 0, rates[0]):
            for b in (-rates[1], 0, rates[1]):
                for c in (-rates[2], 0, rates[2]):
                    one[sum(rates) + a + b + c] += 1
        np.testing.assert_array_equal(measured.paths(*map(measured.conv, rates)), np.outer(one, one))


def test_sobel_is_an_outer_product() -> None:
    whole, parts = measured.sobel()
    np.testing.assert_array_equal(whole, parts)
    kernel = np.outer(measured.SOBEL_COLUMN, measured.SOBEL_ROW)
    assert kernel.tolist() == [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]] and np.linalg.matrix_rank(kernel) == 1
    corner = measured.photograph()[:20, :20]
    np.testing.assert_array_equal(slow_convolution(corner, kernel), whole[:18, :18])


def test_the_pictures_are_drawn(tmp_path: Path) -> None:
    from convolution_pictures import draw

    draw(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"convolution-{name}.png" for name in ("dilated", "separable", "transposed")
    ]
    for path in tmp_path.iterdir():
        assert 10_000 < path.stat().st_size < 200_000
