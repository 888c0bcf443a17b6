// Threefry-2x32-20 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) and what is drawn from it.
#pragma once

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

}  // namespace
}  // namespace onewarp
