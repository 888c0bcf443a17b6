"""The native mix of a batch with itself against NumPy: dtypes, sizes that fill no vector, strides, threads, errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native_cases import exact, native, poisoned

DTYPES = ("uint8", "uint16", "float16", "float32")
TOP = {"uint8": 255, "uint16": 65535, "float16": 4.0, "float32": 1.0}


def batch(rng: np.random.Generator, shape, dtype: str) -> np.ndarray:
    values = rng.random(shape) * TOP[dtype]
    return exact((np.rint(values) if dtype.startswith("u") else values).astype(dtype))


def by_numpy(images, share, partners) -> np.ndarray:
    weight = np.float32(share).reshape(-1, 1, 1, 1)
    mixed = weight * images.astype(np.float32) + (1 - weight) * images[partners].astype(np.float32)
    return (np.rint(mixed) if images.dtype.kind == "u" else mixed).astype(images.dtype)


def mix(images, share, partners, threads: int = 1) -> np.ndarray:
    out = poisoned(images.shape, images.dtype)
    native.mix(images, out, np.float32(share), np.int32(partners), threads)
    return out


@settings(max_examples=60)
@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 40), st.integers(1, 40), st.integers(1, 5)),
    threads=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_mix_equals_numpy(dtype, shape, threads, seed):
    rng = np.random.default_rng(seed)
    images, partners = batch(rng, shape, dtype), rng.integers(0, shape[0], shape[0])
    share, before = rng.choice([0.0, 1.0, 0.5, rng.random()], shape[0]), images.copy()
    assert np.array_equal(mix(images, share, partners, threads), by_numpy(images, share, partners))
    assert np.array_equal(images, before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_strides_change_nothing(rng, dtype):
    images, partners, share = batch(rng, (3, 7, 9, 3), dtype), [2, 0, 1], [0.3, 0.9, 1.0]
    expected = by_numpy(images, share, partners)
    turned = exact(images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    for view in (turned, exact(images[:, ::-1])[:, ::-1]):
        assert np.array_equal(mix(view, share, partners), expected)
    out = poisoned((3, 7, 3, 9), dtype).transpose(0, 1, 3, 2)
    native.mix(images, out, np.float32(share), np.int32(partners))
    assert np.array_equal(out, expected)


def test_halves_of_every_kind_survive(rng):
    """All 65,536 bit patterns are read and written: subnormal numbers, infinities and signs (NaN stays some NaN)."""
    every = np.arange(65536, dtype=np.uint16).view(np.float16).reshape(1, 256, 256, 1)
    for share in (0.5, 0.999999):  # with itself, so that not even a rounding changes it
        with np.errstate(invalid="ignore"):
            expected = by_numpy(every, [share], [0])
        np.testing.assert_array_equal(mix(every, [share], [0]), expected)


def test_a_share_of_one_is_a_copy_whatever_the_partner_holds():
    images = np.float32([[0.25, 1.0], [np.nan, np.inf]]).reshape(2, 1, 2, 1)
    assert mix(images, [1.0, 1.0], [1, 0])[0].ravel().tolist() == [0.25, 1.0]


def test_bad_arguments_are_named():
    images = np.zeros((2, 3, 3, 1), np.uint8)
    out, share = np.zeros_like(images), np.float32([0.5, 0.5])
    for partners in ([0, 2], [-1, 0]):
        with pytest.raises(ValueError, match=r"partners\[[01]\]: must be in \[0, 2\)"):
            native.mix(images, out, share, np.int32(partners))
    with pytest.raises(ValueError, match="share"):
        native.mix(images, out, share[:1], np.int32([1, 0]))
    with pytest.raises(ValueError, match="shares memory"):
        native.mix(images, images, share, np.int32([1, 0]))
    with pytest.raises(TypeError, match="out: is float32 but the images are uint8"):
        native.mix(images, out.astype(np.float32), share, np.int32([1, 0]))
    with pytest.raises(TypeError, match="elements must be one of"):
        native.mix(images.astype(np.int32), out.astype(np.int32), share, np.int32([1, 0]))
