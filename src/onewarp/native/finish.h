// The end of a pass: saturate, scale and offset, cast, store with the strides of the output.
#pragma once

#include "halves.h"

namespace onewarp {
namespace {

// Levels of integers, rounded half to even, in the low bits of each lane.
ONEWARP_INLINE Uints level_bits(Floats v, float top) {
  return (Uints)(clamp(v, splat(0.0f), splat(top)) + splat(12582912.0f)) & 0xffffu;
}
ONEWARP_INLINE Uints level_bits(Wide v, double top) {
  const Wide levels = clamp(v, splat(0.0), splat(top)) + 6755399441055744.0;
  return evens((Uints)levels.low, (Uints)levels.high, Lanes());
}

ONEWARP_INLINE Floats single(Floats v) { return v; }
ONEWARP_INLINE Floats single(Wide v) { return narrow(v); }

// Types of results. `bits`: what is stored of a vector, in the low `size` bytes of each lane; `put`: one value.
struct ToUint8 {
  static constexpr Dtype kind = Dtype::uint8;
  static constexpr ptrdiff_t size = 1;
  template <class V> static ONEWARP_INLINE Uints bits(V v) { return level_bits(v, 255.0f); }
  template <class Real> static void put(uint8_t* p, Real v) { *p = (uint8_t)(int)round_even(saturate(v, (Real)0, (Real)255)); }
};
struct ToUint16 {
  static constexpr Dtype kind = Dtype::uint16;
  static constexpr ptrdiff_t size = 2;
  template <class V> static ONEWARP_INLINE Uints bits(V v) { return level_bits(v, 65535.0f); }
  template <class Real> static void put(uint8_t* p, Real v) {
    store(p, (uint16_t)(int)round_even(saturate(v, (Real)0, (Real)65535)));
  }
};
struct ToFloat16 {
  static constexpr Dtype kind = Dtype::float16;
  static constexpr ptrdiff_t size = 2;
  template <class V> static ONEWARP_INLINE Uints bits(V v) { return half_bits(single(v)); }
  template <class Real> static void put(uint8_t* p, Real v) { store(p, (uint16_t)half_bits(splat((float)v))[0]); }
};
struct ToFloat32 {
  static constexpr Dtype kind = Dtype::float32;
  static constexpr ptrdiff_t size = 4;
  template <class V> static ONEWARP_INLINE Uints bits(V v) { return (Uints)single(v); }
  template <class Real> static void put(uint8_t* p, Real v) { store(p, (float)v); }
};

// Saturated, scaled and offset: what is stored but for the cast.
template <class Real> inline Real finished(const Finish<Real>& finish, Real v, int c) {
  return saturate(v, finish.range.low, finish.range.high) * finish.scale[c] + finish.offset[c];
}

template <class Real>
ONEWARP_INLINE typename VectorOf<Real>::type finished(const Finish<Real>& finish, const Real* values, int c) {
  typedef typename VectorOf<Real>::type V;
  const V v = clamp(load_vector<V>(values), splat(finish.range.low), splat(finish.range.high));
  return v * splat(finish.scale[c]) + splat(finish.offset[c]);
}

// The low 2 or 4 bytes of n lanes, n a multiple of kLanes.
template <int size> ONEWARP_INLINE void store_bits(uint8_t* to, const uint32_t* bits, int n) {
  if constexpr (size == 4) {
    memcpy(to, bits, 4 * (size_t)n);
  } else {
    typedef uint16_t Packed __attribute__((vector_size(kLanes * 2)));
    for (int k = 0; k < n; k += kLanes) {
      const Packed packed = __builtin_convertvector(load_vector<Uints>(bits + k), Packed);
      memcpy(to + 2 * k, &packed, sizeof(packed));
    }
  }
}

// uint8 of three or four channels: a pixel is made in a lane.
template <int channels, class Real>
ONEWARP_INLINE Uints finished_pixels(const Finish<Real>& finish, const Real* values, int stride) {
  Uints bits{};
#pragma GCC unroll 4
  for (int c = 0; c < channels; ++c) bits |= ToUint8::bits(finished(finish, values + c * stride, c)) << 8 * c;
  return bits;
}

template <int channels, class Real>
inline void finish_bytes(const Finish<Real>& finish, int n, const Real* values, int stride, uint8_t* to) {
  int j = 0;
  for (; channels * (j + kLanes) + (channels == 3 ? kRgbRoom : 0) <= channels * n; j += kLanes) {
    const Uints bits = finished_pixels<channels>(finish, values + j, stride);
    if (channels == 3)
      store_rgb(to + 3 * j, bits);
    else
      store_vector(to + 4 * j, bits);
  }
  for (; j < n; j += kLanes) {  // values may be read beyond the span, bytes not written
    uint32_t pixel[kLanes];
    store_vector(pixel, finished_pixels<channels>(finish, values + j, stride));
    for (int k = 0; k < kLanes && j + k < n; ++k) memcpy(to + channels * (j + k), pixel + k, channels);  // little endian
  }
}

// n pixels whose values follow each other without gaps at `to`: vectors for 3 and 4 channels.
template <class To, class Real>
inline void finish_packed(const Finish<Real>& finish, int channels, int n, const Real* values, int stride, uint8_t* to) {
  if constexpr (To::kind == Dtype::uint8) {
    if (channels == 3) return finish_bytes<3>(finish, n, values, stride, to);
    if (channels == 4) return finish_bytes<4>(finish, n, values, stride, to);
  }
  int j = 0;
  if (To::kind != Dtype::uint8 && (channels == 3 || channels == 4)) {
    if (To::size == 4 && channels == 3 && finish.streamed && streamable(to)) {
      for (; j + kLanes <= n; j += kLanes) {
        Uints lane[3];
#pragma GCC unroll 3
        for (int c = 0; c < 3; ++c) lane[c] = To::bits(finished(finish, values + c * stride + j, c));
        stream_interleaved3(to + (ptrdiff_t)12 * j, lane[0], lane[1], lane[2]);
      }
    }
    for (; j + kLanes <= n; j += kLanes) {
      Uints lane[4];
#pragma GCC unroll 3
      for (int c = 0; c < 3; ++c) lane[c] = To::bits(finished(finish, values + c * stride + j, c));
      uint32_t bits[4 * kLanes];
      if (channels == 3) {
        store_interleaved3(bits, lane[0], lane[1], lane[2]);
        store_bits<To::size == 2 ? 2 : 4>(to + (ptrdiff_t)3 * j * To::size, bits, 3 * kLanes);
      } else {
        store_interleaved4(bits, lane[0], lane[1], lane[2], To::bits(finished(finish, values + 3 * stride + j, 3)));
        store_bits<To::size == 2 ? 2 : 4>(to + (ptrdiff_t)4 * j * To::size, bits, 4 * kLanes);
      }
    }
  }
  for (; j < n; ++j)
    for (int c = 0; c < channels; ++c)
      To::put(to + (j * channels + c) * To::size, finished(finish, values[c * stride + j], c));
}

// n values of one channel, one after the other or `step` bytes apart.
template <class To, class Real>
inline void finish_plane(const Finish<Real>& finish, int c, int n, const Real* __restrict values, uint8_t* __restrict to, ptrdiff_t step) {
  if (step == To::size) {
    int j = 0;
    if constexpr (To::kind == Dtype::float16) {
      for (; j + kLanes <= n; j += kLanes) {
        uint32_t bits[kLanes];
        store_vector(bits, To::bits(finished(finish, values + j, c)));
        store_bits<To::size>(to + j * To::size, bits, kLanes);
      }
    }
    for (; j < n; ++j) To::put(to + j * To::size, finished(finish, values[j], c));
    return;
  }
  for (int j = 0; j < n; ++j) To::put(to + j * step, finished(finish, values[j], c));
}

template <class To, class Real>
void finish_as(const Finish<Real>& finish, const Span& span, const Real* values, int stride, const Target& target) {
  const int channels = target.channels;
  const bool packed = target.channel == To::size && target.column == channels * To::size;
  // Whole rows that follow each other are one run.
  const bool joined = span.rows > 1 && target.row == span.columns * target.column;
  const int rows = joined ? 1 : span.rows, n = joined ? span.count() : span.columns;
  for (int i = 0; i < rows; ++i, values += n) {
    uint8_t* line = target.data + (span.i + i) * target.row + span.j * target.column;
    if (packed && channels > 1) {
      finish_packed<To>(finish, channels, n, values, stride, line);
    } else {
      for (int c = 0; c < channels; ++c)
        finish_plane<To>(finish, c, n, values + c * stride, line + c * target.channel, target.column);
    }
  }
}

template <class Real>
void finish_span(const Finish<Real>& finish, const Span& span, const Real* values, int stride, const Target& target) {
  switch (finish.dtype) {
    case Dtype::uint8: return finish_as<ToUint8>(finish, span, values, stride, target);
    case Dtype::uint16: return finish_as<ToUint16>(finish, span, values, stride, target);
    case Dtype::float16: return finish_as<ToFloat16>(finish, span, values, stride, target);
    case Dtype::float32: return finish_as<ToFloat32>(finish, span, values, stride, target);
    case Dtype::sum32: return;  // never an output
  }
}

}  // namespace
}  // namespace onewarp
