"""Several real processes share an epoch: by numbers given, and as the backend counts them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loader_helpers import BACKEND, POLICY, source

from onewarp.errors import InputError
from onewarp.fit.loader import Loader
from onewarp.fit.shards import process_shard

CHILD = Path(__file__).parent / "shard_child.py"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def run_together(count: int, kind: str, folder: Path) -> list[dict[str, Any]]:
    """What each of `count` processes, which run at the same time, has written."""
    port, outs = free_port(), [folder / f"{index}.npz" for index in range(count)]
    children = [
        subprocess.Popen(
            [sys.executable, str(CHILD), str(index), str(count), str(port), kind, str(out)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for index, out in enumerate(outs)
    ]
    try:
        errors = [child.communicate(timeout=300)[1] for child in children]
    finally:
        for child in children:
            child.kill()
    assert [child.returncode for child in children] == [0] * count, "\n".join(errors)
    return [dict(np.load(out)) for out in outs]


@pytest.mark.parametrize(("count", "kind"), [(2, "auto"), (3, "given")])
def test_processes_share_an_epoch(count: int, kind: str, tmp_path: Path) -> None:
    found = run_together(count, kind, tmp_path)
    assert [part["shard"].tolist() for part in found] == [[index, count] for index in range(count)]
    whole = Loader(source(), POLICY, 2 * count, seed=3)
    for epoch in range(2):
        for step, (images, _) in enumerate(whole):
            np.testing.assert_array_equal(np.concatenate([part[f"{epoch}.{step}"] for part in found]), images)
            if (epoch, step) == (1, 1):
                state = whole.state()
        assert all(f"{epoch}.{step}" in part and f"{epoch}.{step + 1}" not in part for part in found)
    for part in found:
        rest = [name for name in part if name.startswith("rest.")]
        assert len(rest) == len(whole) - 2
        for name in rest:
            np.testing.assert_array_equal(part[name], part[name.replace("rest", "1")])
        assert json.loads(str(part["state"])) == state  # so a run goes on with another number of processes


def test_states_of_shards() -> None:
    """Steps of all shards are counted; where the number of shards changes what a step is, it must stay."""
    state = Loader(source(), POLICY, 4).state()
    Loader(source(), POLICY, 2, shard=(1, 2)).restore({**state, "batch": 3})
    with pytest.raises(InputError, match="batch_size=4, this loader has 8"):
        Loader(source(), POLICY, 4, shard=(1, 2)).restore(state)
    kept = Loader(source(), POLICY, 2, shard=(1, 2), last_batch="keep").state()
    assert kept["order"] == "shuffled, 2 shards"
    Loader(source(), POLICY, 2, shard=(0, 2), last_batch="keep").restore(kept)
    with pytest.raises(InputError, match="order='shuffled, 2 shards', this loader has 'shuffled'"):
        Loader(source(), POLICY, 4, last_batch="keep").restore(kept)
    windowed = Loader(source(), POLICY, 2, shard=(1, 2), shuffle="windowed")
    assert windowed.state()["order"] == "windowed, 16 of 1 blocks, 2 shards"
    assert "shard 1 of 2" in repr(windowed) and "shard" not in repr(Loader(source(), POLICY, 2))


def test_a_process_alone_is_the_only_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    assert process_shard() == (0, 1)
    assert len(Loader(source(), POLICY, 2, shard="auto")) == 11
    for given in ("all", 2, (0, 1, 2)):
        with pytest.raises(InputError, match="is not .index, count."):
            Loader(source(), POLICY, 2, shard=given)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TF_CONFIG is TensorFlow's")
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ('{"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 1}}', (1, 2)),
        ('{"cluster": {"chief": ["c"], "worker": ["a"]}, "task": {"type": "worker", "index": 0}}', (1, 2)),
        ('{"cluster": {"chief": ["c"], "worker": ["a"]}, "task": {"type": "chief", "index": 0}}', (0, 2)),
        ("{}", (0, 1)),
        ('{"cluster": {"worker": ["a"], "ps": ["p"]}, "task": {"type": "ps", "index": 0}}', "'ps' is none"),
        ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 3}}', "task 3"),
        ("{worker", "cannot be read"),
        ("[1]", "cannot be read"),
    ],
)
def test_tf_config(config: str, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", config)
    if isinstance(expected, tuple):
        assert process_shard() == expected
    else:
        with pytest.raises(InputError, match=expected):
            process_shard()
