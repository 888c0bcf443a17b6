#include "mean_field.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "parallel.h"

namespace onewarp {
namespace {

constexpr int64_t kChunk = 512;  // vertices at a time
constexpr float kBitsPerNat = 1.44269504088896341f;
constexpr int kInCache = 4096;  // floats

// A term's values on its lattice.
struct Values {
  Values(const Term& term, int width)
      : term(term), lattice(*term.lattice), scale(lattice.alpha() * kBitsPerNat * (term.matrix ? 1.0f : term.scale)) {
    sums = Block<float>(lattice.rows() * width);
    values = Block<float>((lattice.vertices() + 1) * width);
    other = Block<float>((lattice.vertices() + 1) * width);
    std::fill(values.data(), values.data() + width, 0.0f);
    std::fill(other.data(), other.data() + width, 0.0f);
  }
  int64_t chunks() const { return (lattice.vertices() + kChunk - 1) / kChunk; }

  const Term& term;
  const Lattice& lattice;
  float scale;
  Block<float> sums, values, other;
  std::vector<float> matrix;  // -[classes][width]
};

class Inference {
 public:
  Inference(const MeanField& field, int threads)
      : field_(field), threads_(threads), width_((field.classes + kRow - 1) / kRow * kRow),
        bands_(Lattice::bands_of(field.pixels)), span_(std::clamp(kInCache / width_, 4, kMostPixels)), logs_(field.pixels * width_),
        rows_(static_cast<int64_t>(worker_count(int64_t{1} << 40, threads)) * span_ * width_) {
    for (const Term& term : field.terms) {
      values_.emplace_back(term, width_);
      if (term.matrix == nullptr) continue;
      std::vector<float>& matrix = values_.back().matrix;
      matrix.assign(static_cast<size_t>(field.classes) * static_cast<size_t>(width_), 0.0f);
      for (int c = 0; c < field.classes; ++c)
        for (int to = 0; to < field.classes; ++to)
          matrix[static_cast<size_t>(c) * static_cast<size_t>(width_) + static_cast<size_t>(to)] =
              -term.matrix[static_cast<int64_t>(to) * field.classes + c];
    }
  }

  int64_t run() {
    std::atomic<int64_t> bad{field_.pixels};
    parallel_for(bands_, threads_, [&](int64_t band, int) { read(static_cast<int>(band), bad); });
    if (bad.load() < field_.pixels) return bad.load();
    step(0);
    for (int t = 1; t <= field_.iterations; ++t) {
      pass_messages();
      step(t);
    }
    return -1;
  }

 private:
  int64_t first_pixel(int band) const { return Lattice::first_pixel(field_.pixels, bands_, band); }

  void read(int band, std::atomic<int64_t>& bad) {
    const int64_t first = first_pixel(band), n = first_pixel(band + 1) - first;
    const int64_t found = crf_kernels().logs(field_.probabilities + first * field_.classes, n,
                                             (field_.pixels - first) * field_.classes, field_.classes, width_,
                                             logs_.data() + first * width_);
    if (found == n) return;
    int64_t so_far = bad.load();
    while (first + found < so_far && !bad.compare_exchange_weak(so_far, first + found)) {
    }
  }

  // The marginals of iteration t, from the messages of the one before; splatted, unless they are the last.
  void step(int t) {
    const bool last = t == field_.iterations;
    parallel_for(bands_, threads_, [&](int64_t b, int worker) {
      const int band = static_cast<int>(b);
      const int64_t first = first_pixel(band);
      std::vector<Exchange> exchanges;
      for (const Values& v : values_) {
        const Lattice& l = v.lattice;
        float* to = v.sums.data() + l.band_row(band) * width_;
        if (!last) std::fill(to, to + l.rows_of(band) * width_, 0.0f);
        exchanges.push_back({l.corners(), l.offsets() + first * l.corners(), l.weights() + first * l.corners(),
                             l.row_vertices() + l.band_row(band), t == 0 ? nullptr : v.values.data(), last ? nullptr : to});
      }
      float* out = nullptr;
      if (last || field_.all) out = field_.out + (field_.all ? t * field_.step : 0) + first * field_.classes;
      crf_kernels().update({first_pixel(band + 1) - first, field_.classes, width_, logs_.data() + first * width_,
                            exchanges.data(), static_cast<int>(exchanges.size()), span_, rows_.data() + worker * span_ * width_, out});
    });
  }

  // Calls body(values, first, last, worker) for the vertices of all terms that `wanted` names, over the threads.
  template <class Wanted, class Body> void over_vertices(const Wanted& wanted, const Body& body) {
    int64_t count = 0;
    for (const Values& v : values_) count += wanted(v) ? v.chunks() : 0;
    parallel_for(count, threads_, [&](int64_t item, int worker) {
      for (Values& v : values_) {
        if (!wanted(v)) continue;
        if (item < v.chunks()) {
          const int64_t first = 1 + item * kChunk;
          return body(v, first, std::min(first + kChunk, v.lattice.vertices() + 1), worker);
        }
        item -= v.chunks();
      }
    });
  }

  void pass_messages() {
    const CrfKernels& kernels = crf_kernels();
    over_vertices([](const Values&) { return true; }, [&](Values& v, int64_t first, int64_t last, int) {
      kernels.merge(v.lattice.starts(), v.lattice.list(), v.sums.data(), width_, v.scale, first, last, v.values.data());
    });
    for (int axis = 0; axis < kMostAxes; ++axis) {
      const auto has_axis = [axis](const Values& v) { return axis < v.lattice.corners(); };
      over_vertices(has_axis, [&](Values& v, int64_t first, int64_t last, int) {
        kernels.blur(v.lattice.neighbours(axis), v.values.data(), width_, first, last, v.other.data());
      });
      for (Values& v : values_)
        if (has_axis(v)) std::swap(v.values, v.other);
    }
    over_vertices([](const Values& v) { return v.term.matrix != nullptr; },
                  [&](Values& v, int64_t first, int64_t last, int worker) {
                    kernels.multiply(v.matrix.data(), field_.classes, width_, first, last, rows_.data() + worker * span_ * width_,
                                     v.values.data());
                  });
  }

  const MeanField& field_;
  const int threads_, width_, bands_, span_;
  Block<float> logs_, rows_;
  std::vector<Values> values_;
};

}  // namespace

int64_t run_mean_field(const MeanField& field, int threads) { return Inference(field, threads).run(); }

}  // namespace onewarp
