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

// The input points of output pixels (i, j0) ... (i, j0 + n - 1). Each pixel is evaluated on its own: no error accumulates.
inline void locate(const Geometry& geometry, int i, int j0, int n, double* x, double* y) {
  for (int j = 0; j < n; ++j) {
    x[j] = (j0 + j) + 0.5;
    y[j] = i + 0.5;
  }
  apply_matrix(geometry.matrices + 9 * (ptrdiff_t)geometry.field_count, n, x, y);
  for (int k = geometry.field_count - 1; k >= 0; --k) {
    displace(geometry.fields[k], n, x, y);
    apply_matrix(geometry.matrices + 9 * (ptrdiff_t)k, n, x, y);
  }
}

// Tap positions and weights of a span along one axis: taps start[j] + ..., weight[j] in [0, 1) towards the next tap.
template <class Real>
inline void split(const double* position, double shrink, double half, int n, int* start, Real* weight) {
  for (int j = 0; j < n; ++j) {
    const double u = saturate(position[j] * shrink - half, -kFar, kFar);
    const int whole = (int)u - (u < (int)u);  // floor
    start[j] = whole;
    weight[j] = (Real)(u - whole);
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

// End of the run of pixels from j on whose taps first ... last (relative to their start) are all inside, or all not.
inline int run_end(const int* x, const int* y, int j, int n, int first, int last, const Image& image, bool* inside) {
  const int wide = image.width - (last - first), high = image.height - (last - first);
  auto all_inside = [&](int at) {
    return x[at] + first >= 0 && x[at] + first < wide && y[at] + first >= 0 && y[at] + first < high;
  };
  *inside = all_inside(j);
  do ++j;
  while (j < n && all_inside(j) == *inside);
  return j;
}

}  // namespace
}  // namespace onewarp
