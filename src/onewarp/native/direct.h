// uint8 images whose pixels stay where they are: from bytes to results in one go, without a span of values in between.
#pragma once

#include "finish.h"

namespace onewarp {
namespace {

// One row of the loop below. C vectors hold whole pixels: which channel a lane is of repeats with them.
template <int C> void scale_row(const Finish<float>& finish, const Floats* scale, const Floats* offset, ptrdiff_t n,
                                const uint8_t* from, uint8_t* to) {
  const Floats low = splat(finish.range.low), high = splat(finish.range.high);
  const bool past_caches = finish.streamed && streamable(to);
  ptrdiff_t k = 0;
  for (; k + C * kLanes <= n; k += C * kLanes) {
#pragma GCC unroll 4
    for (int part = 0; part < C; ++part) {
      const ptrdiff_t at = k + part * kLanes;
      const Floats v = clamp(load_bytes(from + at), low, high) * scale[part] + offset[part];
      if (past_caches)
        stream_vector(to + 4 * at, v);
      else
        store_vector(to + 4 * at, v);
    }
  }
  for (; k < n; ++k) ToFloat32::put(to + 4 * k, finished(finish, (float)from[k], (int)(k % C)));
}

template <int C> void scale_as(const Finish<float>& finish, const Image& from, const Target& to) {
  float scale[C * kLanes], offset[C * kLanes];
  Floats scales[C], offsets[C];
  for (int k = 0; k < C * kLanes; ++k) {
    scale[k] = finish.scale[k % C];
    offset[k] = finish.offset[k % C];
  }
  for (int part = 0; part < C; ++part) {
    scales[part] = load_vector<Floats>(scale + part * kLanes);
    offsets[part] = load_vector<Floats>(offset + part * kLanes);
  }
  const ptrdiff_t n = (ptrdiff_t)from.width * C;
  for (int i = 0; i < from.height; ++i) scale_row<C>(finish, scales, offsets, n, from.data + i * from.row, to.data + i * to.row);
}

// uint8 -> float32: saturated, scaled and offset. Both are packed in a row and of one size.
inline void scale_pixels(const Finish<float>& finish, const Image& from, const Target& to) {
  switch (from.channels) {
    case 1: return scale_as<1>(finish, from, to);
    case 2: return scale_as<2>(finish, from, to);
    case 3: return scale_as<3>(finish, from, to);
    case 4: return scale_as<4>(finish, from, to);
  }
}

// A colour map on a vector of RGB pixels, with the arithmetic of colour_affine and of the end of a pass. `grey`: its rows
// are alike.
template <bool grey> ONEWARP_INLINE Uints mixed(const float* matrix, Uints pixels) {
  Floats in[3];
  Uints out{};
#pragma GCC unroll 3
  for (int c = 0; c < 3; ++c) in[c] = to_floats(pixels >> 8 * c & 0xffu);
#pragma GCC unroll 3
  for (int r = 0; r < (grey ? 1 : 3); ++r) {
    Floats v = splat(matrix[9 + r]);
#pragma GCC unroll 3
    for (int c = 0; c < 3; ++c) v += splat(matrix[3 * r + c]) * in[c];
    out |= level_bits(v, 255.0f) << 8 * r;
  }
  return grey ? out | out << 8 | out << 16 : out;
}

template <bool grey> void mix_run(const float* matrix, const uint8_t* from, ptrdiff_t pixels, uint8_t* to) {
  ptrdiff_t j = 0;
  for (; 3 * (j + kLanes) + kRgbRoom <= 3 * pixels; j += kLanes) store_rgb(to + 3 * j, mixed<grey>(matrix, load_rgb(from + 3 * j)));
  for (; j < pixels; j += kLanes) {  // the last few, in memory with room
    uint8_t some[3 * kLanes + kRgbRoom] = {};
    const size_t bytes = 3 * (size_t)(pixels - j < kLanes ? pixels - j : kLanes);
    memcpy(some, from + 3 * j, bytes);
    store_rgb(some, mixed<grey>(matrix, load_rgb(some)));
    memcpy(to + 3 * j, some, bytes);
  }
}

// uint8 RGB -> uint8 RGB by a colour map for raw values: `matrix` [3][3], then offset [3].
inline void mix_rgb(const float* matrix, const uint8_t* from, ptrdiff_t pixels, uint8_t* to) {
  bool grey = matrix[9] == matrix[10] && matrix[9] == matrix[11];
  for (int c = 0; c < 3; ++c) grey = grey && matrix[c] == matrix[3 + c] && matrix[c] == matrix[6 + c];
  if (grey)
    mix_run<true>(matrix, from, pixels, to);
  else
    mix_run<false>(matrix, from, pixels, to);
}

}  // namespace
}  // namespace onewarp
