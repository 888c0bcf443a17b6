// Uniform numbers of a batch, keyed by (seed, epoch, slot, sample, occurrence): see onewarp/random.py.
#pragma once

#include <nanobind/nanobind.h>

namespace onewarp {

// Adds the function `uniforms` to the module.
void define_draws(nanobind::module_& m);

}  // namespace onewarp
