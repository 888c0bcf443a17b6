"""Who imports whom, read from the source: downwards only, no backend below `fit`, nothing heavy at first."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import onewarp as ow

SOURCE = Path(ow.__file__).parent
PROJECT = Path(__file__).parent.parent

# From the ground up. Files and packages of one line stand beside each other.
LAYERS = [
    ("errors", "blocks", "_native"),
    ("fields", "random", "spec"),
    ("matrices", "boxes"),
    ("transform",),
    ("transforms", "plan", "params"),
    ("lower", "plain", "draw", "targets", "batch"),
    ("engine",),
    ("policy_file", "arguments", "policy"),
    ("data", "picture"),
    ("fit", "models", "samples", "segment", "coco", "interop"),
    ("cli",),
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
LATE = {("policy.py", "onewarp.fit.layer.PolicyLayer")}  # upwards, when asked for: policy.as_layer()
BACKENDS = ("jax", "keras", "tensorflow", "torch")
MAY_IMPORT_KERAS = "engine/device/"  # array verbs of the active backend, imported where a device is used


def imported(source: str) -> set[str]:
    """Dotted names of everything that a file imports, wherever in the file: also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names.update(f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name)):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            first = node.args[0] if node.args else None
            if called in ("import_module", "__import__") and isinstance(first, ast.Constant):
                names.add(str(first.value))
    return names


def unit(path: str) -> str:
    """The file or package of LAYERS that holds a file, by its path below src/onewarp."""
    return path.split("/")[0].removesuffix(".py")


def complaints(path: str, source: str) -> list[str]:
    """What is wrong with the imports of the file at `path` (below src/onewarp)."""
    own, found = unit(path), []
    if own not in RANK:
        return [f"{path}: {own} has no layer; give it one in tests/test_imports.py"]
    for name in sorted(imported(source)):
        parts = name.split(".")
        if name == "onewarp.__version__" or (path, name) in LATE:
            continue
        if name.startswith("."):
            found.append(f"{path}: {name} is relative; write it in full")
        elif parts[0] == "onewarp":
            if (len(parts) == 1 or parts[1] not in RANK) and own != "cli":  # the command line is a user like any other
                found.append(f"{path}: {name} comes through the front door; import it from where it lives")
            elif len(parts) > 1 and RANK.get(parts[1], 0) > RANK[own]:
                found.append(f"{path}: {name} lies above {own}")
        elif parts[0] in BACKENDS and RANK[own] < RANK["fit"] and not path.startswith(MAY_IMPORT_KERAS):
            found.append(f"{path}: {parts[0]} below fit")
        if name.startswith("keras.src"):
            found.append(f"{path}: keras.src is private")
    return found + [f"{path}: keras.src is private" for _ in private_uses(source)]


def private_uses(source: str) -> list[ast.Attribute]:
    """Attributes `keras.src` in a file."""
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute) and node.attr == "src"]
    return [node for node in found if isinstance(node.value, ast.Name) and node.value.id == "keras"]


def files() -> dict[str, str]:
    """Path below src/onewarp -> source, of all Python files but the front door."""
    paths = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")
    return {path.relative_to(SOURCE).as_posix(): path.read_text() for path in paths}


def test_imports_go_downwards_only() -> None:
    found = [complaint for path, source in files().items() for complaint in complaints(path, source)]
    assert not found, "\n".join(found)


def test_there_are_files_to_check() -> None:
    assert {"random.py", "engine/host.py", "transforms/crop.py", "policy.py"} <= set(files())


def test_no_two_parts_import_each_other() -> None:
    graph: dict[str, set[str]] = {}
    for path, source in files().items():
        names = [name for name in imported(source) if name.startswith("onewarp.") and (path, name) not in LATE]
        others = {name.split(".")[1] for name in names} & set(RANK)
        graph.setdefault(unit(path), set()).update(others - {unit(path)})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as cycle:
        pytest.fail(" imports ".join(cycle.args[1]))


