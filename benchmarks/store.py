"""Stores: how long a loader over a million entries takes to start, and what a store gains over files.

python -m benchmarks.store make FOLDER [--entries 1000000]     # a store of tiny images, once
python -m benchmarks.store open FOLDER                         # seconds until the first batch, and to join two
python -m benchmarks.store billion FOLDER                      # opening an index of 10^9 rows, without images
python -m benchmarks.store rates [--data PHOTOS] [--threads 2] # images/s and bytes: files, JPEG store, raw store
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def make(folder: Path, entries: int) -> None:
    import onewarp as ow
    from onewarp.data.store import prepare

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (entries, 8, 8, 3), dtype=np.uint8)
    source = ow.ArraySource(images, np.arange(entries) % 1000)
    start = time.perf_counter()
    prepare(source, folder, ow.StoreSettings(raw=True))
    print(f"{entries:,} entries prepared in {time.perf_counter() - start:.1f} s")


def opened(folder: Path) -> None:
    import keras  # noqa: F401  the backend's import is not the store's

    import onewarp as ow

    policy = ow.Policy([ow.HorizontalFlip(), ow.Rescale(1 / 255)])
    ow.Loader(ow.ArraySource(np.zeros((4, 8, 8, 3), np.uint8)), policy, 2).batches.batch(0, 0)  # imports, first calls
    index = next(folder.glob("index-*.bin"))
    for caches in ("cold", "warm"):
        if caches == "cold":
            for path in folder.iterdir():
                with open(path, "rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        times = [time.perf_counter()]
        source = ow.StoreSource(folder)
        times.append(time.perf_counter())
        loader = ow.Loader(source, policy, 128, seed=int(caches == "cold"))
        times.append(time.perf_counter())
        loader.batches.batch(0, 0)
        times.append(time.perf_counter())
        parts = ", ".join(
            f"{name} {after - before:.3f} s"
            for name, before, after in zip(("open", "Loader", "first batch"), times[:-1], times[1:], strict=True)
        )
        print(
            f"{caches}: {len(source):,} entries, index {index.stat().st_size / 1e6:.1f} MB: {parts}, "
            f"together {times[-1] - times[0]:.3f} s"
        )
    twice = [source, ow.StoreSource(folder)]
    start = time.perf_counter()
    both = ow.ConcatSource(twice)
    print(f"twice, as one source: {len(both):,} entries: {time.perf_counter() - start:.3f} s")


def billion(folder: Path, entries: int = 10**9, shard_samples: int = 2200) -> None:
    """Opening cost alone: the rows of the index are a hole in a file, its checksums those of the part that is read."""
    import zlib

    import onewarp as ow
    from onewarp.data.store import layout, prepare

    prepare(ow.ArraySource(np.zeros((2, 8, 8, 3), np.uint8), np.arange(2)), folder)
    store = ow.StoreSource(folder)
    about = {**store.about, "samples": entries, "shard_samples": shard_samples}
    table, rows = bytes(layout.table_size(about)), entries * layout.row_dtype(about).itemsize
    about = {**about, "table_crc": zlib.crc32(table)}
    with open(folder / layout.index_name(about), "r+b") as file:
        file.truncate(0)
        file.truncate(len(table) + rows)
    (folder / layout.MANIFEST).write_bytes(layout.to_json(about))
    start = time.perf_counter()
    source = ow.StoreSource(folder)
    seconds = time.perf_counter() - start
    size = (len(table) + rows) / 1e9
    print(f"{len(source):,} entries in {layout.shard_count(about):,} shards, index {size:.1f} GB: open {seconds:.3f} s")


def rates(photos: Path, threads: int) -> None:
    import onewarp as ow
    from benchmarks.photos import jpeg_files
    from onewarp.data.store import prepare

    files = list(jpeg_files(photos))
    policy = ow.Policy(
        [ow.RandomResizedCrop(224, scale=(0.35, 1.0)), ow.HorizontalFlip(), ow.Rotate(15), ow.Normalize("imagenet")]
    )
    source = ow.FileSource(files * 4)
    print(f"{len(files)} photographs four times over, {sum(os.path.getsize(file) for file in files) / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory() as folder:
        sources: dict[str, ow.Source] = {"files": source}
        for name, settings in (
            ("store, JPEG, short side 256", ow.StoreSettings(short_side=256)),
            ("store, raw, short side 256", ow.StoreSettings(short_side=256, raw=True)),
        ):
            place = Path(folder) / name
            start = time.perf_counter()
            prepare(source, place, settings, threads=threads)
            seconds = time.perf_counter() - start
            size = sum(path.stat().st_size for path in place.iterdir()) / len(source)
            print(f"{name}: prepared at {len(source) / seconds:,.0f} images/s, {size / 1e3:.1f} kB an image")
            sources[name] = ow.StoreSource(place)
        loaders = {name: ow.Loader(source, policy, 32, threads=threads) for name, source in sources.items()}
        first = ow.Loader(
            source, policy, 32, threads=threads, store={"path": Path(folder) / "fresh", "short_side": 256}
        )
        start = time.perf_counter()
        count = sum(len(batch) for batch in first)
        print(f"first epoch of Loader(store=): {count / (time.perf_counter() - start):,.0f} images/s")
        found: dict[str, list[float]] = {name: [] for name in loaders}
        for _ in range(6):  # in turns; the first one warms up
            for name, loader in loaders.items():
                start = time.perf_counter()
                count = sum(len(batch) for batch in loader)
                found[name].append(count / (time.perf_counter() - start))
        for name, values in found.items():
            ratio = np.array(values[1:]) / np.array(found["files"][1:])
            print(f"{name:<28} {np.median(values[1:]):7,.0f} images/s, {np.median(ratio):.2f} times files")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("make", "open", "billion"):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path)
        if name == "make":
            command.add_argument("--entries", type=int, default=1_000_000)
    command = commands.add_parser("rates")
    default = os.environ.get("ONEWARP_DATA")
    command.add_argument("--data", default=None if default is None else os.path.join(default, "coco_tiny"))
    command.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    if given.command == "make":
        make(given.folder, given.entries)
    elif given.command == "open":
        opened(given.folder)
    elif given.command == "billion":
        billion(given.folder)
    elif given.data is None:
        sys.exit("name a folder of photographs: --data FOLDER, or ONEWARP_DATA")
    else:
        rates(Path(given.data), given.threads)


if __name__ == "__main__":
    main()
