"""What a training runs on, gathered into facts. What of them does not fit together: `onewarp.fit.mismatches`."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from onewarp.fit.gpus import Gpu, driver_cuda, nvidia_gpus
from onewarp.fit.memory import memory_settings

BACKENDS = ("jax", "tensorflow", "torch")
PACKAGES = (
    "onewarp", "keras", "numpy",
    "jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "tensorflow", "tensorflow-cpu", "torch",
    "opencv-python-headless", "opencv-python", "simplejpeg", "pillow", "pycocotools", "scikit-learn",
    "albumentations", "grain", "ray", "tensorboardX",
)  # fmt: skip
VECTORS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vbmi", "asimd", "sve")
SETTINGS = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "XLA_FLAGS", "TF_ENABLE_ONEDNN_OPTS")


@dataclass(frozen=True)
class Facts:
    """What is there. Where nothing is known of something it is None or empty.

    Attributes:
        backend, chosen_by: what Keras will run on, and by what: KERAS_BACKEND, keras.json, or Keras' default.
        packages: distribution -> version, of those that are installed.
        devices: what the backend computes on. trouble: why it could not be asked.
        built_for: the versions of CUDA and cuDNN that the backend was built for, by name.
        gpus, driver_cuda: NVIDIA's, and the newest CUDA that their driver runs.
        processor, isa: its name and its vector instructions.
        kernels, onewarp_isa: the kernels of onewarp that it can run, best first, and those that are chosen.
        jpeg_parts: whether onewarp was built with libjpeg-turbo, so that it decodes no more of a JPEG than is shown.
        cores, quota: processors that this process may use; how many a container grants it the time of.
        memory, settings: environment variables, as they are set.
    """

    system: str = ""
    python: str = ""
    backend: str = "tensorflow"
    chosen_by: str = "Keras' default"
    packages: dict[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    trouble: str | None = None
    built_for: dict[str, str] = field(default_factory=dict)
    gpus: tuple[Gpu, ...] = ()
    driver_cuda: str | None = None
    processor: str = ""
    isa: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    onewarp_isa: str = ""
    jpeg_parts: bool = True
    cores: int = 1
    quota: float | None = None
    memory: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


def gather() -> Facts:
    """The facts of this machine and process. The backend is imported, and asked for its devices."""
    backend, chosen_by = _backend()
    packages = {name: found for name in PACKAGES if (found := _version(name)) is not None}
    devices: tuple[str, ...] = ()
    built_for: dict[str, str] = {}
    trouble = None
    if backend in BACKENDS and installed(backend, packages):
        try:
            devices, built_for = {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}[backend]()
        except Exception as fault:  # whatever a driver or a broken installation makes of it is what has to be told
            trouble = f"{type(fault).__name__}: {str(fault).strip().partition(chr(10))[0]}"
    from onewarp import _native

    processor, isa = _processor()
    return Facts(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        backend=backend,
        chosen_by=chosen_by,
        packages=packages,
        devices=devices,
        trouble=trouble,
        built_for=built_for,
        gpus=nvidia_gpus(),
        driver_cuda=driver_cuda(),
        processor=processor,
        isa=isa,
        kernels=tuple(_native.isas()),
        onewarp_isa=_native.isa(),
        jpeg_parts=_native.decodes_parts,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        quota=_quota(),
        memory=memory_settings(),
        settings={name: os.environ[name] for name in SETTINGS if name in os.environ},
    )


def installed(backend: str, packages: Mapping[str, str]) -> bool:
    """Whether a backend is among the packages, under any of its names."""
    return backend in packages or (backend == "tensorflow" and "tensorflow-cpu" in packages)


def _backend() -> tuple[str, str]:
    """What Keras will run on, and what says so."""
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"], "KERAS_BACKEND"
    path = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["backend"]), str(path)
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow", "Keras' default"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


Asked = tuple[tuple[str, ...], dict[str, str]]  # devices, and what was built for


def _jax() -> Asked:
    jax: Any = import_module("jax")
    devices = jax.devices()
    built = {} if devices[0].platform == "cpu" else {"platform": str(devices[0].client.platform_version).split("\n")[0]}
    return tuple(f"{device.platform}:{device.id} {device.device_kind}" for device in devices), built


def _tensorflow() -> Asked:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tf: Any = import_module("tensorflow")
    told = tf.sysconfig.get_build_info()
    built = {"CUDA": told.get("cuda_version"), "cuDNN": told.get("cudnn_version")} if told.get("is_cuda_build") else {}
    names = tuple(device.name.removeprefix("/physical_device:") for device in tf.config.list_physical_devices())
    return names, {name: str(value) for name, value in built.items() if value}


def _torch() -> Asked:
    torch: Any = import_module("torch")
    built = {"CUDA": torch.version.cuda, "cuDNN": torch.backends.cudnn.version() if torch.version.cuda else None}
    if torch.cuda.is_available():
        devices = tuple(f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count()))
    else:
        devices = ("mps",) if torch.backends.mps.is_available() else ("cpu",)
    return devices, {name: str(value) for name, value in built.items() if value}


def _processor() -> tuple[str, tuple[str, ...]]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine(), ()
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = set(told.get("flags", told.get("Features", "")).split())
    return told.get("model name", platform.machine()), tuple(name for name in VECTORS if name in flags)


def _quota() -> float | None:
    """The processors' time that the container's group grants (cgroup 2); None without a limit."""
    try:
        most, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        return None if most == "max" else int(most) / int(period)
    except (OSError, ValueError):
        return None
