// Plain types shared by the orchestration (ordinary C++) and the row kernels (compiled once per instruction set).
//
// Files that the row kernels include hold no std containers and no inline functions with linkage of their own
// (everything is in an anonymous namespace or is plain data): a copy compiled for a newer machine must never become
// the one copy that the linker keeps for all machines.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace onewarp {

// Element types. `sum32` exists only inside: the exact box sums of a reduced uint16 image.
enum class Dtype : uint8_t { uint8, uint16, sum32, float16, float32 };
enum class Interpolation : uint8_t { nearest, bilinear, bicubic };
enum class Border : uint8_t { constant, nearest, reflect, wrap };
enum class ColourKind : uint8_t { affine, table, hue, autocontrast, equalize };

// Kernels work on spans of at most this many pixels, so that their buffers stay in the L1 cache.
constexpr int kSpan = 256;
// Longest side of an image: coordinates are clamped to it before they become integers.
constexpr double kFar = 1e8;

// A strided image: byte strides, any sign. Channels first or last is a matter of strides.
template <class Byte> struct Strided {
  Byte* data;
  int height, width, channels;
  ptrdiff_t row, column, channel;
};
using Image = Strided<const uint8_t>;
using Target = Strided<uint8_t>;

// A run of output pixels: part of one row, or several whole rows of a narrow image. Pixel k of it lies at
// (i + k / columns, j + k % columns). Values of a span are planar: channel c from values + c * stride.
struct Span {
  int i, j, columns, rows;
  int count() const { return columns * rows; }
};

// A rectangle of pixels, half-open.
struct Part {
  int top, bottom, left, right;
};

// A displacement field [gh, gw, 2] (dx, dy in pixels) over a frame of frame_w x frame_h pixels, corner to corner.
struct Field {
  const float* grid;
  int gh, gw;
  double frame_h, frame_w;
};

// Output point -> input point: matrix[fields], then for k = fields-1 .. 0: add field[k], apply matrix[k].
struct Geometry {
  const float* matrices;  // [fields + 1][9]
  const Field* fields;
  int field_count;
};

// One warped image. `Real` is the type of the pixel arithmetic: float, or double for uint16, whose levels fill a float.
template <class Real> struct Warp {
  Image source;       // the image itself or its reduced copy
  Geometry geometry;
  double shrink;      // source pixels per input pixel: 1 / reduction
  Real unit;          // image units per source unit: 1 / reduction^2 where the source holds sums
  Border border;
  const Real* fill;   // [channels], in source units
};

template <class Real> struct Range {
  Real low, high;
  bool integer;  // integer images have levels: low, low + 1 ... high
};

// A colour op of one sample, its coefficients ready for raw values v = low + x * (high - low).
template <class Real> struct ColourStep {
  ColourKind kind;
  const Real* matrix;      // affine: [C][C] then offset [C];  autocontrast: lo [C], then hi [C]
  const float* table;      // table: [entries][columns], unit values
  int entries, columns;
  bool direct, linear;     // direct: the level is the index;  linear: interpolate between nodes
  Real shift;              // hue: turns, in [0, 1)
  const Real* levels;      // equalize: [C][256] raw values
  const uint8_t* keep;     // equalize: [C], 1 where the channel stays as it is
  Real* scratch;           // [C]
};

constexpr int kHistogram = 4 * 256;  // counters per channel

// What a colour op needs to know of the whole frame; only the part that its kind needs is used. All per channel.
template <class Real> struct Statistics {
  double* sum;
  Real* lo;
  Real* hi;
  uint32_t* histogram;  // [C][4][256], to be added up
};

// One erase op of one sample.
template <class Real> struct EraseStep {
  const int32_t* rects;  // [count][4]: y0, x0, y1, x1, half-open
  int count;
  const uint8_t* rows;   // null, or one flag for each row of the frame: 0 where nothing is erased
  const Real* fill;      // [C] image units; null for noise
  const uint32_t* key;   // [2], noise only
  uint32_t index;        // of the op among the erase ops: the high word of the noise counter
};

// The end of a pass: saturate, v * scale[c] + offset[c], cast, store.
template <class Real> struct Finish {
  Range<Real> range;
  const Real* scale;
  const Real* offset;
  Dtype dtype;
  bool streamed;  // past the caches, where that is possible
};

namespace {

// Unaligned, alias-safe access; compiles to a plain move.
template <class T> inline T load(const uint8_t* p) {
  T value;
  memcpy(&value, p, sizeof(T));
  return value;
}
template <class T> inline void store(uint8_t* p, T value) { memcpy(p, &value, sizeof(T)); }

// NaN becomes `low`, so the result can always be cast to an integer.
template <class T> inline T saturate(T v, T low, T high) {
  v = v > low ? v : low;
  return v < high ? v : high;
}

// Half to even, for |v| < 2^22 (float) or 2^51 (double); one addition each way instead of a library call.
inline float round_even(float v) { return (v + 12582912.0f) - 12582912.0f; }
inline double round_even(double v) { return (v + 6755399441055744.0) - 6755399441055744.0; }

}  // namespace
}  // namespace onewarp
