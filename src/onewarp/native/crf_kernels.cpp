// The dense CRF's kernels of one instruction set; see kernels.cpp for how and why they are compiled several times.
#include "crf_kernels.h"

#include "marginals.h"
#include "simplex.h"

namespace onewarp {
namespace {

constexpr CrfKernels table = {simplices, logs, update, merge, blur, multiply};

}  // namespace

#define ONEWARP_JOIN(a, b) a##b
#define ONEWARP_NAME(isa) ONEWARP_JOIN(crf_kernels_, isa)
const CrfKernels* ONEWARP_NAME(ONEWARP_ISA)() { return &table; }

}  // namespace onewarp
