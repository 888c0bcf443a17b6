// The instruction set in use, for people and tests.
#pragma once

#include <string>
#include <vector>

namespace onewarp {

// "avx512", "avx2" or "plain": the best that runs here, or what ONEWARP_ISA asks for (an error where it cannot run).
std::string isa();
// All that this machine can run, best first.
std::vector<std::string> runnable_isas();

}  // namespace onewarp
