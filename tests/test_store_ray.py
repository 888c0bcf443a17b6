"""`onewarp prepare --engine ray` on local clusters: the same bytes, and nothing is lost with a worker or a machine."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import onewarp.data as data
from data_helpers import class_folder
from onewarp.data.store import prepare
from onewarp.errors import MissingDependency
from store_helpers import content, everything

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")

# One process and one cluster for most of it: starting Ray takes longer than what is tested.
PROGRAM = """
import json, os, pickle, signal, sys
from pathlib import Path
import ray
ray.init(num_cpus=2, object_store_memory=80 << 20, include_dashboard=False, log_to_driver=False)
from onewarp.data.store import StoreSettings
from onewarp.data.store.cluster import prepare_on_ray
from onewarp.errors import DataError, InputError
import onewarp.data as data

root = Path(sys.argv[1])
source = pickle.loads((root / "source").read_bytes())
settings = StoreSettings(short_side=20)
found = {}

seen = []
prepare_on_ray(source, root / "plain", settings, shard_size=450, progress=lambda done, total: seen.append(done))
found["seen"] = seen

class Deadly(data.FileSource):  # kills its worker in the middle of a shard, once per shard
    def lazy(self, index):
        mark = root / f"killed-{index}"
        if index % 3 == 1 and not mark.exists():
            mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().lazy(index)

deadly = Deadly.__new__(Deadly)
deadly.__dict__.update(source.__dict__)
driver = os.getpid()
from onewarp.data.store import prepare as _
import importlib
module = importlib.import_module("onewarp.data.store.cluster")
found_begin = module.begin
def begin(given, *args):  # the driver looks at some samples, too: it must live
    job = found_begin(source, *args)
    return type(job)(deadly, job.folder, job.about, job.on_error)
module.begin = begin
prepare_on_ray(source, root / "killed", settings, shard_size=450)
module.begin = found_begin
found["killed"] = len({(root / f"killed-{k}").read_text() for k in range(12) if (root / f"killed-{k}").exists()})

Path(source.items[5]).rename(root / "away")
try:
    prepare_on_ray(source, root / "vanished", settings, shard_size=450)
except DataError as error:
    found["vanished"] = str(error)
(root / "away").rename(source.items[5])

whole = Path(source.items[5]).read_bytes()
stamp = os.stat(source.items[5]).st_mtime_ns
Path(source.items[5]).write_bytes(whole[:-90] + bytes(90))
os.utime(source.items[5], ns=(stamp, stamp))
try:
    prepare_on_ray(source, root / "damaged", settings, shard_size=450)
except DataError as error:
    found["damaged"] = str(error)
Path(source.items[5]).write_bytes(whole)
os.utime(source.items[5], ns=(stamp, stamp))
before = len(list((root / "damaged").glob("*.rows")))
seen = []
prepare_on_ray(source, root / "damaged", settings, shard_size=450, progress=lambda done, total: seen.append(done))
found["went on"] = [before, seen[0]]
ray.shutdown()
print(json.dumps(found))
"""


# Two nodes, each with a scheduler, an object store and workers of its own, as on two machines with one file system.
TWO_NODES = """
import json, os, pickle, subprocess, sys, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from onewarp.data.store import StoreSettings
from onewarp.data.store.cluster import prepare_on_ray
import onewarp.data as data

root, memory = Path(sys.argv[1]), 80 << 20
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": memory})
other = cluster.add_node(num_cpus=1, object_store_memory=memory)
found = {}

given = [str(root / "photos"), str(root / "cli"), "--short-side", "20", "--shard-size", "250", "--engine", "ray"]
given += ["--address", cluster.address]
command = [sys.executable, "-c", "from onewarp.cli import main; main()", "prepare", *given]
done = subprocess.run(command, capture_output=True, text=True)
found["cli"] = [done.returncode, done.stderr[-2000:]]

driver = os.getpid()

class Slow(data.FolderSource):  # says where it is read, waits until both nodes do, and leaves time to take one away
    def lazy(self, index):
        if os.getpid() != driver:
            (root / f"node-{ray.get_runtime_context().get_node_id()}").touch()
            end = time.monotonic() + 60
            while len(list(root.glob("node-*"))) < 2 and time.monotonic() < end:
                time.sleep(0.02)
            time.sleep(0.1)
        return super().lazy(index)

ray.init(address=cluster.address, log_to_driver=False)
seen = []

def progress(done, total):
    seen.append(done)
    if other.node_id not in found and (root / f"node-{other.node_id}").exists() and 0 < done < total:
        found[other.node_id] = done
        cluster.remove_node(other, allow_graceful=False)

prepare_on_ray(Slow(root / "photos"), root / "lost", StoreSettings(short_side=20), shard_size=250, progress=progress)
found["nodes"] = len(list(root.glob("node-*")))
found["lost at"] = found.pop(other.node_id, None)
found["left"] = sum(node["Alive"] for node in ray.nodes())
ray.shutdown()
cluster.shutdown()
print(json.dumps(found))
"""


def by_ray(program: str, folder: Path) -> dict:
    """What a program says on its last line."""
    environment = {**os.environ, "RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict = json.loads(done.stdout.splitlines()[-1])
    return found


def kept(folder: Path) -> dict[str, bytes]:
    """The files of a store; what a lost worker has left unfinished is swept up by the next preparation."""
    return {name: data for name, data in content(folder).items() if not name.endswith(".tmp")}


@needs_ray
def test_on_ray(tmp_path: Path) -> None:
    import pickle

    source = everything(tmp_path, 12)
    (tmp_path / "source").write_bytes(pickle.dumps(source))
    prepare(source, tmp_path / "local", data.StoreSettings(short_side=20), shard_size=450)
    found = by_ray(PROGRAM, tmp_path)
    right = content(tmp_path / "local")
    assert len(right) > 5
    assert found["seen"][0] == 0 and found["seen"][-1] == 12 and len(found["seen"]) == len(right) - 1
    assert content(tmp_path / "plain") == right
    assert found["killed"] >= 3 and kept(tmp_path / "killed") == right
    assert "05.jpeg" in found["vanished"] and "05.jpeg" in found["damaged"]
    assert found["went on"][1] > 0 and content(tmp_path / "damaged") == right


@needs_ray
def test_two_nodes_of_which_one_is_lost(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "photos", {"ant": 14, "bee": 12})
    prepare(data.FolderSource(folder), tmp_path / "local", data.StoreSettings(short_side=20), shard_size=250)
    found = by_ray(TWO_NODES, tmp_path)
    right = content(tmp_path / "local")
    assert len(right) > 8
    assert found["cli"][0] == 0, found["cli"][1]
    assert kept(tmp_path / "cli") == right
    assert found["nodes"] == 2 and found["lost at"] is not None and found["left"] == 1
    assert kept(tmp_path / "lost") == right


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onewarp.data.store.cluster import prepare_on_ray

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependency, match=r"pip install 'onewarp\[ray\]'"):
        prepare_on_ray(everything(tmp_path), tmp_path / "store")
