#include "draws.h"

#include <nanobind/ndarray.h>

#include <algorithm>
#include <optional>

#include "arrays.h"
#include "random.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace onewarp {
namespace {

constexpr int64_t kChunk = 128;  // samples at a time: their keys stay in the cache
constexpr int64_t kLong = 1 << 16;

template <class T, class... Shape> using Input = nb::ndarray<const T, Shape..., nb::c_contig, nb::device::cpu>;
using Slots = Input<uint32_t, nb::shape<-1, 2>>;
template <class T> using Row = Input<T, nb::ndim<1>>;
using Uniforms = nb::ndarray<nb::numpy, double, nb::ndim<2>>;

// `count` rows of uniforms, of n samples each, for the `m` samples whose keys and occurrences are given.
void fill(const uint32_t* key0, const uint32_t* key1, const uint32_t* occurrence, int64_t m, int64_t count, int64_t n,
          double* out) {
  uint32_t word0[kChunk], word1[kChunk];
  for (int64_t k = 0; k < count; k += 2) {
    const uint32_t block = static_cast<uint32_t>(k / 2);
    for (int64_t i = 0; i < m; ++i) {
      const Words words = threefry(key0[i], key1[i], occurrence[i], block);
      word0[i] = words.word[0];
      word1[i] = words.word[1];
    }
    double* row = out + k * n;
    for (int64_t i = 0; i < m; ++i) row[i] = static_cast<int32_t>(word0[i] >> 8) * 0x1p-24;
    if (k + 1 == count) break;
    for (int64_t i = 0; i < m; ++i) row[n + i] = static_cast<int32_t>(word1[i] >> 8) * 0x1p-24;
  }
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

  // Waiting for the GIL again can take longer than a batch does.
  std::optional<nb::gil_scoped_release> release;
  if (rows * n > kLong) release.emplace();
  const Words stream = threefry(static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), epoch, 0);
  double* row = out;
  for (int64_t k = 0; k < s; ++k) {
    const Words key = threefry(stream.word[0], stream.word[1], slots.data()[2 * k], slots.data()[2 * k + 1]);
    const int64_t count = counts.data()[k];
    for (int64_t start = 0; start < n; start += kChunk) {
      const int64_t m = std::min(kChunk, n - start);
      uint32_t key0[kChunk], key1[kChunk], first[kChunk];
      for (int64_t i = 0; i < m; ++i) {
        const uint64_t id = ids.data()[start + i];
        const Words words = threefry(key.word[0], key.word[1], static_cast<uint32_t>(id), static_cast<uint32_t>(id >> 32));
        key0[i] = words.word[0];
        key1[i] = words.word[1];
        first[i] = occurrence.data()[times == 1 ? 0 : start + i];
      }
      fill(key0, key1, first, m, count, n, row + start);
    }
    row += count * n;
  }
  release.reset();
  return Uniforms(out, {static_cast<size_t>(rows), static_cast<size_t>(n)}, owner);
}

}  // namespace

void define_draws(nb::module_& m) {
  m.def("uniforms", &uniforms, "seed"_a, "epoch"_a, "slots"_a.noconvert(), "counts"_a.noconvert(), "ids"_a.noconvert(),
        "occurrence"_a.noconvert(),
        "Uniforms float64 [sum of counts, n] of n samples: counts [s] rows for each of slots [s, 2] (crc32, index).");
}

}  // namespace onewarp
