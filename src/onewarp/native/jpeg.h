// Parts of JPEGs, where the system's libjpeg-turbo was there when the module was built.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>

namespace onewarp {

// Rows [top, bottom) and columns [left, right).
struct Rect {
  int top, left, bottom, right;
};

struct JpegOptions {
  bool fast = false;  // the faster DCT and upsampling, whose pixels differ
  int reduction = 1;  // 1, 2, 4 or 8: decode at that fraction of the size, sides rounded up
};

// Decodes a part of a JPEG to its place in `out`, [height, width, channels] without gaps, 1 or 3 channels; pixels beside the
// part may be written, too. Height, width and part are those of the result, after its reduction. False: it has to be decoded
// as a whole, by other means.
bool decode_part(const uint8_t* data, size_t size, uint8_t* out, int height, int width, int channels, const Rect& part,
                 const JpegOptions& options = {});

// Adds `decodes_parts` and `jpeg_part` to the module.
void define_jpeg(nanobind::module_& m);

}  // namespace onewarp
