#include "draws.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "arrays.h"
#include "isa.h"
#include "random.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace onewarp {
namespace {

constexpr int64_t kChunk = 128;  // samples at a time: their keys stay in the cache
constexpr int64_t kLong = 1 << 16;  // uniforms

template <class T, class... Shape> using Input = nb::ndarray<const T, Shape..., nb::c_contig, nb::device::cpu>;
using Slots = Input<uint32_t, nb::shape<-1, 2>>;
template <class T> using Row = Input<T, nb::ndim<1>>;
using Uniforms = nb::ndarray<nb::numpy, double, nb::ndim<2>>;

struct Key {
  uint64_t seed;
  uint32_t epoch;
  const uint32_t* slots;  // [s, 2]
  const int32_t* counts;  // [s]
  int64_t s;
  const uint64_t* ids;         // [n]
  const uint32_t* occurrence;  // [n], or [1] where once
  bool once;
};

// Rows of n uniforms; columns start ... start + m - 1 of them, for at most kChunk samples.
inline __attribute__((always_inline)) void fill_columns(const Key& key, int64_t n, int64_t start, int64_t m, double* out) {
  uint32_t low[kChunk], high[kChunk], first[kChunk], key0[kChunk], key1[kChunk], word0[kChunk], word1[kChunk];
  for (int64_t i = 0; i < m; ++i) {
    low[i] = static_cast<uint32_t>(key.ids[start + i]);
    high[i] = static_cast<uint32_t>(key.ids[start + i] >> 32);
    first[i] = key.occurrence[key.once ? 0 : start + i];
  }
  const Words stream = threefry(static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32), key.epoch, 0);
  double* row = out + start;
  for (int64_t slot = 0; slot < key.s; ++slot) {
    const Words own = threefry(stream.word[0], stream.word[1], key.slots[2 * slot], key.slots[2 * slot + 1]);
    for (int64_t i = 0; i < m; ++i) {
      const Words words = threefry(own.word[0], own.word[1], low[i], high[i]);
      key0[i] = words.word[0];
      key1[i] = words.word[1];
    }
    for (int32_t k = 0; k < key.counts[slot]; k += 2) {
      const uint32_t block = static_cast<uint32_t>(k / 2);
      for (int64_t i = 0; i < m; ++i) {
        const Words words = threefry(key0[i], key1[i], first[i], block);
        word0[i] = words.word[0];
        word1[i] = words.word[1];
      }
      for (int64_t i = 0; i < m; ++i) row[i] = static_cast<int32_t>(word0[i] >> 8) * 0x1p-24;
      row += n;
      if (k + 1 == key.counts[slot]) break;
      for (int64_t i = 0; i < m; ++i) row[i] = static_cast<int32_t>(word1[i] >> 8) * 0x1p-24;
      row += n;
    }
  }
}

void fill(const Key& key, int64_t n, int64_t start, int64_t m, double* out) { fill_columns(key, n, start, m, out); }

#ifdef ONEWARP_X86
// The same loops, compiled for wider vectors; AVX-512 turns the words of a vector in one instruction.
__attribute__((target("avx2"))) void fill_avx2(const Key& key, int64_t n, int64_t start, int64_t m, double* out) {
  fill_columns(key, n, start, m, out);
}
__attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512dq"))) void fill_avx512(const Key& key, int64_t n, int64_t start,
                                                                                   int64_t m, double* out) {
  fill_columns(key, n, start, m, out);
}
#endif

auto chosen_fill() {
#ifdef ONEWARP_X86
  if (isa() == "avx512") return fill_avx512;
  if (isa() == "avx2") return fill_avx2;
#endif
  return fill;
}

Uniforms uniforms(uint64_t seed, uint32_t epoch, Slots slots, Row<int32_t> counts, Row<uint64_t> ids, Row<uint32_t> occurrence) {
  const int64_t s = static_cast<int64_t>(slots.shape(0)), n = static_cast<int64_t>(ids.shape(0));
  const int64_t times = static_cast<int64_t>(occurrence.shape(0));
  if (static_cast<int64_t>(counts.shape(0)) != s) bad_value("counts: must be as many as slots");
  if (times != 1 && times != n) bad_value("occurrence: expected 1 or " + std::to_string(n) + " numbers, got " + std::to_string(times));
  int64_t rows = 0;
  for (int64_t k = 0; k < s; ++k) {
    if (counts.data()[k] < 0) bad_value("counts: must not be negative, got " + std::to_string(counts.data()[k]));
    rows += counts.data()[k];
  }
  double* out = new double[static_cast<size_t>(rows * n)];
  const nb::capsule owner(out, [](void* p) noexcept { delete[] static_cast<double*>(p); });
  const Key key = {seed, epoch, slots.data(), counts.data(), s, ids.data(), occurrence.data(), times == 1};
  const auto filler = chosen_fill();
  {
    // For few numbers the GIL is kept: to get it back can take longer than they do.
    std::optional<nb::gil_scoped_release> release;
    if (rows * n > kLong) release.emplace();
    for (int64_t start = 0; start < n; start += kChunk) filler(key, n, start, std::min(kChunk, n - start), out);
  }
  return Uniforms(out, {static_cast<size_t>(rows), static_cast<size_t>(n)}, owner);
}

using Matrices = Input<double, nb::shape<-1, 3, 3>>;
using Flags = nb::ndarray<const bool, nb::ndim<1>, nb::device::cpu>;

