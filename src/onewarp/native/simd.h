// The vector layer: GCC and Clang vectors, as wide as the instruction set that a file is compiled for.
//
// 64 bytes with AVX-512, 32 with AVX2, else 16, which every x86-64 (and any other machine, by the compiler) has. What
// the compiler cannot find by itself stands here: gathers, shuffles, tests of lanes.
#pragma once

#include "types.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace onewarp {
namespace {

#if defined(__AVX512BW__) && defined(__AVX512VL__)
constexpr int kVector = 64;
#elif defined(__AVX2__)
constexpr int kVector = 32;
#else
constexpr int kVector = 16;
#endif
constexpr int kLanes = kVector / 4;

typedef float Floats __attribute__((vector_size(kVector)));
typedef int32_t Ints __attribute__((vector_size(kVector)));
typedef uint32_t Uints __attribute__((vector_size(kVector)));
typedef uint64_t Longs __attribute__((vector_size(kVector)));
typedef double Doubles __attribute__((vector_size(kVector)));
typedef float HalfFloats __attribute__((vector_size(kVector / 2)));
typedef int32_t HalfInts __attribute__((vector_size(kVector / 2)));

#define ONEWARP_INLINE inline __attribute__((always_inline))
#define ONEWARP_APART __attribute__((noinline))  // rarely taken, and long

template <class V, class T> ONEWARP_INLINE V load_vector(const T* p) {
  V v;
  memcpy(&v, p, sizeof(V));
  return v;
}
template <class V, class T> ONEWARP_INLINE void store_vector(T* p, V v) { memcpy(p, &v, sizeof(V)); }

// Whether stream_vector may write there.
ONEWARP_INLINE bool streamable(const void* to) { return (uintptr_t)to % kVector == 0; }

// A store past the caches: what is written need not be read first, and pushes nothing out. end_streams() comes before
// another thread reads it.
template <class V> ONEWARP_INLINE void stream_vector(void* to, V v) {
  static_assert(sizeof(V) == kVector, "whole vectors");
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  _mm512_stream_si512((__m512i*)to, (__m512i)v);
#elif defined(__AVX2__)
  _mm256_stream_si256((__m256i*)to, (__m256i)v);
#elif defined(__SSE2__)
  _mm_stream_si128((__m128i*)to, (__m128i)v);
#else
  memcpy(to, &v, sizeof(V));
#endif
}
inline void end_streams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

ONEWARP_INLINE Floats splat(float v) { return v - Floats{}; }
ONEWARP_INLINE Floats select(Ints mask, Floats yes, Floats no) { return mask ? yes : no; }
ONEWARP_INLINE Floats to_floats(Uints v) { return __builtin_convertvector((Ints)v, Floats); }
ONEWARP_INLINE Floats clamp(Floats v, Floats low, Floats high) {
  v = v > low ? v : low;
  return v < high ? v : high;
}

// The larger and the smaller of two, the second where one is NaN. What the compiler makes of a comparison with zero takes two
// instructions.
template <class V> ONEWARP_INLINE V larger(V a, V b) { return a > b ? a : b; }
template <class V> ONEWARP_INLINE V smaller(V a, V b) { return a < b ? a : b; }
#if defined(__AVX512BW__) && defined(__AVX512VL__)
ONEWARP_INLINE Floats larger(Floats a, Floats b) { return (Floats)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b); }
ONEWARP_INLINE Floats smaller(Floats a, Floats b) { return (Floats)_mm512_maskz_min_ps(0xffff, (__m512)a, (__m512)b); }
#elif defined(__AVX2__)
ONEWARP_INLINE Floats larger(Floats a, Floats b) { return (Floats)_mm256_max_ps((__m256)a, (__m256)b); }
ONEWARP_INLINE Floats smaller(Floats a, Floats b) { return (Floats)_mm256_min_ps((__m256)a, (__m256)b); }
#elif defined(__SSE2__)
ONEWARP_INLINE Floats larger(Floats a, Floats b) { return (Floats)_mm_max_ps((__m128)a, (__m128)b); }
ONEWARP_INLINE Floats smaller(Floats a, Floats b) { return (Floats)_mm_min_ps((__m128)a, (__m128)b); }
#endif

