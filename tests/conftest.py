"""The world in which every test runs: stricter than the user's, the same on every run.

Seeds are fixed, Hypothesis draws the same examples every time, and a test that needs data says so when it is
skipped; pyproject.toml turns warnings into errors. Nothing heavy is imported here: the native tests run under
a sanitizer with NumPy alone.
"""

from __future__ import annotations

import os
import random
import zlib
from pathlib import Path

import hypothesis
import numpy as np
import pytest

hypothesis.settings.register_profile(
    "onewarp",
    derandomize=True,
    deadline=None,
    max_examples=25,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("onewarp")


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Whoever uses a global generator gets the same numbers, whatever ran before."""
    random.seed(0)
    np.random.seed(0)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator of the test's own, seeded by the test's name."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with real images that ONEWARP_DATA names; without it the test is skipped."""
    folder = os.environ.get("ONEWARP_DATA")
    if not folder:
        pytest.skip("ONEWARP_DATA is not set: name the folder that holds the test data")
    if not Path(folder).is_dir():
        pytest.fail(f"ONEWARP_DATA is {folder!r}, which is not a folder")
    return Path(folder)
