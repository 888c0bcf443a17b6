"""The kernels' own threads: the same pixels with any number, from several callers at once, and in a forked child."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

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


FORK = """
import os, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from test_native_threads import augmented
expected = augmented(4)  # the parent's threads wait from now on
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(augmented(4), expected) else 3)
assert os.waitpid(child, 0)[1] == 0, "the child"
assert np.array_equal(augmented(4), expected), "the parent"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_threads_of_its_own() -> None:
    """In a process of its own: other libraries that a test has imported object to a fork."""
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", FORK, here], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
