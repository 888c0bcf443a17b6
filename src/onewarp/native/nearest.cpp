// Nearest sampling of elements of any kind: bytes are copied, never interpreted. For masks.
#include "exact.h"
#include "parallel.h"
#include "pass.h"
#include "taps.h"

namespace onewarp {
namespace {

// Source pixels of a span, -1 for the fill.
void nearest_span(const Geometry& geometry, const Image& image, Border border, const Span& span, int* x, int* y) {
  double px[kSpan], py[kSpan];
  float unused[kSpan];
  const int n = span.count();
  locate(geometry, span, px, py);
  split_plain(px, n, 1.0, 0.0, x, unused);
  split_plain(py, n, 1.0, 0.0, y, unused);
  for (int k = 0; k < n; ++k) {
    x[k] = border_index(x[k], image.width, border);
    y[k] = border_index(y[k], image.height, border);
  }
}

template <class Element>
void copy_image(const WarpParams& warp, int64_t row, Border border, Element fill, const Image& image, const Target& target) {
  std::vector<Field> fields;
  const bool identity = warp.matrices == nullptr;
  const Geometry geometry = identity ? Geometry{} : sample_geometry(warp, row, fields);
  const ptrdiff_t bytes = sizeof(Element) * target.channels;
  const bool packed = image.channel == sizeof(Element) && image.column == bytes && target.channel == sizeof(Element) && target.column == bytes;
  Steps steps{0, 0, 1, 0, 0, 1};
  if (packed && (identity || moves_whole_pixels(geometry, &steps))) {
    const std::vector<Element> pixel(target.channels, fill);
    copy_exactly(image, steps, border, reinterpret_cast<const uint8_t*>(pixel.data()), static_cast<int>(bytes), target);
    return;
  }
  int x[kSpan], y[kSpan];
  for (int i = 0; i < target.height; ++i) {
    for (int j0 = 0; j0 < target.width; j0 += kSpan) {
      const int n = target.width - j0 < kSpan ? target.width - j0 : kSpan;
      if (!identity) nearest_span(geometry, image, border, {i, j0, n, 1}, x, y);
      for (int j = 0; j < n; ++j) {
        const int sx = identity ? j0 + j : x[j], sy = identity ? i : y[j];
        const uint8_t* from = (sx | sy) < 0 ? nullptr : image.data + sy * image.row + sx * image.column;
        uint8_t* to = target.data + i * target.row + (j0 + j) * target.column;
        for (int c = 0; c < target.channels; ++c)
          store(to + c * target.channel, from ? load<Element>(from + c * image.channel) : fill);
      }
    }
  }
}

template <class Element>
void copy_batch(const WarpParams& warp, Border border, const uint8_t* fill, const Batch& batch) {
  const Element value = load<Element>(fill);
  parallel_for(static_cast<int64_t>(batch.images.size()), batch.threads, [&](int64_t item, int) {
    copy_image(warp, batch.start + item, border, value, batch.images[item], batch.targets[item]);
  });
}

}  // namespace

void run_nearest(const WarpParams& warp, Border border, const uint8_t* fill, int itemsize, const Batch& batch) {
  switch (itemsize) {
    case 1: return copy_batch<uint8_t>(warp, border, fill, batch);
    case 2: return copy_batch<uint16_t>(warp, border, fill, batch);
    case 4: return copy_batch<uint32_t>(warp, border, fill, batch);
    default: return copy_batch<uint64_t>(warp, border, fill, batch);
  }
}

}  // namespace onewarp
