// The kernels of the dense CRF: what an instruction set has to provide for it.
#pragma once

#include "types.h"

namespace onewarp {
namespace {

// The hash of a vertex's key, of one key or of a vector of them.
template <class Word> inline __attribute__((always_inline)) Word hash_key(Word a, Word b, Word c) {
  Word hash = a * 0x9E3779B1u;
  hash ^= hash >> 15;
  hash = (hash + b) * 0x85EBCA77u;
  hash ^= hash >> 13;
  hash = (hash + c) * 0xC2B2AE3Du;
  return hash ^ (hash >> 16);
}

}  // namespace

constexpr int kMostAxes = 6;  // of a lattice: those of a point (x, y, r, g, b) and one
constexpr int kKeyWords = 3;  // a key is up to 6 coordinates of 16 bits
constexpr int kMostPixels = 64;  // of a span of an update
constexpr int kRow = 8;       // values of a vertex or a pixel are rows of floats, padded to a multiple of this

// The corners of the simplices that hold the points of a span: keys, their hashes, barycentric weights.
struct Simplices {
  uint32_t words[kMostAxes][kKeyWords][kSpan];
  uint32_t hash[kMostAxes][kSpan];
  float weights[kMostAxes][kSpan];
};

// What the pixels of a band exchange with one lattice. `from` and `to` may be null: nothing is read or written then.
struct Exchange {
  int corners;
  const int32_t* offsets;  // [n][corners], rows of this band
  const float* weights;    // [n][corners]
  const int32_t* rows;     // rows of this band -> rows of `from`
  const float* from;       // blurred values
  float* to;               // sums of this band
};

// A mean field update of n pixels: q = softmax(logs + messages), q is handed to the lattices. Logarithms are binary.
struct Update {
  int64_t n;
  int classes, width;  // width: classes, padded
  const float* logs;   // [n][width], very low where padded
  const Exchange* exchanges;
  int count;
  int span;     // pixels at a time, at most kMostPixels
  float* rows;  // [span][width], to work in
  float* out;  // [n][classes], or null
};

struct CrfKernels {
  // Points of 2 or 5 features, planar [features][kSpan], n of them.
  void (*simplices)(int features, const float* points, int n, Simplices* out);
  // Binary logarithms of probabilities [n][classes], not below 1e-5, as rows. `room`: floats that can be read from `from` on.
  // Returns the first pixel whose values are negative, not numbers, or do not sum to 1 +- 0.01; n where there is none.
  int64_t (*logs)(const float* from, int64_t n, int64_t room, int classes, int width, float* to);
  void (*update)(const Update&);
  // Row v of `to` is scale times the sum of the rows starts[v] ... starts[v + 1] - 1 of `list`, for v in [first, last).
  void (*merge)(const int32_t* starts, const int32_t* list, const float* from, int width, float scale, int64_t first,
                int64_t last, float* to);
  // to[v] = from[v] + (from[a] + from[b]) / 2 with neighbours [v][2].
  void (*blur)(const int32_t* neighbours, const float* from, int width, int64_t first, int64_t last, float* to);
  // Every row becomes its product with matrix [classes][width].
  void (*multiply)(const float* matrix, int classes, int width, int64_t first, int64_t last, float* row, float* values);
};
const CrfKernels* crf_kernels_plain();
const CrfKernels* crf_kernels_avx2();
const CrfKernels* crf_kernels_avx512();

// From the set in use; see isa.cpp.
const CrfKernels& crf_kernels();

}  // namespace onewarp
