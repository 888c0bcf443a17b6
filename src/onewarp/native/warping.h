// The warp of one sample, made ready for the samplers: geometry, reduced source, fill, choice of sampler.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "ahead.h"
#include "exact.h"
#include "kernels.h"
#include "pass.h"
#include "scratch.h"

namespace onewarp {

inline ptrdiff_t item_size(Dtype dtype) {
  return dtype == Dtype::uint8 ? 1 : dtype == Dtype::uint16 || dtype == Dtype::float16 ? 2 : 4;
}

inline thread_local Scratch reduced_memory;  // of box-reduced sources

template <class Real> class Warping {
 public:
  Warping(const PassSettings& settings, const PassParams& params, Dtype dtype)
      : settings_(settings), params_(params), dtype_(dtype), kernels_(kernels(Real())), fill_(settings.fill.size()) {}

  // Sets up sample `row` of the parameters with its image; both must outlive the calls of sample(). `already`: the image is
  // that much smaller already, which is then all the reduction it gets.
  void prepare(const Image& image, int64_t row, int out_height, int out_width, int already) {
    const bool identity = params_.warp.matrices == nullptr;
    const int r = already > 1 ? already : params_.reduction ? params_.reduction[row] : 1;
    const bool sums = r > 1 && already == 1 && dtype_ != Dtype::float32;
    const double area = static_cast<double>(r) * r;
    for (size_t c = 0; c < fill_.size(); ++c) fill_[c] = static_cast<Real>(settings_.fill[c] * (sums ? area : 1.0));

    Sampling sampling = Sampling::copy;
    Geometry geometry{};
    steps_ = {0, 0, 1, 0, 0, 1};
    moves_ = identity;
    if (!identity) {
      geometry = sample_geometry(params_.warp, row, fields_);
      moves_ = r == 1 && moves_whole_pixels(geometry, &steps_);
      sampling = moves_ ? Sampling::nearest : wanted();
    }
    warp_ = {image, geometry, 1.0 / r, static_cast<Real>(sums ? 1.0 / area : 1.0), settings_.border, fill_.data()};
    Dtype source = dtype_;
    if (r > 1 && already == 1) {
      source = dtype_ == Dtype::uint8 ? Dtype::uint16 : dtype_ == Dtype::uint16 ? Dtype::sum32 : Dtype::float32;
      warp_.source = reduced(image, r, source, visited(geometry, r, image, out_height, out_width));
    }
    const ptrdiff_t size = item_size(source);
    const bool packed = warp_.source.channel == size && warp_.source.column == size * settings_.channels;
    sampler_ = kernels_.sampler(sampling, source, settings_.channels, packed);
    const bool scattered = !moves_ && r == 1 && is_affine(geometry) && image.row * image.height > kCached;
    ahead_ = scattered ? 0 : std::numeric_limits<int>::max();
    read_ = {image.height, 0, 0, 0};
    out_width_ = out_width;
  }

  // How the prepared sample is moved by whole pixels, read from its image as it is; null where it is not.
  const Steps* steps() const { return moves_ ? &steps_ : nullptr; }

  void sample(const Span& span, Real* out, int stride) {
    if (span.i >= ahead_) read_ahead(span.i);
    sampler_(warp_, span, out, stride);
  }

 private:
  static constexpr int kAheadRows = 32;                // rows of the frame
  static constexpr ptrdiff_t kCached = 1 << 16;  // bytes: what needs no care

  Sampling wanted() const {
    switch (settings_.interpolation) {
      case Interpolation::nearest: return Sampling::nearest;
      case Interpolation::bilinear: return Sampling::bilinear;
      case Interpolation::bicubic: return Sampling::bicubic;
    }
    return Sampling::bilinear;
  }

  // The part of the reduced image that sampling the frame can read, with room for the taps. All of it where that is not
  // known.
  Part visited(const Geometry& geometry, int r, const Image& image, int out_height, int out_width) const {
    const int height = (image.height + r - 1) / r, width = (image.width + r - 1) / r;
    const Part all{0, height, 0, width};
    bool inside = true;
    if (!is_affine(geometry)) return all;
    const Part part = sources(geometry, r, height, width, 0, out_height, out_width, &inside);
    const bool repeats = settings_.border == Border::reflect || settings_.border == Border::wrap;
    return repeats && !inside ? all : part;
  }

  static bool is_affine(const Geometry& geometry) {
    const float* m = geometry.matrices;
    return geometry.field_count == 0 && m[6] == 0 && m[7] == 0 && m[8] == 1;
  }

  // What lies between the sources of the corners of rows [first, last) of the frame, clipped to the image.
  static Part sources(const Geometry& geometry, int r, int height, int width, int first, int last, int out_width, bool* inside) {
    const float* m = geometry.matrices;
    double low[2], high[2];
    for (int axis = 0; axis < 2; ++axis) {  // x, y
      const double a = m[3 * axis] * static_cast<double>(out_width), at = m[3 * axis + 2];
      const double b = m[3 * axis + 1] * static_cast<double>(first), c = m[3 * axis + 1] * static_cast<double>(last);
      low[axis] = (at + std::min(a, 0.0) + std::min(b, c)) / r - 3;
      high[axis] = (at + std::max(a, 0.0) + std::max(b, c)) / r + 3;
    }
    *inside = low[0] >= 0 && low[1] >= 0 && high[0] <= width && high[1] <= height;
    auto within = [](double v, int most) { return static_cast<int>(std::min(std::max(v, 0.0), static_cast<double>(most))); };
    Part part{within(low[1], height - 1), within(high[1], height), within(low[0], width - 1), within(high[0], width)};
    part.bottom = std::max(part.bottom, part.top + 1);  // the edge is read where everything lies outside
    part.right = std::max(part.right, part.left + 1);
    return part;
  }

  // Reads what the coming rows of the frame will sample, in the order in which it lies in memory: that runs at the speed
  // of memory, while a warp's own reads, across many rows of the source, wait for each cache line.
  void read_ahead(int first) {
    const Image& image = warp_.source;
    const int last = first + kAheadRows;
    bool inside;
    const Part part = sources(warp_.geometry, 1, image.height, image.width, first, last, out_width_, &inside);
    read_lines(image, {part.top, std::min(part.bottom, read_.top), part.left, part.right});
    read_lines(image, {std::max(part.top, read_.bottom), part.bottom, part.left, part.right});
    read_.top = std::min(read_.top, part.top);
    read_.bottom = std::max(read_.bottom, part.bottom);
    ahead_ = last;
  }

  Image reduced(const Image& image, int r, Dtype dtype, const Part& part) {
    const int height = (image.height + r - 1) / r, width = (image.width + r - 1) / r;
    const ptrdiff_t channel = item_size(dtype), column = channel * image.channels, row = column * width;
    uint8_t* memory = static_cast<uint8_t*>(reduced_memory.bytes(static_cast<size_t>(row) * height));
    kernels_.reduce(dtype_, image, r, {memory, height, width, image.channels, row, column, channel}, part);
    return {memory, height, width, image.channels, row, column, channel};
  }

  const PassSettings& settings_;
  const PassParams& params_;
  const Dtype dtype_;
  const Kernels<Real>& kernels_;
  std::vector<Real> fill_;
  std::vector<Field> fields_;
  Warp<Real> warp_{};
  Part read_{};       // rows of the source that were read ahead: top ... bottom
  int ahead_ = 0;     // rows of the frame whose source was
  int out_width_ = 0;
  Steps steps_{};
  bool moves_ = false;
  Sampler<Real> sampler_ = nullptr;
};

}  // namespace onewarp
