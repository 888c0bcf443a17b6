// Threefry-2x32-20 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) and what is drawn from it.
#pragma once

#include <math.h>

#include "types.h"

namespace onewarp {
namespace {

struct Words {
  uint32_t word[2];
};

inline Words threefry(uint32_t key0, uint32_t key1, uint32_t counter0, uint32_t counter1) {
  const uint32_t keys[3] = {key0, key1, 0x1BD11BDAu ^ key0 ^ key1};
  const int rotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  uint32_t a = counter0 + keys[0], b = counter1 + keys[1];
  for (int group = 0; group < 5; ++group) {
    for (int k = 0; k < 4; ++k) {
      const int by = rotations[group % 2][k];
      a += b;
      b = (b << by) | (b >> (32 - by));
      b ^= a;
    }
    a += keys[(group + 1) % 3];
    b += keys[(group + 2) % 3] + (uint32_t)(group + 1);
  }
  return {{a, b}};
}

// [0, 1), a multiple of 2^-24: exact in float.
inline float uniform(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }

// Standard normal by the inverse distribution function: Giles, "Approximating the erfinv function" (2010), single precision.
inline float normal(uint32_t word) {
  const float x = (float)(2 * (int)(word >> 8) + 1 - (1 << 24)) * 0x1p-24f;  // odd / 2^24, in (-1, 1): exact
  float w = -logf((1.0f - x) * (1.0f + x)), p;
  if (w < 5.0f) {
    w -= 2.5f;
    p = 2.81022636e-08f;
    p = 3.43273939e-07f + p * w;
    p = -3.5233877e-06f + p * w;
    p = -4.39150654e-06f + p * w;
    p = 0.00021858087f + p * w;
    p = -0.00125372503f + p * w;
    p = -0.00417768164f + p * w;
    p = 0.246640727f + p * w;
    p = 1.50140941f + p * w;
  } else {
    w = sqrtf(w) - 3.0f;
    p = -0.000200214257f;
    p = 0.000100950558f + p * w;
    p = 0.00134934322f + p * w;
    p = -0.00367342844f + p * w;
    p = 0.00573950773f + p * w;
    p = -0.0076224613f + p * w;
    p = 0.00943887047f + p * w;
    p = 1.00167406f + p * w;
    p = 2.83297682f + p * w;
  }
  return 1.41421356f * (p * x);
}

}  // namespace
}  // namespace onewarp
