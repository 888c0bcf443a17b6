// The table of row kernels: what the orchestration calls, and all that an instruction set has to provide.
#pragma once

#include "types.h"

namespace onewarp {

// Writes pixels (i, j0) ... (i, j0 + n - 1), n <= kSpan, of the warped image to out [n][C].
template <class Real> using Sampler = void (*)(const Warp<Real>& warp, int i, int j0, int n, Real* out);

enum class Sampling : uint8_t { copy, nearest, bilinear, bicubic };

template <class Real> struct Kernels {
  // `packed`: the pixels of a row follow each other without a gap.
  Sampler<Real> (*sampler)(Sampling sampling, Dtype source, int channels, bool packed);
  void (*colour)(const ColourStep<Real>&, const Range<Real>&, int channels, int n, Real* values);
  void (*observe)(ColourKind, const Range<Real>&, int channels, int n, Real* values, const Statistics<Real>&);
  void (*erase)(const EraseStep<Real>&, const Range<Real>&, int channels, int width, int i, int j0, int n, Real* values);
  void (*finish)(const Finish<Real>&, int n, const Real* values, const Target&, int i, int j0);
  void (*reduce)(Dtype, const Image& source, int r, const Target&);
};

// The kernels for this machine. float serves uint8 and float32 images, double serves uint16.
template <class Real> const Kernels<Real>& kernels();

}  // namespace onewarp