// total = total * m, 3x3.
void multiply(double* total, const double* m) {
  for (int row = 0; row < 3; ++row) {
    const double a = total[3 * row], b = total[3 * row + 1], c = total[3 * row + 2];
    for (int k = 0; k < 3; ++k) total[3 * row + k] = a * m[k] + b * m[3 + k] + c * m[6 + k];
  }
}

nb::ndarray<nb::numpy, double, nb::shape<-1, 3, 3>> compose(const std::vector<Matrices>& matrices,
                                                            const std::vector<std::optional<Flags>>& fires, int64_t n) {
  if (n < 0) bad_value("n: must not be negative, got " + std::to_string(n));
  if (fires.size() != matrices.size()) bad_value("fires: must be as many as matrices");
  const auto fits = [n](size_t length) { return length == 1 || length == static_cast<size_t>(n); };
  for (size_t k = 0; k < matrices.size(); ++k)
    if (!fits(matrices[k].shape(0)) || (fires[k] && !fits(fires[k]->shape(0))))
      bad_value("matrices, fires: expected 1 or " + std::to_string(n) + " of each");
  double* out = new double[static_cast<size_t>(9 * n)];
  const nb::capsule owner(out, [](void* p) noexcept { delete[] static_cast<double*>(p); });
  for (int64_t i = 0; i < n; ++i) {
    double* total = out + 9 * i;
    for (int k = 0; k < 9; ++k) total[k] = k % 4 == 0;
  }
  for (size_t k = 0; k < matrices.size(); ++k) {
    const double* data = matrices[k].data();
    const int64_t step = matrices[k].shape(0) == 1 ? 0 : 9;
    const bool* flags = fires[k] ? fires[k]->data() : nullptr;
    const int64_t stride = flags && fires[k]->shape(0) > 1 ? fires[k]->stride(0) : 0;
    for (int64_t i = 0; i < n; ++i)
      if (!flags || flags[i * stride]) multiply(out + 9 * i, data + i * step);
  }
  return nb::ndarray<nb::numpy, double, nb::shape<-1, 3, 3>>(out, {static_cast<size_t>(n), 3, 3}, owner);
}

using Numbers = nb::ndarray<const double, nb::ndim<1>, nb::device::cpu>;

// An array [n] in memory of its own, to be filled.
template <class T> nb::ndarray<nb::numpy, T, nb::ndim<1>> new_row(int64_t n, T** data) {
  *data = new T[static_cast<size_t>(n)];
  const nb::capsule owner(*data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return nb::ndarray<nb::numpy, T, nb::ndim<1>>(*data, {static_cast<size_t>(n)}, owner);
}

// What `first_fit` of matrices.py does, but trials after the first that fits are not made.
nb::tuple first_fit(nb::ndarray<const double, nb::ndim<2>, nb::device::cpu> u, int64_t trials, std::pair<double, double> scale,
                    std::pair<double, double> logarithms, Numbers along, Numbers across, bool smaller) {
  const int64_t n = static_cast<int64_t>(u.shape(0));
  const auto fits = [n](const Numbers& sides) { return sides.shape(0) == 1 || static_cast<int64_t>(sides.shape(0)) == n; };
  if (trials < 0 || static_cast<int64_t>(u.shape(1)) < 2 * trials)
    bad_value("u: expected 2 numbers for each of " + std::to_string(trials) + " trials, got " + std::to_string(u.shape(1)));
  if (!fits(along) || !fits(across)) bad_value("along, across: expected 1 or " + std::to_string(n) + " numbers each");
  const int64_t step = u.stride(1), along_step = along.shape(0) == 1 ? 0 : along.stride(0);
  const int64_t across_step = across.shape(0) == 1 ? 0 : across.stride(0);
  bool* found;
  double *first, *second;
  const auto arrays = nb::make_tuple(new_row(n, &found), new_row(n, &first), new_row(n, &second));
  for (int64_t i = 0; i < n; ++i) {
    const double* numbers = u.data() + i * u.stride(0);
    const double a = along.data()[i * along_step], b = across.data()[i * across_step], frame = a * b;
    found[i] = false;
    first[i] = second[i] = 0;
    for (int64_t k = 0; k < trials && !found[i]; ++k) {
      const double area = (scale.first + (scale.second - scale.first) * numbers[k * step]) * frame;
      const double drawn = logarithms.first + (logarithms.second - logarithms.first) * numbers[(trials + k) * step];
      const double ratio = std::exp(drawn), x = area * ratio, y = area / ratio;  // squares of the sides
      found[i] = smaller ? x < a * a && y < b * b : x <= a * a && y <= b * b;
      if (!found[i]) continue;
      first[i] = std::sqrt(x);
      second[i] = std::sqrt(y);
    }
  }
  return arrays;
}

}  // namespace

void define_draws(nb::module_& m) {
  m.def("uniforms", &uniforms, "seed"_a, "epoch"_a, "slots"_a.noconvert(), "counts"_a.noconvert(), "ids"_a.noconvert(),
        "occurrence"_a.noconvert(),
        "Uniforms float64 [sum of counts, n] of n samples: counts [s] rows for each of slots [s, 2] (crc32, index).");
  m.def("compose", &compose, "matrices"_a, "fires"_a, "n"_a,
        "Product float64 [n, 3, 3] of matrices [n or 1, 3, 3]; one counts where its fires [n or 1] is True or None.");
  m.def("first_fit", &first_fit, "u"_a, "trials"_a, "scale"_a, "logarithms"_a, "along"_a, "across"_a, "smaller"_a,
        "(found, side along, side across), [n] each: the first of `trials` rectangles that fits; 0 where none does.");
}

}  // namespace onewarp
