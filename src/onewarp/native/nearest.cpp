// Nearest sampling of elements of any kind: bytes are copied, never interpreted. For masks.
#include "exact.h"
#include "kernels.h"
#include "parallel.h"
#include "pass.h"

namespace onewarp {
namespace {

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
    copy_exactly(image, steps, border, reinterpret_cast<const uint8_t*>(pixel.data()), static_cast<int>(bytes), false, target);
    return;
  }
  const NearestPixels find = nearest_pixels();
  int x[kSpan], y[kSpan];
  for (int i = 0; i < target.height; ++i) {
    for (int j0 = 0; j0 < target.width; j0 += kSpan) {
      const int n = target.width - j0 < kSpan ? target.width - j0 : kSpan;
      if (!identity) find(geometry, image, border, {i, j0, n, 1}, x, y);
      uint8_t* to = target.data + i * target.row + j0 * target.column;
      for (int j = 0; j < n; ++j, to += target.column) {
        const int sx = identity ? j0 + j : x[j], sy = identity ? i : y[j];
        const bool outside = (sx | sy) < 0;
        const uint8_t* from = image.data + (outside ? 0 : sy * image.row + sx * image.column);
        for (int c = 0; c < target.channels; ++c)
          store(to + c * target.channel, outside ? fill : load<Element>(from + c * image.channel));
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
