"""Kernels of the host engine; see native/module.cpp. Arrays may have any strides; inputs are never written to."""

from collections.abc import Sequence
from typing import Any

from numpy import bool_, float32, float64, int32, uint8, uint32, uint64
from numpy.typing import NDArray

_Array = NDArray[Any]
_Images = _Array | list[_Array] | tuple[_Array, ...]
_Flags = NDArray[uint8] | NDArray[bool_]

class Pass:
    """Warp, colour, erase and cast of a batch in one pass. Immutable; may be shared by threads."""

    def __init__(
        self,
        channels: int,
        interpolation: str,
        fill_mode: str,
        fill_value: Sequence[float],
        low: float,
        high: float,
        ops: Sequence[str],
        linear_tables: bool,
        erase: Sequence[tuple[str, Sequence[float] | None]],
        scale: Sequence[float],
        offset: Sequence[float],
        channels_first: bool,
    ) -> None: ...
    def run(
        self,
        images: _Images,
        out: _Array,
        matrices: NDArray[float32] | None,
        fields: Sequence[NDArray[float32]],
        frames: NDArray[float32] | None,
        reduction: NDArray[int32] | None,
        ops: Sequence[tuple[NDArray[float32] | None, _Flags]],
        erase: Sequence[tuple[NDArray[int32] | NDArray[float32], _Flags, NDArray[uint32] | None]],
        start: int = 0,
        threads: int = 1,
        streamed: bool = False,
    ) -> None: ...
    def run_jpegs(
        self,
        jpegs: Sequence[bytes | memoryview],
        places: NDArray[int32],
        out: _Array,
        matrices: NDArray[float32] | None,
        fields: Sequence[NDArray[float32]],
        frames: NDArray[float32] | None,
        reduction: NDArray[int32] | None,
        ops: Sequence[tuple[NDArray[float32] | None, _Flags]],
        erase: Sequence[tuple[NDArray[int32] | NDArray[float32], _Flags, NDArray[uint32] | None]],
        start: int = 0,
        streamed: bool = False,
        fast: bool = False,
    ) -> list[int]: ...

def nearest(
    images: _Images,
    out: _Array,
    matrices: NDArray[float32] | None,
    fields: Sequence[NDArray[float32]],
    frames: NDArray[float32] | None,
    fill_mode: str,
    fill: bytes,
    start: int = 0,
    threads: int = 1,
) -> None: ...
def gaussian_blur(
    images: _Images,
    out: _Array,
    weights: NDArray[float32],
    active: _Flags,
    start: int = 0,
    threads: int = 1,
) -> None: ...
def gaussian_noise(
    images: _Images,
    out: _Array,
    std: NDArray[float32],
    keys: NDArray[uint32],
    active: _Flags,
    low: float,
    high: float,
    start: int = 0,
    threads: int = 1,
) -> None: ...
def mix(images: _Images, out: _Array, share: NDArray[float32], partners: NDArray[int32], threads: int = 1) -> None: ...
def threefry2x32(
    k0: NDArray[uint32], k1: NDArray[uint32], c0: NDArray[uint32], c1: NDArray[uint32]
) -> tuple[NDArray[uint32], NDArray[uint32]]: ...
def uniforms(
    seed: int,
    epoch: int,
    slots: NDArray[uint32],
    counts: NDArray[int32],
    ids: NDArray[uint64],
    occurrence: NDArray[uint32],
) -> NDArray[float64]: ...
def compose(
    matrices: Sequence[NDArray[float64]], fires: Sequence[NDArray[bool_] | None], n: int
) -> NDArray[float64]: ...
def first_fit(
    u: NDArray[float64],
    trials: int,
    scale: tuple[float, float],
    logarithms: tuple[float, float],
    along: NDArray[float64],
    across: NDArray[float64],
    smaller: bool,
) -> tuple[NDArray[bool_], NDArray[float64], NDArray[float64]]: ...
def dense_crf(
    images: NDArray[uint8],
    probabilities: NDArray[float32],
    out: NDArray[float32],
    gaussian: tuple[Sequence[float], float | NDArray[float32]] | None,
    bilateral: tuple[Sequence[float], float | NDArray[float32]] | None,
    iterations: int,
    threads: int = 1,
) -> int: ...
def isa() -> str: ...
def isas() -> list[str]: ...

decodes_parts: bool

def jpeg_part(data: bytes | memoryview, out: NDArray[uint8], top: int, left: int, bottom: int, right: int) -> bool: ...
