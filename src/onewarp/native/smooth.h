// Row kernels of the filters: weighted sums of neighbours, and normal noise keyed by element.
#pragma once

#include <math.h>

#include "random.h"
#include "simd.h"

namespace onewarp {
namespace {

// out[e] = sum over k of weights[k] * lines[k][e], for e in [0, n). Lines may overlap: a row against itself, shifted.
inline void weighted_sum(const float* weights, int taps, const float* const* lines, int n, float* out) {
  constexpr int kBlock = 4 * kLanes;
  int e = 0;
  for (; e + kBlock <= n; e += kBlock) {
    Floats sum[4] = {};
    for (int k = 0; k < taps; ++k) {
      const Floats weight = splat(weights[k]);
#pragma GCC unroll 4
      for (int part = 0; part < 4; ++part) sum[part] += weight * load_vector<Floats>(lines[k] + e + part * kLanes);
    }
#pragma GCC unroll 4
    for (int part = 0; part < 4; ++part) store_vector(out + e + part * kLanes, sum[part]);
  }
  for (; e < n; ++e) {
    float sum = 0.0f;
    for (int k = 0; k < taps; ++k) sum += weights[k] * lines[k][e];
    out[e] = sum;
  }
}

ONEWARP_INLINE Uints rotated(Uints v, int by) { return v << by | v >> (32 - by); }

// Natural logarithm of positive, normal numbers: Cephes' logf.
ONEWARP_INLINE Floats log_of(Floats v) {
  const Uints bits = (Uints)v;
  Floats exponent = __builtin_convertvector((Ints)(bits >> 23) - 126, Floats);
  Floats m = (Floats)((bits & 0x007fffffu) | 0x3f000000u);  // [0.5, 1)
  const Ints small = m < splat(0.707106781f);
  exponent = select(small, exponent - splat(1.0f), exponent);
  m = select(small, m + m, m) - splat(1.0f);
  const Floats square = m * m;
  Floats p = splat(7.0376836292e-2f);
  const float coefficients[] = {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
                                -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f};
#pragma GCC unroll 8
  for (const float c : coefficients) p = p * m + splat(c);
  p = p * m * square + exponent * splat(-2.12194440e-4f) - splat(0.5f) * square;
  return m + p + exponent * splat(0.693359375f);
}

// See `normal` in random.h: the same polynomials for a vector of words; far tails are left to it.
ONEWARP_INLINE Floats normal_of(Uints word) {
  const Floats x = to_floats((word >> 8) * 2u + 1u - (1u << 24)) * splat(0x1p-24f);
  const Floats whole = -log_of((splat(1.0f) - x) * (splat(1.0f) + x)), w = whole - splat(2.5f);
  Floats p = splat(2.81022636e-08f);
  const float coefficients[] = {3.43273939e-07f,  -3.5233877e-06f, -4.39150654e-06f, 0.00021858087f,
                                -0.00125372503f, -0.00417768164f, 0.246640727f,     1.50140941f};
#pragma GCC unroll 8
  for (const float c : coefficients) p = p * w + splat(c);
  Floats z = splat(1.41421356f) * (p * x);
  for (int lane = 0; lane < kLanes; ++lane)
    if (whole[lane] >= 5.0f) z[lane] = normal(word[lane]);
  return z;
}

// Normal numbers of elements 2 * block ... of one image; writes whole vectors of blocks, at least `blocks` of them.
inline void normal_noise(const uint32_t* key, uint32_t block, int blocks, float* out) {
  const int rotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  const uint32_t keys[3] = {key[0], key[1], 0x1BD11BDAu ^ key[0] ^ key[1]};
  for (int done = 0; done < blocks; done += kLanes) {
    uint32_t counter[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) counter[lane] = block + (uint32_t)(done + lane);
    Uints a = load_vector<Uints>(counter) + keys[0], b = Uints{} + keys[1];
#pragma GCC unroll 5
    for (int group = 0; group < 5; ++group) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        a += b;
        b = rotated(b, rotations[group % 2][k]) ^ a;
      }
      a += keys[(group + 1) % 3];
      b += keys[(group + 2) % 3] + (uint32_t)(group + 1);
    }
    const Floats even = normal_of(a), odd = normal_of(b);
    store_vector(out + 2 * done, zip_low(even, odd, Lanes()));
    store_vector(out + 2 * done + kLanes, zip_high(even, odd, Lanes()));
  }
}

}  // namespace
}  // namespace onewarp
