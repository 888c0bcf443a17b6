// Where the pixels of a span lie in the source, as taps: byte offsets, weights, and which of them need care at a border.
#pragma once

#include "geometry.h"

namespace onewarp {
namespace {

// What the taps of a pixel need: nothing, the fill for some of them, or to be looked at one by one.
enum Care : int32_t { kInside = 0, kFilled = 1, kSlow = 2 };

// Arrays over the pixels of a span; beyond the last one they repeat it, up to a whole number of vectors.
template <class Real> struct Taps {
  int32_t x[kSpan], y[kSpan];    // first tap, may lie outside
  int32_t offset[kSpan];         // bytes from the image's first pixel to the first tap, clamped into the image
  int32_t care[kSpan];
  Real fx[kSpan], fy[kSpan];     // weight of the second tap
  int32_t cares;                 // all of `care`, or-ed
};

// Positions q along an axis of `size` pixels -> index and fraction of u = q * shrink - half. Borders that repeat pixels
// are folded into the image here: reflect and nearest read the same two neighbours as a clamped coordinate.
template <class Real>
inline void split_axis(const double* q, int n, double shrink, double half, int size, Border border, int* index, Real* fraction) {
  if (border == Border::constant) {
    for (int k = 0; k < n; ++k) {
      const double u = saturate(q[k] * shrink - half, -kFar, kFar);
      const int whole = (int)u - (u < (int)u);  // floor
      index[k] = whole;
      fraction[k] = (Real)(u - whole);
    }
    return;
  }
  const double period = border == Border::reflect ? 2.0 * size : size, per = 1.0 / period;
  const double last = border == Border::wrap ? size - half : size - 2.0 * half;
  const bool fold = border != Border::nearest, mirror = border == Border::reflect;
  for (int k = 0; k < n; ++k) {
    double t = saturate(q[k] * shrink, -kFar, kFar);
    if (fold) {
      const double turns = t * per;
      t -= period * ((int)turns - (turns < (int)turns));
      t = mirror && t > size ? period - t : t;
    }
    const double u = saturate(t - half, border == Border::wrap ? -half : 0.0, last);
    const int whole = (int)u - (u < (int)u);
    index[k] = whole;
    fraction[k] = (Real)(u - whole);
  }
}

// The same without folding: taps of any index, for kernels that look at each.
template <class Real>
inline void split_plain(const double* q, int n, double shrink, double half, int* index, Real* fraction) {
  split_axis(q, n, shrink, half, 1, Border::constant, index, fraction);
}

// One row of an affine warp along one axis, in fixed point: 32 bits of whole pixels, 32 of fraction. u0 is the position of the
// first pixel, each further one lies `step` on; over a span the rounded step is wrong by less than 1e-7 pixels.
template <class Real> inline void split_steps(double u0, double step, int n, int* index, Real* fraction) {
  constexpr double kOne = 4294967296.0;
  const int64_t start = (int64_t)__builtin_floor(u0 * kOne + 0.5), by = (int64_t)__builtin_floor(step * kOne + 0.5);
  for (int k = 0; k < n; ++k) {
    const int64_t u = start + by * k;
    index[k] = (int)(u >> 32);
    fraction[k] = (Real)(int)((uint32_t)u >> 8) * (Real)0x1p-24;
  }
}

// Coordinates of a span under an affine warp without fields, where no border has to be folded. Returns whether it did them.
template <class Real> inline bool split_affine(const Warp<Real>& warp, const Span& span, double half, Taps<Real>& taps) {
  const float* m = warp.geometry.matrices;
  if (sizeof(Real) > 4) return false;  // the levels of uint16 would show the rounding of the step
  if (warp.geometry.field_count > 0 || m[6] != 0 || m[7] != 0 || m[8] != 1) return false;
  const int size[2] = {warp.source.width, warp.source.height};
  for (int axis = 0; axis < 2; ++axis) {
    const double a = m[3 * axis] * warp.shrink, b = m[3 * axis + 1] * warp.shrink, c = m[3 * axis + 2] * warp.shrink - half;
    const bool free = warp.border == Border::constant;
    const double low = free ? -1e8 : 0.0, high = free ? 1e8 : size[axis] - 1.0;
    // The extremes lie at the corners of the span.
    for (int corner = 0; corner < 4; ++corner) {
      const double x = span.j + 0.5 + (corner % 2 ? span.columns - 1 : 0), y = span.i + 0.5 + (corner / 2 ? span.rows - 1 : 0);
      const double u = a * x + b * y + c;
      if (!(u >= low && u <= high)) return false;
    }
    int* index = axis == 0 ? taps.x : taps.y;
    Real* fraction = axis == 0 ? taps.fx : taps.fy;
    for (int i = 0, k = 0; i < span.rows; ++i, k += span.columns)
      split_steps(a * (span.j + 0.5) + b * (span.i + i + 0.5) + c, a, span.columns, index + k, fraction + k);
  }
  return true;
}

// First taps and weights of a span. `fold`: whether borders that repeat are folded (two taps), or left to the kernel.
template <class Real> inline void find_taps(const Warp<Real>& warp, const Span& span, double half, bool fold, Taps<Real>& taps) {
  if (split_affine(warp, span, half, taps)) return;
  double px[kSpan], py[kSpan];
  const int n = span.count();
  const Border border = fold ? warp.border : Border::constant;
  locate(warp.geometry, span, px, py);
  split_axis(px, n, warp.shrink, half, warp.source.width, border, taps.x, taps.fx);
  split_axis(py, n, warp.shrink, half, warp.source.height, border, taps.y, taps.fy);
}

// Source pixels of a span under nearest sampling, -1 for the fill.
inline void find_nearest(const Geometry& geometry, const Image& image, Border border, const Span& span, int* x, int* y) {
  double px[kSpan], py[kSpan];
  float unused[kSpan];
  const int n = span.count(), width = image.width, height = image.height;
  locate(geometry, span, px, py);
  split_plain(px, n, 1.0, 0.0, x, unused);
  split_plain(py, n, 1.0, 0.0, y, unused);
  if (border == Border::constant) {
    for (int k = 0; k < n; ++k) {
      x[k] = (unsigned)x[k] < (unsigned)width ? x[k] : -1;
      y[k] = (unsigned)y[k] < (unsigned)height ? y[k] : -1;
    }
    return;
  }
  for (int k = 0; k < n; ++k) {
    x[k] = border_index(x[k], width, border);
    y[k] = border_index(y[k], height, border);
  }
}

// Fills `taps` from `x`, `y`, `fx`, `fy`: offsets of the first of `run` x `run` taps, and the care they need. `read` is the
// number of bytes that are loaded at an offset, in each of the `run` rows.
template <class Real>
inline void place_taps(const Image& image, Border border, int first, int run, ptrdiff_t read, int n, Taps<Real>& taps) {
  const int wide = image.width - run, high = image.height - run;  // largest first tap
  const ptrdiff_t rows = (run - 1) * image.row;
  const ptrdiff_t bottom = image.row > 0 ? (image.height - 1) * image.row : 0;
  const ptrdiff_t top = image.row > 0 ? 0 : (image.height - 1) * image.row;
  const ptrdiff_t end = bottom + image.width * image.column - (rows > 0 ? rows : 0) - read;  // last offset to load at
  const bool simple = wide >= 0 && high >= 0 && end < INT32_MAX && top > INT32_MIN && image.column > 0 && end >= 0;
  if (!simple) {
    for (int k = 0; k < n; ++k) taps.care[k] = kSlow;
    taps.cares = kSlow;
    return;
  }
  // A folded coordinate reaches at most the last pixel, where the second tap has no weight: any value will do for it.
  const int outside = border != Border::wrap && run <= 2 ? kFilled : kSlow;
  const int row = (int)image.row, column = (int)image.column, safe = (int)end;
  int all = 0;
  for (int k = 0; k < n; ++k) {
    const int x = taps.x[k] + first, y = taps.y[k] + first;
    const int cx = saturate(x, 0, wide), cy = saturate(y, 0, high);
    const int offset = cy * row + cx * column;
    const int care = ((x != cx) | (y != cy) ? outside : 0) | (offset > safe ? kSlow : 0);
    taps.offset[k] = offset;
    taps.care[k] = care;
    all |= care;
  }
  taps.cares = all;
}

// Repeats the last pixel up to a multiple of `lanes`, so that whole vectors can be read.
template <class Real> inline void pad_taps(int n, int lanes, Taps<Real>& taps) {
  for (int k = n; k % lanes; ++k) {
    taps.x[k] = taps.x[n - 1];
    taps.y[k] = taps.y[n - 1];
    taps.offset[k] = taps.offset[n - 1];
    taps.care[k] = taps.care[n - 1];
    taps.fx[k] = taps.fx[n - 1];
    taps.fy[k] = taps.fy[n - 1];
  }
}

}  // namespace
}  // namespace onewarp
