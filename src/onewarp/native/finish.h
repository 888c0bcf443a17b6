// The end of a pass: saturate, scale and offset, cast, store with the strides of the output.
#pragma once

#include "simd.h"

namespace onewarp {
namespace {

// float -> IEEE half, round to nearest even; plain integer arithmetic so that every machine gives the same bits.
inline uint16_t to_half(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  const uint16_t sign = (uint16_t)((bits >> 16) & 0x8000u);
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u) return sign | 0x7e00u;    // NaN
  if (bits >= 0x477ff000u) return sign | 0x7c00u;   // rounds beyond 65504, or is infinite
  if (bits < 0x38800000u) {                         // below 2^-14: subnormal, counted in units of 2^-24
    float magnitude;
    memcpy(&magnitude, &bits, sizeof(bits));
    return (uint16_t)(sign | (uint16_t)round_even(magnitude * 16777216.0f));
  }
  const uint32_t odd = (bits >> 13) & 1u;
  return (uint16_t)(sign | ((bits - 0x38000000u + 0xfffu + odd) >> 13));
}

struct ToUint8 {
  static constexpr Dtype kind = Dtype::uint8;
  static constexpr ptrdiff_t size = 1;
  template <class Real> static void put(uint8_t* p, Real v) { *p = (uint8_t)(int)round_even(saturate(v, (Real)0, (Real)255)); }
};
struct ToUint16 {
  static constexpr Dtype kind = Dtype::uint16;
  static constexpr ptrdiff_t size = 2;
  template <class Real> static void put(uint8_t* p, Real v) {
    store(p, (uint16_t)(int)round_even(saturate(v, (Real)0, (Real)65535)));
  }
};
struct ToFloat16 {
  static constexpr Dtype kind = Dtype::float16;
  static constexpr ptrdiff_t size = 2;
  template <class Real> static void put(uint8_t* p, Real v) { store(p, to_half((float)v)); }
};
struct ToFloat32 {
  static constexpr Dtype kind = Dtype::float32;
  static constexpr ptrdiff_t size = 4;
  template <class Real> static void put(uint8_t* p, Real v) { store(p, (float)v); }
};

// Saturated, scaled and offset: what is stored but for the cast.
template <class Real> inline Real finished(const Finish<Real>& finish, Real v, int c) {
  return saturate(v, finish.range.low, finish.range.high) * finish.scale[c] + finish.offset[c];
}

ONEWARP_INLINE Floats finished(const Finish<float>& finish, const float* values, int c) {
  const Floats v = clamp(load_vector<Floats>(values), splat(finish.range.low), splat(finish.range.high));
  return v * splat(finish.scale[c]) + splat(finish.offset[c]);
}

// The level of each lane, rounded half to even, in the low byte.
ONEWARP_INLINE Uints level_bits(Floats v) {
  return (Uints)(clamp(v, splat(0.0f), splat(255.0f)) + splat(12582912.0f)) & 0xffu;
}

// n pixels whose values follow each other without gaps at `to`: vectors for 3 and 4 channels.
template <class To, class Real>
inline void finish_packed(const Finish<Real>& finish, int channels, int n, const Real* values, int stride, uint8_t* to) {
  int j = 0;
  if constexpr (sizeof(Real) == 4 && To::kind == Dtype::float32) {
    if (channels == 3) {
      for (; j + kLanes <= n; j += kLanes)
        store_interleaved3((float*)to + 3 * j, finished(finish, values + j, 0), finished(finish, values + stride + j, 1),
                           finished(finish, values + 2 * stride + j, 2));
    } else if (channels == 4) {
      for (; j + kLanes <= n; j += kLanes)
        store_interleaved4((float*)to + 4 * j, finished(finish, values + j, 0), finished(finish, values + stride + j, 1),
                           finished(finish, values + 2 * stride + j, 2), finished(finish, values + 3 * stride + j, 3));
    }
  }
  if constexpr (sizeof(Real) == 4 && To::kind == Dtype::uint8) {
    if (channels == 3 || channels == 4) {
      uint32_t pixel[kSpan];
      for (int k = 0; k < n; k += kLanes) {
        Uints bits = level_bits(finished(finish, values + k, 0)) | level_bits(finished(finish, values + stride + k, 1)) << 8 |
                     level_bits(finished(finish, values + 2 * stride + k, 2)) << 16;
        if (channels == 4) bits |= level_bits(finished(finish, values + 3 * stride + k, 3)) << 24;
        store_vector(pixel + k, bits);
      }
      if (channels == 4) {
        memcpy(to, pixel, 4 * (size_t)n);
        return;
      }
#ifdef ONEWARP_BYTE_SHUFFLE
      for (; j + 6 <= n; j += 4) {  // sixteen bytes are written for every twelve: what is too much is written over
        Bytes16 bytes;
        memcpy(&bytes, pixel + j, 16);
        bytes = squeeze_rgb(bytes);
        memcpy(to + 3 * j, &bytes, 16);
      }
#endif
      for (; j < n; ++j) memcpy(to + 3 * j, pixel + j, 3);  // little endian: the first three bytes
      return;
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
    for (int j = 0; j < n; ++j) To::put(to + j * To::size, finished(finish, values[j], c));
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
