// Mean field inference in a dense CRF with Gaussian kernels on permutohedral lattices.
#pragma once

#include <vector>

#include "lattice.h"

namespace onewarp {

// One pairwise term: scale times the messages of a kernel (Potts), or the negative matrix [classes][classes] times them.
struct Term {
  const Lattice* lattice;
  float scale;
  const float* matrix;  // or null
};

struct MeanField {
  const float* probabilities;  // [pixels][classes]
  int64_t pixels;
  int classes, iterations;
  std::vector<Term> terms;
  // Marginals [pixels][classes]; with `all`, of iteration t at out + t * step, else the last ones alone.
  float* out;
  bool all;
  int64_t step;
};

// The first pixel whose probabilities cannot be used, or -1. Then nothing is computed.
int64_t run_mean_field(const MeanField& field, int threads);

}  // namespace onewarp
