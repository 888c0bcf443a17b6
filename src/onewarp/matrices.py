"""The 3x3 matrices of geometry and the affine maps of colour, batched, with `xp` handed in.

A geometric matrix [n, 3, 3] maps output points (x, y, 1) to input points: x to the right, y down, the centre of the
first pixel at (0.5, 0.5). A colour map [n, c, 2c+1] = [A | K | d] acts on unit values: x' = A x + K mean(x) + d, where
the mean is that of the frame; so contrast, which needs the mean, composes with its neighbours like any matrix.

Products are written out as multiply-adds: a float32 matmul keeps 10 bits of mantissa on recent accelerators.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from onewarp import _native
from onewarp.random import Array, constant

Entry = Array | float  # of a matrix: [n] or [1] numbers, or one number for all
Linear = tuple[Entry, Entry, Entry, Entry]  # the 2x2 matrix ((a, b), (c, d)), by rows

ZERO = 0.0  # as an entry of `affine`: what need not be written
_EYE = np.eye(3)
_UNITS = [np.eye(9)[place].reshape(3, 3) for place in (0, 1, 2, 3, 4, 5, 8)]  # of the entries of `affine`, and 1
LUMA = np.ones((3, 1)) * np.array([0.299, 0.587, 0.114])  # RGB -> its grey value in all three
_SUM = np.ones((3, 3)) / 3
_CROSS = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / np.sqrt(3)


def matmul(a: Array, b: Array, xp: Any) -> Array:
    """Product of small batched matrices, [n or 1, i, j] x [n or 1, j, k]."""
    if xp is np:
        return np.matmul(a, b)
    return xp.sum(xp.expand_dims(a, 3) * xp.expand_dims(b, 1), axis=2)


Step = tuple[Array, Array | None]  # matrices [n or 1, 3, 3], and booleans [n or 1]: where they count; None: always


def compose(steps: list[Step], n: int, xp: Any) -> Array:
    """The product [n, 3, 3] of the matrices of `steps`; one that does not count is the identity. Native on the host."""
    if xp is not np:
        return xp.broadcast_to(compose_by_operations(steps, xp), (n, 3, 3))
    matrices = [np.ascontiguousarray(matrix, np.float64) for matrix, _ in steps]
    return _native.compose(matrices, [fires for _, fires in steps], n)


def compose_by_operations(steps: list[Step], xp: Any) -> Array:
    """`compose` by array operations; [n or 1, 3, 3]."""
    total = identity(xp)
    for place, (matrix, fires) in enumerate(steps):
        matrix = matrix if fires is None else xp.where(fires[:, None, None], matrix, identity(xp))
        total = matmul(total, matrix, xp) if place else matrix
    return total


def samples_last(matrix: Array, xp: Any) -> Array:
    """[n, i, j] -> [i, j, n], so in memory, too: operations on entries have long inner loops."""
    return np.ascontiguousarray(matrix.transpose(1, 2, 0)) if xp is np else xp.transpose(matrix, (1, 2, 0))


def basis(terms: list[tuple[Entry, np.ndarray]], xp: Any) -> Array:
    """The sum of coefficient [n] (or a number) times constant matrix [i, j], as [n or 1, i, j]."""
    fixed: list[np.ndarray] = [number * matrix for number, matrix in terms if isinstance(number, float)]
    base: np.ndarray | None = sum(fixed[1:], fixed[0]) if fixed else None
    varying: list[tuple[Array, np.ndarray]] = [term for term in terms if not isinstance(term[0], float)]
    if not varying:
        return constant(base, xp)[None]
    if xp is np:  # with the samples last in memory: inner loops are long
        parts = [np.multiply.outer(matrix, coefficient) for coefficient, matrix in varying]
        total = parts[0]
        for part in parts[1:]:
            total += part
        if base is not None:
            total += base[:, :, None]
        return total.transpose(2, 0, 1)
    parts = [coefficient[:, None, None] * constant(matrix, xp)[None] for coefficient, matrix in varying]
    total = sum(parts[1:], parts[0])
    return total if base is None else total + constant(base, xp)[None]


def affine(a: Entry, b: Entry, x: Entry, c: Entry, d: Entry, y: Entry, xp: Any) -> Array:
    """The matrices [n or 1, 3, 3] of the rows (a, b, x), (c, d, y), (0, 0, 1)."""
    entries = (a, b, x, c, d, y)
    if xp is np:
        n = max([len(entry) for entry in entries if isinstance(entry, np.ndarray)], default=1)
        flat = np.zeros((n, 9))
        flat[:, 8] = 1.0
        for place, entry in enumerate(entries):
            if entry is not ZERO:
                flat[:, place] = entry
        return flat.reshape(n, 3, 3)
    return basis(list(zip((*entries, 1.0), _UNITS, strict=True)), xp)


def identity(xp: Any) -> Array:
    """[1, 3, 3]"""
    return constant(_EYE, xp)[None]


def rotation(degrees: Array, xp: Any) -> Linear:
    """Content turns counter-clockwise as seen, by `degrees` [n], about the origin."""
    radians = degrees * (np.pi / 180.0)
    cosine, sine = xp.cos(radians), xp.sin(radians)
    return cosine, -sine, sine, cosine


def shearing(x_degrees: Array, y_degrees: Array, xp: Any) -> Linear:
    """Input = (x + tan(x_degrees) y, y + tan(y_degrees) x); [n] each."""
    return 1.0, xp.tan(x_degrees * (np.pi / 180.0)), xp.tan(y_degrees * (np.pi / 180.0)), 1.0


def translation(x: Entry, y: Entry, xp: Any) -> Array:
    """Input = output + (x, y), in pixels [n]."""
    return affine(1.0, ZERO, x, ZERO, 1.0, y, xp)


def window(left: Entry, top: Entry, scale_x: Entry, scale_y: Entry, xp: Any) -> Array:
    """Input = (left + scale_x * x, top + scale_y * y): a crop, resized. All [n] or [1]."""
    return affine(scale_x, ZERO, left, ZERO, scale_y, top, xp)


def about_centre(
    linear: Linear,
    height: Array,
    width: Array,
    xp: Any,
    out_height: Array | None = None,
    out_width: Array | None = None,
) -> Array:
    """A linear map about the centre of the frame, output centre to input centre, as [n, 3, 3]."""
    a, b, c, d = linear
    x, y = 0.5 * width, 0.5 * height
    out_x = x if out_width is None else 0.5 * out_width
    out_y = y if out_height is None else 0.5 * out_height
    return affine(a, b, x - (a * out_x + b * out_y), c, d, y - (c * out_x + d * out_y), xp)


def quad_to_frame(corners: list[tuple[Array, Array]], height: Array, width: Array, xp: Any) -> Array:
    """The matrix that maps points of the quadrilateral `corners` to the frame [0, width] x [0, height].

    `corners` are four (x, y) pairs [n]: top left, top right, bottom right, bottom left. Closed form of the
    square-to-quad map (Heckbert 1989), inverted.
    """
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners
    dx1, dx2, sx = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
    dy1, dy2, sy = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
    det = dx1 * dy2 - dx2 * dy1
    g = (sx * dy2 - dx2 * sy) / det
    h = (dx1 * sy - sx * dy1) / det
    rows = [
        [x1 - x0 + g * x1, x3 - x0 + h * x3, x0],
        [y1 - y0 + g * y1, y3 - y0 + h * y3, y0],
        [g, h, xp.ones_like(g)],
    ]
    square_to_quad = xp.stack([xp.stack(row, axis=-1) for row in rows], axis=1)
    to_frame = affine(width, ZERO, ZERO, ZERO, height, ZERO, xp)  # unit square -> frame
    return matmul(to_frame, inverse(square_to_quad, xp), xp)


def inverse(matrix: Array, xp: Any) -> Array:
    """Inverse of [n, 3, 3] by the adjugate: exact for flips, quarter turns and integer shifts."""
    m = [[matrix[:, i, j] for j in range(3)] for i in range(3)]

    def cofactor(i: int, j: int) -> Array:
        a, b = [k for k in range(3) if k != i]
        c, d = [k for k in range(3) if k != j]
        minor = m[a][c] * m[b][d] - m[a][d] * m[b][c]
        return minor if (i + j) % 2 == 0 else -minor

    det = m[0][0] * cofactor(0, 0) + m[0][1] * cofactor(0, 1) + m[0][2] * cofactor(0, 2)
    rows = [xp.stack([cofactor(j, i) / det for j in range(3)], axis=-1) for i in range(3)]
    return xp.stack(rows, axis=1)


def colour_map(linear: Array, mean: Array | None = None, offset: Array | None = None, *, xp: Any) -> Array:
    """[A | K | d] from A [n, c, c], K [n, c, c] or None, d [n, c] or None."""
    if xp is np:
        n, c, _ = linear.shape
        whole = np.zeros((n, c, 2 * c + 1))
        whole[:, :, :c] = linear
        if mean is not None:
            whole[:, :, c:-1] = mean
        if offset is not None:
            whole[:, :, -1] = offset
        return whole
    mean = xp.zeros_like(linear) if mean is None else mean
    offset = xp.zeros_like(linear[:, :, :1]) if offset is None else xp.expand_dims(offset, 2)
    return xp.concatenate([linear, mean, offset], axis=2)


def rgb_in(matrix: np.ndarray, channels: int) -> np.ndarray:
    """A constant 3x3 on RGB as [channels, channels]; the channels after the third are left to the caller (zeros)."""
    out = np.zeros((channels, channels))
    out[:3, :3] = matrix
    return out


def alpha_in(channels: int) -> np.ndarray:
    """Identity on the channels after the third, zeros on RGB."""
    return np.diag([0.0 if c < 3 else 1.0 for c in range(channels)])


@dataclass(frozen=True)
class _Constants:
    """The constant matrices [c, c] that colour maps are sums of."""

    kept: np.ndarray  # identity on the colours
    fourth: np.ndarray  # identity on the channels after the third
    grey: np.ndarray  # colours -> their grey value
    hue: tuple[np.ndarray, ...]  # RGB -> its part along the grey axis; cosine and sine of a rotation about that


@lru_cache(maxsize=64)
def _constants(channels: int) -> _Constants:
    fourth = alpha_in(channels) if channels > 3 else np.zeros((channels, channels))
    if channels < 3:
        return _Constants(np.eye(channels), fourth, np.eye(channels), ())
    hue = tuple(rgb_in(part, channels) for part in (_SUM, np.eye(3) - _SUM, _CROSS))
    return _Constants(np.eye(channels) - fourth, fourth, rgb_in(LUMA, channels), hue)


def jitter_map(
    channels: int,
    xp: Any,
    brightness: Array | None = None,
    contrast: Array | None = None,
    saturation: Array | None = None,
    turns: Array | None = None,
) -> Array:
    """Brightness b, contrast c, saturation s, then Rodrigues' rotation H about the grey axis by `turns`, as one map.

    With G, which gives RGB its grey value: H (s + (1 - s) G) (c x + (1 - c) G mean(x)) b, where H G = G G = G, is
    b c s H x + b c (1 - s) G x + b (1 - c) G mean(x). A fourth channel has its brightness changed only.
    """
    constants = _constants(channels)
    b = 1.0 if brightness is None else brightness
    bc = b if contrast is None else b * contrast
    bcs = bc if saturation is None else bc * saturation
    terms: list[Any] = []
    if turns is None:
        terms.append((bcs, constants.kept))
    else:
        angle = turns * (2.0 * np.pi)
        terms += zip((bcs, bcs * xp.cos(angle), bcs * xp.sin(angle)), constants.hue, strict=True)
    if saturation is not None:
        terms.append((bc - bcs, constants.grey))
    if channels > 3:
        terms.append((b, constants.fourth))
    mean = None if contrast is None else basis([(b - bc, constants.grey)], xp)
    return colour_map(basis(terms, xp), mean, xp=xp)


def colour_identity(channels: int, xp: Any) -> Array:
    """[1, c, 2c+1]"""
    return constant(np.concatenate([np.eye(channels), np.zeros((channels, channels + 1))], axis=1), xp)[None]


def compose_colour(second: Array, first: Array, xp: Any) -> Array:
    """`second` after `first`: the mean that `second` sees is the mean of what `first` made."""
    c = first.shape[1]
    a1, k1, d1 = first[:, :, :c], first[:, :, c : 2 * c], first[:, :, 2 * c :]
    a2, k2, d2 = second[:, :, :c], second[:, :, c : 2 * c], second[:, :, 2 * c :]
    mean = matmul(a2 + k2, k1, xp) + matmul(k2, a1, xp)
    return xp.concatenate([matmul(a2, a1, xp), mean, matmul(a2 + k2, d1, xp) + d2], axis=2)
