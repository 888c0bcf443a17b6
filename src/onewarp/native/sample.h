// Samplers: a span of warped pixels, planar, in image units.
//
// Images of 1 to 4 packed channels go in vectors: all bytes that a pixel needs of a row come in one or a few loads of 8
// bytes. C = 0 means any channel count and strides, pixel by pixel.
#pragma once

#include "simd.h"
#include "taps.h"

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

template <class A, class B> struct Same { static constexpr bool value = false; };
template <class A> struct Same<A, A> { static constexpr bool value = true; };

// K neighbouring pixels of C values, for each lane at base + offset: loaded once, then taken apart.
template <int K, int C, class T> struct Run {
  static constexpr int bytes = K * C * (int)sizeof(T), rest = bytes % 8;
  static constexpr int words = (bytes + 7) / 8;
  static constexpr int read = bytes - rest + (rest == 0 ? 0 : rest <= 4 ? 4 : 8);  // bytes that are touched
  Uints low[words], high[words];

  ONEWARP_INLINE Run(const uint8_t* base, const int32_t* offset) {
#pragma GCC unroll 8
    for (int w = 0; w < words; ++w) {
      if (w == words - 1 && rest != 0 && rest <= 4)
        low[w] = gather32(base + 8 * w, offset);
      else
        gather64(base + 8 * w, offset, &low[w], &high[w]);
    }
  }
  // Value e of the run, e = pixel * C + channel; a constant wherever this is called.
  template <class Real> ONEWARP_INLINE typename VectorOf<Real>::type value(int e) const {
    const int byte = e * (int)sizeof(T), shift = byte % 4 * 8;
    const Uints word = byte % 8 < 4 ? low[byte / 8] : high[byte / 8];
    if constexpr (Same<T, float>::value) {
      return (Floats)word;
    } else {
      if (sizeof(T) == 4) return VectorOf<Real>::from(word);
      const uint32_t mask = sizeof(T) == 1 ? 0xffu : 0xffffu;
      return VectorOf<Real>::from(shift + 8 * (int)sizeof(T) == 32 ? word >> shift : (word >> shift) & mask);
    }
  }
};

// Taps k of an axis that lie at a clamped position: which of `run` loaded pixels stands for tap `t`, or none (the fill).
ONEWARP_INLINE Ints loaded_at(const int32_t* first, int t, int largest) {
  const Ints x = load_vector<Ints>(first);
  const Ints low = Ints{} + 0, high = Ints{} + largest;
  const Ints clamped = x > low ? (x < high ? x : high) : low;
  return x + t - clamped;
}

// The care that the vector of pixels from k on needs.
template <class Real> ONEWARP_INLINE int care_of(const Taps<Real>& taps, int k) {
  if (taps.cares == kInside) return kInside;
  int care = 0;
  for (int lane = 0; lane < kLanes; ++lane) care |= taps.care[k + lane];
  return care;
}

// Index i of an axis of n pixels after the border has been applied; lanes that are the fill are marked. For borders that
// repeat the image, -n <= i < 2n.
ONEWARP_INLINE Ints bordered(Ints i, int n, Border border, Ints* fill) {
  const Ints low = Ints{} + 0, high = Ints{} + (n - 1);
  if (border == Border::reflect) return i < low ? -1 - i : i > high ? 2 * n - 1 - i : i;
  if (border == Border::wrap) return i < low ? i + n : i > high ? i - n : i;
  if (border == Border::constant) *fill |= (i < low) | (i > high);
  return i < low ? low : i > high ? high : i;
}