// Without the sign.
ONEWARP_INLINE Floats magnitude(Floats v) { return (Floats)((Uints)v & 0x7fffffffu); }
ONEWARP_INLINE Doubles magnitude(Doubles v) { return (Doubles)((Longs)v & 0x7fffffffffffffffu); }

// Compile-time lane numbers for shuffles.
template <int... I> struct Seq {};
template <int N, int... I> struct MakeSeq : MakeSeq<N - 1, N - 1, I...> {};
template <int... I> struct MakeSeq<0, I...> {
  typedef Seq<I...> type;
};
typedef typename MakeSeq<kLanes>::type Lanes;
typedef typename MakeSeq<kLanes / 2>::type HalfLanes;

// Whether any lane of a mask is set.
ONEWARP_INLINE bool any(Ints mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_epi8((__m256i)mask) != 0;
#else
  int32_t found = 0;
  for (int lane = 0; lane < kLanes; ++lane) found |= mask[lane];
  return found != 0;
#endif
}

// An offset in a register of its own. The asm hides from the compiler that offsets lie side by side in memory: it would
// load them as a vector, only to take that apart again.
ONEWARP_INLINE ptrdiff_t alone(int32_t offset) {
  ptrdiff_t value = offset;
  __asm__("" : "+r"(value));
  return value;
}

template <class V, class T, int... I> ONEWARP_INLINE V gather(const uint8_t* base, const int32_t* offset, Seq<I...>) {
  return V{load<T>(base + alone(offset[I]))...};
}

template <int... I> ONEWARP_INLINE Uints evens(Uints a, Uints b, Seq<I...>) {
  return __builtin_shufflevector(a, b, (2 * I)...);
}
template <int... I> ONEWARP_INLINE Uints odds(Uints a, Uints b, Seq<I...>) {
  return __builtin_shufflevector(a, b, (2 * I + 1)...);
}

// The 4 bytes at base + offset[k], for each lane k.
ONEWARP_INLINE Uints gather32(const uint8_t* base, const int32_t* offset) {
  return gather<Uints, uint32_t>(base, offset, Lanes());
}

// The 8 bytes at base + offset[k], for each lane k, as their lower and upper halves. Ordinary loads: on the machines that
// were measured they are faster than gather instructions.
ONEWARP_INLINE void gather64(const uint8_t* base, const int32_t* offset, Uints* low, Uints* high) {
  const Longs a = gather<Longs, uint64_t>(base, offset, HalfLanes());
  const Longs b = gather<Longs, uint64_t>(base, offset + kLanes / 2, HalfLanes());
  *low = evens((Uints)a, (Uints)b, Lanes());
  *high = odds((Uints)a, (Uints)b, Lanes());
}

template <class Half, class V, int... I> ONEWARP_INLINE Half lower_half(V v, Seq<I...>) {
  return __builtin_shufflevector(v, v, I...);
}
template <class Half, class V, int... I> ONEWARP_INLINE Half upper_half(V v, Seq<I...>) {
  return __builtin_shufflevector(v, v, (kLanes / 2 + I)...);
}
template <class V, class Half, int... I> ONEWARP_INLINE V joined(Half low, Half high, Seq<I...>) {
  return __builtin_shufflevector(low, high, I...);
}

