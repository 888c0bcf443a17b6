// Vectors of keyed numbers, uniform and normal: random.h's generator, many blocks at a time.
#pragma once

#include <math.h>

#include "random.h"
#include "simd.h"

namespace onewarp {
namespace {

ONEWARP_INLINE Uints rotated(Uints v, int by) { return v << by | v >> (32 - by); }

template <int... I> ONEWARP_INLINE Uints lane_numbers(Seq<I...>) { return Uints{(uint32_t)I...}; }

// Everything below is done for N vectors side by side: most of the time would go into waiting for one result after the
// other. `kSide` is what the shortest register files can hold.
constexpr int kSide = 4;

// Both words of kLanes blocks from `block` on, and of the next kLanes: words[0] and [1], words[2] and [3].
ONEWARP_INLINE void random_words(const uint32_t* key, uint32_t block, uint32_t stream, Uints (&words)[kSide]) {
  const int rotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  const uint32_t keys[3] = {key[0], key[1], 0x1BD11BDAu ^ key[0] ^ key[1]};
#pragma GCC unroll 2
  for (int v = 0; v < kSide; v += 2) {
    words[v] = lane_numbers(Lanes()) + (block + (uint32_t)(v / 2 * kLanes) + keys[0]);
    words[v + 1] = Uints{} + (stream + keys[1]);
  }
#pragma GCC unroll 5
  for (int group = 0; group < 5; ++group) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
#pragma GCC unroll 2
      for (int v = 0; v < kSide; v += 2) {
        words[v] += words[v + 1];
        words[v + 1] = rotated(words[v + 1], rotations[group % 2][k]) ^ words[v];
      }
    }
#pragma GCC unroll 2
    for (int v = 0; v < kSide; v += 2) {
      words[v] += keys[(group + 1) % 3];
      words[v + 1] += keys[(group + 2) % 3] + (uint32_t)(group + 1);
    }
  }
}

// The numbers of both words of each block in turn; 4 * kLanes of them.
ONEWARP_INLINE void store_in_turn(float* out, const Floats (&values)[kSide]) {
#pragma GCC unroll 2
  for (int v = 0; v < kSide; v += 2) {
    store_vector(out + v * kLanes, zip_low(values[v], values[v + 1], Lanes()));
    store_vector(out + (v + 1) * kLanes, zip_high(values[v], values[v + 1], Lanes()));
  }
}

// p = p * x + c for each of the coefficients in turn.
template <int count> ONEWARP_INLINE void polynomial(const float (&coefficients)[count], const Floats (&x)[kSide], Floats (&p)[kSide]) {
#pragma GCC unroll 9
  for (int k = 0; k < count; ++k) {
#pragma GCC unroll 4
    for (int v = 0; v < kSide; ++v) p[v] = p[v] * x[v] + splat(coefficients[k]);
  }
}

// Natural logarithms of positive, normal numbers: Cephes' logf.
ONEWARP_INLINE void logarithms(Floats (&x)[kSide]) {
  Floats exponent[kSide], m[kSide], p[kSide];
#pragma GCC unroll 4
  for (int v = 0; v < kSide; ++v) {
    const Uints bits = (Uints)x[v];
    exponent[v] = __builtin_convertvector((Ints)(bits >> 23) - 126, Floats);
    m[v] = (Floats)((bits & 0x007fffffu) | 0x3f000000u);  // [0.5, 1)
    const Ints small = m[v] < splat(0.707106781f);
    exponent[v] = select(small, exponent[v] - splat(1.0f), exponent[v]);
    m[v] = select(small, m[v] + m[v], m[v]) - splat(1.0f);
    p[v] = splat(7.0376836292e-2f);
  }
  polynomial({-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f, -1.6668057665e-1f, 2.0000714765e-1f,
              -2.4999993993e-1f, 3.3333331174e-1f},
             m, p);
#pragma GCC unroll 4
  for (int v = 0; v < kSide; ++v) {
    const Floats square = m[v] * m[v];
    p[v] = p[v] * m[v] * square + exponent[v] * splat(-2.12194440e-4f) - splat(0.5f) * square;
    x[v] = m[v] + p[v] + exponent[v] * splat(0.693359375f);
  }
}

ONEWARP_INLINE Floats root_of(Floats v) {
  float values[kLanes];
  store_vector(values, v);
  for (int lane = 0; lane < kLanes; ++lane) values[lane] = sqrtf(values[lane]);
  return load_vector<Floats>(values);
}

// Standard normals by the inverse distribution function: Giles, "Approximating the erfinv function" (2010), single precision.
ONEWARP_INLINE void normals(const Uints (&words)[kSide], Floats (&z)[kSide]) {
  Floats x[kSide], whole[kSide], w[kSide], p[kSide];
  Ints far{};
#pragma GCC unroll 4
  for (int v = 0; v < kSide; ++v) {
    x[v] = to_floats((words[v] >> 8) * 2u + 1u - (1u << 24)) * splat(0x1p-24f);  // odd / 2^24, in (-1, 1): exact
    whole[v] = (splat(1.0f) - x[v]) * (splat(1.0f) + x[v]);
  }
  logarithms(whole);
#pragma GCC unroll 4
  for (int v = 0; v < kSide; ++v) {
    w[v] = -whole[v] - splat(2.5f);
    p[v] = splat(2.81022636e-08f);
    far |= -whole[v] >= splat(5.0f);
  }
  polynomial({3.43273939e-07f, -3.5233877e-06f, -4.39150654e-06f, 0.00021858087f, -0.00125372503f, -0.00417768164f, 0.246640727f,
              1.50140941f},
             w, p);
  if (__builtin_expect(any(far), 0)) {  // one number in 300
    Floats t[kSide], q[kSide];
#pragma GCC unroll 4
    for (int v = 0; v < kSide; ++v) {
      t[v] = root_of(-whole[v]) - splat(3.0f);
      q[v] = splat(-0.000200214257f);
    }
    polynomial({0.000100950558f, 0.00134934322f, -0.00367342844f, 0.00573950773f, -0.0076224613f, 0.00943887047f, 1.00167406f,
                2.83297682f},
               t, q);
#pragma GCC unroll 4
    for (int v = 0; v < kSide; ++v) p[v] = select(-whole[v] >= splat(5.0f), q[v], p[v]);
  }
#pragma GCC unroll 4
  for (int v = 0; v < kSide; ++v) z[v] = splat(1.41421356f) * (p[v] * x[v]);
}

// Uniform, or normal, numbers of elements 2 * block ... of one image; writes at least those of `blocks` blocks, and fewer
// than kAhead numbers more.
constexpr int kAhead = 4 * kLanes;

inline void uniform_noise(const uint32_t* key, uint32_t block, uint32_t stream, int blocks, float* out) {
  for (int done = 0; done < blocks; done += 2 * kLanes) {
    Uints words[kSide];
    Floats values[kSide];
    random_words(key, block + (uint32_t)done, stream, words);
#pragma GCC unroll 4
    for (int v = 0; v < kSide; ++v) values[v] = to_floats(words[v] >> 8) * splat(0x1p-24f);
    store_in_turn(out + 2 * done, values);
  }
}

inline void normal_noise(const uint32_t* key, uint32_t block, int blocks, float* out) {
  for (int done = 0; done < blocks; done += 2 * kLanes) {
    Uints words[kSide];
    Floats values[kSide];
    random_words(key, block + (uint32_t)done, 0, words);
    normals(words, values);
    store_in_turn(out + 2 * done, values);
  }
}

}  // namespace
}  // namespace onewarp
