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
