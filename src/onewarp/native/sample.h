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

// Keys' cubic convolution, a = -0.5: weights of taps -1, 0, 1, 2 at distance t in [0, 1) from tap 0.
template <class Real> inline void cubic_weights(Real t, Real w[4]) {
  const Real half = (Real)0.5;
  w[0] = ((-half * t + 1) * t - half) * t;
  w[1] = ((Real)1.5 * t - (Real)2.5) * t * t + 1;
  w[2] = ((-(Real)1.5 * t + 2) * t + half) * t;
  w[3] = (half * t - half) * t * t;
}

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
      Real wx[4], wy[4];
      cubic_weights(fx[j], wx);
      cubic_weights(fy[j], wy);
      int ty[4], tx[4];
      for (int k = 0; k < 4; ++k) {
        ty[k] = inside ? y[j] - 1 + k : border_index(y[j] - 1 + k, warp.source.height, warp.border);
        tx[k] = inside ? x[j] - 1 + k : border_index(x[j] - 1 + k, warp.source.width, warp.border);
      }
      for (int c = 0; c < channels; ++c) {
        Real sum = 0;
        for (int r = 0; r < 4; ++r) {
          Real line = 0;
          for (int k = 0; k < 4; ++k) line += wx[k] * tap(reader, warp, ty[r], tx[k], c);
          sum += wy[r] * line;
        }
        out[j * channels + c] = sum * warp.unit;
      }
    }
  }
}

}  // namespace
}  // namespace onewarp
