// What drawing does for every sample: uniforms, keyed as onewarp/random.py says, and products of 3x3 matrices.
#pragma once

#include <nanobind/nanobind.h>

namespace onewarp {

// Adds the functions `uniforms` and `compose` to the module.
void define_draws(nanobind::module_& m);

}  // namespace onewarp
