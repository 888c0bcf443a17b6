// The kernels of one instruction set. Compiled once for each, with ONEWARP_ISA naming it and the flags that allow it.
//
// Nothing here may have linkage but the one accessor at the end: an inline function or a template compiled for a new
// machine could become the copy that the linker keeps for all machines.
#include "kernels.h"

#include "bytes.h"
#include "colour.h"
#include "direct.h"
#include "erase.h"
#include "finish.h"
#include "reduce.h"
#include "sample.h"
#include "smooth.h"
#include "values.h"

namespace onewarp {
namespace {

template <class T, int C, class Real> Sampler<Real> by_sampling(Sampling sampling) {
  switch (sampling) {
    case Sampling::copy: return sample_copy<T, C, Real>;
    case Sampling::nearest: return sample_nearest<T, C, Real>;
    case Sampling::bilinear: return sample_bilinear<T, C, Real>;
    case Sampling::bicubic: return sample_bicubic<T, C, Real>;
  }
  return nullptr;
}

template <class T, class Real> Sampler<Real> by_channels(Sampling sampling, int channels, bool packed) {
  if (!packed) return by_sampling<T, 0, Real>(sampling);
  switch (channels) {
    case 1: return by_sampling<T, 1, Real>(sampling);
    case 2: return by_sampling<T, 2, Real>(sampling);
    case 3: return by_sampling<T, 3, Real>(sampling);
    case 4: return by_sampling<T, 4, Real>(sampling);
    default: return by_sampling<T, 0, Real>(sampling);
  }
}

// Sources of the float pipeline: uint8, its box sums (uint16), float32.
Sampler<float> float_sampler(Sampling sampling, Dtype source, int channels, bool packed) {
  if (source == Dtype::uint8) return by_channels<uint8_t, float>(sampling, channels, packed);
  if (source == Dtype::uint16) return by_channels<uint16_t, float>(sampling, channels, packed);
  return by_channels<float, float>(sampling, channels, packed);
}

// Sources of the double pipeline: uint16 and its box sums.
Sampler<double> double_sampler(Sampling sampling, Dtype source, int channels, bool packed) {
  if (source == Dtype::uint16) return by_channels<uint16_t, double>(sampling, channels, packed);
  return by_channels<uint32_t, double>(sampling, channels, packed);
}

constexpr Kernels<float> for_floats = {
    float_sampler, colour_step<float>, observe<float>, erase_span<float>, finish_span<float>, reduce,
};
constexpr Kernels<double> for_doubles = {
    double_sampler, colour_step<double>, observe<double>, erase_span<double>, finish_span<double>, reduce,
};

constexpr FilterKernels filters = {read_values, write_values, weighted_sum, add_noise, blend};
constexpr ByteKernels bytes = {
    map_bytes,    map_pixels, reverse_pixels, stream_bytes, end_streams,
    scale_pixels, mix_rgb,    sum_pixels,     count_pixels,
};

}  // namespace

#define ONEWARP_JOIN(a, b) a##b
#define ONEWARP_NAME(isa) ONEWARP_JOIN(kernels_, isa)
KernelSet ONEWARP_NAME(ONEWARP_ISA)() { return {&for_floats, &for_doubles, &filters, &bytes, find_nearest}; }

}  // namespace onewarp