// K x K taps of a vector of pixels, each wherever the border puts it: a pixel at a time is loaded, not a run of them. The
// first tap lies `first` from taps.x and taps.y.
template <int K, class T, int C, class Real> struct Scattered {
  typedef typename VectorOf<Real>::type V;
  const Warp<Real>& warp;
  Ints row[K], column[K];         // bytes
  Ints row_fill[K], column_fill[K];  // lanes whose tap is the fill

  // False: too far outside, or the last bytes of the image would be read past; then pixel by pixel.
  ONEWARP_INLINE bool find(const Taps<Real>& taps, int k, int first) {
    const Image& image = warp.source;
    const ptrdiff_t last = image.row > 0 ? (image.height - 1) * image.row : 0, top = image.row > 0 ? 0 : (image.height - 1) * image.row;
    const ptrdiff_t end = last + image.width * image.column - Run<1, C, T>::read;
    if (end < 0 || end >= INT32_MAX || top <= INT32_MIN || image.column <= 0) return false;
    const Ints x = load_vector<Ints>(taps.x + k) + first, y = load_vector<Ints>(taps.y + k) + first;
    if (warp.border == Border::reflect || warp.border == Border::wrap) {
      const int w = image.width, h = image.height;
      if (any((x < -w) | (x + (K - 1) >= 2 * w) | (y < -h) | (y + (K - 1) >= 2 * h))) return false;
    }
    Ints furthest_row = Ints{} + INT32_MIN, furthest_column = Ints{};
    for (int t = 0; t < K; ++t) {
      row_fill[t] = column_fill[t] = Ints{};
      row[t] = bordered(y + t, image.height, warp.border, &row_fill[t]) * (int)image.row;
      column[t] = bordered(x + t, image.width, warp.border, &column_fill[t]) * (int)image.column;
      furthest_row = row[t] > furthest_row ? row[t] : furthest_row;
      furthest_column = column[t] > furthest_column ? column[t] : furthest_column;
    }
    return !any(furthest_row + furthest_column > (int)end);
  }

  // The values [C] of tap t of row r.
  ONEWARP_INLINE void read(int r, int t, V* values) const {
    int32_t offset[kLanes];
    store_vector(offset, row[r] + column[t]);
    const Run<1, C, T> pixel(warp.source.data, offset);
    const Ints fill = row_fill[r] | column_fill[t];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) values[c] = select(fill, splat(warp.fill[c]), pixel.template value<Real>(c));
  }
};

template <class Real> ONEWARP_INLINE Real mix(Real a, Real b, Real weight) { return a + weight * (b - a); }

// One pixel, tap by tap: whatever the border and the strides.
template <class T, int C, class Real>
inline void bilinear_pixel(const Warp<Real>& warp, const Taps<Real>& taps, int k, Real* out, int stride) {
  const Reader<T, C> reader{warp.source};
  int y[2], x[2];
  for (int t = 0; t < 2; ++t) {
    y[t] = border_index(taps.y[k] + t, warp.source.height, warp.border);
    x[t] = border_index(taps.x[k] + t, warp.source.width, warp.border);
  }
  for (int c = 0; c < reader.channels(); ++c) {
    const Real top = mix(tap(reader, warp, y[0], x[0], c), tap(reader, warp, y[0], x[1], c), taps.fx[k]);
    const Real bottom = mix(tap(reader, warp, y[1], x[0], c), tap(reader, warp, y[1], x[1], c), taps.fx[k]);
    out[c * stride + k] = mix(top, bottom, taps.fy[k]) * warp.unit;
  }
}

// A vector of pixels. With kFilled some taps lie outside a constant border: they are replaced, not branched on.
template <class T, int C, int care, class Real>
ONEWARP_INLINE void bilinear_vector(const Warp<Real>& warp, const Taps<Real>& taps, int k, Real* out, int stride) {
  typedef typename VectorOf<Real>::type V;
  const Run<2, C, T> top(warp.source.data, taps.offset + k), bottom(warp.source.data + warp.source.row, taps.offset + k);
  const V fx = load_vector<V>(taps.fx + k), fy = load_vector<V>(taps.fy + k);
  Ints x0{}, x1{}, y0{}, y1{};
  if (care == kFilled) {
    x0 = loaded_at(taps.x + k, 0, warp.source.width - 2);
    y0 = loaded_at(taps.y + k, 0, warp.source.height - 2);
    x1 = x0 + 1;
    y1 = y0 + 1;
  }
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c) {
    V a = top.template value<Real>(c), b = top.template value<Real>(C + c);
    V d = bottom.template value<Real>(c), e = bottom.template value<Real>(C + c);
    if (care == kFilled) {
      const V fill = splat(warp.fill[c]);
      const V a0 = a, b0 = b, d0 = d, e0 = e;
      const V top0 = select(x0 == 0, a0, select(x0 == 1, b0, fill)), top1 = select(x1 == 0, a0, select(x1 == 1, b0, fill));
      const V low0 = select(x0 == 0, d0, select(x0 == 1, e0, fill)), low1 = select(x1 == 0, d0, select(x1 == 1, e0, fill));
      a = select(y0 == 0, top0, select(y0 == 1, low0, fill));
      b = select(y0 == 0, top1, select(y0 == 1, low1, fill));
      d = select(y1 == 0, top0, select(y1 == 1, low0, fill));
      e = select(y1 == 0, top1, select(y1 == 1, low1, fill));
    }
    store_vector(out + c * stride + k, mix(mix(a, b, fx), mix(d, e, fx), fy) * splat(warp.unit));
  }
}

