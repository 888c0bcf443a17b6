"""`onewarp doctor --env`: what of made-up facts does not fit together, and the facts of this machine."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from onewarp.cli import main
from onewarp.cli.environment import table
from onewarp.fit import environment, gpus
from onewarp.fit.environment import Facts, gather
from onewarp.fit.gpus import Gpu
from onewarp.fit.mismatches import mismatches, to_json

PACKAGES = {"onewarp": "0.1.0", "keras": "3.15.1", "numpy": "2.4.6", "jax": "0.10.2", "jaxlib": "0.10.2"}
ON_CPU = Facts(
    backend="jax",
    chosen_by="KERAS_BACKEND",
    packages=PACKAGES,
    devices=("cpu:0 cpu",),
    kernels=("avx2", "plain"),
    onewarp_isa="avx2",
    cores=8,
)
H200 = (Gpu("NVIDIA H200", 143771, "580.65.06"),)
ON_GPU = replace(
    ON_CPU,
    packages={**PACKAGES, "jax-cuda13-plugin": "0.10.2"},
    devices=("gpu:0 NVIDIA H200",),
    gpus=H200,
    driver_cuda="13.0",
)
TORCH = replace(
    ON_CPU,
    backend="torch",
    packages={**PACKAGES, "torch": "2.13.0+cpu"},
    devices=("cpu",),
    settings={"OMP_WAIT_POLICY": "PASSIVE"},
)
TENSORFLOW = replace(
    ON_CPU, backend="tensorflow", packages={**PACKAGES, "tensorflow-cpu": "2.21.0"}, devices=("CPU:0",)
)


def only(facts: Facts) -> str:
    """The one mismatch of the facts, as it is printed."""
    (found,) = mismatches(facts)
    assert found.remedy and "\n" not in found.text + found.remedy
    return f"{found.text}; {found.remedy}"


@pytest.mark.parametrize("facts", [ON_CPU, ON_GPU, TORCH, TENSORFLOW], ids=["cpu", "gpu", "torch", "tensorflow"])
def test_what_fits_together(facts: Facts) -> None:
    assert mismatches(facts) == []


CASES = {
    "KERAS_BACKEND names torch, which is not installed; .*set KERAS_BACKEND=jax": replace(
        ON_CPU, backend="torch", devices=()
    ),
    "names tensorflow, which is not installed; pip install 'onewarp\\[tensorflow\\]'$": replace(
        ON_CPU, backend="tensorflow", packages={"keras": "3.15.1"}, devices=()
    ),
    "names the backend 'openvino', which onewarp does not run on; set KERAS_BACKEND": replace(
        ON_CPU, backend="openvino", devices=()
    ),
    "jax does not start: RuntimeError: no": replace(ON_CPU, devices=(), trouble="RuntimeError: no"),
    "keras is 3.4.1, onewarp needs 3.10 or newer": replace(ON_CPU, packages={**PACKAGES, "keras": "3.4.1"}),
    "numpy is 1.26.4, onewarp needs 2.0 or newer": replace(ON_CPU, packages={**PACKAGES, "numpy": "1.26.4"}),
    "jax computes on cpu:0 cpu, though there is an NVIDIA H200: its CUDA plugin .* 'jax\\[cuda12\\]'": replace(
        ON_CPU, gpus=H200, driver_cuda="12.8"
    ),
    "though there is an NVIDIA H200; look at": replace(ON_GPU, devices=("cpu:0 cpu",)),
    "jax-cuda13-plugin is 0.9.0 beside jaxlib 0.10.2; .*'jax\\[cuda13\\]'": replace(
        ON_GPU, packages={**ON_GPU.packages, "jax-cuda13-plugin": "0.9.0"}
    ),
    "tensorflow-cpu is built for CPUs; .*and-cuda": replace(TENSORFLOW, gpus=H200, driver_cuda="13.0"),
    "this torch is built for CPUs": replace(TORCH, gpus=H200, driver_cuda="13.0"),
    "torch is built for CUDA 13.0, the driver 580.65.06 runs CUDA 12.4 at most; .*CUDA 12": replace(
        TORCH, devices=("cuda:0 H200",), gpus=H200, built_for={"CUDA": "13.0"}, driver_cuda="12.4"
    ),
    "tensorflow and tensorflow-cpu are both there": replace(
        TENSORFLOW, packages={**TENSORFLOW.packages, "tensorflow": "2.21.0"}
    ),
    "torch's threads spin while they wait": replace(TORCH, settings={}),
    "8 processors are seen, but this container gets the time of 2; Loader\\(threads=2\\)": replace(ON_CPU, quota=2.0),
    "JPEGs are decoded whole": replace(ON_CPU, jpeg_parts=False),
    "kernels are those for plain, this machine can run those for avx2": replace(ON_CPU, onewarp_isa="plain"),
}


@pytest.mark.parametrize("pattern", CASES)
def test_what_does_not_fit_together(pattern: str) -> None:
    assert re.search(pattern, only(CASES[pattern]))


def test_a_gpu_that_is_hidden_on_purpose_is_none() -> None:
    assert mismatches(replace(ON_CPU, gpus=H200, settings={"CUDA_VISIBLE_DEVICES": ""})) == []


def test_what_is_wrong_comes_before_what_is_slow() -> None:
    found = mismatches(replace(TORCH, settings={}, packages={**TORCH.packages, "numpy": "1.26.4"}))
    assert [one.wrong for one in found] == [True, False]


def test_the_table_shows_every_fact() -> None:
    facts = replace(ON_GPU, memory={"XLA_CLIENT_MEM_FRACTION": "0.5"}, processor="EPYC", quota=2.0, python="3.11.7")
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table(facts))
    said = captured.get()
    for word in (
        "jax, by KERAS_BACKEND",
        "gpu:0 NVIDIA H200",
        "143771 MiB, driver 580.65.06",
        "13.0",
        "3.11.7",
        "EPYC",
    ):
        assert word in said
    assert "XLA_CLIENT_MEM_FRACTION 0.5" in said and "the time of 2" in said and "numpy 2.4.6" in said


def test_gpus_are_read_from_nvidia_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {2: "NVIDIA H200, 143771, 580.65.06\nNVIDIA A2, [N/A], 580.65.06\n", 0: "| CUDA Version: 13.0     |"}

    def run(command: tuple[str, ...], **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, stdout=answers[len(command) - 1])

    monkeypatch.setattr(gpus.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(gpus.subprocess, "run", run)
    assert gpus.nvidia_gpus() == H200 and gpus.driver_cuda() == "13.0"

    def fails(command: tuple[str, ...], **options: object) -> None:
        raise subprocess.CalledProcessError(9, command)

    monkeypatch.setattr(gpus.subprocess, "run", fails)
    assert gpus.nvidia_gpus() == () and gpus.driver_cuda() is None


def test_what_says_which_backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert environment._backend() == ("torch", "KERAS_BACKEND")
    monkeypatch.delenv("KERAS_BACKEND")
    assert environment._backend() == ("tensorflow", "Keras' default")
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    assert environment._backend() == ("jax", str(tmp_path / "keras.json"))
    (tmp_path / "keras.json").write_text("{")
    assert environment._backend()[0] == "tensorflow"


def test_a_backend_that_breaks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> environment.Asked:
        raise RuntimeError("no driver\nat all")

    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(environment, "_jax", broken)
    facts = gather()
    assert facts.devices == () and facts.trouble == "RuntimeError: no driver"


def test_the_facts_of_this_machine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    facts = gather()
    assert facts.packages["keras"] and facts.cores >= 1 and facts.onewarp_isa and facts.devices
    status = int(any(one.wrong for one in mismatches(facts)))
    for arguments in (["doctor", "--env"], ["doctor", "--env", "--json"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert (stop.value.code or 0) == status
    said = capsys.readouterr().out
    assert json.loads(said[said.index("{") :])["packages"] == facts.packages
    assert json.loads(to_json(facts)) == json.loads(said[said.index("{") :])


@pytest.mark.parametrize("arguments", [[], ["--json"], ["photos", "--env"], ["photos", "--json"]])
def test_a_machine_or_a_training(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["doctor", *arguments])
    assert stop.value.code == 2
    assert "RUN_OR_SOURCE" in capsys.readouterr().err
