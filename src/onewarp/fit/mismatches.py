"""What of the facts about a machine does not fit together, and what to do about it. Facts in, words out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from onewarp.fit.environment import BACKENDS, Facts, installed

MINIMUM = {"keras": (3, 10), "numpy": (2, 0)}  # as in pyproject.toml


@dataclass(frozen=True)
class Mismatch:
    """Two facts that do not fit together. wrong: whether something will not work, or only be slow."""

    text: str
    remedy: str
    wrong: bool = True


def mismatches(facts: Facts) -> list[Mismatch]:
    """What of the facts does not fit together, the worst first."""
    found = [mismatch for check in _CHECKS for mismatch in check(facts)]
    return sorted(found, key=lambda mismatch: not mismatch.wrong)


def to_json(facts: Facts) -> str:
    """Facts and mismatches as JSON."""
    return json.dumps({**asdict(facts), "mismatches": [asdict(one) for one in mismatches(facts)]}, indent=1)


def _backend_is_there(facts: Facts) -> list[Mismatch]:
    if facts.backend not in BACKENDS:
        return [
            Mismatch(
                f"{facts.chosen_by} names the backend {facts.backend!r}, which onewarp does not run on",
                f"set KERAS_BACKEND to {', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}",
            )
        ]
    if installed(facts.backend, facts.packages):
        return []
    others = [name for name in BACKENDS if installed(name, facts.packages)]
    instead = f", or set KERAS_BACKEND={others[0]}, which is there" if others else ""
    return [
        Mismatch(
            f"{facts.chosen_by} names {facts.backend}, which is not installed",
            f"pip install 'onewarp[{facts.backend}]'{instead}",
        )
    ]


def _backend_answers(facts: Facts) -> list[Mismatch]:
    if facts.trouble is None:
        return []
    return [
        Mismatch(f"{facts.backend} does not start: {facts.trouble}", f"pip install --force-reinstall {facts.backend}")
    ]


def _new_enough(facts: Facts) -> list[Mismatch]:
    return [
        Mismatch(
            f"{name} is {facts.packages[name]}, onewarp needs {'.'.join(map(str, least))} or newer",
            f"pip install -U {name}",
        )
        for name, least in MINIMUM.items()
        if name in facts.packages and _numbers(facts.packages[name])[:2] < least
    ]


def _gpu_is_used(facts: Facts) -> list[Mismatch]:
    """A backend for CPUs beside a GPU; one for GPUs that finds none."""
    if not facts.gpus or not facts.devices or facts.settings.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return []
    if any(_is_gpu(device) for device in facts.devices):
        return []
    name = f"{facts.backend} computes on {', '.join(facts.devices)}, though there is an {facts.gpus[0].name}"
    major = (facts.driver_cuda or "13").split(".")[0]
    if facts.backend == "jax" and not any(f"jax-cuda{n}-plugin" in facts.packages for n in (12, 13)):
        return [Mismatch(f"{name}: its CUDA plugin is not installed", f"pip install -U 'jax[cuda{major}]'")]
    if facts.backend == "tensorflow" and "CUDA" not in facts.built_for:
        packages = "tensorflow-cpu" if "tensorflow-cpu" in facts.packages else "tensorflow"
        return [
            Mismatch(
                f"{name}: {packages} is built for CPUs",
                f"pip uninstall {packages}, then pip install 'tensorflow[and-cuda]'",
            )
        ]
    if facts.backend == "torch" and "CUDA" not in facts.built_for:
        return [Mismatch(f"{name}: this torch is built for CPUs", "install one from https://pytorch.org/get-started")]
    return [Mismatch(f"{name}", "look at what the backend writes when it starts; CUDA or cuDNN may be missing")]


def _driver_is_new_enough(facts: Facts) -> list[Mismatch]:
    built, runs = facts.built_for.get("CUDA"), facts.driver_cuda
    if built is None or runs is None or _numbers(built)[:1] <= _numbers(runs)[:1]:
        return []
    return [
        Mismatch(
            f"{facts.backend} is built for CUDA {built}, the driver {facts.gpus[0].driver if facts.gpus else ''} runs "
            f"CUDA {runs} at most",
            f"update the driver, or install a {facts.backend} for CUDA {runs.split('.')[0]}",
        )
    ]


def _plugin_fits(facts: Facts) -> list[Mismatch]:
    jaxlib = facts.packages.get("jaxlib")
    names = [name for name in ("jax-cuda12-plugin", "jax-cuda13-plugin") if name in facts.packages]
    return [
        Mismatch(
            f"{name} is {facts.packages[name]} beside jaxlib {jaxlib}",
            f"pip install -U 'jax[{name.split('-')[1]}]'",
        )
        for name in names
        if jaxlib is not None and _numbers(facts.packages[name])[:3] != _numbers(jaxlib)[:3]
    ]


def _one_of_each(facts: Facts) -> list[Mismatch]:
    """Two distributions that write the same files."""
    pairs = (("tensorflow", "tensorflow-cpu"), ("opencv-python", "opencv-python-headless"))
    return [
        Mismatch(f"{one} and {other} are both there, in one folder", f"pip uninstall {one} {other}; install one")
        for one, other in pairs
        if one in facts.packages and other in facts.packages
    ]


def _threads_wait_quietly(facts: Facts) -> list[Mismatch]:
    on_cpu = facts.backend == "torch" and facts.devices and not any(_is_gpu(device) for device in facts.devices)
    if not on_cpu or facts.settings.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE":
        return []
    return [
        Mismatch(
            "torch's threads spin while they wait, and take the processors from those that load",
            "set OMP_WAIT_POLICY=PASSIVE (the onewarp command does)",
            wrong=False,
        )
    ]


def _cores_are_granted(facts: Facts) -> list[Mismatch]:
    if facts.quota is None or facts.quota > facts.cores - 0.5:
        return []
    return [
        Mismatch(
            f"{facts.cores} processors are seen, but this container gets the time of {facts.quota:g}",
            f"Loader(threads={max(round(facts.quota), 1)}), and OMP_NUM_THREADS likewise",
            wrong=False,
        )
    ]


def _jpegs_are_decoded_in_parts(facts: Facts) -> list[Mismatch]:
    if facts.jpeg_parts:
        return []
    return [
        Mismatch(
            "onewarp was built without libjpeg-turbo: JPEGs are decoded whole, also where a crop shows a part of them",
            'install its headers, for example with "apt install libjpeg-dev", and then onewarp again',
            wrong=False,
        )
    ]


def _kernels_are_fast(facts: Facts) -> list[Mismatch]:
    if facts.onewarp_isa in facts.kernels[:1] or not facts.kernels:
        return []
    return [
        Mismatch(
            f"onewarp's kernels are those for {facts.onewarp_isa}, this machine can run those for {facts.kernels[0]}",
            "unset ONEWARP_ISA",
            wrong=False,
        )
    ]


_CHECKS: tuple[Callable[[Facts], list[Mismatch]], ...] = (
    _backend_is_there,
    _backend_answers,
    _new_enough,
    _gpu_is_used,
    _driver_is_new_enough,
    _plugin_fits,
    _one_of_each,
    _threads_wait_quietly,
    _cores_are_granted,
    _kernels_are_fast,
    _jpegs_are_decoded_in_parts,
)


def _is_gpu(device: str) -> bool:
    return any(word in device.lower() for word in ("gpu", "cuda", "tpu", "mps", "metal", "rocm"))


def _numbers(text: str) -> tuple[int, ...]:
    """ "3.10.0+cu130" as (3, 10, 0)."""
    found = []
    for part in text.split("+")[0].split("."):
        digits = part[: next((i for i, letter in enumerate(part) if not letter.isdigit()), len(part))]
        if not digits:
            break
        found.append(int(digits))
    return tuple(found)