// The same with taps wherever the border puts them; false where they cannot be found together.
template <class T, int C, class Real>
ONEWARP_APART bool bilinear_scattered(const Warp<Real>& warp, const Taps<Real>& taps, int k, Real* out, int stride) {
  typedef typename VectorOf<Real>::type V;
  Scattered<2, T, C, Real> taken{warp, {}, {}, {}, {}};
  if (!taken.find(taps, k, 0)) return false;
  const V fx = load_vector<V>(taps.fx + k), fy = load_vector<V>(taps.fy + k);
  V a[C], b[C], d[C], e[C];
  taken.read(0, 0, a);
  taken.read(0, 1, b);
  taken.read(1, 0, d);
  taken.read(1, 1, e);
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c)
    store_vector(out + c * stride + k, mix(mix(a[c], b[c], fx), mix(d[c], e[c], fx), fy) * splat(warp.unit));
  return true;
}

template <class T, int C, class Real> void sample_bilinear(const Warp<Real>& warp, const Span& span, Real* out, int stride) {
  constexpr bool vectors = C > 0;
  Taps<Real> taps;
  const int n = span.count();
  find_taps(warp, span, 0.5, true, taps);
  if constexpr (vectors) {
    place_taps(warp.source, warp.border, 0, 2, Run<2, C, T>::read, n, taps);
    pad_taps(n, kLanes, taps);
    for (int k = 0; k < n; k += kLanes) {
      const int care = care_of(taps, k);
      if (care == kInside)
        bilinear_vector<T, C, kInside>(warp, taps, k, out, stride);
      else if (care == kFilled)
        bilinear_vector<T, C, kFilled>(warp, taps, k, out, stride);
      else if (!bilinear_scattered<T, C>(warp, taps, k, out, stride))
        for (int at = k; at < n && at < k + kLanes; ++at) bilinear_pixel<T, C>(warp, taps, at, out, stride);
    }
  } else {
    for (int k = 0; k < n; ++k) bilinear_pixel<T, C>(warp, taps, k, out, stride);
  }
}

template <class T, int C, class Real> void sample_nearest(const Warp<Real>& warp, const Span& span, Real* out, int stride) {
  constexpr bool vectors = C > 0;
  double px[kSpan], py[kSpan];
  Taps<Real> taps;
  const int n = span.count();
  const Reader<T, C> reader{warp.source};
  locate(warp.geometry, span, px, py);
  split_plain(px, n, warp.shrink, 0.0, taps.x, taps.fx);
  split_plain(py, n, warp.shrink, 0.0, taps.y, taps.fy);
  if (warp.border != Border::constant) {
    for (int k = 0; k < n; ++k) {
      taps.x[k] = border_index(taps.x[k], warp.source.width, warp.border);
      taps.y[k] = border_index(taps.y[k], warp.source.height, warp.border);
    }
  }
  if constexpr (vectors) {
    place_taps(warp.source, warp.border, 0, 1, Run<1, C, T>::read, n, taps);
    pad_taps(n, kLanes, taps);
  }
  for (int k = 0; k < n; k += kLanes) {
    if constexpr (vectors) {
      const int care = care_of(taps, k);
      if (care != kSlow && care != (kSlow | kFilled)) {
        const Run<1, C, T> pixel(warp.source.data, taps.offset + k);
        const Ints there = (loaded_at(taps.x + k, 0, warp.source.width - 1) == 0) &
                           (loaded_at(taps.y + k, 0, warp.source.height - 1) == 0);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c)
          store_vector(out + c * stride + k, select(there, pixel.template value<Real>(c), splat(warp.fill[c])) * splat(warp.unit));
        continue;
      }
    }
    for (int at = k; at < n && at < k + kLanes; ++at) {
      const int y = border_index(taps.y[at], warp.source.height, warp.border);
      const int x = border_index(taps.x[at], warp.source.width, warp.border);
      for (int c = 0; c < reader.channels(); ++c) out[c * stride + at] = tap(reader, warp, y, x, c) * warp.unit;
    }
  }
}

// Keys' cubic convolution, a = -0.5, through values at -1, 0, 1, 2, at distance t in [0, 1) from 0. Written as steps
// away from the value at 0 (the weights sum to 1), so that a flat image stays flat to the last bit.
template <class V> struct Cubic {
  V before, after, beyond;  // weights of -1, 1, 2
  template <class Real>
  ONEWARP_INLINE Cubic(V t, Real half)
      : before(((-half * t + 1) * t - half) * t),
        after(((-(3 * half) * t + 2) * t + half) * t),
        beyond((half * t - half) * t * t) {}
  ONEWARP_INLINE V operator()(const V v[4]) const {
    return v[1] + (before * (v[0] - v[1]) + after * (v[2] - v[1]) + beyond * (v[3] - v[1]));
  }
};

