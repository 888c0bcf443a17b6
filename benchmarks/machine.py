"""What the figures were measured on: without it they mean nothing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.peers import DISTRIBUTIONS

_VECTORS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "asimd", "sve")


def machine() -> dict[str, object]:
    """Processor, cores, vector instructions, those that onewarp uses, memory, system, load."""
    fields = _cpuinfo()
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    return {
        "cpu": fields.get("model name") or platform.processor() or platform.machine(),
        "cores": len(cores()),
        "isa": [name for name in _VECTORS if name in flags],
        "onewarp_isa": onewarp_isa(),
        "memory_gib": _memory(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load": round(load(), 2),
    }


def versions() -> dict[str, str]:
    """Versions of what takes part and is installed."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if "onewarp" not in found:  # on the path, but not installed
        import onewarp

        found["onewarp"] = onewarp.__version__
    return found


def cores() -> list[int]:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def load() -> float:
    """How many processes wanted to run in the last minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def onewarp_isa() -> str:
    """The instruction set that onewarp's kernels chose, or were told to use by ONEWARP_ISA."""
    from onewarp import _native

    chosen = getattr(_native, "isa", None)
    return str(chosen() if callable(chosen) else chosen or os.environ.get("ONEWARP_ISA", "portable"))


def _cpuinfo() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty where there is no such file."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _memory() -> float:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return 0.0
