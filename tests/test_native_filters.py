"""Native Threefry, Gaussian blur, Gaussian noise and nearest-neighbour masks against the twin."""

from __future__ import annotations

import numpy as np
import pytest

import twin
from native_cases import FILL_MODES, RANGES, assert_same, chain, exact, native, poisoned, random_images, zoo

SIZES = [(1, 1), (1, 7), (5, 3), (17, 31), (64, 48), (2, 601)]


def test_threefry_gives_random123s_known_answers():
    ones = 0xFFFFFFFF
    keys = np.uint32([[0, 0], [ones, ones], [0x13198A2E, 0x03707344]])
    counters = np.uint32([[0, 0], [ones, ones], [0x243F6A88, 0x85A308D3]])
    columns = [exact(a[:, k]) for a in (keys, counters) for k in (0, 1)]
    first, second = native.threefry2x32(*columns)
    assert first.tolist() == [0x6B200159, 0x1CB996FC, 0xC4923A9C]
    assert second.tolist() == [0x99BA4EFE, 0xBB002BE7, 0x483DF7A0]


def test_threefry_equals_the_twin(rng):
    for n in (0, 1, 7, 1000):
        words = [exact(rng.integers(0, 2**32, n, np.uint32)) for _ in range(4)]
        for got, wanted in zip(native.threefry2x32(*words), twin.threefry2x32(*words), strict=True):
            assert got.dtype == np.uint32
            assert np.array_equal(got, wanted)


def blur_weights(sigmas, size: int) -> np.ndarray:
    t = np.arange(size) - size // 2
    w = np.exp(-0.5 * (t / np.maximum(np.reshape(sigmas, (-1, 1)), 1e-3)) ** 2)
    return exact(np.float32(w / w.sum(axis=1, keepdims=True)))


@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.parametrize("size", SIZES)
def test_blur_equals_the_twin(rng, size, dtype):
    span = RANGES[dtype][1]
    active = np.uint8([0, 1, 1, 0, 1, 1])
    for channels in (1, 3, 4, 5):
        for width in (1, 3, 7, 23, 101):
            if width * size[0] > 2000:
                continue
            weights = blur_weights([9, 9, 0.8, 2, width / 6, 1e-3], width)
            images = random_images(rng, (4, *size, channels), dtype)
            before = images.copy()
            results = []
            for threads in (1, 2):
                out = poisoned(images.shape, dtype)
                native.gaussian_blur(images=images, out=out, weights=weights, active=active, start=2, threads=threads)
                results.append(out)
            assert_same(results[0], twin.gaussian_blur(images, weights, active, 2), error=4e-6 * span)
            assert np.array_equal(results[0], results[1])
            assert np.array_equal(images, before)
            assert np.array_equal(results[0][1], images[1]), "an inactive row is copied"


def test_blur_keeps_flat_images_and_rounds_half_to_even():
    flat = np.full((1, 9, 9, 3), 201, np.uint8)
    out = np.zeros_like(flat)
    native.gaussian_blur(flat, out, blur_weights([2.0], 7), np.ones(1, np.uint8), 0, 1)
    assert (out == 201).all()
    image = np.uint8([0, 1, 4, 5]).reshape(1, 1, 4, 1)  # (1/4, 1/2, 1/4) gives 0.5, 1.5, 3.5, 4.5
    out = np.zeros_like(image)
    native.gaussian_blur(image, out, np.float32([[0.25, 0.5, 0.25]]), np.ones(1, np.uint8), 0, 1)
    assert out.ravel().tolist() == [0, 2, 4, 4]


