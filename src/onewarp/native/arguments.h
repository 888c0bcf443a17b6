// The arguments that all functions of the module share: images, output, warp. They own the arrays they point into.
#pragma once

#include <list>
#include <optional>

#include "arrays.h"
#include "pass.h"

namespace onewarp {

Interpolation parse_interpolation(const std::string& name);
Border parse_border(const std::string& name);

// Images [n, H, W, C] or a list of [H, W, C], and the output they go to, [n, h, w, C] or [n, C, h, w].
class BatchArguments {
 public:
  BatchArguments(nanobind::handle images, nanobind::handle out, bool channels_first, int64_t start, int threads);

  // JPEGs instead of images: a list of bytes, and int32 [n, 7]: height and width of each, the part of it to decode, and the
  // reduction at which it is decoded.
  BatchArguments(nanobind::sequence jpegs, nanobind::handle places, bool fast, int channels, nanobind::handle out,
                 bool channels_first, int64_t start);

  // The element types that the images and the output may have; both raise TypeError.
  void require_images(std::initializer_list<Dtype> allowed);
  void require_out(std::initializer_list<Dtype> allowed);
  void require_same_dtype() const;   // of images and out
  void require_same_size() const;    // of every image and the output
  void require_channels(int channels) const;  // of the images; the output always agrees with them

  Batch batch;
  int64_t rows() const { return batch.start + count(); }  // parameter rows that are needed
  int64_t count() const { return static_cast<int64_t>(batch.images.size()); }
  ptrdiff_t itemsize() const { return out_.itemsize(); }

 private:
  void add_image(const uint8_t* data, const Array& array, int axis);
  void add_targets(bool channels_first);

  std::list<Array> images_;
  Array out_;
};

// matrices float32 [N, f+1, 3, 3] or None, fields list of f float32 [N, gh, gw, 2], frames float32 [N, f, 2] or None.
class WarpArguments {
 public:
  WarpArguments(nanobind::object matrices, nanobind::sequence fields, nanobind::object frames, const BatchArguments& batch);
  WarpParams params;

 private:
  std::optional<Parameter<float>> matrices_, frames_;
  std::list<Parameter<float>> fields_;
};

}  // namespace onewarp