// As many doubles as there are lanes, for what a float cannot hold: coordinates, and the levels of uint16.
struct Wide {
  Doubles low, high;
};
ONEWARP_INLINE Wide operator+(Wide a, Wide b) { return {a.low + b.low, a.high + b.high}; }
ONEWARP_INLINE Wide operator-(Wide a, Wide b) { return {a.low - b.low, a.high - b.high}; }
ONEWARP_INLINE Wide operator*(Wide a, Wide b) { return {a.low * b.low, a.high * b.high}; }
ONEWARP_INLINE Wide operator+(Wide a, double b) { return {a.low + b, a.high + b}; }
ONEWARP_INLINE Wide operator-(Wide a, double b) { return {a.low - b, a.high - b}; }
ONEWARP_INLINE Wide operator*(double a, Wide b) { return {a * b.low, a * b.high}; }
ONEWARP_INLINE Wide splat(double v) { return {v - Doubles{}, v - Doubles{}}; }
ONEWARP_INLINE Wide select(Ints mask, Wide yes, Wide no) {
  typedef int64_t Mask __attribute__((vector_size(kVector)));
  const Mask low = __builtin_convertvector(lower_half<HalfInts>(mask, HalfLanes()), Mask);
  const Mask high = __builtin_convertvector(upper_half<HalfInts>(mask, HalfLanes()), Mask);
  return {low ? yes.low : no.low, high ? yes.high : no.high};
}
ONEWARP_INLINE Wide clamp(Wide v, Wide low, Wide high) {
  v = {v.low > low.low ? v.low : low.low, v.high > low.high ? v.high : low.high};
  return {v.low < high.low ? v.low : high.low, v.high < high.high ? v.high : high.high};
}
ONEWARP_INLINE Wide widen(Floats v) {
  return {__builtin_convertvector(lower_half<HalfFloats>(v, HalfLanes()), Doubles),
          __builtin_convertvector(upper_half<HalfFloats>(v, HalfLanes()), Doubles)};
}
ONEWARP_INLINE Floats narrow(Wide v) {
  return joined<Floats>(__builtin_convertvector(v.low, HalfFloats), __builtin_convertvector(v.high, HalfFloats), Lanes());
}

// The vector of kLanes numbers of type Real, and whole numbers below 2^31 as such.
template <class Real> struct VectorOf;
template <> struct VectorOf<float> {
  typedef Floats type;
  static ONEWARP_INLINE type from(Uints v) { return to_floats(v); }
};
template <> struct VectorOf<double> {
  typedef Wide type;
  static ONEWARP_INLINE type from(Uints v) {
    return {__builtin_convertvector(lower_half<HalfInts>((Ints)v, HalfLanes()), Doubles),
            __builtin_convertvector(upper_half<HalfInts>((Ints)v, HalfLanes()), Doubles)};
  }
};

// Lane m of vector k of the interleaved r g b r g b ...: which channel and which pixel it holds.
constexpr int rgb_channel(int k, int m) { return (k * kLanes + m) % 3; }
constexpr int rgb_pixel(int k, int m) { return (k * kLanes + m) / 3; }

template <int K, class V, int... I> ONEWARP_INLINE V interleave3_part(V r, V g, V b, Seq<I...>) {
  const V rg = __builtin_shufflevector(r, g, (rgb_channel(K, I) == 1 ? kLanes + rgb_pixel(K, I) : rgb_pixel(K, I))...);
  return __builtin_shufflevector(rg, b, (rgb_channel(K, I) == 2 ? kLanes + rgb_pixel(K, I) : I)...);
}
// r0 g0 b0 r1 g1 b1 ... as three vectors at `to`.
template <class V, class T> ONEWARP_INLINE void store_interleaved3(T* to, V r, V g, V b) {
  store_vector(to, interleave3_part<0>(r, g, b, Lanes()));
  store_vector(to + kLanes, interleave3_part<1>(r, g, b, Lanes()));
  store_vector(to + 2 * kLanes, interleave3_part<2>(r, g, b, Lanes()));
}
template <class V> ONEWARP_INLINE void stream_interleaved3(uint8_t* to, V r, V g, V b) {
  stream_vector(to, interleave3_part<0>(r, g, b, Lanes()));
  stream_vector(to + kVector, interleave3_part<1>(r, g, b, Lanes()));
  stream_vector(to + 2 * kVector, interleave3_part<2>(r, g, b, Lanes()));
}

template <class V, int... I> ONEWARP_INLINE V zip_low(V a, V b, Seq<I...>) {
  return __builtin_shufflevector(a, b, (I % 2 ? kLanes + I / 2 : I / 2)...);
}
template <class V, int... I> ONEWARP_INLINE V zip_high(V a, V b, Seq<I...>) {
  return __builtin_shufflevector(a, b, (kLanes / 2 + (I % 2 ? kLanes + I / 2 : I / 2))...);
}
// r0 g0 b0 a0 r1 ... as four vectors at `to`.
template <class V, class T> ONEWARP_INLINE void store_interleaved4(T* to, V r, V g, V b, V a) {
  const V rb0 = zip_low(r, b, Lanes()), rb1 = zip_high(r, b, Lanes());
  const V ga0 = zip_low(g, a, Lanes()), ga1 = zip_high(g, a, Lanes());
  store_vector(to, zip_low(rb0, ga0, Lanes()));
  store_vector(to + kLanes, zip_high(rb0, ga0, Lanes()));
  store_vector(to + 2 * kLanes, zip_low(rb1, ga1, Lanes()));
  store_vector(to + 3 * kLanes, zip_high(rb1, ga1, Lanes()));
}

