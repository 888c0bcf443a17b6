// Which simplex of the permutohedral lattice holds a point (Adams, Baek and Davis 2010): vertices and weights.
#pragma once

#include "crf_kernels.h"
#include "simd.h"

namespace onewarp {
namespace {

// To the nearest whole number, half to even; for numbers below 2^22.
ONEWARP_INLINE Floats rounded(Floats v) {
  const Floats big = splat(12582912.0f);
  return (v + big) - big;
}

ONEWARP_INLINE Ints whole(int v) { return v - Ints{}; }

template <int D> ONEWARP_INLINE void simplex_lanes(const float* points, int first, const float* factors, Simplices* out) {
  constexpr int A = D + 1;
  const Floats down = splat(1.0f / A);

  // The point in the hyperplane of coordinates that sum to zero.
  Floats elevated[A], sum = Floats{};
  for (int j = D; j > 0; --j) {
    const Floats value = load_vector<Floats>(points + (j - 1) * kSpan + first) * splat(factors[j - 1]);
    elevated[j] = sum - (float)j * value;
    sum += value;
  }
  elevated[0] = sum;

  // The nearest vertex whose coordinates are multiples of A, perhaps off the hyperplane.
  Floats base[A];
  Ints excess = Ints{};
  for (int i = 0; i < A; ++i) {
    const Floats nearest = rounded(elevated[i] * down);
    base[i] = nearest * (float)A;
    excess += __builtin_convertvector(nearest, Ints);
  }
  // The rank of a coordinate: how many lie further from the vertex. Then back onto the hyperplane.
  Ints rank[A] = {};
  for (int i = 0; i < D; ++i)
    for (int j = i + 1; j < A; ++j) {
      const Ints less = elevated[i] - base[i] < elevated[j] - base[j];  // -1 where true
      rank[i] -= less;
      rank[j] += 1 + less;
    }
  Ints whole_base[A];
  Floats rest[A];
  for (int i = 0; i < A; ++i) {
    rank[i] += excess;
    const Ints step = (rank[i] < 0 ? whole(A) : Ints{}) - (rank[i] > D ? whole(A) : Ints{});
    rank[i] += step;
    base[i] += __builtin_convertvector(step, Floats);
    whole_base[i] = __builtin_convertvector(base[i], Ints);
    rest[i] = (elevated[i] - base[i]) * down;
  }

  Floats ranked[A];  // the rests in the order of their ranks
  for (int p = 0; p < A; ++p) {
    ranked[p] = Floats{};
    for (int i = 0; i < A; ++i) ranked[p] = select(rank[i] == p, rest[i], ranked[p]);
  }
  store_vector(out->weights[0] + first, ranked[D] + (1.0f - ranked[0]));
  for (int corner = 1; corner < A; ++corner)
    store_vector(out->weights[corner] + first, ranked[D - corner] - ranked[D - corner + 1]);

  for (int corner = 0; corner < A; ++corner) {
    Uints key[2 * kKeyWords] = {};
    for (int i = 0; i < D; ++i)
      key[i] = (Uints)(whole_base[i] + (rank[i] <= D - corner ? whole(corner) : whole(corner - A))) & 0xFFFFu;
    Uints words[kKeyWords];
    for (int w = 0; w < kKeyWords; ++w) {
      words[w] = key[2 * w] | (key[2 * w + 1] << 16);
      store_vector(out->words[corner][w] + first, words[w]);
    }
    store_vector(out->hash[corner] + first, hash_key(words[0], words[1], words[2]));
  }
}

template <int D> inline void simplices_of(const float* points, int n, Simplices* out) {
  // A standard deviation of 1 for what splatting, blurring and slicing do to a point; sqrt without linkage.
  float factors[D];
  for (int j = 0; j < D; ++j) factors[j] = (float)(1.0 / __builtin_sqrt((j + 2.0) * (j + 1.0)) * (float)(__builtin_sqrt(2.0 / 3.0) * (D + 1)));
  for (int first = 0; first < n; first += kLanes) simplex_lanes<D>(points, first, factors, out);
}

inline void simplices(int features, const float* points, int n, Simplices* out) {
  features == 2 ? simplices_of<2>(points, n, out) : simplices_of<5>(points, n, out);
}

}  // namespace
}  // namespace onewarp
