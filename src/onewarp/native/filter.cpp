#include "filter.h"

#include <algorithm>

#include "finish.h"
#include "parallel.h"
#include "random.h"

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

// Buffers of one thread: a row with its borders, and the horizontally blurred image.
struct BlurScratch {
  std::vector<float> row, frame, sum;
};

template <class T, class To>
void blur_image(const float* weights, int taps, const Image& image, const Target& target, BlurScratch& scratch) {
  const int radius = taps / 2, channels = image.channels;
  const size_t line = static_cast<size_t>(image.width) * channels;
  scratch.row.resize((static_cast<size_t>(image.width) + 2 * radius) * channels);
  scratch.frame.assign(line * image.height, 0.0f);
  scratch.sum.resize(line);

  for (int i = 0; i < image.height; ++i) {
    const uint8_t* from = image.data + i * image.row;
    float* value = scratch.row.data();
    for (int j = -radius; j < image.width + radius; ++j) {
      const uint8_t* pixel = from + reflect_101(j, image.width) * image.column;
      for (int c = 0; c < channels; ++c) *value++ = static_cast<float>(load<T>(pixel + c * image.channel));
    }
    float* sum = scratch.frame.data() + i * line;
    for (int k = 0; k < taps; ++k) {
      const float* shifted = scratch.row.data() + static_cast<size_t>(k) * channels;
      for (size_t e = 0; e < line; ++e) sum[e] += weights[k] * shifted[e];
    }
  }
  for (int i = 0; i < image.height; ++i) {
    std::fill(scratch.sum.begin(), scratch.sum.end(), 0.0f);
    for (int k = 0; k < taps; ++k) {
      const float* row = scratch.frame.data() + reflect_101(i - radius + k, image.height) * line;
      for (size_t e = 0; e < line; ++e) scratch.sum[e] += weights[k] * row[e];
    }
    uint8_t* to = target.data + i * target.row;
    const float* value = scratch.sum.data();
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
  const float strength = params.std[row] * (params.high - params.low);
  const uint32_t* key = params.keys + 2 * row;
  uint64_t element = 0;
  Words words{};
  for (int i = 0; i < image.height; ++i) {
    for (int j = 0; j < image.width; ++j) {
      for (int c = 0; c < image.channels; ++c, ++element) {
        if (element % 2 == 0) words = threefry(key[0], key[1], static_cast<uint32_t>(element / 2), 0);
        const float v = static_cast<float>(load<T>(image.data + i * image.row + j * image.column + c * image.channel));
        To::put(target.data + i * target.row + j * target.column + c * target.channel,
                saturate(v + strength * normal(words.word[element % 2]), params.low, params.high));
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
