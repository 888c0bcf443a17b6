// Row kernels on bytes as they are: copies, and look-up tables, sums and histograms for colour that needs no arithmetic.
#pragma once

#include "simd.h"

namespace onewarp {
namespace {

#if defined(__AVX512VBMI__)
struct ByteTable {
  __m512i part[4];
  explicit ByteTable(const uint8_t* table) {
    for (int k = 0; k < 4; ++k) part[k] = _mm512_loadu_si512(table + 64 * k);
  }
  ONEWARP_INLINE __m512i operator()(__m512i v) const {
    const __m512i low = _mm512_permutex2var_epi8(part[0], v, part[1]), high = _mm512_permutex2var_epi8(part[2], v, part[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(v), low, high);
  }
};
#endif

// to[k] = table[from[k]].
inline void map_bytes(const uint8_t* from, ptrdiff_t n, const uint8_t* table, uint8_t* to) {
  ptrdiff_t k = 0;
#if defined(__AVX512VBMI__)
  const ByteTable look_up(table);
  for (; k + 64 <= n; k += 64) _mm512_storeu_si512(to + k, look_up(_mm512_loadu_si512(from + k)));
#elif defined(__AVX2__)
  // Sixteen tables of sixteen: a shuffle gives 0 where the index, moved down by 16 for each table, is not in [0, 16).
  __m256i part[16];
  for (int t = 0; t < 16; ++t) part[t] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)(table + 16 * t)));
  for (; k + 32 <= n; k += 32) {
    __m256i index = _mm256_loadu_si256((const __m256i*)(from + k)), found = _mm256_setzero_si256();
#pragma GCC unroll 16
    for (int t = 0; t < 16; ++t) {
      // Above 15 the saturating addition of 112 sets the top bit, which makes the shuffle give 0.
      found = _mm256_or_si256(found, _mm256_shuffle_epi8(part[t], _mm256_adds_epu8(index, _mm256_set1_epi8(112))));
      index = _mm256_sub_epi8(index, _mm256_set1_epi8(16));
    }
    _mm256_storeu_si256((__m256i*)(to + k), found);
  }
#endif
  for (; k < n; ++k) to[k] = table[from[k]];
}

// The same with a table for each of C channels: `tables` [C][256].
inline void map_pixels(const uint8_t* from, ptrdiff_t pixels, int channels, const uint8_t* tables, uint8_t* to) {
  ptrdiff_t k = 0;
#if defined(__AVX512VBMI__)
  if (channels == 3) {
    const ByteTable red(tables), green(tables + 256), blue(tables + 512);
    // Bit k of a mask: byte k of the first vector is green (blue). Each further vector starts one channel later.
    constexpr uint64_t kThird = 0x9249249249249249u;  // bits 0, 3, 6 ... 63
    for (; 3 * k + 192 <= 3 * pixels; k += 64) {
#pragma GCC unroll 3
      for (int part = 0; part < 3; ++part) {
        const __m512i v = _mm512_loadu_si512(from + 3 * k + 64 * part);
        const __mmask64 is_green = kThird << ((1 + 2 * part) % 3), is_blue = kThird << ((2 + 2 * part) % 3);
        const __m512i two = _mm512_mask_blend_epi8(is_green, red(v), green(v));
        _mm512_storeu_si512(to + 3 * k + 64 * part, _mm512_mask_blend_epi8(is_blue, two, blue(v)));
      }
    }
  }
#endif
  for (; k < pixels; ++k)
    for (int c = 0; c < channels; ++c) to[k * channels + c] = tables[c * 256 + from[k * channels + c]];
}

#ifdef ONEWARP_BYTE_SHUFFLE
// Byte `at` of as many whole pixels of B bytes as 16 hold, in reverse; they lie at the end of the 16.
template <int B> constexpr int reversed_byte(int at) {
  constexpr int pixels = 16 / B;
  return at < pixels * B ? 16 - (at / B + 1) * B + at % B : 0;
}
template <int B, int... I> ONEWARP_INLINE Bytes16 reverse_some(Bytes16 v, Seq<I...>) {
  return __builtin_shufflevector(v, v, reversed_byte<B>(I)...);
}
#endif

