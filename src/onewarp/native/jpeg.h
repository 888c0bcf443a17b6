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

// Decodes a part of a JPEG to its place in `out`, [height, width, channels] without gaps, 1 or 3 channels; pixels beside the
// part may be written, too. False: it has to be decoded as a whole, by other means.
bool decode_part(const uint8_t* data, size_t size, uint8_t* out, int height, int width, int channels, const Rect& part);

// Adds `decodes_parts` and `jpeg_part` to the module.
void define_jpeg(nanobind::module_& m);

}  // namespace onewarp
