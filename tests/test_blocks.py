"""Memory that is used again: never while somebody holds it, and never more of it kept than allowed."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from onewarp.blocks import Blocks

SIZE = 300_000


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "int64"])
def test_an_array_has_its_shape_and_can_be_written(dtype: str) -> None:
    array = Blocks().empty((3, 100, 7, 211), dtype)
    assert array.shape == (3, 100, 7, 211) and array.dtype == dtype
    assert array.flags.c_contiguous and array.flags.writeable and array.flags.aligned
    array[:] = 1
    assert array.sum(dtype=np.float64) == array.size


@pytest.mark.parametrize("shape", [(0,), (), (5,), (0, 4)])
def test_small_and_empty_arrays(shape: tuple[int, ...]) -> None:
    assert Blocks().empty(shape, "float32").shape == shape


def test_a_block_comes_back_when_nobody_holds_it() -> None:
    blocks = Blocks()
    array = blocks.empty((SIZE,), "uint8")
    first = address(array)
    del array
    gc.collect()
    assert blocks.kept >= SIZE
    assert address(blocks.empty((SIZE - 100,), "uint8")) == first


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[5:9],
        lambda a: a.view("uint8")[-3:],
        lambda a: a.reshape(-1, 2).T,
        lambda a: memoryview(a)[:2],
        lambda a: a[:8].data.toreadonly(),
    ],
)
def test_a_view_holds_the_block(view: Callable[[np.ndarray], Any]) -> None:
    blocks = Blocks()
    array = blocks.empty((SIZE // 4,), "float32")
    array[:] = 7
    held = view(array)
    del array
    gc.collect()
    assert blocks.kept == 0
    blocks.empty((SIZE // 4,), "float32").fill(0)
    assert np.asarray(held).any()
    del held
    gc.collect()
    assert blocks.kept > 0


def test_no_more_is_kept_than_allowed() -> None:
    blocks = Blocks(limit=2 * SIZE)
    arrays = [blocks.empty((SIZE,), "uint8") for _ in range(6)]
    del arrays
    gc.collect()
    assert 0 < blocks.kept <= 2 * SIZE
    none = Blocks(limit=0)
    none.empty((SIZE,), "uint8").fill(1)
    gc.collect()
    assert none.kept == 0


def test_threads_never_share_a_block() -> None:
    blocks, wrong = Blocks(), []

    def work(number: int) -> None:
        for round_ in range(200):
            array = blocks.empty((SIZE // 4 + 1000 * (round_ % 5),), "uint8")
            array[:] = number
            if not (array == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
