// Reading ahead of copies and warps that do not go through their source upwards in memory.
#pragma once

#include "types.h"

namespace onewarp {
namespace {

// Reads a byte of each cache line of a part of an image, in the order of memory, which the processor runs ahead of by
// itself: what reads that part next finds it in the cache.
inline void read_lines(const Image& image, const Part& part) {
  unsigned seen = 0;
  for (int y = part.top; y < part.bottom; ++y)
    for (ptrdiff_t at = part.left * image.column; at < part.right * image.column; at += 64) seen += image.data[y * image.row + at];
  asm volatile("" : : "r"(seen));  // the reads are not left out
}

}  // namespace
}  // namespace onewarp
