#include "lattice.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "parallel.h"

namespace onewarp {
namespace {

constexpr int64_t kBandPixels = 1 << 14;
constexpr int kMostBands = 8;
constexpr int64_t kChunk = 2048;  // vertices at a time

struct Key {
  uint32_t words[kKeyWords];
  uint32_t hash;
  bool operator==(const Key& other) const {
    return words[0] == other.words[0] && words[1] == other.words[1] && words[2] == other.words[2];
  }
};

// Keys -> numbers in the order in which they came.
class Table {
 public:
  explicit Table(size_t expected) {
    size_t size = 1024;
    while (size < 2 * expected) size *= 2;
    slots_.assign(size, 0);
  }
  int32_t find_or_add(const Key& key) {
    if (2 * keys_.size() >= slots_.size()) grow();
    uint64_t& slot = slots_[find_slot(key)];
    if (slot == 0) {
      keys_.push_back(key);
      slot = uint64_t{key.hash} << 32 | keys_.size();
    }
    return static_cast<int32_t>(slot & 0xFFFFFFFFu) - 1;
  }
  int32_t find(const Key& key) const { return static_cast<int32_t>(slots_[find_slot(key)] & 0xFFFFFFFFu) - 1; }  // or -1
  const std::vector<Key>& keys() const { return keys_; }

