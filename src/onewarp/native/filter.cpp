#include "filter.h"

#include <algorithm>

#include "finish.h"
#include "kernels.h"
#include "parallel.h"

namespace onewarp {
namespace {

template <class T> void copy_elements(const Image& image, const Target& target) {
  for (int i = 0; i < image.height; ++i)
    for (int j = 0; j < image.width; ++j)
      for (int c = 0; c < image.channels; ++c)
        store(target.data + i * target.row + j * target.column + c * target.channel,
              load<T>(image.data + i * image.row + j * image.column + c * image.channel));
}

// ... 2 1 | 0 1 2 ... n-1 | n-2 ..., repeated as often as needed.
int reflect_101(int k, int n) {
  if (n == 1) return 0;
  const int period = 2 * (n - 1);
  const int m = k % period + (k % period < 0 ? period : 0);
  return m < n ? m : period - m;
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

  int ready = 0;  // rows blurred along x so far
  for (int i = 0; i < image.height; ++i) {
    for (; ready < image.height && ready <= i + radius; ++ready) {
      const uint8_t* from = image.data + ready * image.row;
      auto put = [&](int at, int j) {
        for (int c = 0; c < channels; ++c)
          scratch.row[static_cast<size_t>(at) * channels + c] =
              static_cast<float>(load<T>(from + j * image.column + c * image.channel));
      };
      for (int k = 0; k < radius; ++k) put(k, reflect_101(k - radius, image.width));
      if (image.channel == sizeof(T) && image.column == static_cast<ptrdiff_t>(sizeof(T)) * channels) {
        float* to = scratch.row.data() + static_cast<size_t>(radius) * channels;
        for (int e = 0; e < values; ++e) to[e] = static_cast<float>(load<T>(from + e * sizeof(T)));
      } else {
        for (int j = 0; j < image.width; ++j) put(radius + j, j);
      }
      for (int k = 0; k < radius; ++k) put(radius + image.width + k, reflect_101(image.width + k, image.width));
      for (int k = 0; k < taps; ++k) scratch.lines[k] = scratch.row.data() + static_cast<size_t>(k) * channels;
      kernels.weighted_sum(weights, taps, scratch.lines.data(), values, kept(ready));
    }
    for (int k = 0; k < taps; ++k) scratch.lines[k] = kept(reflect_101(i - radius + k, image.height));
    kernels.weighted_sum(weights, taps, scratch.lines.data(), values, scratch.sum.data());
    uint8_t* to = target.data + i * target.row;
    const float* value = scratch.sum.data();
    if (target.channel == To::size && target.column == To::size * channels) {
      for (int e = 0; e < values; ++e) To::put(to + e * To::size, value[e]);
      continue;
    }
    for (int j = 0; j < image.width; ++j)
      for (int c = 0; c < channels; ++c) To::put(to + j * target.column + c * target.channel, *value++);
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
  const FilterKernels& kernels = filter_kernels();
  const float strength = params.std[row] * (params.high - params.low);
  const uint32_t* key = params.keys + 2 * row;
  const int ahead = 2 * 16 * kernels.lanes;  // noise is made this many numbers at a time
  std::vector<float> noise(ahead);
  uint64_t made = 0, element = 0;
  for (int i = 0; i < image.height; ++i) {
    for (int j = 0; j < image.width; ++j) {
      for (int c = 0; c < image.channels; ++c, ++element) {
        if (element == made) {
          kernels.normal_noise(key, static_cast<uint32_t>(made / 2), ahead / 2, noise.data());
          made += ahead;
        }
        const float v = static_cast<float>(load<T>(image.data + i * image.row + j * image.column + c * image.channel));
        To::put(target.data + i * target.row + j * target.column + c * target.channel,
                saturate(v + strength * noise[element + ahead - made], params.low, params.high));
      }
    }
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
