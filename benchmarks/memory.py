"""Recipe: what a Loader keeps in memory. Resident memory before, during and after epochs over folders of small JPEG
files: it must not grow with the number of files beyond what their names take, nor with the number of epochs.

A task "50000 files, 3 epochs" runs in a process of its own. Memory that the allocator has not given back counts.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recipe import Setup
from benchmarks.stats import number, table

TITLE = "resident memory of a Loader over many small JPEG files"
TASKS = ("5000 files, 20 epochs", "5000 files, 3 epochs", "50000 files, 3 epochs")
QUICK = 25  # divides the number of files of a smoke test
MIB = 2**20


def _parse(task: str) -> tuple[int, int]:
    files, epochs = (part.split()[0] for part in task.split(", "))
    return int(files), int(epochs)


def resident() -> int:
    """Bytes of memory that this process occupies now; the most so far where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak()
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def write_files(folder: Path, count: int) -> list[str]:
    """Smooth random pictures of 32x32, 64 different ones, as `count` JPEG files in folders of 1,000."""
    import cv2
    import simplejpeg

    rng = np.random.default_rng(0)
    pictures = [
        simplejpeg.encode_jpeg(
            cv2.resize(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), (32, 32), interpolation=cv2.INTER_LINEAR),
            quality=92,
        )
        for _ in range(64)
    ]
    paths = []
    for number_ in range(count):
        path = folder / f"{number_ // 1000:03d}" / f"{number_ % 1000:04d}.jpg"
        if number_ % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(pictures[number_ % len(pictures)])
        paths.append(str(path))
    return paths


def report(setup: Setup, task: str) -> dict[str, Any]:
    """{"files", "epochs", "names", "before", "after": [...], "peak"}: sizes in bytes."""
    import onewarp as ow

    files, epochs = _parse(task)
    if setup.quick:
        files, epochs = files // QUICK, min(epochs, 4)
    policy = ow.Policy([ow.RandomCrop(32, padding=4), ow.HorizontalFlip(), ow.Rotate(10), ow.Rescale(1 / 255)])
    with tempfile.TemporaryDirectory() as folder:
        paths = write_files(Path(folder), files)
        warm = ow.Loader(ow.FileSource(paths[:256]), policy, batch_size=128, threads=setup.threads)
        for _ in warm:  # libraries load, threads start, the first buffers are made
            pass
        before = resident()
        loader = ow.Loader(ow.FileSource(paths), policy, batch_size=128, threads=setup.threads)
        after = []
        for _ in range(epochs):
            for _ in loader:
                pass
            after.append(resident())
    names = sum(sys.getsizeof(path) + 8 for path in paths)
    return {"files": files, "epochs": epochs, "names": names, "before": before, "after": after, "peak": peak()}


def tables(reports: dict[str, dict[str, Any]]) -> str:
    rows = []
    for found in reports.values():
        after = found["after"]
        rows.append(
            [
                f"{found['files']:,} files, {found['epochs']} epochs",
                number(found["names"] / MIB),
                number(found["before"] / MIB),
                number(after[0] / MIB),
                number(after[-1] / MIB),
                number(found["peak"] / MIB),
                f"{(after[-1] - after[0]) / MIB / max(found['epochs'] - 1, 1):+.2f}",
            ]
        )
    header = ["MiB", "names of the files", "before", "after epoch 1", "after the last", "peak", "per further epoch"]
    text = table(header, rows)
    ordered = sorted(reports.values(), key=lambda found: (found["epochs"], found["files"]))
    for few, many in pairwise(ordered):
        more = many["files"] - few["files"]
        if few["epochs"] != many["epochs"] or more == 0:
            continue
        kept = ((many["after"][-1] - many["before"]) - (few["after"][-1] - few["before"])) / more
        name = (many["names"] - few["names"]) / more
        text += f"\n\nEach further file keeps {kept:.0f} bytes more in memory; its name takes {name:.0f}."
    return text
