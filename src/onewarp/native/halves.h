// IEEE half precision in plain integer and float arithmetic: every machine gives the same bits.
#pragma once

#include "simd.h"

namespace onewarp {
namespace {

// Rounded to nearest even. Subnormal below 2^-14, counted in units of 2^-24; infinite from where 65504 is left behind.
ONEWARP_INLINE Uints half_bits(Floats value) {
  const Uints bits = (Uints)value & 0x7fffffffu, sign = (Uints)value >> 16 & 0x8000u;
  const Uints small = (Uints)((Floats)bits * splat(16777216.0f) + splat(12582912.0f)) & 0xffffu;
  Uints half = (bits - 0x38000000u + 0xfffu + (bits >> 13 & 1u)) >> 13;
  half = bits < 0x38800000u ? small : half;
  half = bits >= 0x477ff000u ? Uints{} + 0x7c00u : half;
  half = bits > 0x7f800000u ? Uints{} + 0x7e00u : half;  // NaN
  return half | sign;
}

// Exact.
ONEWARP_INLINE Floats from_half(Uints half) {
  const Uints bits = half & 0x7fffu, sign = (half & 0x8000u) << 16;
  const Uints scaled = (Uints)((Floats)(bits << 13) * splat(0x1p112f));  // subnormals come out normal
  return (Floats)((bits >= 0x7c00u ? bits << 13 | 0x7f800000u : scaled) | sign);
}

}  // namespace
}  // namespace onewarp
