"""The recipe that draws trees and forests: its pictures, and what it says of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onewarp as ow
from data_helpers import pillow
from recipe_helpers import load

PLOTS = load("forest_plots")


def test_the_pictures_are_drawn(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLOTS, "DEPTHS", (1, 4))
    PLOTS.main(out=tmp_path, trees=5)
    said = capsys.readouterr().out
    found = re.search(r"which validates best: (\d+) leaves become (\d+)", said)
    assert found and int(found[1]) > int(found[2])
    assert "one tree, ccp_alpha 0.0000: train" in said and "a forest of 5, " in said
    for name in ("tree", "depth", "boundaries"):
        assert min(pillow((tmp_path / f"{name}.png").read_bytes()).shape[:2]) > 400


def test_two_numbers_of_a_digit() -> None:
    image = np.zeros((2, 8, 8, 1), np.uint8)
    image[0, 2:6, 3:5] = 10  # in the middle alone, half of it above
    image[1, 7] = 10
    source = ow.ArraySource(image, np.array([1, 7]))
    np.testing.assert_allclose(PLOTS.two_numbers(source)[0], [[1, 0.5], [0, 0]])
