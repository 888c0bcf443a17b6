#include "mix.h"

#include <cstring>

#include "kernels.h"
#include "parallel.h"

namespace onewarp {
namespace {

template <class Byte> bool follows(const Strided<Byte>& image, ptrdiff_t size) {  // each value the one before it
  return image.channel == size && image.column == size * image.channels && image.row == image.column * image.width;
}

void mix_image(Dtype dtype, ptrdiff_t size, float share, const Image& a, const Image& b, const Target& out) {
  const auto run = [&](const uint8_t* x, const uint8_t* y, ptrdiff_t n, uint8_t* to) {
    if (share == 1.0f)
      std::memcpy(to, x, static_cast<size_t>(n * size));
    else
      filter_kernels().blend(dtype, static_cast<int>(size), share, x, y, n, to);
  };
  if (follows(a, size) && follows(b, size) && follows(out, size))
    return run(a.data, b.data, static_cast<ptrdiff_t>(a.height) * a.width * a.channels, out.data);
  for (int i = 0; i < a.height; ++i)
    for (int j = 0; j < a.width; ++j)
      for (int c = 0; c < a.channels; ++c)
        run(a.data + i * a.row + j * a.column + c * a.channel, b.data + i * b.row + j * b.column + c * b.channel, 1,
            out.data + i * out.row + j * out.column + c * out.channel);
}

}  // namespace

void run_mix(const float* share, const int32_t* partners, const Batch& batch) {
  const ptrdiff_t size = batch.in == Dtype::uint8 ? 1 : batch.in == Dtype::float32 ? 4 : 2;
  parallel_for(static_cast<int64_t>(batch.images.size()), batch.threads, [&](int64_t k, int) {
    mix_image(batch.in, size, share[k], batch.images[k], batch.images[partners[k]], batch.targets[k]);
  });
}

}  // namespace onewarp
