// Colour ops on a span of interleaved raw values [n][C], and the frame statistics that some of them need.
// C = 0 means any channel count.
#pragma once

#include "types.h"

namespace onewarp {
namespace {

// Saturates, and rounds to a level where the image is of integers.
template <class Real> inline Real quantise(const Range<Real>& range, Real v) {
  v = saturate(v, range.low, range.high);
  return range.integer ? range.low + round_even(v - range.low) : v;
}

template <int C, class Real> void colour_affine(const ColourStep<Real>& step, int channels, int n, Real* values) {
  const int size = C > 0 ? C : channels;
  const Real* offset = step.matrix + size * size;
  Real fixed[C > 0 ? C : 1];
  Real* in = C > 0 ? fixed : step.scratch;
  for (int j = 0; j < n; ++j, values += size) {
    for (int c = 0; c < size; ++c) in[c] = values[c];
    for (int r = 0; r < size; ++r) {
      Real v = offset[r];
      for (int c = 0; c < size; ++c) v += step.matrix[r * size + c] * in[c];
      values[r] = v;
    }
  }
}

template <class Real>
void colour_table(const ColourStep<Real>& step, const Range<Real>& range, int channels, int n, Real* values) {
  const Real extent = range.high - range.low, nodes = (Real)(step.entries - 1);
  const int last = step.entries - 1;
  for (int j = 0; j < n; ++j, values += channels) {
    for (int c = 0; c < channels; ++c) {
      const float* column = step.table + (step.columns > 1 ? c : 0);
      const Real level = quantise(range, values[c]) - range.low;
      const Real t = step.direct ? level : level / extent * nodes;
      Real unit;
      if (!step.direct && step.linear) {
        const int k = (int)saturate(t, (Real)0, nodes);
        const Real a = column[(ptrdiff_t)k * step.columns], b = column[(ptrdiff_t)(k < last ? k + 1 : k) * step.columns];
        unit = a + (t - k) * (b - a);
      } else {
        const int k = (int)saturate(t + (Real)1e-3, (Real)0, nodes);
        unit = column[(ptrdiff_t)k * step.columns];
      }
      values[c] = range.low + extent * unit;
    }
  }
}

// torchvision's shift of the hue: to HSV, h = (h + shift) mod 1, back. Channels past the third are only saturated.
template <class Real>
void colour_hue(const ColourStep<Real>& step, const Range<Real>& range, int channels, int n, Real* values) {
  const Real extent = range.high - range.low;
  for (int j = 0; j < n; ++j, values += channels) {
    for (int c = 0; c < channels; ++c) values[c] = saturate(values[c], range.low, range.high);
    const Real r = (values[0] - range.low) / extent, g = (values[1] - range.low) / extent,
               b = (values[2] - range.low) / extent;
    const Real most = r > g ? (r > b ? r : b) : (g > b ? g : b), least = r < g ? (r < b ? r : b) : (g < b ? g : b);
    const Real chroma = most - least;
    const Real saturation = chroma > 0 ? chroma / most : 0, divisor = chroma > 0 ? chroma : 1;
    const Real rc = (most - r) / divisor, gc = (most - g) / divisor, bc = (most - b) / divisor;
    Real sixth = most == r ? bc - gc : most == g ? 2 + rc - bc : 4 + gc - rc;  // [-1, 5]
    sixth += 6 * step.shift;
    sixth += sixth < 0 ? (Real)6 : sixth >= 6 ? (Real)-6 : (Real)0;
    const int sector = (int)saturate(sixth, (Real)0, (Real)6);
    const Real f = sixth - sector, v = most;
    const Real p = v * (1 - saturation), q = v * (1 - saturation * f), t = v * (1 - saturation * (1 - f));
    const Real red[6] = {v, q, p, p, t, v}, green[6] = {t, v, v, q, p, p}, blue[6] = {p, p, t, v, v, q};
    values[0] = range.low + extent * saturate(red[sector % 6], (Real)0, (Real)1);
    values[1] = range.low + extent * saturate(green[sector % 6], (Real)0, (Real)1);
    values[2] = range.low + extent * saturate(blue[sector % 6], (Real)0, (Real)1);
  }
}

// Values were quantised when the statistics were taken. The division keeps exact halves exact.
template <class Real>
void colour_autocontrast(const ColourStep<Real>& step, const Range<Real>& range, int channels, int n, Real* values) {
  const Real extent = range.high - range.low;
  for (int c = 0; c < channels; ++c) {
    const Real lo = step.matrix[c], hi = step.matrix[channels + c];
    if (!(hi > lo)) continue;
    for (int j = 0; j < n; ++j) values[j * channels + c] = range.low + (values[j * channels + c] - lo) * extent / (hi - lo);
  }
}

template <class Real> inline int histogram_bin(const Range<Real>& range, Real v) {
  return (int)saturate(round_even((v - range.low) / (range.high - range.low) * 255), (Real)0, (Real)255);
}

template <class Real>
void colour_equalize(const ColourStep<Real>& step, const Range<Real>& range, int channels, int n, Real* values) {
  for (int c = 0; c < channels; ++c) {
    if (step.keep[c]) continue;
    for (int j = 0; j < n; ++j) {
      Real& v = values[j * channels + c];
      v = step.levels[c * 256 + histogram_bin(range, v)];
    }
  }
}

template <class Real>
void colour_step(const ColourStep<Real>& step, const Range<Real>& range, int channels, int n, Real* values) {
  switch (step.kind) {
    case ColourKind::affine:
      if (channels == 1) return colour_affine<1>(step, channels, n, values);
      if (channels == 3) return colour_affine<3>(step, channels, n, values);
      if (channels == 4) return colour_affine<4>(step, channels, n, values);
      return colour_affine<0>(step, channels, n, values);
    case ColourKind::table: return colour_table(step, range, channels, n, values);
    case ColourKind::hue: return colour_hue(step, range, channels, n, values);
    case ColourKind::autocontrast: return colour_autocontrast(step, range, channels, n, values);
    case ColourKind::equalize: return colour_equalize(step, range, channels, n, values);
  }
}

// Adds a span to the statistics that `kind` needs, after bringing the values to the form in which the op wants them.
template <class Real>
void observe(ColourKind kind, const Range<Real>& range, int channels, int n, Real* values, const Statistics<Real>& to) {
  for (int j = 0; j < n; ++j, values += channels) {
    for (int c = 0; c < channels; ++c) {
      Real& v = values[c];
      if (kind == ColourKind::affine) {
        to.sum[c] += (double)v;
      } else if (kind == ColourKind::autocontrast) {
        v = quantise(range, v);
        to.lo[c] = v < to.lo[c] ? v : to.lo[c];
        to.hi[c] = v > to.hi[c] ? v : to.hi[c];
      } else {
        v = saturate(v, range.low, range.high);
        ++to.histogram[c * 256 + histogram_bin(range, v)];
      }
    }
  }
}

}  // namespace
}  // namespace onewarp
