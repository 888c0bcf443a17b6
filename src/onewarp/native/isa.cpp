// Which instruction set's kernels run on this machine.
#include "isa.h"

#include <cstdlib>
#include <stdexcept>

#include "crf_kernels.h"
#include "kernels.h"

namespace onewarp {
namespace {

struct Candidate {
  const char* name;
  KernelSet (*kernels)();
  const CrfKernels* (*crf)();
  bool runs;
};

// Best first.
std::vector<Candidate> candidates() {
#if defined(ONEWARP_X86)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vbmi");
  return {{"avx512", kernels_avx512, crf_kernels_avx512, avx512},
          {"avx2", kernels_avx2, crf_kernels_avx2, avx2},
          {"plain", kernels_plain, crf_kernels_plain, true}};
#else
  return {{"plain", kernels_plain, crf_kernels_plain, true}};
#endif
}

const Candidate& chosen() {
  static const Candidate choice = [] {
    const char* wanted = std::getenv("ONEWARP_ISA");
    const std::string name = wanted ? wanted : "";
    std::string runnable;
    for (const Candidate& candidate : candidates()) {
      if (!candidate.runs) continue;
      if (name.empty() || name == candidate.name) return candidate;
      runnable += (runnable.empty() ? "" : ", ") + std::string(candidate.name);
    }
    throw std::runtime_error("ONEWARP_ISA=" + name + " cannot run here; unset it, or choose among " + runnable);
  }();
  return choice;
}

const KernelSet& kernel_set() {
  static const KernelSet set = chosen().kernels();
  return set;
}

}  // namespace

const Kernels<float>& kernels(float) { return *kernel_set().single; }
const Kernels<double>& kernels(double) { return *kernel_set().precise; }
const FilterKernels& filter_kernels() { return *kernel_set().filters; }
const ByteKernels& byte_kernels() { return *kernel_set().bytes; }
NearestPixels nearest_pixels() { return kernel_set().nearest_pixels; }

const CrfKernels& crf_kernels() {
  static const CrfKernels* const table = chosen().crf();
  return *table;
}

std::string isa() { return chosen().name; }

std::vector<std::string> runnable_isas() {
  std::vector<std::string> names;
  for (const Candidate& candidate : candidates())
    if (candidate.runs) names.push_back(candidate.name);
  return names;
}

}  // namespace onewarp