def test_nothing_uses_the_private_part_of_keras() -> None:
    folders = [PROJECT / name for name in ("src", "tests", "docs", "recipes", "benchmarks")]
    for path in (path for folder in folders if folder.is_dir() for path in folder.rglob("*.py")):
        source = path.read_text()
        assert not any(name.startswith("keras.src") for name in imported(source)) and not private_uses(source), path


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("random.py", "from onewarp.policy import Policy", "onewarp.policy.Policy lies above random"),
        ("random.py", "def f():\n    import onewarp.engine.host", "onewarp.engine.host lies above random"),
        ("plan.py", "if TYPE_CHECKING:\n    from onewarp.draw import draw", "onewarp.draw.draw lies above plan"),
        ("data/sources.py", "from onewarp.fit.loader import Loader", "onewarp.fit.loader.Loader lies above data"),
        ("draw.py", "import jax.numpy as jnp", "jax below fit"),
        ("data/order.py", "def f():\n    from keras import ops", "keras below fit"),
        ("engine/host.py", "import importlib\ntorch = importlib.import_module('torch')", "torch below fit"),
        ("engine/host.py", "tf = __import__('tensorflow')", "tensorflow below fit"),
        ("fit/loader.py", "from keras.src import backend", "keras.src is private"),
        ("fit/loader.py", "import keras\nkeras.src.backend.name", "keras.src is private"),
        ("draw.py", "from .random import unit", "is relative"),
        ("draw.py", "from onewarp import Policy", "comes through the front door"),
        ("extra.py", "", "extra has no layer"),
    ],
)
def test_the_checker_finds_what_it_looks_for(path, source, complaint) -> None:
    assert any(complaint in found for found in complaints(path, source))


def test_the_checker_lets_pass_what_is_right() -> None:
    right = (
        "import sys\nimport numpy\nfrom onewarp import _native\nfrom onewarp.random import unit\nsys.modules['torch']"
    )
    assert complaints("engine/host.py", right) == []
    assert complaints("engine/device/verbs.py", "from keras import ops") == []
    assert complaints("fit/loader.py", "import keras\nfrom onewarp.policy import Policy") == []


# --- what an import brings along ----------------------------------------------------------------------------------


def modules_after(program: str) -> set[str]:
    """Top-level names of all modules that a fresh Python has loaded after running `program`."""
    listing = "\nimport sys\nprint(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program + listing], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {*BACKENDS, "cv2", "matplotlib", "PIL", "rich", "scipy", "sklearn", "simplejpeg", "typer"}


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = modules_after("import onewarp")
    assert not loaded & HEAVY
    assert not loaded & {"numpy", "yaml"}  # not even these: names load on first use
    assert "keras" in modules_after("import keras")  # the check can fail


def test_augmenting_arrays_needs_no_backend() -> None:
    program = (
        "import numpy as np, onewarp as ow\n"
        "policy = ow.Policy([ow.RandomResizedCrop(8), ow.Rotate(15), ow.GaussianBlur(p=1), ow.Hue(), ow.CutMix()])\n"
        "policy((np.zeros((2, 9, 9, 3), np.uint8), np.arange(2)), seed=0, num_classes=2)"
    )
    assert not modules_after(program) & HEAVY


def test_reading_data_needs_no_keras() -> None:
    assert not modules_after("import onewarp.data, onewarp.data.batches, onewarp.data.prefetch") & set(BACKENDS)


def test_the_dense_crf_and_the_metrics_need_no_keras() -> None:
    assert not modules_after("import onewarp.segment; onewarp.segment.DenseCRF") & HEAVY


def test_a_forest_needs_no_keras_and_scikit_learn_only_to_be_trained() -> None:
    loaded = modules_after("from onewarp.segment import PixelFeatures, PixelForest, sample_pixels; PixelForest(3)")
    assert not loaded & {*BACKENDS, "joblib", "matplotlib", "scipy", "sklearn"}


def test_every_public_name_is_there() -> None:
    names = [name for name in dir(ow) if not name.startswith("_")]
    assert {"Policy", "Spec", "Rotate", "OneOf", "Normalize"} <= set(names)
    for name in names:
        assert getattr(ow, name) is not None
    with pytest.raises(AttributeError, match="module 'onewarp' has no attribute 'Rotat'"):
        ow.Rotat  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    """The names that load on first use are those listed for type checkers (transforms by a star)."""
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    listed = {alias.name for block in blocks for node in block.body for alias in node.names}  # type: ignore[attr-defined]
    assert listed - {"*"} == set(ow._HOMES)
    for name, home in ow._HOMES.items():
        assert (SOURCE.parent / (home.replace(".", "/") + ".py")).exists() or (
            SOURCE.parent / home.replace(".", "/")
        ).is_dir(), name
