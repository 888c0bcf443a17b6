"""The kernels' own threads: the same pixels with any number, from several callers at once, and in a forked child."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

import onewarp as ow

POLICY = ow.Policy([ow.Rotate(30), ow.HorizontalFlip(), ow.Brightness(0.3), ow.GaussianBlur(p=0.5)])
IMAGES = np.random.default_rng(0).integers(0, 256, (67, 24, 20, 3), dtype=np.uint8)


def augmented(threads: int, epoch: int = 0) -> np.ndarray:
    result: np.ndarray = POLICY(IMAGES, seed=1, epoch=epoch, threads=threads)
    return result


@pytest.mark.parametrize("threads", [2, 3, 8, 66, 67, 100])
def test_results_do_not_depend_on_the_number_of_threads(threads: int) -> None:
    np.testing.assert_array_equal(augmented(threads), augmented(1))


def test_callers_at_the_same_time_do_not_get_in_each_others_way() -> None:
    expected = [augmented(1, epoch) for epoch in range(5)]
    wrong: list[tuple[int, int]] = []

    def call(number: int) -> None:
        for round_ in range(20):
            epoch = (number + round_) % 5
            if not np.array_equal(augmented(1 + (number + round_) % 4, epoch), expected[epoch]):
                wrong.append((number, round_))

    callers = [threading.Thread(target=call, args=(number,)) for number in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    expected = augmented(4)  # the parent's threads wait from now on
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        same = np.array_equal(augmented(4), expected)
        os.write(write, b"y" if same else b"n")
        os._exit(0)
    assert os.read(read, 1) == b"y"
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(augmented(4), expected)
