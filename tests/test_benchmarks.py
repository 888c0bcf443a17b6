"""The pure parts of the benchmark suite: tables, ratios, equivalents, the reference of `quality`. Nothing is timed."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import chains, cpu, loading, loading_ways, memory, peers, quality, recipe, stats, transforms  # noqa: E402
from benchmarks.equivalents import ROWS  # noqa: E402

import onewarp as ow  # noqa: E402
import oracles  # noqa: E402
from onewarp.transform import Combinator  # noqa: E402
from onewarp.transforms import vocabulary  # noqa: E402


def test_ratios_are_taken_round_by_round() -> None:
    assert stats.ratios([10, 40], [5, 10]) == [2, 4]
    assert stats.summary([3, 1, 2]) == (1, 2, 3)
    with pytest.raises(ValueError, match="2 rounds against 1"):
        stats.ratios([1, 2], [1])


def test_the_fastest_is_the_one_with_the_highest_median() -> None:
    rates = {"steady": [5, 5, 5], "spiky": [1, 1, 100], "ours": [9, 9, 9]}
    assert stats.fastest(rates, ["steady", "spiky", "absent"]) == "steady"
    assert stats.fastest(rates, ["absent"]) is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.012345, "0.0123"), (1.5, "1.50"), (45.61, "45.6"), (999.6, "1,000"), (406_123.4, "406,000")],
)
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert stats.number(value) == shown


def test_tables_name_the_fastest_peer_and_show_ratios_to_it() -> None:
    text = stats.against_peers({"ours": [10, 30], "a": [1, 3], "b": [5, 5]}, ["ours"])
    assert "| **ours** | 20.0 | 10.0 – 30.0 | 2.00 / 4.00 / 6.00 |" in text
    assert text.endswith("The fastest peer is b.")
    assert "No peer" in stats.against_peers({"ours": [1]}, ["ours"])
    with pytest.raises(ValueError, match="a row has 1 cells"):
        stats.table(["a", "b"], [["only"]])


def test_sections_of_a_page_are_replaced_and_nothing_else() -> None:
    page = "before\n<!-- benchmark: x -->\nold\n<!-- end: x -->\nafter\n"
    assert (
        stats.replace_section(page, "x", "new\n") == "before\n<!-- benchmark: x -->\n\nnew\n\n<!-- end: x -->\nafter\n"
    )
    with pytest.raises(ValueError, match="once each"):
        stats.replace_section(page, "y", "new")


def test_the_page_has_a_section_for_every_recipe_and_a_run_renews_it(tmp_path: Path) -> None:
    page, result = tmp_path / "page.md", tmp_path / "result.json"
    page.write_text((ROOT / "docs" / "benchmarks.md").read_text())
    for name in ("machine", *cpu.RECIPES):
        stats.replace_section(page.read_text(), name, "")
    at = {"cpu": "a cpu", "cores": 2, "isa": [], "onewarp_isa": "x", "memory_gib": 1, "system": "s", "python": "3"}
    measured = {
        "rates": {"": {"onewarp, Loader": [10, 10], "kornia": [2, 5]}},
        "skipped": {"DALI, CPU": "not installed: pip install it"},
    }
    run = {"date": "2026-01-01", "runs": 2, "threads": 2, "versions": {"onewarp": "0"}, "machine": at}
    result.write_text(json.dumps(run | {"recipes": {"cifar": measured}}))
    assert cpu.main(["--tables", str(result), "--page", str(page)]) == 0
    text = page.read_text()
    assert "| **onewarp, Loader** | 10.0 | 10.0 – 10.0 | 2.00 / 3.50 / 5.00 |" in text
    assert "a cpu, 2 cores" in text and "Without DALI, CPU: not installed: pip install it" in text


def loading_rounds(seconds: list[float]) -> dict:
    return {"images": 640, "first": 9.0, "seconds": seconds}


def test_the_loading_table_comes_from_its_json(tmp_path: Path) -> None:
    page, result = tmp_path / "page.md", tmp_path / "result.json"
    page.write_text((ROOT / "docs" / "benchmarks.md").read_text())
    rows = {
        "onewarp, in memory": {"none": loading_rounds([1.0, 2.0]), "small": loading_rounds([4.0, 4.0])},
        "onewarp, raw store": {"none": loading_rounds([1.1, 2.0]), "small": loading_rounds([4.0, 4.0])},
        "onewarp, JPEG store": {"none": loading_rounds([2.0, 2.0]), "small": {"seconds": [], "error": "no room"}},
        "grain + Albumentations": {"none": loading_rounds([10.0, 8.0])},
    }
    run = {"date": "2026-01-01", "rounds": 2, "threads": 2, "machine": {"cpu": "a cpu", "cores": 2}}
    result.write_text(json.dumps(run | {"photos": {"seconds to prepare": {"raw store": 3, "JPEG store": 4}, **rows}}))
    loading.main(["--tables", str(result), "--page", str(page)])
    text = page.read_text()
    assert "| onewarp, raw store | 1.55 (1.10 – 2.00) | 4.00 (4.00 – 4.00) |" in text
    assert "| onewarp, JPEG store | 2.00 (2.00 – 2.00) | failed |" in text
    assert "| grain + Albumentations | 9.00 (8.00 – 10.00) |  |" in text and "no model, 640 images" in text
    assert "Times an epoch in memory, no model (low / median / high): raw store 1.00 / 1.05 / 1.10, JPEG store" in text
    assert "Times as fast as grain + Albumentations, the fastest other library: raw store 4.0 / 6.5 / 9.1" in text
    assert "A question from a forum" in text and "One epoch each after one" not in text


def test_everybody_takes_a_turn_in_every_round() -> None:
    for part, kinds in loading_ways.KINDS.items():
        turns = loading.contestants(part, large=True)
        assert {kind for _, kind in turns} == {*kinds, *(["large"] if part in loading_ways.LARGE else [])}
        assert {name for name, kind in turns if kind == kinds[0]} >= set(loading_ways.PEERS)
        assert ("onewarp, tar", kinds[0]) in turns or part != "cifar"


@pytest.mark.parametrize("name", cpu.RECIPES)
def test_recipes_are_complete(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    assert module.TITLE and module.TASKS and callable(module.tables)
    if not hasattr(module, "report"):
        names = [contestant.name for contestant in module.CONTESTANTS]
        assert len(set(names)) == len(names) and any(contestant.ours for contestant in module.CONTESTANTS)


def test_every_peer_has_an_install_command_in_the_head_of_the_script() -> None:
    needs = {module for name in cpu.RECIPES for contestant in _contestants(name) for module in contestant.needs}
    assert needs <= set(peers.INSTALL)
    for command in peers.INSTALL.values():
        assert f"    {command}\n" in (cpu.__doc__ or "") + "\n"
    assert peers.missing(["no_such_library"]) == "no_such_library not installed: pip install no_such_library"
    assert peers.missing(["numpy", "os.path"]) is None


def _contestants(name: str) -> tuple[recipe.Contestant, ...]:
    return getattr(importlib.import_module(f"benchmarks.{name}"), "CONTESTANTS", ())


def test_every_transform_has_a_row_of_equivalents_and_every_row_a_transform() -> None:
    known = {name for name, kind in vocabulary().items() if not issubclass(kind, Combinator)}
    assert {row.transform for row in ROWS} == known
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_equivalents_can_be_made(row) -> None:
    made = row.make("onewarp", ow=ow)
    assert type(made).__name__ == row.transform
    assert made.p == 1, "everything fires on every image"
    assert row.make("albumentations", A=oracles.albumentations()) is not None or row.albumentations is None


@pytest.mark.parametrize("row", [row for row in ROWS if row.torchvision], ids=lambda row: row.name)
def test_equivalents_of_torchvision_can_be_made(row) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    oracles.torchvision_functional()  # makes it importable
    v2 = pytest.importorskip("torchvision.transforms.v2", reason="torchvision is not installed")
    assert row.make("torchvision", v2=v2, torch=torch) is not None


def test_slow_rows_are_flagged() -> None:
    rates = {"slow": {"onewarp": [1, 1], "kornia": [2, 4]}, "fine": {"onewarp": [3, 3], "kornia": [2, 4]}, "alone": {}}
    assert transforms.below(rates) == ["slow"]
    text = transforms.tables(rates)
    assert "0.25 / 0.38 / 0.50 ⚠" in text and "Below 0.5: slow." in text


def test_memory_per_file_is_the_difference_of_two_folders() -> None:
    few = {"files": 10, "epochs": 3, "names": 1000, "before": 50_000, "after": [60_000, 60_000], "peak": 70_000}
    many = few | {"files": 110, "names": 9000, "after": [72_000, 72_000]}
    assert "Each further file keeps 120 bytes more in memory; its name takes 80." in memory.tables(
        {"a": few, "b": many}
    )


def test_the_clock_counts_what_the_passes_did() -> None:
    passes = []

    def work() -> int:
        passes.append(1)
        return 10

    assert recipe.measure(work, 0.001) > 0
    assert len(passes) >= 2  # one to warm up


def test_the_reference_is_the_source_where_nothing_moves(rng: np.random.Generator) -> None:
    scene = rng.integers(0, 256, (24, 30, 3), dtype=np.uint8)
    pixels = np.ones((8, 10), bool)
    seen = quality.reference(scene, np.eye(3), pixels, reduce=3, samples=3)
    np.testing.assert_allclose(seen.reshape(8, 10, 3), quality.area_mean(scene, 3), atol=1e-9)


def test_lanczos_reads_a_wave_between_its_pixels() -> None:
    def wave(x: np.ndarray) -> np.ndarray:
        return np.sin(2 * np.pi * x / 9)

    x = np.random.default_rng(0).uniform(8, 32, 200)
    image = np.broadcast_to(wave(np.arange(40) + 0.5)[None, :, None], (12, 40, 1))
    read = quality.lanczos(image, x, np.full_like(x, 6.3))[:, 0]
    assert np.abs(read - wave(x)).max() < 0.01
    assert np.abs(read - wave(x + 0.5)).max() > 0.1  # half a pixel would be seen


def test_pixels_count_only_if_every_step_stays_inside() -> None:
    shift = np.array([[1, 0, 4], [0, 1, 0], [0, 0, 1.0]])
    there_and_back = [shift, np.linalg.inv(shift)]
    assert quality.inside([np.eye(3)], 20, 20).sum() == 14 * 14
    assert quality.inside(there_and_back, 20, 20).sum() == 14 * 10


@pytest.mark.parametrize("library", ["onewarp", "albumentations", "torchvision"])
def test_libraries_realise_the_same_maps(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if library == "torchvision":
        oracles.torchvision_functional()
        monkeypatch.setattr(peers, "_kept", [True])  # declared already
    steps = chains.draw(np.random.default_rng(0), 48, 64)
    assert tuple(step.kind for step in steps) == chains.ORDER
    for step in steps:
        assert chains.check(library, step, 48, 64) < 0.01, step
    right = chains.matrix
    monkeypatch.setattr(chains, "matrix", lambda step, height, width: np.linalg.inv(right(step, height, width)))
    turned = chains.Step("rotate", (5.0,))
    if library != "onewarp":  # whose crop is this matrix
        assert chains.check(library, turned, 48, 64) > 1.0
