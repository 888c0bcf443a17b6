"""The documentation says what the code does: generated pages are current, policies load, links lead somewhere."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import onewarp as ow
from onewarp.transforms import vocabulary

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def test_the_page_of_transforms_is_current() -> None:
    done = subprocess.run([sys.executable, "docs/generate.py", "--check"], cwd=ROOT)
    assert done.returncode == 0, "docs/transforms.md differs from the code: run python docs/generate.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_policies_in_the_docs_load(page: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        assert len(ow.Policy.from_dict(yaml.safe_load(block))) > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    for link in links:
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_every_public_name_has_a_docstring() -> None:
    from onewarp import _HOMES

    for name in [*_HOMES, *vocabulary()]:
        assert inspect.getdoc(getattr(ow, name)), f"ow.{name} has no docstring"
        assert name in dir(ow)
