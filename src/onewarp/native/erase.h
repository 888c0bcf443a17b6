// Erase ops on a span: rectangles or a grid of holes, filled with a colour or with keyed noise.
#pragma once

#include <math.h>

#include "random.h"

namespace onewarp {
namespace {

// A point of the grid is in a hole; a unit of zero or NaN has no holes.
inline bool in_hole(int pixel, float offset, float unit, float hole) {
  return fmod(pixel + 0.5 + (double)offset, (double)unit) < (double)hole;
}

// Erases pixel columns [from, to) of row i; `values` is the row's first pixel, which is column j0.
template <class Real>
inline void erase_run(const EraseStep<Real>& step, const Range<Real>& range, int channels, int width, int i, int j0,
                      int from, int to, Real* values, int stride) {
  for (int c = 0; c < channels; ++c) {
    Real* v = values + c * stride - j0;
    if (step.fill) {
      for (int j = from; j < to; ++j) v[j] = step.fill[c];
      continue;
    }
    for (int j = from; j < to; ++j) {
      const uint64_t element = ((uint64_t)i * width + j) * channels + c;
      const Words words = threefry(step.key[0], step.key[1], (uint32_t)(element / 2), 1 + step.index);
      v[j] = range.low + (Real)uniform(words.word[element % 2]) * (range.high - range.low);
    }
  }
}

template <class Real>
void erase_span(const EraseStep<Real>& step, const Range<Real>& range, int channels, int width, const Span& span,
                Real* values, int stride) {
  const int j0 = span.j, end = j0 + span.columns;
  for (int i = span.i; i < span.i + span.rows; ++i, values += span.columns) {
    if (step.rects) {
      for (int k = 0; k < step.count; ++k) {
        const int32_t* rect = step.rects + 4 * (ptrdiff_t)k;
        if (i < rect[0] || i >= rect[2]) continue;
        const int from = rect[1] > j0 ? rect[1] : j0, to = rect[3] < end ? rect[3] : end;
        if (from < to) erase_run(step, range, channels, width, i, j0, from, to, values, stride);
      }
      continue;
    }
    const float* g = step.grid;
    if (!in_hole(i, g[4], g[0], g[2])) continue;
    for (int j = j0; j < end; ++j)
      if (in_hole(j, g[5], g[1], g[3])) erase_run(step, range, channels, width, i, j0, j, j + 1, values, stride);
  }
}

}  // namespace
}  // namespace onewarp
