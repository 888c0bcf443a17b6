// Exact copies: flips, quarter turns, transposes, whole shifts and crops. Pixels are moved as bytes, nothing is computed.
#pragma once

#include "ahead.h"
#include "geometry.h"
#include "kernels.h"

namespace onewarp {
namespace {

// A step from output pixel to output pixel, in source pixels: (x, y) of the pixel at (0, 0), and what one column and one
// row add. One of each pair of steps is 0, the other 1 or -1.
struct Steps {
  int x, y;
  int x_by_column, y_by_column, x_by_row, y_by_row;
};

// Whether a warp only moves whole pixels; fills `steps`.
inline bool moves_whole_pixels(const Geometry& geometry, Steps* steps) {
  const float* m = geometry.matrices;
  if (geometry.field_count > 0 || m[6] != 0 || m[7] != 0 || m[8] != 1) return false;
  const bool straight = (m[0] == 1 || m[0] == -1) && (m[4] == 1 || m[4] == -1) && m[1] == 0 && m[3] == 0;
  const bool turned = (m[1] == 1 || m[1] == -1) && (m[3] == 1 || m[3] == -1) && m[0] == 0 && m[4] == 0;
  if (!straight && !turned) return false;
  const double x = 0.5 * (m[0] + m[1]) + m[2] - 0.5, y = 0.5 * (m[3] + m[4]) + m[5] - 0.5;
  if (!(x > -kFar && x < kFar && y > -kFar && y < kFar) || x != (int)x || y != (int)y) return false;
  *steps = {(int)x, (int)y, (int)m[0], (int)m[3], (int)m[1], (int)m[4]};
  return true;
}

// n pixels of B bytes, `step` bytes apart in the source; B = 0: of `bytes` bytes.
template <int B> inline void copy_run(const uint8_t* from, ptrdiff_t step, uint8_t* to, int n, int bytes, bool streamed) {
  const int size = B > 0 ? B : bytes;
  if (step == size) {
    if (streamed) return byte_kernels().stream_bytes(from, (ptrdiff_t)n * size, to);
    memcpy(to, from, (size_t)n * size);
    return;
  }
  if (step == -size) {
    byte_kernels().reverse_pixels(from - (ptrdiff_t)(n - 1) * size, n, size, to);
    return;
  }
  for (int j = 0; j < n; ++j, from += step, to += size) memcpy(to, from, size);
}

// Range of columns j in [0, width) for which start + step * j lies in [0, size).
inline void columns_inside(int start, int step, int size, int width, int* first, int* last) {
  if (step == 0) {
    const bool inside = start >= 0 && start < size;
    *first = inside ? *first : width;
    return;
  }
  const int64_t low = step > 0 ? -(int64_t)start : (int64_t)start - size + 1;
  const int64_t high = step > 0 ? (int64_t)size - start : (int64_t)start + 1;
  if (low > *first) *first = low < width ? (int)low : width;
  if (high < *last) *last = high > 0 ? (int)high : 0;
}

// n times the pixel of `size` bytes: what is there is doubled until there is enough.
inline void repeat_pixel(const uint8_t* pixel, int n, int size, uint8_t* to) {
  if (n <= 0) return;
  memcpy(to, pixel, size);
  for (ptrdiff_t done = size, all = (ptrdiff_t)n * size; done < all;) {
    const ptrdiff_t more = done < all - done ? done : all - done;
    memcpy(to + done, to, more);
    done += more;
  }
}

// One row. `fill` is one pixel.
template <int B>
void copy_row(const Image& image, const Steps& steps, Border border, const uint8_t* fill, int i, int width, int bytes, bool streamed,
              uint8_t* to) {
  const int size = B > 0 ? B : bytes;
  const int x = steps.x + i * steps.x_by_row, y = steps.y + i * steps.y_by_row;
  int first = 0, last = width;
  columns_inside(x, steps.x_by_column, image.width, width, &first, &last);
  columns_inside(y, steps.y_by_column, image.height, width, &first, &last);
  if (last < first) last = first;
  auto outside = [&](int from, int end) {
    if (border == Border::constant) return repeat_pixel(fill, end - from, size, to + (ptrdiff_t)from * size);
    for (int j = from; j < end; ++j) {
      const int tx = border_index(x + j * steps.x_by_column, image.width, border);
      const int ty = border_index(y + j * steps.y_by_column, image.height, border);
      memcpy(to + (ptrdiff_t)j * size, image.data + ty * image.row + tx * image.column, size);
    }
  };
  outside(0, first);
  if (first < last) {
    const uint8_t* from = image.data + (ptrdiff_t)(y + first * steps.y_by_column) * image.row +
                          (ptrdiff_t)(x + first * steps.x_by_column) * image.column;
    copy_run<B>(from, steps.x_by_column * image.column + steps.y_by_column * image.row, to + (ptrdiff_t)first * size,
                last - first, bytes, streamed);
  }
  outside(last, width);
}

constexpr int kBand = 16;  // rows of a mirrored copy whose source is read ahead

template <int B>
void copy_rows(const Image& image, const Steps& steps, Border border, const uint8_t* fill, int bytes, bool streamed,
               const Target& target) {
  const bool mirrored = steps.x_by_column == -1, upwards = steps.y_by_row == -1;
  for (int k = 0; k < target.height; ++k) {
    const int i = upwards ? target.height - 1 - k : k;  // the source is read in the order of memory
    if (mirrored && k % kBand == 0) {
      const int first = steps.y + i * steps.y_by_row;
      read_lines(image, {first > 0 ? first : 0, first + kBand < image.height ? first + kBand : image.height, 0, image.width});
    }
    copy_row<B>(image, steps, border, fill, i, target.width, bytes, streamed, target.data + i * target.row);
  }
}

// Copies a whole image. Pixels of source and target are packed: `bytes` in a row, nothing between them.
inline void copy_exactly(const Image& image, const Steps& steps, Border border, const uint8_t* fill, int bytes, bool streamed,
                         const Target& target) {
  switch (bytes) {
    case 1: return copy_rows<1>(image, steps, border, fill, bytes, streamed, target);
    case 2: return copy_rows<2>(image, steps, border, fill, bytes, streamed, target);
    case 3: return copy_rows<3>(image, steps, border, fill, bytes, streamed, target);
    case 4: return copy_rows<4>(image, steps, border, fill, bytes, streamed, target);
    case 8: return copy_rows<8>(image, steps, border, fill, bytes, streamed, target);
    case 12: return copy_rows<12>(image, steps, border, fill, bytes, streamed, target);
    default: return copy_rows<0>(image, steps, border, fill, bytes, streamed, target);
  }
}

}  // namespace
}  // namespace onewarp
