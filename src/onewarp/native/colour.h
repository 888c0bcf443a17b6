// Colour ops on a span of raw values, planar, and the frame statistics that some of them need.
#pragma once

#include "simd.h"

namespace onewarp {
namespace {

// Saturates, and rounds to a level where the image is of integers.
template <class Real> inline Real quantise(const Range<Real>& range, Real v) {
  v = saturate(v, range.low, range.high);
  return range.integer ? range.low + round_even(v - range.low) : v;
}

// Loops over the pixels of one or more planes: the compiler makes vectors of them.
template <int C, class Real> void colour_affine(const ColourStep<Real>& step, int n, Real* __restrict values, int stride) {
  const Real* m = step.matrix;
  const Real* offset = m + C * C;
  for (int j = 0; j < n; ++j) {
    Real in[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) in[c] = values[c * stride + j];
#pragma GCC unroll 4
    for (int r = 0; r < C; ++r) {
      Real v = offset[r];
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) v += m[r * C + c] * in[c];
      values[r * stride + j] = v;
    }
  }
}

// Any number of channels; `step.scratch` holds one pixel.
template <class Real> void colour_affine_any(const ColourStep<Real>& step, int channels, int n, Real* values, int stride) {
  const Real* offset = step.matrix + channels * channels;
  for (int j = 0; j < n; ++j) {
    for (int c = 0; c < channels; ++c) step.scratch[c] = values[c * stride + j];
    for (int r = 0; r < channels; ++r) {
      Real v = offset[r];
      for (int c = 0; c < channels; ++c) v += step.matrix[r * channels + c] * step.scratch[c];
      values[r * stride + j] = v;
    }
  }
}

template <class Real>
void colour_table(const ColourStep<Real>& step, const Range<Real>& range, int channels, int n, Real* values, int stride) {
  const Real extent = range.high - range.low, nodes = (Real)(step.entries - 1);
  const int last = step.entries - 1, columns = step.columns;
  int index[kSpan];
  for (int c = 0; c < channels; ++c, values += stride) {
    const float* column = step.table + (columns > 1 ? c : 0);
    if (step.direct || !step.linear) {
      const Real scale = step.direct ? 1 : nodes / extent, nudge = step.direct ? (Real)0.25 : (Real)1e-3;
      for (int j = 0; j < n; ++j)
        index[j] = (int)saturate((quantise(range, values[j]) - range.low) * scale + nudge, (Real)0, nodes);
      for (int j = 0; j < n; ++j) values[j] = range.low + extent * column[index[j] * columns];
      continue;
    }
    for (int j = 0; j < n; ++j) {
      const Real t = (quantise(range, values[j]) - range.low) / extent * nodes;
      const int k = (int)saturate(t, (Real)0, nodes);
      const Real a = column[k * columns], b = column[(k < last ? k + 1 : k) * columns];
      values[j] = range.low + extent * (a + (t - k) * (b - a));
    }
  }
}

template <class Real> inline Real most_of(Real a, Real b) { return a > b ? a : b; }
template <class Real> inline Real least_of(Real a, Real b) { return a < b ? a : b; }

// torchvision's shift of the hue, h = (h + turn) mod 6 in sixths of a turn, on vectors of raw values above the low end. A
// channel lacks that part of the chroma which its distance to the hue tells; so HSV itself is not needed.
template <class V, class Real> ONEWARP_INLINE void turn_hue(Real turn, V& r, V& g, V& b) {
  const V zero{}, one = zero + (Real)1, six = zero + (Real)6;
  const V most = larger(r, larger(g, b)), chroma = most - smaller(r, smaller(g, b));
  const V from_red = g - b, from_green = b - r, from_blue = r - g;
  V difference = most == g ? from_green : from_blue;
  difference = most == r ? from_red : difference;
  V start = most == g ? zero + (turn + 2) : zero + (turn + 4);
  start = most == r ? zero + turn : start;
  V hue = start + difference / larger(chroma, zero + (Real)1e-30);  // [turn - 1, turn + 5]; without chroma any will do
  hue = hue >= six ? hue - six : hue;
  r = most - chroma * smaller(larger((Real)2 - magnitude(hue - (Real)3), zero), one);
  g = most - chroma * smaller(larger(magnitude(hue - (Real)2) - (Real)1, zero), one);
  b = most - chroma * smaller(larger(magnitude(hue - (Real)4) - (Real)1, zero), one);
}

// Channels past the third are only saturated.
template <class Real>
void colour_hue(const ColourStep<Real>& step, const Range<Real>& range, int channels, int n, Real* values, int stride) {
  typedef Real V __attribute__((vector_size(kVector)));
  constexpr int lanes = kVector / (int)sizeof(Real);
  const Real sixths = 6 * step.shift, turn = sixths < 1 ? sixths + 6 : sixths;  // [1, 7): a hue then lies in [0, 12)
  const V low = V{} + range.low, high = V{} + range.high;
  for (int j = 0; j < n; j += lanes) {
    V colour[3];
#pragma GCC unroll 3
    for (int c = 0; c < 3; ++c) colour[c] = smaller(larger(load_vector<V>(values + c * stride + j), low), high) - low;
    turn_hue(turn, colour[0], colour[1], colour[2]);
#pragma GCC unroll 3
    for (int c = 0; c < 3; ++c) store_vector(values + c * stride + j, low + colour[c]);
  }
  for (int c = 3; c < channels; ++c)
    for (int j = 0; j < n; ++j) values[c * stride + j] = saturate(values[c * stride + j], range.low, range.high);
}

// Values were quantised when the statistics were taken. The division keeps exact halves exact.
template <class Real>
void colour_autocontrast(const ColourStep<Real>& step, const Range<Real>& range, int channels, int n, Real* values, int stride) {
  const Real low = range.low, extent = range.high - range.low;
  for (int c = 0; c < channels; ++c, values += stride) {
    const Real lo = step.matrix[c], hi = step.matrix[channels + c];
    if (!(hi > lo)) continue;
    const Real width = hi - lo;
    for (int j = 0; j < n; ++j) values[j] = low + (values[j] - lo) * extent / width;
  }
}

template <class Real> inline int histogram_bin(const Range<Real>& range, Real v) {
  return (int)saturate(round_even((v - range.low) * (255 / (range.high - range.low))), (Real)0, (Real)255);
}

template <class Real>
void colour_equalize(const ColourStep<Real>& step, const Range<Real>& range, int channels, int n, Real* values, int stride) {
  for (int c = 0; c < channels; ++c, values += stride) {
    if (step.keep[c]) continue;
    int bin[kSpan];
    for (int j = 0; j < n; ++j) bin[j] = histogram_bin(range, values[j]);
    for (int j = 0; j < n; ++j) values[j] = step.levels[c * 256 + bin[j]];
  }
}

template <class Real>
void colour_step(const ColourStep<Real>& step, const Range<Real>& range, int channels, int n, Real* values, int stride) {
  switch (step.kind) {
    case ColourKind::affine:
      if (channels == 1) return colour_affine<1>(step, n, values, stride);
      if (channels == 3) return colour_affine<3>(step, n, values, stride);
      if (channels == 4) return colour_affine<4>(step, n, values, stride);
      return colour_affine_any(step, channels, n, values, stride);
    case ColourKind::table: return colour_table(step, range, channels, n, values, stride);
    case ColourKind::hue: return colour_hue(step, range, channels, n, values, stride);
    case ColourKind::autocontrast: return colour_autocontrast(step, range, channels, n, values, stride);
    case ColourKind::equalize: return colour_equalize(step, range, channels, n, values, stride);
  }
}

// Adds a span to the statistics that `kind` needs, after bringing the values to the form in which the op wants them.
template <class Real>
void observe(ColourKind kind, const Range<Real>& range, int channels, int n, Real* values, int stride,
             const Statistics<Real>& to) {
  for (int c = 0; c < channels; ++c, values += stride) {
    if (kind == ColourKind::affine) {
      double part[8] = {};  // several sums at once: additions need not wait for each other
      int j = 0;
      for (; j + 8 <= n; j += 8)
        for (int k = 0; k < 8; ++k) part[k] += (double)values[j + k];
      for (; j < n; ++j) part[0] += (double)values[j];
      to.sum[c] += ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
    } else if (kind == ColourKind::autocontrast) {
      Real lo = to.lo[c], hi = to.hi[c];
      for (int j = 0; j < n; ++j) {
        const Real v = quantise(range, values[j]);
        values[j] = v;
        lo = least_of(v, lo);
        hi = most_of(v, hi);
      }
      to.lo[c] = lo;
      to.hi[c] = hi;
    } else {
      uint32_t* histogram = to.histogram + c * kHistogram;
      int bin[kSpan];
      for (int j = 0; j < n; ++j) {
        values[j] = saturate(values[j], range.low, range.high);
        bin[j] = histogram_bin(range, values[j]);
      }
      // Four counters for each bin: neighbours are often alike, and a count must not wait for the one before it.
      for (int j = 0; j < n; ++j) ++histogram[(j % 4) * 256 + bin[j]];
    }
  }
}

}  // namespace
}  // namespace onewarp
