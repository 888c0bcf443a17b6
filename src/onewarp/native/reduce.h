// Box reduction: every r x r block of the source becomes one pixel; blocks over the edge repeat the edge pixel.
// Integer images keep exact sums (uint8 -> uint16, uint16 -> sum32); float32 images keep the mean.
#pragma once

#include "types.h"

namespace onewarp {
namespace {

// What sums are added up in before they are kept as Sum: uint16 is left to the end.
template <class Sum> struct Adder { typedef Sum type; };
template <> struct Adder<uint16_t> { typedef uint32_t type; };

template <class T, class Sum, class To>
void reduce_block(const Image& source, int r, const Target& target, const Part& part, double unit) {
  for (int i = part.top; i < part.bottom; ++i) {
    for (int j = part.left; j < part.right; ++j) {
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

// Sums of r neighbouring pixels of C values: `line` [n * r * C] -> `to` [n * C].
template <class To, int C, int r, class Sum> void add_neighbours(const Sum* line, int n, Sum unit, uint8_t* to) {
  int j = 0;
  if constexpr (C == 3 && sizeof(Sum) == 2) {
    // Four values at a time in one word; none can carry into the next. The fourth is written over by the next pixel.
    for (; j + 1 < n; ++j) {
      uint64_t sum = 0;
      for (int t = 0; t < r; ++t) sum += load<uint64_t>((const uint8_t*)(line + (j * r + t) * 3));
      store(to + 6 * j, sum);
    }
  }
  for (; j < n; ++j) {
    for (int c = 0; c < C; ++c) {
      Sum sum = 0;
      for (int t = 0; t < r; ++t) sum = (Sum)(sum + line[(j * r + t) * C + c]);
      store(to + (j * C + c) * sizeof(To), sizeof(Sum) == 8 ? (To)(sum * unit) : (To)sum);
    }
  }
}

// Packed images: rows are added first, in vectors, a stretch at a time; then neighbours within the row.
template <class T, class Sum, class To, int C, int r>
void reduce_packed(const Image& source, const Target& target, const Part& part, double unit) {
  constexpr int kPixels = 64;  // of the result
  Sum line[kPixels * r * C + 4];
  const int whole_rows = source.height / r, whole_columns = source.width / r;
  const int bottom = part.bottom < whole_rows ? part.bottom : whole_rows;
  const int right = part.right < whole_columns ? part.right : whole_columns;
  for (int i = part.top; i < bottom; ++i) {
    for (int j = part.left; j < right; j += kPixels) {
      const int n = right - j < kPixels ? right - j : kPixels, values = n * r * C;
      const uint8_t* from = source.data + (ptrdiff_t)i * r * source.row + (ptrdiff_t)j * r * C * (ptrdiff_t)sizeof(T);
      for (int k = 0; k < values; ++k) {
        typename Adder<Sum>::type sum = 0;
        for (int t = 0; t < r; ++t) sum += load<T>(from + t * source.row + k * (ptrdiff_t)sizeof(T));
        line[k] = (Sum)sum;
      }
      add_neighbours<To, C, r>(line, n, (Sum)unit, target.data + i * target.row + j * target.column);
    }
  }
  typedef typename Adder<Sum>::type Total;
  if (part.bottom > bottom)
    reduce_block<T, Total, To>(source, r, target, {bottom > part.top ? bottom : part.top, part.bottom, part.left, part.right}, unit);
  if (part.right > right)
    reduce_block<T, Total, To>(source, r, target, {part.top, part.bottom, right > part.left ? right : part.left, part.right}, unit);
}

template <class T, class Sum, class To, int C>
void reduce_packed(const Image& source, int r, const Target& target, const Part& part, double unit) {
  if (r == 2) return reduce_packed<T, Sum, To, C, 2>(source, target, part, unit);
  if (r == 4) return reduce_packed<T, Sum, To, C, 4>(source, target, part, unit);
  return reduce_packed<T, Sum, To, C, 8>(source, target, part, unit);
}

template <class T, class Sum, class To>
void reduce_as(const Image& source, int r, const Target& target, const Part& part, double unit) {
  const bool packed = source.channel == sizeof(T) && source.column == source.channels * (ptrdiff_t)sizeof(T);
  if (packed && source.channels == 1) return reduce_packed<T, Sum, To, 1>(source, r, target, part, unit);
  if (packed && source.channels == 3) return reduce_packed<T, Sum, To, 3>(source, r, target, part, unit);
  if (packed && source.channels == 4) return reduce_packed<T, Sum, To, 4>(source, r, target, part, unit);
  reduce_block<T, typename Adder<Sum>::type, To>(source, r, target, part, unit);
}

// Fills the part of `target` that will be read.
inline void reduce(Dtype dtype, const Image& source, int r, const Target& target, const Part& part) {
  if (dtype == Dtype::uint8) return reduce_as<uint8_t, uint16_t, uint16_t>(source, r, target, part, 1.0);
  if (dtype == Dtype::uint16) return reduce_as<uint16_t, uint32_t, uint32_t>(source, r, target, part, 1.0);
  return reduce_as<float, double, float>(source, r, target, part, 1.0 / (r * r));
}

}  // namespace
}  // namespace onewarp
