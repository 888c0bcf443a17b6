"""Recipe: every transform alone, one thread, decoded photographs in memory, uint8 in and uint8 out; the style of the
Albumentations benchmark. What is compared with what: `equivalents.py`.

Albumentations and torchvision take one image per call, as their pipelines do. onewarp takes batches of 16, as its
loader does; "one by one" calls it for each image, which is not how it is meant, but is how the others are measured.
kornia works on floats made beforehand, in batches of 16 or one by one, whichever was faster here: one by one, but
for mixes. Results lie in memory of their own: a view, which some crops return, is copied.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.equivalents import ROWS
from benchmarks.photos import channels_first, cold, photos
from benchmarks.recipe import Contestant, Pass, Rates, Setup
from benchmarks.stats import fastest, number, ratios, summary, table

TITLE = "every transform alone, 640x480 uint8, one thread"
TASKS = tuple(row.name for row in ROWS)
THREADS = 1
BATCH = 16
FLAG = 0.5  # of the fastest peer: rows below are marked
BY_NAME = {row.name: row for row in ROWS}


@cache
def _frames(setup: Setup, frame: str, floats: bool) -> np.ndarray:
    """The images of a row's frame [n, h, w, 3]; as floats they are fewer, of as many bytes."""
    if frame == "batch":
        return np.ascontiguousarray(photos(setup.photos, 32 if setup.quick else 128)[:, :224, :224])
    found = photos(setup.photos, cold(BATCH, setup.quick) // (4 if floats and not setup.quick else 1))
    return np.ascontiguousarray(found[:, :, 80:560]) if frame == "square" else found


@cache
def _torch_parts(setup: Setup, frame: str, floats: bool) -> list[Any]:
    """Images [3, h, w], or batches [32, 3, 224, 224]; uint8 or floats in [0, 1]."""
    torch = peers.torch(THREADS)
    tensor = torch.from_numpy(channels_first(_frames(setup, frame, floats)))
    tensor = tensor.float() / 255 if floats else tensor
    return list(tensor.split(32)) if frame == "batch" else list(tensor)


def _onewarp(setup: Setup, task: str, batch: int) -> Pass:
    import onewarp as ow

    row = BY_NAME[task]
    frames, policy = _frames(setup, row.frame, False), ow.Policy([row.make("onewarp", ow=ow)])
    if row.frame == "batch":
        labels = np.eye(10, dtype=np.float32)[np.arange(len(frames)) % 10]
        batch = 32
        parts: list[Any] = [(frames[k : k + batch], labels[k : k + batch]) for k in range(0, len(frames), batch)]
    else:
        parts = [frames[k : k + batch] for k in range(0, len(frames), batch)]
    return _in_turn(parts, lambda part: policy(part, threads=THREADS), batch)


def _onewarp_batches(setup: Setup, task: str) -> Pass:
    return _onewarp(setup, task, BATCH)


def _onewarp_single(setup: Setup, task: str) -> Pass | None:
    return None if BY_NAME[task].frame == "batch" else _onewarp(setup, task, 1)


def _in_turn(parts: list[Any], call: Any, each: int) -> Pass:
    """A pass is the next few parts of a ring, so that slow transforms need not go round all of it."""
    position = 0
    chunk = max(1, BATCH // each)

    def work() -> int:
        nonlocal position
        for _ in range(chunk):
            call(parts[position])
            position = (position + 1) % len(parts)
        return chunk * each

    return work


def _albumentations(setup: Setup, task: str) -> Pass | None:
    row = BY_NAME[task]
    transform = row.make("albumentations", A=peers.albumentations())
    if transform is None:
        return None
    parts = list(_frames(setup, row.frame, False))
    return _in_turn(parts, lambda image: np.ascontiguousarray(transform(image=image)["image"]), 1)


def _torchvision(setup: Setup, task: str) -> Pass | None:
    row, v2 = BY_NAME[task], peers.torchvision_v2()
    torch = peers.torch(THREADS)
    transform = row.make("torchvision", v2=v2, torch=torch)
    if transform is None:
        return None
    parts = _torch_parts(setup, row.frame, row.floats)
    if row.frame == "batch":
        labels = torch.arange(32) % 10
        return _in_turn(parts, lambda part: transform(part, labels), 32)
    return _in_turn(parts, lambda part: transform(part).contiguous(), 1)


def _kornia(setup: Setup, task: str) -> Pass | None:
    import kornia.augmentation as K

    row = BY_NAME[task]
    transform = row.make("kornia", K=K)
    if transform is None:
        return None
    parts = _torch_parts(setup, row.frame, True)
    if row.frame == "batch":
        labels = peers.torch(THREADS).arange(32) % 10
        return _in_turn(parts, lambda part: transform(part, labels), 32)
    return _in_turn([part[None] for part in parts], lambda part: transform(part).contiguous(), 1)


OURS, SINGLE = "onewarp", "onewarp, one by one"
CONTESTANTS = (
    Contestant(OURS, _onewarp_batches, ours=True),
    Contestant(SINGLE, _onewarp_single, ours=True),
    Contestant("albumentations", _albumentations, ("albumentations",)),
    Contestant("torchvision", _torchvision, ("torch", "torchvision")),
    Contestant("kornia", _kornia, ("torch", "kornia")),
)


def below(rates: Rates) -> list[str]:
    """Names of the rows whose median ratio to the fastest peer is below FLAG."""
    return [task for task in rates if (ratio := _ratio(rates, task)) and summary(ratio).median < FLAG]


def _ratio(rates: Rates, task: str) -> list[float] | None:
    measured = rates[task]
    best = fastest(measured, [contestant.name for contestant in CONTESTANTS if not contestant.ours])
    return ratios(measured[OURS], measured[best]) if best and OURS in measured else None


def tables(rates: Rates) -> str:
    names = [contestant.name for contestant in CONTESTANTS]
    rows = []
    for task, measured in rates.items():
        if not measured:
            continue
        ratio = _ratio(rates, task)
        cells = [number(summary(measured[name]).median) if name in measured else "–" for name in names]
        shown = summary(ratio).show() if ratio else "–"
        rows.append([task, *cells, f"{shown} ⚠" if task in below(rates) else shown])
    text = table(["", *names, "onewarp / fastest peer: low / median / high"], rows)
    slow = below(rates)
    found = [summary(ratio).median for task in rates if (ratio := _ratio(rates, task))]
    if found:
        text += f"\n\nThe median over the rows is {number(summary(found).median)} times the fastest peer. "
        text += f"Below {FLAG}: {', '.join(slow)}." if slow else f"No row is below {FLAG}."
    return text + "\n\n" + equivalents()


def equivalents() -> str:
    """What was compared with what, as a table."""
    lines = [
        "| onewarp | albumentations | torchvision v2 | kornia | where the peers differ |",
        "|---|---|---|---|---|",
    ]
    for row in ROWS:
        cells = [row.onewarp, row.albumentations, row.torchvision, row.kornia]
        code = [f"`{cell.split('.', 1)[1]}`" if cell else "–" for cell in cells]
        lines.append(f"| {' | '.join(code).replace('STILL | dict', 'STILL, **dict')} | {row.note} |")
    return "\n".join(lines)
