// The erased parts of a sample as rectangles. A grid of holes is the same runs of columns on every row that it touches.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "pass.h"

namespace onewarp {

class Holes {
 public:
  // `grid`: unit_h, unit_w, hole_h, hole_w, offset_y, offset_x in pixels.
  void lay_grid(const float* grid, int height, int width) {
    rows_.resize(height);
    for (int i = 0; i < height; ++i) rows_[i] = in_hole(i, grid[4], grid[0], grid[2]);
    rects_.clear();
    for (int j = 0; j < width;) {
      const int from = j;
      while (j < width && in_hole(j, grid[5], grid[1], grid[3])) ++j;
      if (from < j) rects_.insert(rects_.end(), {0, from, height, j});
      if (from == j) ++j;
    }
  }

  template <class Real> void give(EraseStep<Real>& step) const {
    step.rects = rects_.data();
    step.count = static_cast<int>(rects_.size() / 4);
    step.rows = rows_.data();
  }

 private:
  // A pixel's centre lies in a hole; a unit of zero or NaN has no holes.
  static bool in_hole(int pixel, float offset, float unit, float hole) {
    return std::fmod(pixel + 0.5 + static_cast<double>(offset), static_cast<double>(unit)) < static_cast<double>(hole);
  }

  std::vector<int32_t> rects_;
  std::vector<uint8_t> rows_;
};

}  // namespace onewarp