template <class T, int C, class Real>
inline void bicubic_pixel(const Warp<Real>& warp, const Taps<Real>& taps, int k, Real* out, int stride) {
  const Reader<T, C> reader{warp.source};
  const Cubic<Real> along_x(taps.fx[k], (Real)0.5), along_y(taps.fy[k], (Real)0.5);
  int y[4], x[4];
  for (int t = 0; t < 4; ++t) {
    y[t] = border_index(taps.y[k] - 1 + t, warp.source.height, warp.border);
    x[t] = border_index(taps.x[k] - 1 + t, warp.source.width, warp.border);
  }
  for (int c = 0; c < reader.channels(); ++c) {
    Real lines[4];
    for (int r = 0; r < 4; ++r) {
      Real values[4];
      for (int t = 0; t < 4; ++t) values[t] = tap(reader, warp, y[r], x[t], c);
      lines[r] = along_x(values);
    }
    out[c * stride + k] = along_y(lines) * warp.unit;
  }
}

template <class T, int C, class Real>
ONEWARP_INLINE void bicubic_vector(const Warp<Real>& warp, const Taps<Real>& taps, int k, Real* out, int stride) {
  typedef typename VectorOf<Real>::type V;
  const Cubic<V> along_x(load_vector<V>(taps.fx + k), (Real)0.5), along_y(load_vector<V>(taps.fy + k), (Real)0.5);
  V lines[C][4];
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) {
    const Run<4, C, T> row(warp.source.data + r * warp.source.row, taps.offset + k);
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      const V values[4] = {row.template value<Real>(c), row.template value<Real>(C + c), row.template value<Real>(2 * C + c),
                           row.template value<Real>(3 * C + c)};
      lines[c][r] = along_x(values);
    }
  }
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c) store_vector(out + c * stride + k, along_y(lines[c]) * splat(warp.unit));
}

// The same with taps wherever the border puts them; false where they cannot be found together.
template <class T, int C, class Real>
ONEWARP_APART bool bicubic_scattered(const Warp<Real>& warp, const Taps<Real>& taps, int k, Real* out, int stride) {
  typedef typename VectorOf<Real>::type V;
  Scattered<4, T, C, Real> taken{warp, {}, {}, {}, {}};
  if (!taken.find(taps, k, -1)) return false;
  const Cubic<V> along_x(load_vector<V>(taps.fx + k), (Real)0.5), along_y(load_vector<V>(taps.fy + k), (Real)0.5);
  V lines[C][4];
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) {
    V values[4][C];
#pragma GCC unroll 4
    for (int t = 0; t < 4; ++t) taken.read(r, t, values[t]);
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      const V line[4] = {values[0][c], values[1][c], values[2][c], values[3][c]};
      lines[c][r] = along_x(line);
    }
  }
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c) store_vector(out + c * stride + k, along_y(lines[c]) * splat(warp.unit));
  return true;
}

template <class T, int C, class Real> void sample_bicubic(const Warp<Real>& warp, const Span& span, Real* out, int stride) {
  constexpr bool vectors = C > 0;
  Taps<Real> taps;
  const int n = span.count();
  find_taps(warp, span, 0.5, false, taps);
  if constexpr (vectors) {
    place_taps(warp.source, warp.border, -1, 4, Run<4, C, T>::read, n, taps);
    pad_taps(n, kLanes, taps);
  }
  for (int k = 0; k < n; k += kLanes) {
    if constexpr (vectors) {
      if (care_of(taps, k) == kInside) {
        bicubic_vector<T, C>(warp, taps, k, out, stride);
        continue;
      }
      if (bicubic_scattered<T, C>(warp, taps, k, out, stride)) continue;
    }
    for (int at = k; at < n && at < k + kLanes; ++at) bicubic_pixel<T, C>(warp, taps, at, out, stride);
  }
}

// The identity: rows as they are.
template <class T, int C, class Real> void sample_copy(const Warp<Real>& warp, const Span& span, Real* out, int stride) {
  const Reader<T, C> reader{warp.source};
  for (int i = 0, k = 0; i < span.rows; ++i, k += span.columns) {
    const uint8_t* from = reader.pixel(span.i + i, span.j);
    int j = 0;
    if constexpr (sizeof(T) == 1 && C == 3 && sizeof(Real) == 4) {
      for (; 3 * (j + kLanes) + kRgbRoom <= 3 * span.columns; j += kLanes) {
        const Uints pixels = load_rgb(from + 3 * j);
#pragma GCC unroll 3
        for (int c = 0; c < 3; ++c) store_vector(out + c * stride + k + j, to_floats(pixels >> 8 * c & 0xffu) * splat(warp.unit));
      }
    }
    for (int c = 0; c < reader.channels(); ++c) {
      Real* to = out + c * stride + k;
      for (int p = j; p < span.columns; ++p) to[p] = (Real)reader.at(from + p * reader.column(), c) * warp.unit;
    }
  }
}

}  // namespace
}  // namespace onewarp
