// Where a span of output pixels lies in the source (in double), and what an index outside the source means.
#pragma once

#include <math.h>

#include "simd.h"

namespace onewarp {
namespace {

// A point at or behind the horizon has no source: NaN marks it, survives every later step, and ends up far outside.
inline double perspective(double value, double w) { return w > 1e-8 ? value / w : (double)NAN; }

inline void apply_matrix(const float* m, int n, double* x, double* y) {
  const double a = m[0], b = m[1], c = m[2], d = m[3], e = m[4], f = m[5], g = m[6], h = m[7], k = m[8];
  if (g == 0.0 && h == 0.0 && k == 1.0) {
    if (a == 1.0 && b == 0.0 && c == 0.0 && d == 0.0 && e == 1.0 && f == 0.0) return;
    for (int j = 0; j < n; ++j) {
      const double px = x[j], py = y[j];
      x[j] = a * px + b * py + c;
      y[j] = d * px + e * py + f;
    }
    return;
  }
  for (int j = 0; j < n; ++j) {
    const double px = x[j], py = y[j], w = g * px + h * py + k;
    x[j] = perspective(a * px + b * py + c, w);
    y[j] = perspective(d * px + e * py + f, w);
  }
}

// Adds the displacement at each point: bilinear between the nodes, constant beyond the frame. The arrays have room for
// whole vectors. A node is 8 bytes, dx and dy: one load.
inline void displace(const Field& field, int n, double* x, double* y) {
  const int last_c = field.gw - 1, last_r = field.gh - 1;
  const double per_x = field.frame_w > 0.0 ? last_c / field.frame_w : 0.0;
  const double per_y = field.frame_h > 0.0 ? last_r / field.frame_h : 0.0;
  // The first of the four nodes around a point; on the last column or row it is the one before, at full weight.
  const int most_c = last_c > 0 ? last_c - 1 : 0, most_r = last_r > 0 ? last_r - 1 : 0;
  const int row = 8 * field.gw, right = last_c > 0 ? 8 : 0, below = last_r > 0 ? row : 0;
  int32_t node[kSpan];  // bytes from the grid's first
  double fx[kSpan], fy[kSpan];
  for (; n % kLanes; ++n) x[n] = y[n] = 0.0;
  for (int j = 0; j < n; ++j) {
    const double gx = saturate(x[j] * per_x, 0.0, (double)last_c), gy = saturate(y[j] * per_y, 0.0, (double)last_r);
    const int c = (int)gx < most_c ? (int)gx : most_c, r = (int)gy < most_r ? (int)gy : most_r;
    fx[j] = gx - c;
    fy[j] = gy - r;
    node[j] = r * row + 8 * c;
  }
  const uint8_t* grid = (const uint8_t*)field.grid;
  for (int j = 0; j < n; j += kLanes) {
    Uints top0[2], top1[2], low0[2], low1[2];  // of dx and of dy
    const Ints nodes = load_vector<Ints>(node + j);
    if (any(nodes != node[j])) {
      gather64(grid, node + j, &top0[0], &top0[1]);
      gather64(grid + right, node + j, &top1[0], &top1[1]);
      gather64(grid + below, node + j, &low0[0], &low0[1]);
      gather64(grid + below + right, node + j, &low1[0], &low1[1]);
    } else {  // one cell of a coarse grid holds many pixels
#pragma GCC unroll 2
      for (int axis = 0; axis < 2; ++axis) {
        const uint8_t* first = grid + node[j] + 4 * axis;
        top0[axis] = Uints{} + load<uint32_t>(first);
        top1[axis] = Uints{} + load<uint32_t>(first + right);
        low0[axis] = Uints{} + load<uint32_t>(first + below);
        low1[axis] = Uints{} + load<uint32_t>(first + below + right);
      }
    }
    const Wide u = load_vector<Wide>(fx + j), v = load_vector<Wide>(fy + j);
    double* to[2] = {x + j, y + j};
#pragma GCC unroll 2
    for (int axis = 0; axis < 2; ++axis) {
      const Wide t0 = widen((Floats)top0[axis]), b0 = widen((Floats)low0[axis]);
      const Wide t = t0 + u * (widen((Floats)top1[axis]) - t0), b = b0 + u * (widen((Floats)low1[axis]) - b0);
      store_vector(to[axis], load_vector<Wide>(to[axis]) + (t + v * (b - t)));
    }
  }
}

// The input points of the pixels of a span. Each pixel is evaluated on its own: no error accumulates.
inline void locate(const Geometry& geometry, const Span& span, double* x, double* y) {
  int k = 0;
  for (int i = 0; i < span.rows; ++i) {
    for (int j = 0; j < span.columns; ++j, ++k) {
      x[k] = (span.j + j) + 0.5;
      y[k] = (span.i + i) + 0.5;
    }
  }
  apply_matrix(geometry.matrices + 9 * (ptrdiff_t)geometry.field_count, k, x, y);
  for (int f = geometry.field_count - 1; f >= 0; --f) {
    displace(geometry.fields[f], k, x, y);
    apply_matrix(geometry.matrices + 9 * (ptrdiff_t)f, k, x, y);
  }
}

// The index that stands for index k on an axis of n pixels; -1 means the fill value.
inline int border_index(int k, int n, Border border) {
  if ((unsigned)k < (unsigned)n) return k;
  if (border == Border::constant) return -1;
  if (border == Border::nearest) return k < 0 ? 0 : n - 1;
  const int period = border == Border::reflect ? 2 * n : n;
  const int m = k % period + (k % period < 0 ? period : 0);
  return m < n ? m : 2 * n - 1 - m;
}

}  // namespace
}  // namespace onewarp
