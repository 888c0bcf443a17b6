// Where a span of output pixels lies in the source (in double), and what an index outside the source means.
#pragma once

#include <math.h>

#include "types.h"

namespace onewarp {
namespace {

// A point at or behind the horizon has no source: NaN marks it, survives every later step, and ends up far outside.
inline double perspective(double value, double w) { return w > 1e-8 ? value / w : (double)NAN; }

inline void apply_matrix(const float* m, int n, double* x, double* y) {
  const double a = m[0], b = m[1], c = m[2], d = m[3], e = m[4], f = m[5], g = m[6], h = m[7], k = m[8];
  if (g == 0.0 && h == 0.0 && k == 1.0) {
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

// Adds the displacement at each point: bilinear between the nodes, constant beyond the frame.
inline void displace(const Field& field, int n, double* x, double* y) {
  const int last_c = field.gw - 1, last_r = field.gh - 1;
  const double per_x = field.frame_w > 0.0 ? last_c / field.frame_w : 0.0;
  const double per_y = field.frame_h > 0.0 ? last_r / field.frame_h : 0.0;
  for (int j = 0; j < n; ++j) {
    const double gx = saturate(x[j] * per_x, 0.0, (double)last_c), gy = saturate(y[j] * per_y, 0.0, (double)last_r);
    const int c0 = (int)gx, r0 = (int)gy;
    const int c1 = c0 < last_c ? c0 + 1 : c0, r1 = r0 < last_r ? r0 + 1 : r0;
    const double fx = gx - c0, fy = gy - r0;
    const float* top = field.grid + 2 * (ptrdiff_t)r0 * field.gw;
    const float* bottom = field.grid + 2 * (ptrdiff_t)r1 * field.gw;
    double shift[2];
    for (int axis = 0; axis < 2; ++axis) {
      const double t0 = top[2 * c0 + axis], t1 = top[2 * c1 + axis];
      const double b0 = bottom[2 * c0 + axis], b1 = bottom[2 * c1 + axis];
      const double t = t0 + fx * (t1 - t0), b = b0 + fx * (b1 - b0);
      shift[axis] = t + fy * (b - t);
    }
    x[j] += shift[0];
    y[j] += shift[1];
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