typedef uint8_t Bytes16 __attribute__((vector_size(16)));

#if defined(__SSSE3__)
#define ONEWARP_BYTE_SHUFFLE 1
#endif

// kLanes pixels of 3 bytes, each in the low bytes of a lane, the highest 0; and back. Up to kRgbRoom bytes after them are
// read, and written over.
constexpr int kRgbRoom = 4;

#if defined(__AVX512VBMI__)
typedef uint8_t Bytes64 __attribute__((vector_size(64)));
template <int... I> ONEWARP_INLINE Bytes64 spread_index(Seq<I...>) { return Bytes64{(uint8_t)(I / 4 * 3 + I % 4)...}; }
template <int... I> ONEWARP_INLINE Bytes64 squeeze_index(Seq<I...>) { return Bytes64{(uint8_t)(I / 3 * 4 + I % 3)...}; }
constexpr uint64_t kRgbBytes = (1ull << 48) - 1;
ONEWARP_INLINE Uints load_rgb(const uint8_t* from) {
  const __m512i bytes = _mm512_maskz_loadu_epi8(kRgbBytes, from), index = (__m512i)spread_index(MakeSeq<64>::type());
  return (Uints)_mm512_maskz_permutexvar_epi8(0x7777777777777777u, index, bytes);
}
ONEWARP_INLINE void store_rgb(uint8_t* to, Uints pixels) {
  const __m512i index = (__m512i)squeeze_index(MakeSeq<64>::type());
  _mm512_mask_storeu_epi8(to, kRgbBytes, _mm512_maskz_permutexvar_epi8(kRgbBytes, index, (__m512i)pixels));
}
#elif defined(__AVX2__)
ONEWARP_INLINE Uints load_rgb(const uint8_t* from) {
  const __m128i low = _mm_loadu_si128((const __m128i*)from), high = _mm_loadu_si128((const __m128i*)(from + 12));
  const __m128i order = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
  return (Uints)_mm256_shuffle_epi8(_mm256_set_m128i(high, low), _mm256_broadcastsi128_si256(order));
}
ONEWARP_INLINE void store_rgb(uint8_t* to, Uints pixels) {
  const __m128i order = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
  const __m256i bytes = _mm256_shuffle_epi8((__m256i)pixels, _mm256_broadcastsi128_si256(order));
  _mm_storeu_si128((__m128i*)to, _mm256_castsi256_si128(bytes));
  _mm_storeu_si128((__m128i*)(to + 12), _mm256_extracti128_si256(bytes, 1));
}
#else
ONEWARP_INLINE Uints load_rgb(const uint8_t* from) {
  Uints pixels;
  for (int lane = 0; lane < kLanes; ++lane) pixels[lane] = load<uint32_t>(from + 3 * lane) & 0xffffffu;
  return pixels;
}
ONEWARP_INLINE void store_rgb(uint8_t* to, Uints pixels) {
  for (int lane = 0; lane < kLanes; ++lane) store(to + 3 * lane, pixels[lane]);
}
#endif

// As many bytes as there are lanes.
ONEWARP_INLINE Floats load_bytes(const uint8_t* from) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  return to_floats((Uints)_mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128((const __m128i*)from)));
#elif defined(__AVX2__)
  return to_floats((Uints)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)from)));
#elif defined(__SSE2__)
  const __m128i words = _mm_unpacklo_epi8(_mm_cvtsi32_si128(load<int32_t>(from)), _mm_setzero_si128());
  return to_floats((Uints)_mm_unpacklo_epi16(words, _mm_setzero_si128()));
#else
  Uints bytes;
  for (int lane = 0; lane < kLanes; ++lane) bytes[lane] = from[lane];
  return to_floats(bytes);
#endif
}

}  // namespace
}  // namespace onewarp
