// Values of images as floats and back, whatever their type; weighted means of two images.
#pragma once

#include "finish.h"

namespace onewarp {
namespace {

inline void read_halves(const uint8_t* from, int n, float* to) {
  typedef uint16_t Packed __attribute__((vector_size(kLanes * 2)));
  auto convert = [](const uint8_t* halves, float* values) {
    Packed packed;
    memcpy(&packed, halves, sizeof(packed));
    store_vector(values, from_half(__builtin_convertvector(packed, Uints)));
  };
  for (; n >= kLanes; n -= kLanes, from += 2 * kLanes, to += kLanes) convert(from, to);
  uint8_t halves[2 * kLanes] = {};
  float values[kLanes];
  memcpy(halves, from, 2 * (size_t)n);
  convert(halves, values);
  memcpy(to, values, 4 * (size_t)n);
}

inline void write_halves(const float* from, int n, uint8_t* to) {
  auto convert = [](const float* values, uint8_t* halves) {
    uint32_t bits[kLanes];
    store_vector(bits, half_bits(load_vector<Floats>(values)));
    store_bits<2>(halves, bits, kLanes);
  };
  for (; n >= kLanes; n -= kLanes, from += kLanes, to += 2 * kLanes) convert(from, to);
  float values[kLanes] = {};
  uint8_t halves[2 * kLanes];
  memcpy(values, from, 4 * (size_t)n);
  convert(values, halves);
  memcpy(to, halves, 2 * (size_t)n);
}

inline void read_values(Dtype dtype, const uint8_t* from, int n, float* to) {
  switch (dtype) {
    case Dtype::uint8:
      for (int k = 0; k < n; ++k) to[k] = from[k];
      return;
    case Dtype::uint16:
      for (int k = 0; k < n; ++k) to[k] = load<uint16_t>(from + 2 * k);
      return;
    case Dtype::float16: return read_halves(from, n, to);
    case Dtype::float32: memcpy(to, from, 4 * (size_t)n); return;
    case Dtype::sum32: return;  // never an image
  }
}

// Integers are saturated and rounded half to even.
inline void write_values(Dtype dtype, const float* __restrict from, int n, uint8_t* __restrict to) {
  switch (dtype) {
    case Dtype::uint8:
      for (int k = 0; k < n; ++k) ToUint8::put(to + k, from[k]);
      return;
    case Dtype::uint16:
      for (int k = 0; k < n; ++k) ToUint16::put(to + 2 * k, from[k]);
      return;
    case Dtype::float16: return write_halves(from, n, to);
    case Dtype::float32: memcpy(to, from, 4 * (size_t)n); return;
    case Dtype::sum32: return;  // never an image
  }
}

// out = share * a + (1 - share) * b of n values of `size` bytes, in float as NumPy does it.
inline void blend(Dtype dtype, int size, float share, const uint8_t* a, const uint8_t* b, ptrdiff_t n, uint8_t* out) {
  constexpr int kBlock = 512;
  float mine[kBlock], other[kBlock];
  const float rest = 1.0f - share;
  for (ptrdiff_t done = 0; done < n; done += kBlock) {
    const int count = n - done < kBlock ? (int)(n - done) : kBlock;
    read_values(dtype, a + done * size, count, mine);
    read_values(dtype, b + done * size, count, other);
    for (int k = 0; k < count; ++k) mine[k] = share * mine[k] + rest * other[k];
    write_values(dtype, mine, count, out + done * size);
  }
}

}  // namespace
}  // namespace onewarp
