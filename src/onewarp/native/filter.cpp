#include "filter.h"

#include <algorithm>
#include <cstring>

#include "finish.h"
#include "kernels.h"
#include "parallel.h"

namespace onewarp {
namespace {

// ... 2 1 | 0 1 2 ... n-1 | n-2 ..., repeated as often as needed.
int reflect_101(int k, int n) {
  if (n == 1) return 0;
  const int period = 2 * (n - 1);
  const int m = k % period + (k % period < 0 ? period : 0);
  return m < n ? m : period - m;
}

// Whether the values of a row follow each other.
template <class Byte> bool packed(const Strided<Byte>& image, ptrdiff_t size) {
  return image.channel == size && image.column == size * image.channels;
}

template <class T> void copy_elements(const Image& image, const Target& target) {
  for (int i = 0; i < image.height; ++i) {
    const uint8_t* from = image.data + i * image.row;
    uint8_t* to = target.data + i * target.row;
    if (packed(image, sizeof(T)) && packed(target, sizeof(T))) {
      std::memcpy(to, from, sizeof(T) * image.width * image.channels);
      continue;
    }
    for (int j = 0; j < image.width; ++j)
      for (int c = 0; c < image.channels; ++c)
        store(to + j * target.column + c * target.channel, load<T>(from + j * image.column + c * image.channel));
  }
}

// Rows of an image as floats, and back.
template <class T> void read_row(Dtype dtype, const Image& image, int i, float* to) {
  const uint8_t* from = image.data + i * image.row;
  if (packed(image, sizeof(T))) return filter_kernels().read(dtype, from, image.width * image.channels, to);
  for (int j = 0; j < image.width; ++j)
    for (int c = 0; c < image.channels; ++c) *to++ = static_cast<float>(load<T>(from + j * image.column + c * image.channel));
}

template <class To> void write_row(const float* value, int i, const Target& target) {
  uint8_t* to = target.data + i * target.row;
  if (packed(target, To::size)) return filter_kernels().write(To::kind, value, target.width * target.channels, to);
  for (int j = 0; j < target.width; ++j)
    for (int c = 0; c < target.channels; ++c) To::put(to + j * target.column + c * target.channel, *value++);
}

// Buffers of one thread: a row with its borders, and the last rows blurred along x, as many as there are weights.
struct BlurScratch {
  std::vector<float> row, blurred, sum;
  std::vector<const float*> lines;
};

template <class T, class To>
void blur_image(const float* weights, int taps, const Image& image, const Target& target, BlurScratch& scratch) {
  const int radius = taps / 2, channels = image.channels, values = image.width * channels;
  const FilterKernels& kernels = filter_kernels();
  scratch.row.resize(static_cast<size_t>(values) + 2 * static_cast<size_t>(radius) * channels);
  scratch.blurred.resize(static_cast<size_t>(values) * taps);
  scratch.sum.resize(values);
  scratch.lines.resize(taps);
  auto kept = [&](int i) { return scratch.blurred.data() + static_cast<size_t>(values) * (i % taps); };
  float* inner = scratch.row.data() + static_cast<size_t>(radius) * channels;
  auto mirror = [&](int k, int width) {
    std::copy_n(inner + static_cast<ptrdiff_t>(reflect_101(k, width)) * channels, channels,
                inner + static_cast<ptrdiff_t>(k) * channels);
  };

  int ready = 0;  // rows blurred along x so far
  for (int i = 0; i < image.height; ++i) {
    for (; ready < image.height && ready <= i + radius; ++ready) {
      read_row<T>(To::kind, image, ready, inner);
      for (int k = -radius; k < 0; ++k) mirror(k, image.width);
      for (int k = image.width; k < image.width + radius; ++k) mirror(k, image.width);
      for (int k = 0; k < taps; ++k) scratch.lines[k] = scratch.row.data() + static_cast<size_t>(k) * channels;
      kernels.weighted_sum(weights, taps, scratch.lines.data(), values, kept(ready));
    }
    for (int k = 0; k < taps; ++k) scratch.lines[k] = kept(reflect_101(i - radius + k, image.height));
    kernels.weighted_sum(weights, taps, scratch.lines.data(), values, scratch.sum.data());
    write_row<To>(scratch.sum.data(), i, target);
  }
}

template <class T, class To>
void blur_batch(const float* weights, int taps, const uint8_t* active, const Batch& batch) {
  const int64_t count = static_cast<int64_t>(batch.images.size());
  std::vector<BlurScratch> scratch(worker_count(count, batch.threads));
  parallel_for(count, batch.threads, [&](int64_t item, int worker) {
    const int64_t row = batch.start + item;
    if (active[row])
      blur_image<T, To>(weights + row * taps, taps, batch.images[item], batch.targets[item], scratch[worker]);
    else
      copy_elements<T>(batch.images[item], batch.targets[item]);
  });
}

template <class T, class To> void noise_image(const NoiseParams& params, int64_t row, const Image& image, const Target& target) {
  const float strength = params.std[row] * (params.high - params.low);
  const int values = image.width * image.channels;
  std::vector<float> line(values);
  for (int i = 0; i < image.height; ++i) {
    read_row<T>(To::kind, image, i, line.data());
    filter_kernels().add_noise(params.keys + 2 * row, static_cast<uint64_t>(i) * values, strength, params.low, params.high,
                               values, line.data());
    write_row<To>(line.data(), i, target);
  }
}

template <class T, class To> void noise_batch(const NoiseParams& params, const Batch& batch) {
  parallel_for(static_cast<int64_t>(batch.images.size()), batch.threads, [&](int64_t item, int) {
    const int64_t row = batch.start + item;
    if (params.active[row])
      noise_image<T, To>(params, row, batch.images[item], batch.targets[item]);
    else
      copy_elements<T>(batch.images[item], batch.targets[item]);
  });
}

}  // namespace

void run_blur(const float* weights, int taps, const uint8_t* active, const Batch& batch) {
  if (batch.in == Dtype::uint8) return blur_batch<uint8_t, ToUint8>(weights, taps, active, batch);
  if (batch.in == Dtype::uint16) return blur_batch<uint16_t, ToUint16>(weights, taps, active, batch);
  return blur_batch<float, ToFloat32>(weights, taps, active, batch);
}

void run_noise(const NoiseParams& params, const Batch& batch) {
  if (batch.in == Dtype::uint8) return noise_batch<uint8_t, ToUint8>(params, batch);
  if (batch.in == Dtype::uint16) return noise_batch<uint16_t, ToUint16>(params, batch);
  return noise_batch<float, ToFloat32>(params, batch);
}

}  // namespace onewarp
