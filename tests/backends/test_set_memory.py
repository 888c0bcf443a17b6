"""set_memory: what each backend is told, recorded where there is no accelerator; and when it is too late."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from loader_helpers import BACKEND

import onewarp as ow
from onewarp.errors import InputError
from onewarp.fit import memory
from onewarp.fit.gpus import Gpu

on_jax = pytest.mark.skipif(BACKEND != "jax", reason="about JAX")
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="about TensorFlow")
on_torch = pytest.mark.skipif(BACKEND != "torch", reason="about torch")


class Recorded:
    """Stands in for a function, takes what the function takes, and notes it."""

    def __init__(self, function: Any, answer: Any = None) -> None:
        self.signature, self.answer, self.calls = inspect.signature(function), answer, []

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.calls.append(tuple(self.signature.bind(*arguments, **named).arguments.values()))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(*arguments) if callable(self.answer) else self.answer


@pytest.mark.parametrize("fraction", [0, 0.0, -0.5, 1.01, float("nan"), "0.5", True, None])
def test_a_fraction_that_cannot_be(fraction: Any) -> None:
    with pytest.raises(InputError, match=r"fraction must be a number in \(0, 1\]"):
        ow.set_memory(fraction)


@pytest.mark.parametrize("growth", [1, 0, "yes", None])
def test_a_growth_that_cannot_be(growth: Any) -> None:
    with pytest.raises(InputError, match="growth must be True or False"):
        ow.set_memory(0.5, growth)


@pytest.mark.skipif(BACKEND == "jax", reason="JAX is told by its environment")
def test_without_an_accelerator_nothing_happens(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing to limit" in ow.set_memory()
    assert capsys.readouterr().out == f"memory: {BACKEND} sees no GPU, nothing to limit\n"


# --- JAX ----------------------------------------------------------------------------------------------------------


def fresh(code: str, **environment: str) -> str:
    """What code writes in a process of its own."""
    given = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


@on_jax
@pytest.mark.parametrize("growth", [True, False])
@pytest.mark.parametrize("name", ["XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"])
def test_jax_makes_its_allocator_so(growth: bool, name: str) -> None:
    """Read by what JAX itself hands to its CUDA plugin; a limit of either name that stood there before is replaced."""
    code = (
        "import onewarp as ow\n"
        f"ow.set_memory(0.4, growth={growth})\n"
        "from jaxlib.xla_client import generate_pjrt_gpu_plugin_options as options\n"
        "print(options()['memory_fraction'], options()['preallocate'])"
    )
    said = fresh(code, **{name: "0.9"}).splitlines()
    assert said[0].startswith("memory: jax takes at most 40% of each GPU, " + ("as it is" if growth else "all at once"))
    assert said[1] == f"0.4 {not growth}"


@on_jax
def test_jax_is_asked_whether_it_is_too_late() -> None:
    code = (
        "import jax, keras, onewarp as ow\n"
        "ow.set_memory()\n"
        "keras.ops.ones(2)\n"
        "try: ow.set_memory()\n"
        "except ow.InputError as error: print(error)"
    )
    assert "jax has taken its devices already; call it before the first model or tensor" in fresh(code)


# --- TensorFlow ---------------------------------------------------------------------------------------------------


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recorded]:
    import tensorflow as tf

    gpus = [tf.config.PhysicalDevice(f"/physical_device:GPU:{i}", "GPU") for i in range(2)]
    config = tf.config
    recorded = {
        "list": Recorded(config.list_physical_devices, gpus),
        "details": Recorded(config.experimental.get_device_details, lambda gpu: {"device_name": f"G{gpu.name[-1]}"}),
        "limit": Recorded(config.set_logical_device_configuration),
        "growth": Recorded(config.experimental.set_memory_growth),
    }
    monkeypatch.setattr(config, "list_physical_devices", recorded["list"])
    monkeypatch.setattr(config.experimental, "get_device_details", recorded["details"])
    monkeypatch.setattr(config, "set_logical_device_configuration", recorded["limit"])
    monkeypatch.setattr(config.experimental, "set_memory_growth", recorded["growth"])
    known = (Gpu("G0", 24000, "1"), Gpu("G1", 16000, "1"), Gpu("G1", 15000, "1"))
    monkeypatch.setattr(memory, "nvidia_gpus", lambda: known)
    return recorded


@on_tensorflow
def test_tensorflow_gets_a_limit_of_every_gpu(two_gpus: dict[str, Recorded]) -> None:
    told = ow.set_memory(0.5)
    assert [(gpu.name[-1], one.memory_limit) for gpu, (one,) in two_gpus["limit"].calls] == [("0", 12000), ("1", 7500)]
    assert two_gpus["growth"].calls == []
    assert "12000 MiB, 7500 MiB" in told and "only one of the two, so growth is not set" in told


@on_tensorflow
def test_tensorflow_grows_where_sizes_are_unknown(
    two_gpus: dict[str, Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "nvidia_gpus", lambda: ())
    assert "cannot keep to 50%; growth=True is set on 2 instead" in ow.set_memory(0.5)
    assert [enable for _, enable in two_gpus["growth"].calls] == [True, True] and two_gpus["limit"].calls == []


@on_tensorflow
def test_tensorflow_says_when_it_is_too_late(two_gpus: dict[str, Recorded]) -> None:
    two_gpus["limit"].answer = RuntimeError("Virtual devices cannot be modified after being initialized")
    with pytest.raises(InputError, match="tensorflow has taken its devices already"):
        ow.set_memory(0.5)
    two_gpus["limit"].answer = ValueError("Cannot set virtual devices when memory growth is set")
    with pytest.raises(InputError, match="tensorflow refuses it: .*set no memory growth of your own"):
        ow.set_memory(0.5)


@on_tensorflow
def test_tensorflow_itself_refuses_what_comes_late() -> None:
    """The error that the recorded call raises is the real one."""
    import tensorflow as tf

    tf.zeros(1)
    cpu = tf.config.list_physical_devices("CPU")[0]
    with pytest.raises(RuntimeError, match="cannot be modified after being initialized"):
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


# --- torch --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recorded]:
    import torch

    recorded = {
        "is_available": Recorded(torch.cuda.is_available, True),
        "device_count": Recorded(torch.cuda.device_count, 2),
        "is_initialized": Recorded(torch.cuda.is_initialized, False),
        "memory_reserved": Recorded(torch.cuda.memory_reserved, 0),
        "get_device_properties": Recorded(torch.cuda.get_device_properties, SimpleNamespace(total_memory=1000)),
        "set_per_process_memory_fraction": Recorded(torch.cuda.set_per_process_memory_fraction),
    }
    for name, function in recorded.items():
        monkeypatch.setattr(torch.cuda, name, function)
    return recorded


@on_torch
@pytest.mark.parametrize("growth", [True, False])
def test_torch_gets_a_fraction_of_every_gpu(growth: bool, cuda: dict[str, Recorded]) -> None:
    told = ow.set_memory(0.5, growth)
    assert cuda["set_per_process_memory_fraction"].calls == [(0.5, 0), (0.5, 1)]
    assert ("growth=False is not set" in told) is not growth


@on_torch
def test_torch_is_too_late_only_where_it_holds_more(cuda: dict[str, Recorded]) -> None:
    cuda["is_initialized"].answer, cuda["memory_reserved"].answer = True, 500
    ow.set_memory(0.5)
    cuda["memory_reserved"].answer = 501
    with pytest.raises(InputError, match="torch has taken its devices already"):
        ow.set_memory(0.5)
    assert len(cuda["set_per_process_memory_fraction"].calls) == 2
