"""Seconds per epoch by where the samples lie and who loads them, and the experiment behind a user's question.

    python -m benchmarks.loading --large --out FILE.json    # all of it; about half an hour on two cores
    python -m benchmarks.loading --only question            # a part
    python -m benchmarks.loading --quick --large            # does all of it work? Its figures mean nothing
    python -m benchmarks.loading --tables FILE.json         # renew docs/benchmarks.md from what was kept

--data is a folder with `coco_tiny` and `cifar10-train.tar` ($ONEWARP_DATA). Three parts, two threads, JAX:

photos     5,000 JPEG photographs of about 640x480 -> RandomResizedCrop 224, flip, rotate 15, colour jitter, normalise
cifar      CIFAR-10 as 50,000 JPEG files and as a tar -> flip, shift 0.1, rotate 10, float32, batch 128
question   25,000 JPEG photographs -> 32x32 -> flatten -> dense 3072-768-384-2: all in memory, resized on the fly and
           resized beforehand took 0, 36 and 13 s per epoch on a GTX 970

onewarp's ways run in one process, each other library in its own. Everybody warms up (onewarp by an epoch, which keeps
frames), and then they take turns, an epoch each, --rounds times: neighbours in time saw the same machine. The
photographs are those of coco_tiny under many names, so everybody reads them from the system's cache; the other
libraries resize and augment each epoch anew. The other libraries are those of benchmarks/cpu.py, and grain.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.loading_ways import KINDS, LARGE, PEERS, WAYS, prepare
from benchmarks.machine import machine, versions
from benchmarks.photos import jpeg_files
from benchmarks.rounds import ROOT
from benchmarks.stats import fastest, ratios, replace_section, summary, table

PAGE = ROOT / "docs" / "benchmarks.md"
TITLES = {
    "question": "The question: 25,000 photographs to 32x32, dense 3072-768-384-2",
    "photos": "Photographs to 224x224",
    "cifar": "CIFAR-10",
}
NAMES = {"none": "no model", "small": "small model", "large": "large model"}
Rounds = dict[str, Any]  # {"images": ..., "seconds": [...]} or {"error": ...}


class Worker:
    """A process of `benchmarks.loading_ways`."""

    def __init__(self, part: str, group: str, folder: Path, threads: int, backend: str) -> None:
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        environment = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "NO_ALBUMENTATIONS_UPDATE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.loading_ways", part, group, str(folder), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd=ROOT,
            env={**os.environ, **environment},
        )

    def ask(self, way: str, kind: str, warm: bool) -> dict[str, Any]:
        """{"images", "seconds"} of an epoch; {"error": the last line of what it complained of} where it has ended."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"way": way, "kind": kind, "warm": warm}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        for line in self.process.stdout:
            if line.startswith("RESULT "):
                found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
                return found
        self.process.wait()
        self.log.seek(0)
        return {"error": (self.log.read().strip().splitlines() or ["it ended without a word"])[-1]}

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def files_of(part: str, data: Path, folder: Path, count: int | None) -> None:
    """The part's samples as files of their own below folder/files: `count` photographs, or of CIFAR-10 the first."""
    (folder / "files").mkdir(parents=True)
    if part == "cifar":
        with (
            tarfile.open(data / "cifar10-train.tar") as tar,
            tarfile.open(folder / "cifar10-train.tar", "w") as copy,
        ):
            members = tar.getmembers()
            step = 1 if count is None else max(len(members) // count, 1)  # they are sorted by class
            for member in members[::step]:
                tar.extract(member, folder / "files", filter="data")
                copy.addfile(member, tar.extractfile(member))
        return
    files = jpeg_files(data / "coco_tiny")
    for number in range(count or 0):
        os.symlink(os.path.abspath(files[number % len(files)]), folder / "files" / f"{number:06d}.jpg")


def contestants(part: str, large: bool) -> dict[tuple[str, str], str]:
    """(name, kind of model) -> group, in the order of the turns; other libraries only with the first kind."""
    kinds = (*KINDS[part], *(["large"] if large and part in LARGE else []))
    found = {}
    for kind in kinds:
        found.update({(f"onewarp, {way}", kind): "onewarp" for way, parts in WAYS.items() if part in parts})
        if kind == KINDS[part][0]:
            found.update({(peer, kind): peer for peer in PEERS})
    return found


def measure(part: str, given: argparse.Namespace, found: dict[str, Any], keep: Callable[[], None]) -> None:
    """Fill `found` with the seconds to prepare the stores, and name -> kind -> rounds."""
    count = {"photos": given.photographs, "cifar": None, "question": 25_000}[part]
    if given.quick:
        count = 640
    with tempfile.TemporaryDirectory(dir=given.scratch) as place:
        folder = Path(place)
        say(f"{part}: making files and stores")
        files_of(part, Path(given.data), folder, count)
        found["seconds to prepare"] = prepare(part, folder, given.threads)
        everybody = contestants(part, given.large)
        workers = {
            group: Worker(part, group, folder, given.threads, PEERS.get(group, "jax"))
            for group in dict.fromkeys(everybody.values())
        }
        try:
            for round_ in range(given.rounds + 1):
                for (name, kind), group in everybody.items():
                    row: Rounds = found.setdefault(name, {}).setdefault(kind, {"seconds": []})
                    if "error" in row:
                        continue
                    answer = workers[group].ask(name.removeprefix("onewarp, "), kind, warm=round_ == 0)
                    if "error" in answer:
                        row.update(answer)
                    elif round_ == 0:
                        row["first"] = answer["seconds"]
                    else:
                        row["images"] = answer["images"]
                        row["seconds"].append(answer["seconds"])
                        row["low"], row["median"], row["high"] = summary(row["seconds"])
                    shown = answer.get("error") or f"{answer['seconds']:.2f} s"
                    say(f"{part} {'warm-up' if round_ == 0 else round_}: {name}, {NAMES[kind]}: {shown}")
                keep()
        finally:
            for worker in workers.values():
                worker.close()


# --- tables ---------------------------------------------------------------------------------------------------------


def tables(results: Mapping[str, Any]) -> str:
    """The section of docs/benchmarks.md: a table for each part, with what follows from it below."""
    at = results["machine"]
    how = f"{results['rounds']} rounds, {results['threads']} threads"
    head = f"{at['cpu']}, {at['cores']} cores, {results['date']}, {how}."
    return "\n\n".join([head, *(_part(part, results[part]) for part in TITLES if part in results)])


def _part(part: str, found: Mapping[str, Any]) -> str:
    rows = {name: kinds for name, kinds in found.items() if isinstance(kinds, dict) and name != "seconds to prepare"}
    kinds = [kind for kind in NAMES if any(kind in row for row in rows.values())]
    images = {
        kind: next((row[kind]["images"] for row in rows.values() if "images" in row.get(kind, {})), 0) for kind in kinds
    }
    header = ["seconds per epoch: median (low – high)", *(f"{NAMES[kind]}, {images[kind]:,} images" for kind in kinds)]
    lines = [[name, *(_cell(row.get(kind)) for kind in kinds)] for name, row in rows.items()]
    made = found["seconds to prepare"]
    notes = [f"Preparing took {made['raw store']:.0f} s (raw) and {made['JPEG store']:.0f} s (JPEG)."]
    for kind in kinds:
        seconds = {name: row[kind]["seconds"] for name, row in rows.items() if row.get(kind, {}).get("seconds")}
        memory = seconds.get("onewarp, in memory")
        if memory is None:
            continue
        times = [
            f"{store} {summary(ratios(seconds[f'onewarp, {store}'], memory)).show()}"
            for store in ("raw store", "JPEG store")
            if f"onewarp, {store}" in seconds
        ]
        notes.append(f"Times an epoch in memory, {NAMES[kind]} (low / median / high): {', '.join(times)}.")
        speeds = {name: [1 / value for value in values] for name, values in seconds.items()}
        peer = fastest(speeds, PEERS)
        if peer is not None:
            gains = [
                f"{way} {summary(ratios(seconds[peer], seconds[f'onewarp, {way}'])).show(1)}"
                for way in ("raw store", "JPEG store", "files", "files, fast decoding")
                if f"onewarp, {way}" in seconds
            ]
            notes.append(f"Times as fast as {peer}, the fastest other library: {', '.join(gains)}.")
    return "\n\n".join([f"**{TITLES[part]}**", table(header, lines), " ".join(notes)])


def _cell(row: Rounds | None) -> str:
    if row is None:
        return ""
    if "error" in row:
        return "failed"
    low, median, high = summary(row["seconds"])
    return f"{median:.2f} ({low:.2f} – {high:.2f})"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("ONEWARP_DATA"))
    parser.add_argument("--only", nargs="+", choices=list(TITLES), default=list(TITLES))
    parser.add_argument("--photographs", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="epochs of everybody, after the one to warm up")
    parser.add_argument("--large", action="store_true", help="also under a model that takes longer than loading does")
    parser.add_argument("--quick", action="store_true", help="640 images each: does it work? The figures mean nothing")
    parser.add_argument("--scratch", help="a folder with some gigabytes of room")
    parser.add_argument("--out", type=Path, help="keep the figures as JSON; parts that are there already stay")
    parser.add_argument("--tables", type=Path, metavar="FILE", help="measure nothing; renew the page from this result")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page whose section is renewed")
    given = parser.parse_args(argv)
    if given.tables is not None:
        body = tables(json.loads(given.tables.read_text()))
        given.page.write_text(replace_section(given.page.read_text(), "loading", body))
        return
    if given.data is None:
        parser.error("no data: name the folder of coco_tiny and cifar10-train.tar by --data, or set ONEWARP_DATA")
    import datetime

    results: dict[str, Any] = json.loads(given.out.read_text()) if given.out and given.out.exists() else {}
    results |= {
        "date": datetime.date.today().isoformat(),
        "rounds": given.rounds,
        "threads": given.threads,
        "quick": given.quick,
        "machine": machine(),
        "versions": versions(),
    }

    def keep() -> None:
        if given.out:
            given.out.write_text(json.dumps(results, indent=1) + "\n")

    for part in given.only:
        results[part] = {}
        measure(part, given, results[part], keep)
    print(tables(results))


if __name__ == "__main__":
    main()
