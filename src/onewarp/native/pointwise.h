// Passes from uint8 to uint8 that move whole pixels at most and colour each channel by itself: what a level becomes is
// worked out once for all 256 levels, with the same kernels as pixels, and then looked up.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "colouring.h"

namespace onewarp {

template <class Real> class Levels {
 public:
  Levels(const Range<Real>& range, int channels)
      : range_(range),
        channels_(channels),
        values_(static_cast<size_t>(kSpan) * channels),
        histogram_(static_cast<size_t>(channels) * kHistogram),
        sums_(channels) {}

  // What the levels of `image` (packed uint8) become under the prepared ops.
  void trace(Colouring<Real>& colouring, const Image& image) {
    for (int c = 0; c < channels_; ++c)
      for (int level = 0; level < 256; ++level) values_[c * kSpan + level] = static_cast<Real>(level);
    bool counted = false;
    linear_ = true;
    for (int k = 0; k < colouring.count(); ++k) {
      if (colouring.observes(k)) {
        if (colouring.kind(k) == ColourKind::affine && linear_) {
          colouring.set_means(means(image));
        } else {
          if (!counted) count(image);
          counted = true;
          colouring.reset_statistics();
          for (int c = 0; c < channels_; ++c) colouring.observe_levels(k, c, values_.data() + c * kSpan, counts(c));
        }
        colouring.complete(k, static_cast<double>(image.height) * image.width);
      }
      colouring.apply(k, 256, values_.data(), kSpan);
      linear_ = linear_ && colouring.kind(k) == ColourKind::affine;
    }
  }

  Real* values() { return values_.data(); }  // planar [C][kSpan]

 private:
  // Sums over the image of what its levels have become, as long as that is linear in the level.
  const double* means(const Image& image) {
    std::vector<uint64_t> totals(channels_);
    const bool packed = image.row == static_cast<ptrdiff_t>(image.width) * channels_;  // then all of it is one long row
    const int rows = packed ? 1 : image.height;
    const ptrdiff_t columns = packed ? static_cast<ptrdiff_t>(image.height) * image.width : image.width;
    for (int i = 0; i < rows; ++i) byte_kernels().sum_pixels(image.data + i * image.row, columns, channels_, totals.data());
    const double pixels = static_cast<double>(image.height) * image.width;
    for (int c = 0; c < channels_; ++c) {
      const double at0 = values_[c * kSpan], slope = (values_[c * kSpan + 255] - at0) / 255.0;
      sums_[c] = at0 * pixels + slope * static_cast<double>(totals[c]);
    }
    return sums_.data();
  }

  void count(const Image& image) {
    std::fill(histogram_.begin(), histogram_.end(), 0u);
    for (int i = 0; i < image.height; ++i)
      byte_kernels().count_pixels(image.data + i * image.row, image.width, channels_, histogram_.data());
    for (int c = 0; c < channels_; ++c) {
      uint32_t* counters = histogram_.data() + static_cast<size_t>(c) * kHistogram;
      for (int k = 256; k < kHistogram; ++k) counters[k % 256] += counters[k];
    }
  }

  const uint32_t* counts(int c) const { return histogram_.data() + static_cast<size_t>(c) * kHistogram; }

  const Range<Real> range_;
  const int channels_;
  std::vector<Real> values_;
  std::vector<uint32_t> histogram_;
  std::vector<double> sums_;
  bool linear_ = true;
};

}  // namespace onewarp
