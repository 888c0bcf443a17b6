// One pass over a batch: warp, colour, erase, cast. Orchestration; the arithmetic is in the kernels.
#pragma once

#include <cstdint>
#include <vector>

#include "jpeg.h"
#include "types.h"

namespace onewarp {

// What is the same for every batch.
struct EraseOp {
  bool rects;                // else a grid
  std::vector<double> fill;  // [C] image units; empty: noise
};
struct PassSettings {
  int channels;
  Interpolation interpolation;
  Border border;
  std::vector<double> fill;  // [C]
  double low, high;
  std::vector<ColourKind> ops;
  bool linear_tables;
  std::vector<EraseOp> erase;
  std::vector<double> scale, offset;  // [C]
};

// The warp's parameters; row k belongs to sample k of the parameter arrays.
struct WarpParams {
  const float* matrices = nullptr;  // [N, fields + 1, 3, 3]; null: identity
  struct Grid {
    const float* data;  // [N, gh, gw, 2]
    int gh, gw;
  };
  std::vector<Grid> fields;
  const float* frames = nullptr;  // [N, fields, 2]: h, w
};
struct ColourParams {
  const float* data;  // see ColourKind; null where the kind needs none
  int entries, columns;
  const uint8_t* active;  // [N]
};
struct EraseParams {
  const void* data;  // rects: int32 [N, count, 4]; grid: float32 [N, 6]
  int count;
  const uint8_t* active;  // [N]
  const uint32_t* keys;   // [N, 2]; null unless the fill is noise
};

// A JPEG that stands for an image. The thread that needs the image decodes it, as far as the part goes.
struct Encoded {
  const uint8_t* data;
  size_t size;  // bytes
  Rect part;  // of the image
  JpegOptions options;
};

// One batch; every length and shape was checked before.
struct Batch {
  Dtype in, out;
  std::vector<Image> images;
  std::vector<Encoded> encoded;  // empty, or as many as images, whose data are null then
  uint8_t* made = nullptr;       // [n] where there are encoded ones: set to 1 for those that could be decoded
  std::vector<Target> targets;  // as many as images, all of one size
  int64_t start;                // parameter row of images[0]
  int threads;
  bool streamed = false;  // results are written past the caches
};
struct PassParams {
  WarpParams warp;
  const int32_t* reduction = nullptr;  // [N], each 1, 2, 4 or 8; null: 1
  std::vector<ColourParams> ops;
  std::vector<EraseParams> erase;
};

void run_pass(const PassSettings& settings, const PassParams& params, const Batch& batch);

// Copies elements of `itemsize` bytes to where the nearest source pixel is; `fill` is one element.
void run_nearest(const WarpParams& warp, Border border, const uint8_t* fill, int itemsize, const Batch& batch);

// The geometry of one sample. `fields` is scratch that must outlive the result.
Geometry sample_geometry(const WarpParams& warp, int64_t row, std::vector<Field>& fields);

}  // namespace onewarp
