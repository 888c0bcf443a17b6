// Samplers: a span of warped pixels, interleaved [n][C], in image units.
//
// A sampler is compiled for each source type and for 1 to 4 contiguous channels; C = 0 means any channel count and strides.
#pragma once

#include "geometry.h"

namespace onewarp {
namespace {

// Typed access to a source. With C > 0 pixels are contiguous and the strides are constants.
template <class T, int C> struct Reader {
  const Image& image;
  int channels() const { return C > 0 ? C : image.channels; }
  ptrdiff_t column() const { return C > 0 ? (ptrdiff_t)(C * sizeof(T)) : image.column; }
  ptrdiff_t channel() const { return C > 0 ? (ptrdiff_t)sizeof(T) : image.channel; }
  const uint8_t* pixel(int y, int x) const { return image.data + y * image.row + x * column(); }
  T at(const uint8_t* pixel, int c) const { return load<T>(pixel + c * channel()); }
};

// Tap (y, x) of any position, channel c; -1 in either index is the fill.
template <class Real, class T, int C>
inline Real tap(const Reader<T, C>& reader, const Warp<Real>& warp, int y, int x, int c) {
  return (y | x) < 0 ? warp.fill[c] : (Real)reader.at(reader.pixel(y, x), c);
}

template <class T, int C, class Real> void sample_copy(const Warp<Real>& warp, int i, int j0, int n, Real* out) {
  const Reader<T, C> reader{warp.source};
  const int channels = reader.channels();
  for (int j = 0; j < n; ++j) {
    const uint8_t* pixel = reader.pixel(i, j0 + j);
    for (int c = 0; c < channels; ++c) out[j * channels + c] = (Real)reader.at(pixel, c) * warp.unit;
  }
}

template <class T, int C, class Real> void sample_nearest(const Warp<Real>& warp, int i, int j0, int n, Real* out) {
  const Reader<T, C> reader{warp.source};
  const int channels = reader.channels();
  double px[kSpan], py[kSpan];
  int x[kSpan], y[kSpan];
  Real unused[kSpan];
  locate(warp.geometry, i, j0, n, px, py);
  split(px, warp.shrink, 0.0, n, x, unused);
  split(py, warp.shrink, 0.0, n, y, unused);
  for (int j = 0; j < n; ++j) {
    const int ty = border_index(y[j], warp.source.height, warp.border);
    const int tx = border_index(x[j], warp.source.width, warp.border);
    for (int c = 0; c < channels; ++c) out[j * channels + c] = tap(reader, warp, ty, tx, c) * warp.unit;
  }
}

template <class Real> inline Real mix(Real a, Real b, Real weight) { return a + weight * (b - a); }

template <class T, int C, class Real> void sample_bilinear(const Warp<Real>& warp, int i, int j0, int n, Real* out) {
  const Reader<T, C> reader{warp.source};
  const int channels = reader.channels();
  double px[kSpan], py[kSpan];
  int x[kSpan], y[kSpan];
  Real fx[kSpan], fy[kSpan];
  locate(warp.geometry, i, j0, n, px, py);
  split(px, warp.shrink, 0.5, n, x, fx);
  split(py, warp.shrink, 0.5, n, y, fy);

  for (int j = 0; j < n;) {
    bool inside;
    const int end = run_end(x, y, j, n, 0, 1, warp.source, &inside);
    if (inside) {
      for (; j < end; ++j) {
        const uint8_t* a = reader.pixel(y[j], x[j]);
        const uint8_t* b = a + warp.source.row;
        for (int c = 0; c < channels; ++c) {
          const Real top = mix((Real)reader.at(a, c), (Real)reader.at(a + reader.column(), c), fx[j]);
          const Real bottom = mix((Real)reader.at(b, c), (Real)reader.at(b + reader.column(), c), fx[j]);
          out[j * channels + c] = mix(top, bottom, fy[j]) * warp.unit;
        }
      }
      continue;
    }
    for (; j < end; ++j) {
      int ty[2], tx[2];
      for (int k = 0; k < 2; ++k) {
        ty[k] = border_index(y[j] + k, warp.source.height, warp.border);
        tx[k] = border_index(x[j] + k, warp.source.width, warp.border);
      }
      for (int c = 0; c < channels; ++c) {
        const Real top = mix(tap(reader, warp, ty[0], tx[0], c), tap(reader, warp, ty[0], tx[1], c), fx[j]);
        const Real bottom = mix(tap(reader, warp, ty[1], tx[0], c), tap(reader, warp, ty[1], tx[1], c), fx[j]);
        out[j * channels + c] = mix(top, bottom, fy[j]) * warp.unit;
      }
    }
  }
}

// Keys' cubic convolution, a = -0.5, through values at -1, 0, 1, 2, at distance t in [0, 1) from 0. Written as steps
// away from the value at 0 (the weights sum to 1), so that a flat image stays flat to the last bit.
template <class Real> struct Cubic {
  Real before, after, beyond;  // weights of -1, 1, 2
  explicit Cubic(Real t)
      : before((((Real)-0.5 * t + 1) * t - (Real)0.5) * t),
        after((((Real)-1.5 * t + 2) * t + (Real)0.5) * t),
        beyond(((Real)0.5 * t - (Real)0.5) * t * t) {}
  Real operator()(const Real v[4]) const {
    return v[1] + (before * (v[0] - v[1]) + after * (v[2] - v[1]) + beyond * (v[3] - v[1]));
  }
};

template <class T, int C, class Real> void sample_bicubic(const Warp<Real>& warp, int i, int j0, int n, Real* out) {
  const Reader<T, C> reader{warp.source};
  const int channels = reader.channels();
  double px[kSpan], py[kSpan];
  int x[kSpan], y[kSpan];
  Real fx[kSpan], fy[kSpan];
  locate(warp.geometry, i, j0, n, px, py);
  split(px, warp.shrink, 0.5, n, x, fx);
  split(py, warp.shrink, 0.5, n, y, fy);

  for (int j = 0; j < n;) {
    bool inside;
    const int end = run_end(x, y, j, n, -1, 2, warp.source, &inside);
    for (; j < end; ++j) {
      const Cubic<Real> along_x(fx[j]), along_y(fy[j]);
      int ty[4], tx[4];
      for (int k = 0; k < 4; ++k) {
        ty[k] = inside ? y[j] - 1 + k : border_index(y[j] - 1 + k, warp.source.height, warp.border);
        tx[k] = inside ? x[j] - 1 + k : border_index(x[j] - 1 + k, warp.source.width, warp.border);
      }
      for (int c = 0; c < channels; ++c) {
        Real lines[4];
        for (int r = 0; r < 4; ++r) {
          Real taps[4];
          for (int k = 0; k < 4; ++k) taps[k] = tap(reader, warp, ty[r], tx[k], c);
          lines[r] = along_x(taps);
        }
        out[j * channels + c] = along_y(lines) * warp.unit;
      }
    }
  }
}

}  // namespace
}  // namespace onewarp
