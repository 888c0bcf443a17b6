// The permutohedral lattice of an image's pixels: made once, used by every iteration of a mean field.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "crf_kernels.h"

namespace onewarp {

// Memory that is not initialised; fresh pages are touched by the thread that fills them.
template <class T> class Block {
 public:
  Block() = default;
  explicit Block(int64_t size) : memory_(static_cast<T*>(::operator new(sizeof(T) * static_cast<size_t>(size), kLine))) {}
  T* data() const { return memory_.get(); }
  T& operator[](int64_t k) const { return memory_.get()[k]; }

 private:
  static constexpr std::align_val_t kLine{64};
  struct Free {
    void operator()(T* memory) const { ::operator delete(memory, kLine); }
  };
  std::unique_ptr<T, Free> memory_;
};

// What the lattice is made of: pixels in reading order, standard deviations of x, y and, with an image, of r, g, b.
struct LatticeSettings {
  int height, width;
  const uint8_t* image;  // [height, width, 3], or null: positions alone
  float deviations[5];
};

// Pixels are divided into bands, always the same ones, each with vertices of its own. A band is splatted by one thread;
// then a vertex adds up its rows in the order of the bands. So any number of threads gives the same bits.
class Lattice {
 public:
  // Whether 16 bits hold every coordinate.
  static bool fits(const LatticeSettings& settings);
  Lattice(const LatticeSettings& settings, int threads);

  static int bands_of(int64_t pixels);
  static int64_t first_pixel(int64_t pixels, int bands, int band) { return pixels * band / bands; }

  int corners() const { return features_ + 1; }
  int64_t vertices() const { return vertices_; }  // numbered from 1; row 0 is that of neighbours that are not there
  int64_t rows() const { return band_rows_.back(); }
  int64_t band_row(int band) const { return band_rows_[static_cast<size_t>(band)]; }
  int64_t rows_of(int band) const { return band_row(band + 1) - band_row(band); }
  const int32_t* row_vertices() const { return row_vertices_.data(); }  // [rows]: the vertex of a band's row
  const int32_t* starts() const { return starts_.data(); }              // [vertices + 2]
  const int32_t* list() const { return list_.data(); }                  // [rows]: a vertex's rows
  const int32_t* neighbours(int axis) const { return neighbours_.data() + 2 * axis * (vertices_ + 1); }
  const int32_t* offsets() const { return offsets_.data(); }  // [pixels, corners]
  // Barycentric weights over the square root of what the number 1 becomes: the same number of messages for every pixel.
  const float* weights() const { return weights_.data(); }  // [pixels, corners]
  float alpha() const { return 1.0f / (1.0f + 1.0f / static_cast<float>(1 << features_)); }

 private:
  struct Band;
  void fill_band(const LatticeSettings& settings, int64_t first, int64_t last, Band& band) const;
  void find_neighbours(const std::vector<Band>& bands, int threads);
  void normalise(int threads);

  int features_;
  int64_t pixels_, vertices_ = 0;
  std::vector<int64_t> band_rows_;
  Block<int32_t> offsets_, row_vertices_, starts_, list_, neighbours_;
  Block<float> weights_;
};

}  // namespace onewarp
