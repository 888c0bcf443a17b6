// The dense CRF as Python sees it.
#pragma once

#include <nanobind/nanobind.h>

namespace onewarp {

// Adds the function `dense_crf` to the module.
void define_crf(nanobind::module_& m);

}  // namespace onewarp
