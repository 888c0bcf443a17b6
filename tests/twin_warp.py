"""Slow, obvious float64 twin of the native warp: where a pixel comes from, and how it is sampled there."""

from __future__ import annotations

import numpy as np

FAR = 1e8  # coordinates saturate here, long before an integer overflows
HORIZON = 1e-8  # a perspective denominator at or below this is behind the viewer: outside
EPS = 2.0**-52


class Points:
    """Input coordinates x, y of output pixels, inside (bool) and error (bound of x and y, in pixels): [h, w]."""

    def __init__(self, height: int, width: int) -> None:
        rows, columns = np.mgrid[:height, :width]
        self.x, self.y = columns + 0.5, rows + 0.5
        self.inside = np.ones((height, width), bool)
        self.error = np.zeros((height, width))

    def transform(self, matrix) -> None:
        """(x, y) = matrix (x, y, 1), divided by the last entry."""
        m = np.asarray(matrix, np.float64)
        top_x, top_y, w = (row[0] * self.x + row[1] * self.y + row[2] for row in m)
        noise_x, noise_y, noise_w = (
            (abs(row[0]) + abs(row[1])) * self.error
            + 4 * EPS * (abs(row[0] * self.x) + abs(row[1] * self.y) + abs(row[2]))
            for row in m
        )
        front = w > HORIZON
        w = np.where(front, w, 1.0)
        self.inside &= front
        self.x, self.y = np.where(front, top_x / w, 0.0), np.where(front, top_y / w, 0.0)
        self.error = np.maximum(noise_x + noise_w * abs(self.x), noise_y + noise_w * abs(self.y)) / w

    def displace(self, field, frame) -> None:
        """(x, y) += field(x, y): grid [gh, gw, 2] of (dx, dy) over frame (h, w), bilinear, clamped."""
        grid = np.asarray(field, np.float64)
        i, ti = grid_position(self.y, float(frame[0]), grid.shape[0])
        j, tj = grid_position(self.x, float(frame[1]), grid.shape[1])
        ti, tj = ti[..., None], tj[..., None]
        i1, j1 = np.minimum(i + 1, grid.shape[0] - 1), np.minimum(j + 1, grid.shape[1] - 1)
        top = grid[i, j] * (1 - tj) + grid[i, j1] * tj
        bottom = grid[i1, j] * (1 - tj) + grid[i1, j1] * tj
        move = top * (1 - ti) + bottom * ti
        self.x, self.y = self.x + move[..., 0], self.y + move[..., 1]
        self.error = 4 * self.error + 16 * EPS * (1 + np.abs(grid).max(initial=0.0))


def grid_position(position, side: float, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Node index below `position` (clamped to [0, side]) and the fraction towards the next one."""
    t = np.clip(position, 0.0, side) * (nodes - 1) / side
    index = np.clip(np.floor(t).astype(int), 0, max(nodes - 2, 0))
    return index, t - index


def source_points(height: int, width: int, matrices, fields=(), frames=None) -> Points:
    """Follow every output pixel centre back: q = M[f] p; for k = f-1 .. 0: q += F_k(q); q = M[k] q."""
    points = Points(height, width)
    last = len(matrices) - 1
    points.transform(matrices[last])
    for k in range(last - 1, -1, -1):
        points.displace(fields[k], frames[k])
        points.transform(matrices[k])
    return points


def reduced(image: np.ndarray, r: int) -> np.ndarray:
    """Box mean of r x r blocks, the edge pixel repeated in partial ones: [ceil(H/r), ceil(W/r), C]."""
    height, width, channels = image.shape
    image = np.pad(image, ((0, -height % r), (0, -width % r), (0, 0)), mode="edge")
    return image.reshape(image.shape[0] // r, r, image.shape[1] // r, r, channels).mean(axis=(1, 3))


def tap(k: np.ndarray, size: int, fill_mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Index to read for tap k of an axis with `size` pixels, and whether there is a pixel at all."""
    present = np.ones(k.shape, bool)
    if fill_mode == "constant":
        present = (k >= 0) & (k < size)
        k = np.clip(k, 0, size - 1)
    elif fill_mode == "nearest":
        k = np.clip(k, 0, size - 1)
    elif fill_mode == "reflect":
        k = k % (2 * size)
        k = np.where(k < size, k, 2 * size - 1 - k)
    elif fill_mode == "wrap":
        k = k % size
    else:
        raise ValueError(f"fill_mode {fill_mode!r}")
    return k, present


def tent(t: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, 1 - abs(t))


def keys(t: np.ndarray, a: float = -0.5) -> np.ndarray:
    t = abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t < 1, near, np.where(t < 2, far, 0.0))


KERNELS = {"bilinear": (tent, range(2)), "bicubic": (keys, range(-1, 3))}


