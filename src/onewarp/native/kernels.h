// The table of row kernels: what the orchestration calls, and all that an instruction set has to provide.
#pragma once

#include "types.h"

namespace onewarp {

// Writes the pixels of a span (at most kSpan) of the warped image to `out`, planar with `stride`.
template <class Real> using Sampler = void (*)(const Warp<Real>& warp, const Span& span, Real* out, int stride);

enum class Sampling : uint8_t { copy, nearest, bilinear, bicubic };

// `values` of a span are planar [C][stride]; they may be written beyond the span's pixels, up to the stride.
template <class Real> struct Kernels {
  // `packed`: the pixels of a row follow each other without a gap.
  Sampler<Real> (*sampler)(Sampling sampling, Dtype source, int channels, bool packed);
  void (*colour)(const ColourStep<Real>&, const Range<Real>&, int channels, int n, Real* values, int stride);
  void (*observe)(ColourKind, const Range<Real>&, int channels, int n, Real* values, int stride, const Statistics<Real>&);
  void (*erase)(const EraseStep<Real>&, const Range<Real>&, int channels, int width, const Span&, Real* values, int stride);
  void (*finish)(const Finish<Real>&, const Span&, const Real* values, int stride, const Target&);
  void (*reduce)(Dtype, const Image& source, int r, const Target&, const Part&);
};

// Of filters and of mixing; see smooth.h and values.h.
struct FilterKernels {
  void (*read)(Dtype, const uint8_t* from, int n, float* to);
  void (*write)(Dtype, const float* from, int n, uint8_t* to);
  void (*weighted_sum)(const float* weights, int taps, const float* const* lines, int n, float* out);
  void (*add_noise)(const uint32_t* key, uint64_t first, float strength, float low, float high, int n, float* values);
  void (*blend)(Dtype, int size, float share, const uint8_t* a, const uint8_t* b, ptrdiff_t n, uint8_t* out);
};

// Source pixels of a span under nearest sampling, -1 for the fill. The arrays have room for kSpan pixels.
using NearestPixels = void (*)(const Geometry&, const Image&, Border, const Span&, int* x, int* y);

// On rows of packed pixels, of uint8 but where bytes are only moved; see bytes.h and direct.h.
struct ByteKernels {
  void (*map_bytes)(const uint8_t* from, ptrdiff_t n, const uint8_t* table, uint8_t* to);
  void (*map_pixels)(const uint8_t* from, ptrdiff_t pixels, int channels, const uint8_t* tables, uint8_t* to);
  void (*reverse_pixels)(const uint8_t* from, ptrdiff_t n, int bytes, uint8_t* to);
  void (*stream_bytes)(const uint8_t* from, ptrdiff_t n, uint8_t* to);
  void (*end_streams)();
  void (*scale_pixels)(const Finish<float>&, const Image& from, const Target& to);
  void (*mix_rgb)(const float* matrix, const uint8_t* from, ptrdiff_t pixels, uint8_t* to);
  void (*sum_pixels)(const uint8_t* from, ptrdiff_t pixels, int channels, uint64_t* sums);
  void (*count_pixels)(const uint8_t* from, ptrdiff_t pixels, int channels, uint32_t* histogram);
};

// What an instruction set provides: float kernels serve uint8 and float32 images, double ones serve uint16.
struct KernelSet {
  const Kernels<float>* single;
  const Kernels<double>* precise;
  const FilterKernels* filters;
  const ByteKernels* bytes;
  NearestPixels nearest_pixels;
};
KernelSet kernels_plain();
KernelSet kernels_avx2();
KernelSet kernels_avx512();

// From the best set that this machine can run, or the one that the environment variable ONEWARP_ISA names; see isa.cpp.
const Kernels<float>& kernels(float);
const Kernels<double>& kernels(double);
const FilterKernels& filter_kernels();
const ByteKernels& byte_kernels();
NearestPixels nearest_pixels();

}  // namespace onewarp