 private:
  size_t find_slot(const Key& key) const {
    const size_t mask = slots_.size() - 1;
    for (size_t at = key.hash & mask;; at = (at + 1) & mask) {
      const uint64_t slot = slots_[at];
      if (slot == 0 || (slot >> 32 == key.hash && keys_[(slot & 0xFFFFFFFFu) - 1] == key)) return at;
    }
  }
  void grow() {
    std::vector<uint64_t> old(2 * slots_.size(), 0);
    old.swap(slots_);
    const size_t mask = slots_.size() - 1;
    for (const uint64_t slot : old) {
      if (slot == 0) continue;
      size_t at = (slot >> 32) & mask;
      while (slots_[at] != 0) at = (at + 1) & mask;
      slots_[at] = slot;
    }
  }
  std::vector<uint64_t> slots_;  // the hash and the number + 1, or 0
  std::vector<Key> keys_;
};

// The key one step further along an axis. The last coordinate is not kept: all of them sum to zero.
Key step(const Key& key, int features, int axis) {
  uint16_t coordinates[2 * kKeyWords];
  std::memcpy(coordinates, key.words, sizeof coordinates);
  for (int k = 0; k < features; ++k) coordinates[k] = static_cast<uint16_t>(coordinates[k] + (k == axis ? features : -1));
  Key next;
  std::memcpy(next.words, coordinates, sizeof coordinates);
  next.hash = hash_key(next.words[0], next.words[1], next.words[2]);
  return next;
}

int64_t chunks(int64_t count) { return (count + kChunk - 1) / kChunk; }

}  // namespace

struct Lattice::Band {
  std::vector<Key> keys;
};

bool Lattice::fits(const LatticeSettings& settings) {
  const int features = settings.image ? 5 : 2;
  double reach = 0;
  const double extent[5] = {settings.width - 1.0, settings.height - 1.0, 255.0, 255.0, 255.0};
  for (int j = 0; j < features; ++j)
    reach += extent[j] / settings.deviations[j] * std::sqrt(2.0 / 3.0) * (features + 1) * (j + 1) / std::sqrt((j + 2.0) * (j + 1));
  return reach + 4 * (features + 1) < 32767.0;
}

int Lattice::bands_of(int64_t pixels) {
  return static_cast<int>(std::clamp<int64_t>(pixels / kBandPixels, 1, kMostBands));
}

Lattice::Lattice(const LatticeSettings& settings, int threads)
    : features_(settings.image ? 5 : 2), pixels_(static_cast<int64_t>(settings.height) * settings.width) {
  offsets_ = Block<int32_t>(pixels_ * corners());
  weights_ = Block<float>(pixels_ * corners());
  const int count = bands_of(pixels_);
  std::vector<Band> bands(static_cast<size_t>(count));
  parallel_for(count, threads, [&](int64_t b, int) {
    const int band = static_cast<int>(b);
    fill_band(settings, first_pixel(pixels_, count, band), first_pixel(pixels_, count, band + 1), bands[static_cast<size_t>(b)]);
  });
  band_rows_.assign(1, 0);
  for (const Band& band : bands) band_rows_.push_back(band_rows_.back() + static_cast<int64_t>(band.keys.size()));
  find_neighbours(bands, threads);
  normalise(threads);
}

void Lattice::fill_band(const LatticeSettings& settings, int64_t first, int64_t last, Band& band) const {
  const CrfKernels& kernels = crf_kernels();
  const int A = corners();
  Block<float> points(5 * kSpan);
  Block<Simplices> simplices(1);
  float levels[3][256];
  if (settings.image)
    for (int c = 0; c < 3; ++c)
      for (int level = 0; level < 256; ++level) levels[c][level] = static_cast<float>(level) / settings.deviations[2 + c];
  std::fill(points.data(), points.data() + 5 * kSpan, 0.0f);

  Table table(static_cast<size_t>(last - first));
  for (int64_t start = first; start < last; start += kSpan) {
    const int n = static_cast<int>(std::min<int64_t>(kSpan, last - start));
    int64_t y = start / settings.width, x = start % settings.width;
    for (int k = 0; k < n; ++k) {
      points[k] = static_cast<float>(x) / settings.deviations[0];
      points[kSpan + k] = static_cast<float>(y) / settings.deviations[1];
      if (settings.image)
        for (int c = 0; c < 3; ++c) points[(2 + c) * kSpan + k] = levels[c][settings.image[3 * (start + k) + c]];
      if (++x == settings.width) {
        x = 0;
        ++y;
      }
    }
    kernels.simplices(features_, points.data(), n, simplices.data());
    const Simplices& s = simplices[0];
    for (int corner = 0; corner < A; ++corner) {
      Key key{}, before{};
      int32_t row = -1;
      for (int k = 0; k < n; ++k) {
        for (int w = 0; w < kKeyWords; ++w) key.words[w] = s.words[corner][w][k];
        if (row < 0 || !(key == before)) {  // a pixel often lies in the simplex of the one before it
          key.hash = s.hash[corner][k];
          row = table.find_or_add(key);
          before = key;
        }
        offsets_[(start + k) * A + corner] = row;
        weights_[(start + k) * A + corner] = s.weights[corner][k];
      }
    }
  }
  band.keys = table.keys();
}

void Lattice::find_neighbours(const std::vector<Band>& bands, int threads) {
  size_t most = 0;
  for (const Band& band : bands) most = std::max(most, band.keys.size());
  Table table(2 * most);
  row_vertices_ = Block<int32_t>(rows());
  int64_t row = 0;
  for (const Band& band : bands)
    for (const Key& key : band.keys) row_vertices_[row++] = table.find_or_add(key) + 1;
  vertices_ = static_cast<int64_t>(table.keys().size());

  starts_ = Block<int32_t>(vertices_ + 2);
  std::fill(starts_.data(), starts_.data() + vertices_ + 2, 0);
  for (row = 0; row < rows(); ++row)
    if (row_vertices_[row] < vertices_) ++starts_[row_vertices_[row] + 1];
  for (int64_t v = 1; v <= vertices_; ++v) starts_[v] += starts_[v - 1];
  starts_[vertices_ + 1] = static_cast<int32_t>(rows());
  list_ = Block<int32_t>(rows());
  std::vector<int32_t> next(starts_.data(), starts_.data() + vertices_ + 1);
  for (row = 0; row < rows(); ++row) list_[next[static_cast<size_t>(row_vertices_[row])]++] = static_cast<int32_t>(row);

  // a is before v if v is after a: each pair is looked up once.
  const int64_t each = 2 * (vertices_ + 1);
  neighbours_ = Block<int32_t>(each * corners());
  parallel_for(corners(), threads, [&](int64_t axis, int) {
    std::fill(neighbours_.data() + axis * each, neighbours_.data() + (axis + 1) * each, 0);
  });
  const int64_t per_axis = chunks(vertices_);
  parallel_for(corners() * per_axis, threads, [&](int64_t item, int) {
    const int axis = static_cast<int>(item / per_axis);
    int32_t* pairs = neighbours_.data() + axis * each;
    const int64_t first = item % per_axis * kChunk, last = std::min(first + kChunk, vertices_);
    for (int64_t v = first; v < last; ++v) {
      const int32_t other = table.find(step(table.keys()[static_cast<size_t>(v)], features_, axis)) + 1;
      pairs[2 * (v + 1)] = other;
      if (other != 0) pairs[2 * other + 1] = static_cast<int32_t>(v + 1);
    }
  });
}

// Splats, blurs and slices the number 1, and divides the weights by the square root of what becomes of it.
void Lattice::normalise(int threads) {
  const int A = corners(), bands = bands_of(pixels_);
  Block<float> sums(rows()), values(vertices_ + 1), other(vertices_ + 1);
  parallel_for(bands, threads, [&](int64_t b, int) {
    const int band = static_cast<int>(b);
    float* to = sums.data() + band_row(band);
    std::fill(to, to + rows_of(band), 0.0f);
    const int64_t last = first_pixel(pixels_, bands, band + 1) * A;
    for (int64_t k = first_pixel(pixels_, bands, band) * A; k < last; ++k) to[offsets_[k]] += weights_[k];
  });
  values[0] = other[0] = 0.0f;
  const auto over_vertices = [&](auto body) {
    parallel_for(chunks(vertices_), threads, [&](int64_t chunk, int) {
      const int64_t first = 1 + chunk * kChunk, last = std::min(first + kChunk, vertices_ + 1);
      for (int64_t v = first; v < last; ++v) body(v);
    });
  };
  over_vertices([&](int64_t v) {
    float sum = 0.0f;
    for (int32_t k = starts_[v]; k < starts_[v + 1]; ++k) sum += sums[list_[k]];
    values[v] = sum;
  });
  for (int axis = 0; axis < A; ++axis) {
    const int32_t* pairs = neighbours(axis);
    over_vertices([&](int64_t v) { other[v] = values[v] + 0.5f * (values[pairs[2 * v]] + values[pairs[2 * v + 1]]); });
    std::swap(values, other);
  }
  parallel_for(bands, threads, [&](int64_t b, int) {
    const int band = static_cast<int>(b);
    const int32_t* vertex = row_vertices_.data() + band_row(band);
    const int64_t last = first_pixel(pixels_, bands, band + 1);
    for (int64_t i = first_pixel(pixels_, bands, band); i < last; ++i) {
      float sum = 0.0f;
      for (int c = 0; c < A; ++c) sum += weights_[i * A + c] * values[vertex[offsets_[i * A + c]]];
      const float norm = 1.0f / std::sqrt(alpha() * sum + 1e-20f);
      for (int c = 0; c < A; ++c) weights_[i * A + c] *= norm;
    }
  });
}

}  // namespace onewarp