// n pixels of B bytes in reverse.
template <int B> void reverse_run(const uint8_t* from, ptrdiff_t n, uint8_t* to) {
  ptrdiff_t j = 0;
#ifdef ONEWARP_BYTE_SHUFFLE
  // Where pixels do not fill 16 bytes, one byte before them is read and one after them written, which comes later.
  constexpr int pixels = 16 / B;
  for (; j + pixels < n; j += pixels) {
    Bytes16 bytes;
    memcpy(&bytes, from + (n - j) * B - 16, 16);
    bytes = reverse_some<B>(bytes, MakeSeq<16>::type());
    memcpy(to + j * B, &bytes, 16);
  }
#endif
  for (; j < n; ++j) memcpy(to + j * B, from + (n - 1 - j) * B, B);
}

inline void reverse_pixels(const uint8_t* from, ptrdiff_t n, int bytes, uint8_t* to) {
  switch (bytes) {
    case 1: return reverse_run<1>(from, n, to);
    case 2: return reverse_run<2>(from, n, to);
    case 3: return reverse_run<3>(from, n, to);
    case 4: return reverse_run<4>(from, n, to);
    default:
      for (ptrdiff_t j = 0; j < n; ++j) memcpy(to + j * bytes, from + (n - 1 - j) * bytes, (size_t)bytes);
  }
}

// A copy past the caches.
inline void stream_bytes(const uint8_t* from, ptrdiff_t n, uint8_t* to) {
  typedef uint8_t Block __attribute__((vector_size(kVector)));
  const ptrdiff_t ahead = -(uintptr_t)to % kVector, head = ahead < n ? ahead : n;
  memcpy(to, from, head);
  ptrdiff_t k = head;
  for (; k + kVector <= n; k += kVector) stream_vector(to + k, load_vector<Block>(from + k));
  memcpy(to + k, from + k, n - k);
}

// Adds the values of each channel: sums [C].
inline void sum_pixels(const uint8_t* from, ptrdiff_t pixels, int channels, uint64_t* sums) {
  const ptrdiff_t n = pixels * channels;
  ptrdiff_t k = 0;
  if (channels == 1 || channels == 3) {
    // Three vectors hold whole pixels. Their even and odd bytes are added up as 16-bit numbers, 256 times at most.
    typedef uint16_t Words __attribute__((vector_size(64)));
    constexpr int kBlock = 3 * (int)sizeof(Words);
    while (n - k >= kBlock) {
      Words even[3] = {}, odd[3] = {};
      for (int turn = 0; turn < 256 && n - k >= kBlock; ++turn, k += kBlock) {
#pragma GCC unroll 3
        for (int part = 0; part < 3; ++part) {
          Words v;
          memcpy(&v, from + k + part * sizeof(Words), sizeof(Words));
          even[part] += v & 0xff;
          odd[part] += v >> 8;
        }
      }
      for (int b = 0; b < kBlock; b += 2) {  // little-endian: the even byte is the low one
        const int part = b / (int)sizeof(Words), lane = b % (int)sizeof(Words) / 2;
        sums[b % channels] += even[part][lane];
        sums[(b + 1) % channels] += odd[part][lane];
      }
    }
  }
  for (; k < n; ++k) sums[k % channels] += from[k];
}

// Counts the values of each channel: histogram [C][4][256], four counters for each value so that none waits for another.
inline void count_pixels(const uint8_t* from, ptrdiff_t pixels, int channels, uint32_t* histogram) {
  ptrdiff_t k = 0;
  if (channels == 3) {
    for (; k + 4 <= pixels; k += 4) {
#pragma GCC unroll 12
      for (int b = 0; b < 12; ++b) ++histogram[(b % 3) * kHistogram + (b / 3) * 256 + from[3 * k + b]];
    }
  }
  for (; k < pixels; ++k)
    for (int c = 0; c < channels; ++c) ++histogram[c * kHistogram + (k % 4) * 256 + from[k * channels + c]];
}

}  // namespace
}  // namespace onewarp
