// Filters on whole images: Gaussian blur and Gaussian noise.
#pragma once

#include "pass.h"

namespace onewarp {

// Separable blur with weights [N, taps], taps odd; border reflects without repeating the edge pixel. Rounds for integers.
void run_blur(const float* weights, int taps, const uint8_t* active, const Batch& batch);

// v + std * (high - low) * z with z a standard normal keyed per element; saturates to [low, high], rounds for integers.
struct NoiseParams {
  const float* std;       // [N], fraction of the range
  const uint32_t* keys;   // [N, 2]
  const uint8_t* active;  // [N]
  float low, high;
};
void run_noise(const NoiseParams& params, const Batch& batch);

}  // namespace onewarp
