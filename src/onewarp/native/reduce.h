// Box reduction: every r x r block of the source becomes one pixel; blocks over the edge repeat the edge pixel.
// Integer images keep exact sums (uint8 -> uint16, uint16 -> sum32); float32 images keep the mean.
#pragma once

#include "types.h"

namespace onewarp {
namespace {

template <class T, class Sum, class To> void reduce_as(const Image& source, int r, const Target& target, double unit) {
  for (int i = 0; i < target.height; ++i) {
    for (int j = 0; j < target.width; ++j) {
      uint8_t* to = target.data + i * target.row + j * target.column;
      for (int c = 0; c < target.channels; ++c) {
        Sum sum = 0;
        for (int y = i * r; y < (i + 1) * r; ++y) {
          const uint8_t* row = source.data + (y < source.height ? y : source.height - 1) * source.row + c * source.channel;
          for (int x = j * r; x < (j + 1) * r; ++x)
            sum += load<T>(row + (x < source.width ? x : source.width - 1) * source.column);
        }
        store(to + c * target.channel, sizeof(Sum) == 8 ? (To)(sum * unit) : (To)sum);
      }
    }
  }
}

inline void reduce(Dtype dtype, const Image& source, int r, const Target& target) {
  if (dtype == Dtype::uint8) return reduce_as<uint8_t, uint32_t, uint16_t>(source, r, target, 1.0);
  if (dtype == Dtype::uint16) return reduce_as<uint16_t, uint32_t, uint32_t>(source, r, target, 1.0);
  return reduce_as<float, double, float>(source, r, target, 1.0 / (r * r));
}

}  // namespace
}  // namespace onewarp
