"""The instruction sets: all that run here give the same bits, and what is compiled for one serves no other machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from native_cases import load_native

ROOT = Path(__file__).parent.parent
RENDER = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from native_cases import call, load_native, run, setup, zoo
rng, native = np.random.default_rng(7), load_native()
crc = __import__("zlib").crc32
for dtype in ("uint8", "uint16", "float32"):
    for channels in (1, 3, 4):
        top = {"uint8": 256, "uint16": 65536, "float32": 1}[dtype]
        images = (rng.random((1, 37, 53, channels)) * top).astype(dtype)
        for name, (matrix, reduction) in zoo((37, 53), (40, 70), rng).items():
            for interpolation in ("nearest", "bilinear", "bicubic"):
                for mode in ("constant", "nearest", "reflect", "wrap"):
                    s = setup(channels, dtype, interpolation=interpolation, fill_mode=mode)
                    c = call(images, (40, 70), s, matrices=np.float32(matrix).reshape(1, 1, 3, 3))
                    print(name, interpolation, mode, dtype, channels, crc(run(s, c).tobytes()))
on = np.ones(1, np.uint8)
for channels in (1, 3, 4):
    images = (rng.random((1, 61, 67, channels)) * 256).astype(np.uint8)
    tables = [rng.random((1, 256, k)).astype(np.float32) for k in (1, channels)]
    contrast = np.concatenate([np.eye(channels) * 1.3, np.eye(channels) * -0.3, np.zeros((channels, 1))], axis=1)
    steps = {"table": tables[0], "tables": tables[1], "affine": np.float32(contrast)[None], "equalize": None}
    for name, array in steps.items():
        s = setup(channels, "uint8", ops=["table" if name == "tables" else name])
        print(name, channels, crc(run(s, call(images, (61, 67), s, ops=[(array, on)])).tobytes()))
    if channels > 2:
        s = setup(channels, "uint8", ops=["hue"])
        print("hue", channels, crc(run(s, call(images, (61, 67), s, ops=[(np.float32([0.3]), on)])).tobytes()))
    for name, mean in (("grey", 0.0), ("mixed", 0.4)):  # colour maps that mix channels
        maps = np.concatenate([rng.random((1, channels, channels)), np.full((1, channels, channels), mean)], axis=2)
        maps = np.concatenate([maps[:, :1].repeat(channels, 1) if name == "grey" else maps, maps[:, :, :1] / 9], axis=2)
        s = setup(channels, "uint8", ops=["affine"])
        print(name, channels, crc(run(s, call(images, (61, 67), s, ops=[(np.float32(maps), on)])).tobytes()))
    for width in (64, 67):
        s = setup(channels, "uint8", scale=[0.1, 0.2, 0.3, 0.4][:channels], offset=[0.7] * channels)
        c = call(images[:, :, :width], (61, width), s, "float32", streamed=True)
        print("scaled", width, channels, crc(run(s, c).tobytes()))
    out = np.empty_like(images)
    native.gaussian_blur(images, out, np.float32([[0.2, 0.5, 0.3]]), on, 0, 1)
    print("blur", channels, crc(out.tobytes()))
    native.gaussian_noise(images, out, np.float32([0.1]), np.uint32([[3, 4]]), on, 0.0, 255.0, 0, 1)
    print("noise", channels, crc(out.tobytes()))
    keys, grid = np.uint32([[5, 6]]), np.float32([[9, 8, 5, 4, 0, 3]])
    for dtype in ("uint8", "uint16", "float32", "float16"):
        some = np.repeat((images.astype(np.float32) / 7).astype(dtype), 2, 0)
        some[1] = some[0, ::-1]
        mixed = np.empty_like(some)
        native.mix(some, mixed, np.float32([0.3, 0.8]), np.int32([1, 0]), 1)
        print("mix", dtype, channels, crc(mixed.tobytes()))
        s = setup(channels, "uint8", erase=[("grid", None)], scale=[0.5] * channels)
        print("out", dtype, channels, crc(run(s, call(images, (61, 67), s, dtype, erase=[(grid, on, keys)])).tobytes()))
    matrices, fields = np.float32([[np.eye(3)] * 2]), [np.float32(rng.normal(0, 3, (1, 5, 4, 2)))]
    for dtype in ("uint8", "uint16", "float32"):
        s, some = setup(channels, dtype, fill_mode="reflect"), (images / 255 if dtype == "float32" else images)
        c = call(some.astype(dtype), (61, 67), s, matrices=matrices, fields=fields, frames=np.float32([[[61, 67]]]))
        print("field", dtype, channels, crc(run(s, c).tobytes()))
print(native.isa(), file=sys.stderr)
"""


