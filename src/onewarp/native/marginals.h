// Mean field kernels on rows of classes: logarithms, messages, softmax, splat; sums and blur of a lattice's rows.
//
// Sums over classes are made as of 16 lanes, whatever the vectors' width, so that every machine gets the same bits.
#pragma once

#include "crf_kernels.h"
#include "simd.h"

namespace onewarp {
namespace {

#define ONEWARP_LAMBDA __attribute__((always_inline))

constexpr float kBitsPerNat = 1.44269504088896341f;
constexpr float kNever = -1e30f;  // the logarithm of a class that is not there

typedef float Floats4 __attribute__((vector_size(16)));
typedef int32_t Ints4 __attribute__((vector_size(16)));
typedef uint32_t Uints4 __attribute__((vector_size(16)));
template <class V> struct IntsOf;
template <> struct IntsOf<Floats4> {
  typedef Ints4 type;
  typedef Uints4 bits;
};
ONEWARP_INLINE Floats4 folded(Floats4 a, Floats4 b, bool highest) { return highest ? (a > b ? a : b) : a + b; }
ONEWARP_INLINE float fold(Floats4 v, bool highest) {
  v = folded(v, __builtin_shufflevector(v, v, 2, 3, 0, 1), highest);
  v = folded(v, __builtin_shufflevector(v, v, 1, 0, 3, 2), highest);
  return v[0];
}
#if defined(__AVX2__)
typedef float Floats8 __attribute__((vector_size(32)));
typedef int32_t Ints8 __attribute__((vector_size(32)));
typedef uint32_t Uints8 __attribute__((vector_size(32)));
template <> struct IntsOf<Floats8> {
  typedef Ints8 type;
  typedef Uints8 bits;
};
ONEWARP_INLINE float fold(Floats8 v, bool highest) {
  return fold(folded(__builtin_shufflevector(v, v, 0, 1, 2, 3), __builtin_shufflevector(v, v, 4, 5, 6, 7), highest), highest);
}
#endif
#if defined(__AVX512BW__) && defined(__AVX512VL__)
typedef float Floats16 __attribute__((vector_size(64)));
typedef int32_t Ints16 __attribute__((vector_size(64)));
typedef uint32_t Uints16 __attribute__((vector_size(64)));
template <> struct IntsOf<Floats16> {
  typedef Ints16 type;
  typedef Uints16 bits;
};
#endif

// The 16 lanes of a sum or a maximum, folded to one number: 16 -> 8 -> 4 -> 2 -> 1.
template <class V> struct Lanes16 {
  static constexpr int kParts = 64 / (int)sizeof(V), kEach = (int)sizeof(V) / 4;
  V part[kParts];
  ONEWARP_INLINE explicit Lanes16(float start) {
    for (int k = 0; k < kParts; ++k) part[k] = start - V{};
  }
  ONEWARP_INLINE void add(int column, V v) { part[column / kEach % kParts] += v; }
  ONEWARP_INLINE void raise(int column, V v) {
    V& high = part[column / kEach % kParts];
    high = v > high ? v : high;
  }
  ONEWARP_INLINE float folded_to_one(bool highest) const {
    if constexpr (kParts == 4) {
      return fold(folded(folded(part[0], part[2], highest), folded(part[1], part[3], highest), highest), highest);
    } else if constexpr (kParts == 2) {
      return fold(highest ? (part[0] > part[1] ? part[0] : part[1]) : part[0] + part[1], highest);
    } else {
      const auto low = __builtin_shufflevector(part[0], part[0], 0, 1, 2, 3, 4, 5, 6, 7);
      const auto high = __builtin_shufflevector(part[0], part[0], 8, 9, 10, 11, 12, 13, 14, 15);
      return fold(highest ? (low > high ? low : high) : low + high, highest);
    }
  }
  ONEWARP_INLINE float sum() const { return folded_to_one(false); }
  ONEWARP_INLINE float highest() const { return folded_to_one(true); }
};

// 2^y of numbers that are not above 0, 0 below -80: what is small stays far from the numbers that slow processors down.
// Relative error below 3e-7.
template <class V> ONEWARP_INLINE V power_of_two(V y) {
  typedef typename IntsOf<V>::type I;
  typedef typename IntsOf<V>::bits U;  // whatever a lane that does not count holds, it may wrap
  const V big = 12582912.0f - V{};  // adding it rounds to a whole number, held in the lowest bits
  const I low = y < -80.0f;
  const V n = y + big;
  const V f = y - (n - big);
  V z = f * 1.32186725e-3f + 9.67169794e-3f;
  z = z * f + 5.55089295e-2f;
  z = z * f + 2.40222380e-1f;
  z = z * f + 6.93146856e-1f;
  z = z * f + 1.0f;
  return low ? V{} : (V)((U)z + ((U)n << 23));
}

// The logarithm of positive normal numbers (Cephes).
template <class V> ONEWARP_INLINE V logarithm(V x) {
  typedef typename IntsOf<V>::type I;
  const I bits = (I)x;
  V exponent = __builtin_convertvector((bits >> 23) - 126, V);
  V m = (V)((bits & 0x007FFFFF) | 0x3F000000);  // in [0.5, 1)
  const I small = m < 0.707106781186547524f;
  exponent -= small ? 1.0f - V{} : V{};
  m = (small ? m + m : m) - 1.0f;
  const V z = m * m;
  V y = m * 7.0376836292e-2f - 1.1514610310e-1f;
  y = y * m + 1.1676998740e-1f;
  y = y * m - 1.2420140846e-1f;
  y = y * m + 1.4249322787e-1f;
  y = y * m - 1.6668057665e-1f;
  y = y * m + 2.0000714765e-1f;
  y = y * m - 2.4999993993e-1f;
  y = y * m + 3.3333331174e-1f;
  y = y * m * z;
  y += exponent * -2.12194440e-4f;
  y -= 0.5f * z;
  return m + y + exponent * 0.693359375f;
}

template <int N> struct Count {
  static constexpr int value = N;
};

// Calls body(Count<B>, column) for blocks of B vectors that together make up a row: as many as registers hold at once.
template <class V, class Body> ONEWARP_INLINE void for_blocks(int width, const Body& body) {
  constexpr int kEach = (int)sizeof(V) / 4;
  int column = 0;
  for (; column + 4 * kEach <= width; column += 4 * kEach) body(Count<4>(), column);
  const int left = (width - column) / kEach;
  if (left == 3) body(Count<3>(), column);
  if (left == 2) body(Count<2>(), column);
  if (left == 1) body(Count<1>(), column);
}

// Calls body(V{}) with the widest vector that divides a row.
template <class Body> ONEWARP_INLINE void with_vectors(int width, const Body& body) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  if (width % 16 == 0)
    body(Floats16{});
  else
    body(Floats8{});
#elif defined(__AVX2__)
  (void)width;
  body(Floats8{});
#else
  (void)width;
  body(Floats4{});
#endif
}

// rows = base + the messages of one lattice: B vectors, from `column` on, of n pixels.
template <class V, int B, int Corners>
inline void slice(const Exchange& e, int64_t first, int n, int width, int column, const float* base, float* rows) {
  constexpr int kEach = (int)sizeof(V) / 4;
  const int32_t* vertices = e.rows;
  const int32_t* offsets = e.offsets + first * Corners;
  const float* weights = e.weights + first * Corners;
  const float* from = e.from + column;
  for (int i = 0; i < n; ++i) {
    V sum[B];
    for (int b = 0; b < B; ++b) sum[b] = load_vector<V>(base + i * width + column + b * kEach);
    for (int c = 0; c < Corners; ++c) {
      const float* values = from + (ptrdiff_t)vertices[offsets[i * Corners + c]] * width;
      for (int b = 0; b < B; ++b) sum[b] += weights[i * Corners + c] * load_vector<V>(values + b * kEach);
    }
    for (int b = 0; b < B; ++b) store_vector(rows + i * width + column + b * kEach, sum[b]);
  }
}

// Adds B vectors of n rows, times `ones`, to the sums of one lattice.
template <class V, int B, int Corners>
inline void splat_rows(const Exchange& e, int64_t first, int n, int width, int column, const float* rows, const float* ones) {
  constexpr int kEach = (int)sizeof(V) / 4;
  const int32_t* offsets = e.offsets + first * Corners;
  const float* weights = e.weights + first * Corners;
  float* to = e.to + column;
  for (int i = 0; i < n; ++i) {
    V q[B];
    for (int b = 0; b < B; ++b) q[b] = ones[i] * load_vector<V>(rows + i * width + column + b * kEach);
    for (int c = 0; c < Corners; ++c) {
      const float weight = weights[i * Corners + c];
      float* sum = to + (ptrdiff_t)offsets[i * Corners + c] * width;
      for (int b = 0; b < B; ++b) store_vector(sum + b * kEach, load_vector<V>(sum + b * kEach) + weight * q[b]);
    }
  }
}

// Each of n rows becomes powers of two, which are a softmax once they are multiplied by ones[i].
//
// Three loops, each over many pixels: one pixel's maximum, powers and sum have to wait for each other. The powers are most
// of the work and come in the widest vectors.
template <class V> inline void softmax(int n, int width, float* rows, float* ones) {
  constexpr int kEach = (int)sizeof(V) / 4;
  for (int i = 0; i < n; ++i) {
    float* row = rows + i * width;
    Lanes16<V> highest(kNever);
    for (int column = 0; column < width; column += kEach) highest.raise(column, load_vector<V>(row + column));
    const float high = highest.highest();
    for (int column = 0; column < width; column += kEach) store_vector(row + column, load_vector<V>(row + column) - high);
  }
  const int count = n * width;
  int k = 0;
  for (; k + kLanes <= count; k += kLanes) store_vector(rows + k, power_of_two(load_vector<Floats>(rows + k)));
  for (; k < count; k += kEach) store_vector(rows + k, power_of_two(load_vector<V>(rows + k)));
  for (int i = 0; i < n; ++i) {
    Lanes16<V> total(0.0f);
    for (int column = 0; column < width; column += kEach) total.add(column, load_vector<V>(rows + i * width + column));
    ones[i] = 1.0f / total.sum();
  }
}

inline void update(const Update& u) {
  with_vectors(u.width, [&](auto v) ONEWARP_LAMBDA {
    typedef decltype(v) V;
    const int width = u.width;
    float ones[kMostPixels];
    for (int64_t first = 0; first < u.n; first += u.span) {
      const int n = u.n - first < u.span ? (int)(u.n - first) : u.span;
      const float* base = u.logs + first * width;
      for (int k = 0; k < u.count; ++k) {
        const Exchange& e = u.exchanges[k];
        if (e.from == nullptr) continue;
        for_blocks<V>(width, [&](auto count, int column) ONEWARP_LAMBDA {
          constexpr int B = decltype(count)::value;
          if (e.corners == 6) slice<V, B, 6>(e, first, n, width, column, base, u.rows);
          if (e.corners == 3) slice<V, B, 3>(e, first, n, width, column, base, u.rows);
        });
        base = u.rows;
      }
      if (base != u.rows) memcpy(u.rows, base, sizeof(float) * (size_t)n * (size_t)width);
      softmax<V>(n, width, u.rows, ones);
      for (int k = 0; k < u.count; ++k) {
        const Exchange& e = u.exchanges[k];
        if (e.to == nullptr) continue;
        for_blocks<V>(width, [&](auto count, int column) ONEWARP_LAMBDA {
          constexpr int B = decltype(count)::value;
          if (e.corners == 6) splat_rows<V, B, 6>(e, first, n, width, column, u.rows, ones);
          if (e.corners == 3) splat_rows<V, B, 3>(e, first, n, width, column, u.rows, ones);
        });
      }
      if (u.out == nullptr) continue;
      for (int i = 0; i < n; ++i) {
        float* out = u.out + (first + i) * u.classes;
        for (int c = 0; c < u.classes; ++c) out[c] = ones[i] * u.rows[i * width + c];
      }
    }
  });
}

inline int64_t logs(const float* from, int64_t n, int64_t room, int classes, int width, float* to) {
  int64_t bad = n;
  with_vectors(width, [&](auto v) ONEWARP_LAMBDA {
    typedef decltype(v) V;
    typedef typename IntsOf<V>::type I;
    constexpr int kEach = (int)sizeof(V) / 4;
    I lane;
    for (int k = 0; k < kEach; ++k) lane[k] = k;
    for (int64_t i = 0; i < n; ++i) {
      const float* source = from + i * classes;
      float* row = to + i * width;
      if (i * classes + width > room) {  // the last pixels: no reading beyond the array
        memcpy(row, source, sizeof(float) * (size_t)classes);
        for (int c = classes; c < width; ++c) row[c] = 0.0f;
        source = row;
      }
      Lanes16<V> total(0.0f), lowest(0.0f);
      for (int column = 0; column < width; column += kEach) {
        const I there = lane + column < classes;
        const V p = there ? load_vector<V>(source + column) : V{};
        total.add(column, p);
        lowest.raise(column, -p);
        V inside = p > 1e-5f ? p : 1e-5f - V{};
        inside = inside < 1.0f ? inside : 1.0f - V{};
        store_vector(row + column, there ? logarithm(inside) * kBitsPerNat : kNever - V{});
      }
      const float sum = total.sum();
      const bool good = sum >= 0.99f && sum <= 1.01f && lowest.highest() <= 0.0f;
      if (!good && i < bad) bad = i;
    }
  });
  return bad;
}

inline void merge(const int32_t* starts, const int32_t* list, const float* from, int width, float scale,
                  int64_t first, int64_t last, float* to) {
  with_vectors(width, [&](auto v) ONEWARP_LAMBDA {
    typedef decltype(v) V;
    constexpr int kEach = (int)sizeof(V) / 4;
    for (int64_t row = first; row < last; ++row)
      for_blocks<V>(width, [&](auto count, int column) ONEWARP_LAMBDA {
        constexpr int B = decltype(count)::value;
        V sum[B] = {};
        for (int32_t k = starts[row]; k < starts[row + 1]; ++k)
          for (int b = 0; b < B; ++b) sum[b] += load_vector<V>(from + (ptrdiff_t)list[k] * width + column + b * kEach);
        for (int b = 0; b < B; ++b) store_vector(to + row * width + column + b * kEach, scale * sum[b]);
      });
  });
}

inline void blur(const int32_t* neighbours, const float* from, int width, int64_t first, int64_t last, float* to) {
  with_vectors(width, [&](auto v) ONEWARP_LAMBDA {
    typedef decltype(v) V;
    for (int64_t row = first; row < last; ++row) {
      const float* a = from + (ptrdiff_t)neighbours[2 * row] * width;
      const float* b = from + (ptrdiff_t)neighbours[2 * row + 1] * width;
      const float* here = from + row * width;
      for (int column = 0; column < width; column += (int)sizeof(V) / 4) {
        const V sides = load_vector<V>(a + column) + load_vector<V>(b + column);
        store_vector(to + row * width + column, load_vector<V>(here + column) + 0.5f * sides);
      }
    }
  });
}

inline void multiply(const float* matrix, int classes, int width, int64_t first, int64_t last, float* row, float* values) {
  with_vectors(width, [&](auto v) ONEWARP_LAMBDA {
    typedef decltype(v) V;
    constexpr int kEach = (int)sizeof(V) / 4;
    for (int64_t r = first; r < last; ++r) {
      memcpy(row, values + r * width, sizeof(float) * (size_t)width);
      for_blocks<V>(width, [&](auto count, int column) ONEWARP_LAMBDA {
        constexpr int B = decltype(count)::value;
        V sum[B] = {};
        for (int c = 0; c < classes; ++c)
          for (int b = 0; b < B; ++b)
            sum[b] += row[c] * load_vector<V>(matrix + (ptrdiff_t)c * width + column + b * kEach);
        for (int b = 0; b < B; ++b) store_vector(values + r * width + column + b * kEach, sum[b]);
      });
    }
  });
}

}  // namespace
}  // namespace onewarp
