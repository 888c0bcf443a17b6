"""The NVIDIA GPUs of this machine, asked of their driver: no backend is started, and none has to be there."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Gpu:
    """A GPU. memory: in MiB, all that it has. driver: its version, such as "580.65.06"."""

    name: str
    memory: int
    driver: str


def nvidia_gpus() -> tuple[Gpu, ...]:
    """The GPUs in nvidia-smi's order; none where there is no driver, or it does not answer."""
    gpus = []
    for line in _answer(*_QUERY).splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 3 and fields[1].isdigit():
            gpus.append(Gpu(fields[0], int(fields[1]), fields[2]))
    return tuple(gpus)


def driver_cuda() -> str | None:
    """The newest CUDA that the driver can run, such as "13.0"; None where it does not say."""
    found = re.search(r"CUDA Version:\s*([0-9.]+)", _answer("nvidia-smi"))
    return found[1] if found else None


def _answer(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