def sample(image: np.ndarray, x, y, interpolation: str, fill_mode: str, fill_value) -> np.ndarray:
    """Read `image` [H, W, C] at points x, y [h, w] (centre of the first pixel at 0.5, 0.5) -> [h, w, C]."""
    channels = image.shape[2]
    fill = np.asarray(fill_value, image.dtype).reshape(channels)
    x, y = np.clip(x, -FAR, FAR), np.clip(y, -FAR, FAR)
    if interpolation == "nearest":
        return pick(image, np.floor(y).astype(int), np.floor(x).astype(int), fill_mode, fill)
    weight, offsets = KERNELS[interpolation]
    u, v = x - 0.5, y - 0.5
    x0, y0 = np.floor(u).astype(int), np.floor(v).astype(int)
    base = pick(image, y0, x0, fill_mode, fill)
    total = np.float64(base)  # the weights sum to 1; taken relative to one tap, flat images stay flat to the last bit
    for dy in offsets:
        for dx in offsets:
            w = weight(v - (y0 + dy)) * weight(u - (x0 + dx))
            total = total + w[..., None] * (pick(image, y0 + dy, x0 + dx, fill_mode, fill) - base)
    return total


def pick(image, rows, columns, fill_mode: str, fill) -> np.ndarray:
    """image[rows, columns] under the fill mode: [h, w, C], dtype kept."""
    rows, has_row = tap(rows, image.shape[0], fill_mode)
    columns, has_column = tap(columns, image.shape[1], fill_mode)
    return np.where((has_row & has_column)[..., None], image[rows, columns], fill)


def row_of(parameters, row: int):
    return None if parameters is None else parameters[row]


def render(
    images, matrices, fields=(), frames=None, reduction=None, interpolation="bilinear", fill_mode="constant",
    fill_value=0.0, out_size=None, start: int = 0,
) -> np.ndarray:  # fmt: skip
    """Warp each image [H, W, C] -> float64 [n, h, w, C]. Without matrices: the images themselves.

    matrices [N, f+1, 3, 3], fields f arrays [N, gh, gw, 2], frames [N, f, 2] as (h, w), reduction [N];
    row start + i of each belongs to images[i]. fill_value: a number or one per channel.
    """
    out = []
    for row, image in enumerate(images, start):
        pixels = np.asarray(image, np.float64)
        if matrices is not None:
            points = source_points(*out_size, matrices[row], [f[row] for f in fields], row_of(frames, row))
            r = 1 if reduction is None or interpolation == "nearest" else int(reduction[row])
            fill = np.broadcast_to(np.asarray(fill_value, np.float64), pixels.shape[2:])
            pixels = sample(reduced(pixels, r), points.x / r, points.y / r, interpolation, fill_mode, fill)
            if fill_mode == "constant":
                pixels = np.where(points.inside[..., None], pixels, fill)
        out.append(pixels)
    return np.stack(out)


def unsure(matrices, fields, frames, interpolation: str, fill_mode: str, out_size, count: int, start=0) -> np.ndarray:
    """bool [count, h, w]: pixels whose value the definition leaves open or double precision cannot decide.

    Behind the horizon unless the mode is constant; farther out than 1e8; coordinates uncertain by more than
    1e-6 pixels; for nearest, coordinates within that error of a pixel's edge.
    """
    out = []
    for row in range(start, start + count):
        points = source_points(*out_size, matrices[row], [f[row] for f in fields], row_of(frames, row))
        far = np.maximum(abs(points.x), abs(points.y))
        open_ = (points.error > 1e-6) & (far < FAR)
        if fill_mode != "constant":
            open_ |= ~points.inside
        if fill_mode in ("reflect", "wrap"):
            open_ |= far >= FAR
        if interpolation == "nearest":
            error = points.error + 1e-12
            open_ |= (abs(points.x - np.rint(points.x)) < error) | (abs(points.y - np.rint(points.y)) < error)
        out.append(open_)
    return np.stack(out)


def nearest(images, matrices, fields, frames, fill_mode: str, fill, out_size, start: int = 0) -> np.ndarray:
    """Nearest neighbour of any dtype, elements copied: [n, h, w, C]. fill: one element, bytes or a number."""
    out = []
    for row, image in enumerate(images, start):
        value = np.frombuffer(fill, image.dtype)[0] if isinstance(fill, bytes) else image.dtype.type(fill)
        points = source_points(*out_size, matrices[row], [f[row] for f in fields], row_of(frames, row))
        x, y = np.clip(points.x, -FAR, FAR), np.clip(points.y, -FAR, FAR)
        filled = np.full(image.shape[2:], value, image.dtype)
        pixels = pick(image, np.floor(y).astype(int), np.floor(x).astype(int), fill_mode, filled)
        if fill_mode == "constant":
            pixels = np.where(points.inside[..., None], pixels, filled)
        out.append(pixels)
    return np.stack(out)