def with_isa(isa: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ONEWARP_ISA": isa}
    same_site = ["-S"] if sys.flags.no_site else []  # `make sanitize` runs without site, to find its own build
    return subprocess.run([sys.executable, *same_site, *arguments], env=environment, capture_output=True, text=True)


def test_every_instruction_set_gives_the_same_bits() -> None:
    results = {}
    for isa in load_native().isas():
        done = with_isa(isa, "-c", RENDER, str(Path(__file__).parent))
        assert done.returncode == 0, done.stderr
        assert done.stderr.split()[-1] == isa
        results[isa] = done.stdout.splitlines()
    first = next(iter(results.values()))
    assert len(first) > 500
    for isa, lines in results.items():
        different = [a for a, b in zip(lines, first, strict=True) if a != b]
        assert not different, f"{isa}: {different[:5]}"


def test_an_instruction_set_that_cannot_run_is_refused() -> None:
    done = with_isa("mmx", "-c", RENDER, str(Path(__file__).parent))
    assert done.returncode != 0
    assert "ONEWARP_ISA=mmx cannot run here; unset it, or choose among" in done.stderr


def shared_symbols(listing: str) -> list[str]:
    """Symbols of an `nm --defined-only` listing that other files can see, the accessor left out."""
    rows = [line.split() for line in listing.splitlines() if line.strip()]
    return [row[-1] for row in rows if len(row) == 3 and not row[1].islower() and "kernels_" not in row[-1]]


def initialised_at_start(sections: str) -> bool:
    return ".init_array" in sections or ".ctors" in sections


@pytest.mark.skipif(shutil.which("nm") is None or shutil.which("objdump") is None, reason="needs nm and objdump")
def test_nothing_compiled_for_a_newer_machine_can_be_linked_for_all(tmp_path: Path) -> None:
    objects = sorted((ROOT / "build").glob("*/CMakeFiles/kernels_*.dir/**/*kernels.cpp.o"))
    if not objects:
        pytest.skip("the build folder is not there")
    for path in objects:
        listing = subprocess.run(["nm", "--defined-only", path], capture_output=True, text=True, check=True).stdout
        assert "kernels_" in listing
        assert shared_symbols(listing) == [], path
        sections = subprocess.run(["objdump", "-h", path], capture_output=True, text=True, check=True).stdout
        assert not initialised_at_start(sections), path


@pytest.mark.skipif(shutil.which("c++") is None or shutil.which("nm") is None, reason="needs c++ and nm")
def test_the_check_of_symbols_can_fail(tmp_path: Path) -> None:
    """A std container, a template with linkage and a static initialiser are each seen."""
    source = tmp_path / "leak.cpp"
    source.write_text(
        "#include <vector>\n"
        "template <class T> __attribute__((noinline)) T twice(T v) { return v + v; }\n"
        "int leak(int v) { std::vector<int> many(v); return twice(v) + (int)many.size(); }\n"
        "struct Early { Early(); } early;\n"
    )
    target = tmp_path / "leak.o"
    subprocess.run(["c++", "-std=c++17", "-O1", "-c", source, "-o", target], check=True)
    listing = subprocess.run(["nm", "--defined-only", target], capture_output=True, text=True, check=True).stdout
    assert any("twice" in name for name in shared_symbols(listing))
    sections = subprocess.run(["objdump", "-h", target], capture_output=True, text=True, check=True).stdout
    assert initialised_at_start(sections)
