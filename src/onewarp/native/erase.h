// Erase ops on a span: rectangles, filled with a colour or with keyed noise. A grid of holes is rectangles on some rows.
#pragma once

#include "keyed.h"

namespace onewarp {
namespace {

// Keyed noise for pixel columns [from, to) of row i; `values` is column 0.
template <class Real>
inline void erase_noise(const EraseStep<Real>& step, const Range<Real>& range, int channels, int width, int i, int from, int to,
                        Real* values, int stride) {
  constexpr int kBlock = 512;
  float noise[kBlock + kAhead + 2];
  const Real extent = range.high - range.low;
  uint64_t element = ((uint64_t)i * width + from) * channels, end = ((uint64_t)i * width + to) * channels;
  for (int j = from, c = 0; element < end;) {
    const int skip = (int)(element % 2), left = end - element < kBlock ? (int)(end - element) : kBlock;
    uniform_noise(step.key, (uint32_t)(element / 2), 1 + step.index, (left + skip + 1) / 2, noise);
    for (int e = 0; e < left; ++e) {
      values[c * stride + j] = range.low + (Real)noise[skip + e] * extent;
      if (++c == channels) c = 0, ++j;
    }
    element += left;
  }
}

// Erases pixel columns [from, to) of row i; `values` is column 0.
template <class Real>
inline void erase_run(const EraseStep<Real>& step, const Range<Real>& range, int channels, int width, int i, int from, int to,
                      Real* values, int stride) {
  if (from >= to) return;
  if (!step.fill) return erase_noise(step, range, channels, width, i, from, to, values, stride);
  for (int c = 0; c < channels; ++c)
    for (int j = from; j < to; ++j) values[c * stride + j] = step.fill[c];
}

template <class Real>
void erase_span(const EraseStep<Real>& step, const Range<Real>& range, int channels, int width, const Span& span,
                Real* values, int stride) {
  const int j0 = span.j, end = j0 + span.columns;
  for (int i = span.i; i < span.i + span.rows; ++i, values += span.columns) {
    if (step.rows && !step.rows[i]) continue;
    for (int k = 0; k < step.count; ++k) {
      const int32_t* rect = step.rects + 4 * (ptrdiff_t)k;
      if (i < rect[0] || i >= rect[2]) continue;
      const int from = rect[1] > j0 ? rect[1] : j0, to = rect[3] < end ? rect[3] : end;
      erase_run(step, range, channels, width, i, from, to, values - j0, stride);
    }
  }
}

}  // namespace
}  // namespace onewarp
