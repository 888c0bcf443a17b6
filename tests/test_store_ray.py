"""`onewarp prepare --engine ray` on a local cluster: the same bytes, and nothing is lost with a worker."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import onewarp.data as data
from onewarp.data.store import prepare
from onewarp.errors import MissingDependency
from store_helpers import content, everything

# One process and one cluster for all of it: starting Ray takes longer than what is tested.
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


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_on_ray(tmp_path: Path) -> None:
    import pickle

    source = everything(tmp_path, 12)
    (tmp_path / "source").write_bytes(pickle.dumps(source))
    prepare(source, tmp_path / "local", data.StoreSettings(short_side=20), shard_size=450)
    environment = {**os.environ, "RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    right = content(tmp_path / "local")
    assert len(right) > 5
    assert found["seen"][0] == 0 and found["seen"][-1] == 12 and len(found["seen"]) == len(right) - 1
    assert content(tmp_path / "plain") == right
    kept = {name: data for name, data in content(tmp_path / "killed").items() if not name.endswith(".tmp")}
    assert found["killed"] >= 3 and kept == right
    assert "05.jpeg" in found["vanished"] and "05.jpeg" in found["damaged"]
    assert found["went on"][1] > 0 and content(tmp_path / "damaged") == right


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onewarp.data.store.cluster import prepare_on_ray

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependency, match=r"pip install 'onewarp\[ray\]'"):
        prepare_on_ray(everything(tmp_path), tmp_path / "store")
