// The end of a pass: saturate, scale and offset, cast, store with the strides of the output.
#pragma once

#include "types.h"

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
  static constexpr ptrdiff_t size = 1;
  template <class Real> static void put(uint8_t* p, Real v) { *p = (uint8_t)(int)round_even(saturate(v, (Real)0, (Real)255)); }
};
struct ToUint16 {
  static constexpr ptrdiff_t size = 2;
  template <class Real> static void put(uint8_t* p, Real v) {
    store(p, (uint16_t)(int)round_even(saturate(v, (Real)0, (Real)65535)));
  }
};
struct ToFloat16 {
  static constexpr ptrdiff_t size = 2;
  template <class Real> static void put(uint8_t* p, Real v) { store(p, to_half((float)v)); }
};
struct ToFloat32 {
  static constexpr ptrdiff_t size = 4;
  template <class Real> static void put(uint8_t* p, Real v) { store(p, (float)v); }
};

template <class To, class Real>
void finish_as(const Finish<Real>& finish, int n, const Real* values, const Target& target, int i, int j0) {
  const int channels = target.channels;
  const Real low = finish.range.low, high = finish.range.high;
  uint8_t* line = target.data + i * target.row + j0 * target.column;
  if (target.channel == To::size && target.column == channels * To::size) {  // interleaved without gaps
    if (finish.plain) {
      for (int k = 0; k < n * channels; ++k) To::put(line + k * To::size, saturate(values[k], low, high));
      return;
    }
    for (int j = 0; j < n; ++j)
      for (int c = 0; c < channels; ++c, ++values, line += To::size)
        To::put(line, saturate(*values, low, high) * finish.scale[c] + finish.offset[c]);
    return;
  }
  for (int c = 0; c < channels; ++c) {
    uint8_t* to = line + c * target.channel;
    for (int j = 0; j < n; ++j)
      To::put(to + j * target.column, saturate(values[j * channels + c], low, high) * finish.scale[c] + finish.offset[c]);
  }
}

template <class Real>
void finish_span(const Finish<Real>& finish, int n, const Real* values, const Target& target, int i, int j0) {
  switch (finish.dtype) {
    case Dtype::uint8: return finish_as<ToUint8>(finish, n, values, target, i, j0);
    case Dtype::uint16: return finish_as<ToUint16>(finish, n, values, target, i, j0);
    case Dtype::float16: return finish_as<ToFloat16>(finish, n, values, target, i, j0);
    case Dtype::float32: return finish_as<ToFloat32>(finish, n, values, target, i, j0);
    case Dtype::sum32: return;  // never an output
  }
}

}  // namespace
}  // namespace onewarp
