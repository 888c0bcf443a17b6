// Row kernels of the filters: weighted sums of neighbours, normal noise keyed by element.
#pragma once

#include "keyed.h"

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

// values[e] += strength * z, saturated; z is the normal number of element `first` + e of the key.
inline void add_noise(const uint32_t* key, uint64_t first, float strength, float low, float high, int n, float* values) {
  constexpr int kBlock = 512;
  float noise[kBlock + kAhead + 2];
  for (int done = 0; done < n; done += kBlock) {
    const int count = n - done < kBlock ? n - done : kBlock, skip = (int)((first + done) % 2);
    normal_noise(key, (uint32_t)((first + done) / 2), (count + skip + 1) / 2, noise);
    for (int e = 0; e < count; ++e) values[done + e] = saturate(values[done + e] + strength * noise[skip + e], low, high);
  }
}

}  // namespace
}  // namespace onewarp
