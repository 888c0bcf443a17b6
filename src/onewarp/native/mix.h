// Weighted means of the images of a batch with each other.
#pragma once

#include "pass.h"

namespace onewarp {

// target k = share[k] * image k + (1 - share[k]) * image partners[k]; integers are rounded half to even. A share of 1 copies.
void run_mix(const float* share, const int32_t* partners, const Batch& batch);

}  // namespace onewarp
