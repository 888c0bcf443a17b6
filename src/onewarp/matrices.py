"""The 3x3 matrices of geometry and the affine maps of colour, batched, with `xp` handed in.

A geometric matrix [n, 3, 3] maps output points (x, y, 1) to input points: x to the right, y down, the centre of the
first pixel at (0.5, 0.5). A colour map [n, c, 2c+1] = [A | K | d] acts on unit values: x' = A x + K mean(x) + d, where
the mean is that of the frame; so contrast, which needs the mean, composes with its neighbours like any matrix.

Products are written out as multiply-adds: a float32 matmul keeps 10 bits of mantissa on recent accelerators.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from onewarp.random import Array, constant

_EYE = np.eye(3)
_LINEAR = np.diag([1.0, 1.0, 0.0])
_TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
_W = np.array([0.0, 0.0, 1.0])
GREY = np.array([0.299, 0.587, 0.114])


def matmul(a: Array, b: Array, xp: Any) -> Array:
    """Product of small batched matrices, [n or 1, i, j] x [n or 1, j, k]."""
    if xp is np:
        return np.matmul(a, b)
    return xp.sum(xp.expand_dims(a, 3) * xp.expand_dims(b, 1), axis=2)


def basis(terms: list[tuple[Array, Any]], base: Any, xp: Any) -> Array:
    """base + sum of coefficient [n] times constant matrix [i, j], as [n, i, j]."""
    total = constant(base, xp)[None]
    for coefficient, matrix in terms:
        total = total + coefficient[:, None, None] * constant(matrix, xp)[None]
    return total


def _unit_matrix(row: int, column: int) -> np.ndarray:
    matrix = np.zeros((3, 3))
    matrix[row, column] = 1.0
    return matrix


_XX, _XY, _X0 = _unit_matrix(0, 0), _unit_matrix(0, 1), _unit_matrix(0, 2)
_YX, _YY, _Y0 = _unit_matrix(1, 0), _unit_matrix(1, 1), _unit_matrix(1, 2)


def identity(xp: Any) -> Array:
    """[1, 3, 3]"""
    return constant(_EYE, xp)[None]


def rotation(degrees: Array, xp: Any) -> Array:
    """Content turns counter-clockwise as seen, by `degrees` [n], about the origin."""
    radians = degrees * (np.pi / 180.0)
    return basis([(xp.cos(radians), _LINEAR), (xp.sin(radians), _TURN)], np.diag(_W), xp)


def scaling(x: Array, y: Array, xp: Any) -> Array:
    """Output to input: input = (x * output x, y * output y); `x`, `y` [n]."""
    return basis([(x, _XX), (y, _YY)], np.diag(_W), xp)


def shearing(x_degrees: Array, y_degrees: Array, xp: Any) -> Array:
    """Input = (x + tan(x_degrees) y, y + tan(y_degrees) x); [n] each."""
    return basis([(xp.tan(x_degrees * (np.pi / 180.0)), _XY), (xp.tan(y_degrees * (np.pi / 180.0)), _YX)], _EYE, xp)


def translation(x: Array, y: Array, xp: Any) -> Array:
    """Input = output + (x, y), in pixels [n]."""
    return basis([(x, _X0), (y, _Y0)], _EYE, xp)


def window(left: Array, top: Array, scale_x: Array, scale_y: Array, xp: Any) -> Array:
    """Input = (left + scale_x * x, top + scale_y * y): a crop, resized. All [n] or [1]."""
    return basis([(scale_x, _XX), (scale_y, _YY), (left, _X0), (top, _Y0)], np.diag(_W), xp)


def about_centre(
    matrix: Array,
    height: Array,
    width: Array,
    xp: Any,
    out_height: Array | None = None,
    out_width: Array | None = None,
) -> Array:
    """An affine `matrix` about the origin -> about the centre of the frame, output centre to input centre."""
    out_height = height if out_height is None else out_height
    out_width = width if out_width is None else out_width
    into = _centre(height, width, xp)
    out = _centre(out_height, out_width, xp)
    shift = into - xp.sum(matrix * xp.expand_dims(out, 1), axis=2)
    return matrix + xp.expand_dims(shift, 2) * constant(_W, xp)


def _centre(height: Array, width: Array, xp: Any) -> Array:
    x, y = constant([0.5, 0.0, 0.0], xp), constant([0.0, 0.5, 0.0], xp)
    return width[:, None] * x + height[:, None] * y


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
    to_frame = scaling(width, height, xp)  # unit square -> frame
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


def grey_in(channels: int) -> np.ndarray:
    """[channels, channels] that replaces RGB (or the one channel) by its grey value; a fourth channel gives zeros."""
    if channels == 1:
        return np.ones((1, 1))
    return rgb_in(np.ones((3, 1)) * GREY, channels)


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