def test_blur_and_noise_take_strided_arrays(rng):
    images = random_images(rng, (3, 11, 9, 3), "uint8")
    turned = exact(images.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
    ones, keys = np.ones(3, np.uint8), np.uint32([[1, 2], [3, 4], [5, 6]])
    std = np.float32([0.1, 0.2, 0.3])
    for view in (turned, images[::-1], images[:, ::-1, ::-1]):
        view = view if view is turned else view.copy()[tuple(slice(None, None, s // abs(s)) for s in view.strides)]
        same = exact(view)
        results = []
        for source in (view, same):
            a, b = np.zeros_like(same), np.zeros_like(same)
            native.gaussian_blur(source, a, blur_weights([1.0] * 3, 5), ones, 0, 1)
            native.gaussian_noise(source, b, std, keys, ones, 0.0, 255.0, 0, 1)
            results.append((a, b))
        assert np.array_equal(results[0][0], results[1][0])
        assert np.array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.parametrize("size", SIZES)
def test_noise_equals_the_twin(rng, size, dtype):
    low, high = RANGES[dtype]
    std, active = np.float32([0.3, 0.0, 0.05, 0.2, 0.7]), np.uint8([1, 1, 1, 0, 1])
    keys = exact(rng.integers(0, 2**32, (5, 2), np.uint32))
    for channels in (1, 3, 4):
        images = random_images(rng, (4, *size, channels), dtype)
        before = images.copy()
        results = []
        for threads in (1, 2):
            out = poisoned(images.shape, dtype)
            native.gaussian_noise(
                images=images,
                out=out,
                std=std,
                keys=keys,
                active=active,
                low=low,
                high=high,
                start=1,
                threads=threads,
            )
            results.append(out)
        values = twin.gaussian_noise(images, std, keys, active, low, high, 1)
        assert_same(results[0], values, error=2e-5 * (high - low))
        assert np.array_equal(results[0], results[1])
        assert np.array_equal(images, before)


def test_noise_in_the_tails_of_the_normal_distribution():
    """2**16 draws reach beyond four deviations; Giles' polynomial has a branch of its own there."""
    image = np.zeros((1, 256, 256, 1), np.float32)
    keys, one = np.uint32([[5, 6]]), np.ones(1, np.uint8)
    out = np.zeros_like(image)
    native.gaussian_noise(image, out, np.float32([0.05]), keys, one, -1.0, 1.0, 0, 1)
    values = twin.gaussian_noise(image, [0.05], keys, one, -1.0, 1.0)
    assert np.abs(values).max() > 0.4
    assert_same(out, values, error=1e-6)


MASK_DTYPES = ("uint8", "int8", "bool", "uint16", "int16", "int32", "float32", "int64", "float64")


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("dtype", MASK_DTYPES)
def test_nearest_copies_elements_of_any_dtype(rng, dtype, fill_mode):
    fill = np.array([1 if dtype == "bool" else 101], dtype)
    for in_size, out_size, f in (
        ((1, 1), (2, 3), 0),
        ((5, 3), (1, 7), 1),
        ((17, 31), (17, 31), 0),
        ((64, 48), (20, 33), 2),
        ((2, 601), (1, 530), 1),
    ):
        for channels in (1, 3):
            cases = zoo(in_size, out_size, rng)
            matrices, grids, frames = chain(np.stack([m for m, _ in cases.values()]), f, in_size, out_size, rng)
            masks = exact(
                rng.integers(0, 2 if dtype == "bool" else 101, (len(cases), *in_size, channels)).astype(dtype)
            )
            wanted = twin.nearest(masks, matrices, grids, frames, fill_mode, fill.tobytes(), out_size)
            open_ = twin.unsure(matrices, grids, frames, "nearest", fill_mode, out_size, len(cases))
            for source, start in ((masks, 0), ([exact(m) for m in masks], 0), (masks[3:7], 3)):
                n = len(source)
                out = poisoned((n, *out_size, channels), dtype)
                warp = {"matrices": matrices, "fields": grids, "frames": frames, "fill_mode": fill_mode}
                native.nearest(images=source, out=out, **warp, fill=fill.tobytes(), start=start, threads=2)
                rows = slice(start, start + n)
                same = (out == wanted[rows]) | open_[rows][..., None]
                assert same.all(), f"{(~same).sum()} of {same.size} elements differ"


def test_nearest_keeps_every_bit(rng):
    bits = rng.integers(0, 2**64, (1, 8, 8, 1), np.uint64)
    masks, out = bits.view(np.float64), np.zeros((1, 8, 8, 1))
    native.nearest(masks, out, np.float32([[[[-1, 0, 8], [0, 1, 0], [0, 0, 1]]]]), [], None, "constant", bytes(8), 0, 1)
    assert np.array_equal(out.view(np.uint64), bits[:, :, ::-1])


def test_nearest_scaled_by_two_reads_the_pixel_right_of_the_edge(rng):
    mask = exact(np.arange(16, dtype=np.int32).reshape(1, 4, 4, 1))
    out = np.zeros((1, 2, 2, 1), np.int32)
    native.nearest(mask, out, np.float32([[np.diag([2, 2, 1])]]), [], None, "constant", bytes(4), 0, 1)
    assert out.ravel().tolist() == [5, 7, 13, 15]  # points at 1.0 and 3.0 belong to pixels 1 and 3
