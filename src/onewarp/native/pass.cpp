#include "pass.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <type_traits>

#include "colouring.h"
#include "exact.h"
#include "holes.h"
#include "kernels.h"
#include "parallel.h"
#include "pointwise.h"
#include "scratch.h"
#include "warping.h"

namespace onewarp {

Geometry sample_geometry(const WarpParams& warp, int64_t row, std::vector<Field>& fields) {
  const int count = static_cast<int>(warp.fields.size());
  fields.resize(warp.fields.size());
  for (int k = 0; k < count; ++k) {
    const WarpParams::Grid& grid = warp.fields[k];
    const float* frame = warp.frames + 2 * (row * count + k);
    fields[k] = {grid.data + 2 * row * grid.gh * grid.gw, grid.gh, grid.gw, frame[0], frame[1]};
  }
  return {warp.matrices + 9 * row * (count + 1), fields.data(), count};
}

namespace {

thread_local Scratch frame_memory;  // of warped frames whose statistics are needed
thread_local Scratch jpeg_memory;   // of decoded images

// Calls body(span, number) for the spans of the target, top to bottom: parts of a row, or several rows of a narrow image.
template <class Body> void for_spans(const Target& target, const Body& body) {
  int number = 0;
  if (target.width > kSpan / 2) {
    for (int i = 0; i < target.height; ++i)
      for (int j = 0; j < target.width; j += kSpan) body(Span{i, j, std::min(kSpan, target.width - j), 1}, number++);
    return;
  }
  const int rows = kSpan / target.width;
  for (int i = 0; i < target.height; i += rows)
    body(Span{i, 0, target.width, std::min(rows, target.height - i)}, number++);
}

// Does the samples that fall to one thread and keeps its buffers from sample to sample.
template <class Real> class Worker {
 public:
  Worker(const PassSettings& settings, const PassParams& params, const Batch& batch)
      : settings_(settings),
        params_(params),
        batch_(batch),
        kernels_(kernels(Real())),
        range_{static_cast<Real>(settings.low), static_cast<Real>(settings.high), batch.in != Dtype::float32},
        warping_(settings, params, batch.in),
        colouring_(settings, params, range_, batch.in),
        scale_(settings.scale.begin(), settings.scale.end()),
        offset_(settings.offset.begin(), settings.offset.end()),
        span_(static_cast<size_t>(kSpan) * settings.channels),
        holes_(settings.erase.size()) {
    finish_ = {range_, scale_.data(), offset_.data(), batch.out, batch.streamed};
    // A float image may hold values outside its range, which a pass saturates: its values have to be looked at.
    plain_ = batch.in != Dtype::float32 && std::all_of(scale_.begin(), scale_.end(), [](Real v) { return v == 1; }) &&
             std::all_of(offset_.begin(), offset_.end(), [](Real v) { return v == 0; }) && covers_dtype();
    for (const EraseOp& op : settings.erase) fills_.emplace_back(op.fill.begin(), op.fill.end());
  }

  ~Worker() {
    frame_memory.trim();
    jpeg_memory.trim();
    reduced_memory.trim();
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void run(int64_t item) {
    Image image = batch_.images[item];
    int reduced = 1;
    if (!batch_.encoded.empty()) {
      if (!decode(batch_.encoded[item], &image)) return;
      reduced = batch_.encoded[item].options.reduction;
      batch_.made[item] = 1;
    }
    run_sample(item, image, reduced);
    if (batch_.streamed) byte_kernels().end_streams();
  }

 private:
  // Decodes into memory of this thread's, so that the image is still in the cache when it is warped.
  static bool decode(const Encoded& encoded, Image* image) {
    const int r = encoded.options.reduction;
    auto up = [r](int v) { return (v + r - 1) / r; };
    const Rect& whole = encoded.part;
    const Rect part{whole.top / r, whole.left / r, up(whole.bottom), up(whole.right)};
    image->height = up(image->height);
    image->width = up(image->width);
    image->row = image->width * image->column;
    uint8_t* pixels = static_cast<uint8_t*>(jpeg_memory.bytes(static_cast<size_t>(image->height) * image->row));
    image->data = pixels;
    return decode_part(encoded.data, encoded.size, pixels, image->height, image->width, image->channels, part, encoded.options);
  }

  // reduced: by how much the image has been made smaller already.
  void run_sample(int64_t item, const Image& image, int reduced) {
    const int64_t row = batch_.start + item;
    const Target& target = batch_.targets[item];
    warping_.prepare(image, row, target.height, target.width, reduced);
    colouring_.prepare(row);
    prepare_erase(row, target);

    if (run_bytes(image, target) || run_scaled(image, target)) return;
    bool observed = false;
    for (int k = 0; k < colouring_.count(); ++k) observed |= colouring_.observes(k);
    if (observed) {
      run_frame(target);
      return;
    }
    for_spans(target, [&](const Span& span, int) {
      warping_.sample(span, span_.data(), kSpan);
      for (int k = 0; k < colouring_.count(); ++k) colouring_.apply(k, span.count(), span_.data(), kSpan);
      end_span(target, span, span_.data());
    });
  }

  // Whole pixels to move at most, and nothing to do to a value but to look it up or to write over it: done in bytes.
  bool run_bytes(const Image& image, const Target& target) {
    const ptrdiff_t size = image.channel, pixel = size * image.channels;
    const bool same = batch_.in == batch_.out && plain_ && size == item_size(batch_.in) && image.column == pixel &&
                      target.channel == size && target.column == pixel;
    const Steps* steps = warping_.steps();
    if (!same || steps == nullptr) return false;
    const bool coloured = colouring_.count() > 0;
    const bool whole = params_.warp.matrices == nullptr;  // the frame is the image: its statistics are those of the image
    if (coloured && (batch_.in != Dtype::uint8 || !whole || !(colouring_.by_level() || maps_rgb()))) return false;
    for (const EraseStep<Real>& step : erase_)
      if (!step.fill) return false;
    if (!coloured)
      copy_exactly(image, *steps, settings_.border, pixel_of(settings_.fill, fill_pixel_), static_cast<int>(pixel),
                   batch_.streamed, target);
    else if (colouring_.by_level())
      look_up(image, target);
    else
      map_rgb(image, target);
    for (const EraseStep<Real>& step : erase_) write_rects(step, target);
    return true;
  }

  // Whether the colour is one map of RGB.
  bool maps_rgb() const {
    return settings_.channels == 3 && colouring_.count() == 1 && colouring_.kind(0) == ColourKind::affine;
  }

  void map_rgb(const Image& image, const Target& target) {
    if constexpr (std::is_same_v<Real, float>) {
      if (colouring_.observes(0)) {
        uint64_t totals[3] = {};
        for (int i = 0; i < image.height; ++i) byte_kernels().sum_pixels(image.data + i * image.row, image.width, 3, totals);
        const double sums[3] = {static_cast<double>(totals[0]), static_cast<double>(totals[1]), static_cast<double>(totals[2])};
        colouring_.set_means(sums);
        colouring_.complete(0, static_cast<double>(image.height) * image.width);
      }
      const float* matrix = colouring_.matrix(0);
      for (int i = 0; i < target.height; ++i)
        byte_kernels().mix_rgb(matrix, image.data + i * image.row, target.width, target.data + i * target.row);
    }
  }

  // uint8 images of which a window, perhaps upside down, is scaled to float32: done in one go.
  bool run_scaled(const Image& image, const Target& target) {
    const Steps* steps = warping_.steps();
    const int channels = settings_.channels;
    if (batch_.in != Dtype::uint8 || batch_.out != Dtype::float32 || channels > 4 || steps == nullptr) return false;
    if (colouring_.count() > 0 || !erase_.empty() || steps->x_by_column != 1 || steps->y_by_column != 0) return false;
    if (image.channel != 1 || image.column != channels || target.channel != 4 || target.column != 4 * channels) return false;
    const int64_t last = steps->y + static_cast<int64_t>(steps->y_by_row) * (target.height - 1);
    const bool inside = steps->x >= 0 && static_cast<int64_t>(steps->x) + target.width <= image.width && steps->y >= 0 &&
                        steps->y < image.height && last >= 0 && last < image.height;
    if (!inside) return false;
    const uint8_t* from = image.data + steps->y * image.row + steps->x * image.column;
    if constexpr (std::is_same_v<Real, float>)
      byte_kernels().scale_pixels(finish_, {from, target.height, target.width, channels, steps->y_by_row * image.row, channels, 1}, target);
    return true;
  }

  void look_up(const Image& image, const Target& target) {
    const int channels = settings_.channels;
    if (!levels_) levels_ = std::make_unique<Levels<Real>>(range_, channels);
    levels_->trace(colouring_, image);
    tables_.resize(static_cast<size_t>(256) * channels);
    const Target planes{tables_.data(), 1, 256, channels, 256, 1, 256};  // [C][256]
    kernels_.finish(finish_, Span{0, 0, 256, 1}, levels_->values(), kSpan, planes);
    bool alike = true;
    for (int c = 1; c < channels; ++c) alike = alike && std::equal(tables_.begin(), tables_.begin() + 256, tables_.begin() + 256 * c);
    for (int i = 0; i < target.height; ++i) {
      const uint8_t* from = image.data + i * image.row;
      uint8_t* to = target.data + i * target.row;
      if (alike)
        byte_kernels().map_bytes(from, static_cast<ptrdiff_t>(target.width) * channels, tables_.data(), to);
      else
        byte_kernels().map_pixels(from, target.width, channels, tables_.data(), to);
    }
  }

  void write_rects(const EraseStep<Real>& step, const Target& target) {
    const ptrdiff_t bytes = target.column;
    const uint8_t* fill = pixel_of(settings_.erase[step.index].fill, rect_pixel_);
    filled_.resize(static_cast<size_t>(bytes) * target.width);  // a row of it
    repeat_pixel(fill, target.width, static_cast<int>(bytes), filled_.data());
    for (int k = 0; k < step.count; ++k) {
      const int32_t* rect = step.rects + 4 * static_cast<ptrdiff_t>(k);
      const int left = std::max(rect[1], 0), right = std::min(rect[3], target.width);
      if (left >= right) continue;
      for (int i = std::max(rect[0], 0); i < std::min(rect[2], target.height); ++i)
        if (!step.rows || step.rows[i])
          std::memcpy(target.data + i * target.row + left * bytes, filled_.data(), bytes * (right - left));
    }
  }

  // A fill as a pixel of the result's type, saturated and rounded like any other value.
  const uint8_t* pixel_of(const std::vector<double>& fill, std::vector<uint8_t>& pixel) {
    const int channels = settings_.channels;
    const ptrdiff_t size = item_size(batch_.out);
    pixel.resize(static_cast<size_t>(size) * channels);
    std::vector<Real> values(static_cast<size_t>(kSpan) * channels);
    for (int c = 0; c < channels; ++c) values[static_cast<size_t>(c) * kSpan] = static_cast<Real>(fill[c]);
    const Target one{pixel.data(), 1, 1, channels, size * channels, size * channels, size};
    kernels_.finish(finish_, Span{0, 0, 1, 1}, values.data(), kSpan, one);
    return pixel.data();
  }

  // With statistics: the warped frame is kept. Each round over its spans runs the ops up to the next one that observes,
  // and takes that one's statistics while the span is in the cache.
  void run_frame(const Target& target) {
    const size_t block = static_cast<size_t>(kSpan) * settings_.channels;
    Real* frame = static_cast<Real*>(frame_memory.bytes(block * span_count(target) * sizeof(Real)));
    const double pixels = static_cast<double>(target.height) * target.width;
    const int count = colouring_.count();
    for (int first = -1; first < count;) {  // -1: the warp itself
      int next = first + 1;
      while (next < count && !colouring_.observes(next)) ++next;
      if (next < count) colouring_.reset_statistics();
      for_spans(target, [&](const Span& span, int number) {
        Real* values = frame + block * number;
        if (first < 0) warping_.sample(span, values, kSpan);
        for (int k = std::max(first, 0); k < next; ++k) colouring_.apply(k, span.count(), values, kSpan);
        if (next < count)
          colouring_.observe(next, span.count(), values, kSpan);
        else
          end_span(target, span, values);
      });
      if (next < count) colouring_.complete(next, pixels);
      first = next;
    }
  }

  static int span_count(const Target& target) {
    if (target.width > kSpan / 2) return target.height * ((target.width + kSpan - 1) / kSpan);
    const int rows = kSpan / target.width;
    return (target.height + rows - 1) / rows;
  }

  // Whether the value range is all that the integer type can hold, so that saturating changes nothing.
  bool covers_dtype() const {
    return settings_.low <= 0 && settings_.high >= (batch_.in == Dtype::uint8 ? 255.0 : 65535.0);
  }

  void prepare_erase(int64_t row, const Target& target) {
    erase_.clear();
    for (size_t k = 0; k < settings_.erase.size(); ++k) {
      const EraseParams& params = params_.erase[k];
      if (!params.active[row]) continue;
      EraseStep<Real> step{};
      if (settings_.erase[k].rects) {
        step.rects = static_cast<const int32_t*>(params.data) + 4 * row * params.count;
        step.count = params.count;
      } else {
        holes_[k].lay_grid(static_cast<const float*>(params.data) + 6 * row, target.height, target.width);
        holes_[k].give(step);
      }
      step.fill = fills_[k].empty() ? nullptr : fills_[k].data();
      step.key = params.keys ? params.keys + 2 * row : nullptr;
      step.index = static_cast<uint32_t>(k);
      if (step.count > 0) erase_.push_back(step);
    }
  }

  void end_span(const Target& target, const Span& span, Real* values) {
    for (const EraseStep<Real>& step : erase_)
      kernels_.erase(step, range_, settings_.channels, target.width, span, values, kSpan);
    kernels_.finish(finish_, span, values, kSpan, target);
  }

  const PassSettings& settings_;
  const PassParams& params_;
  const Batch& batch_;
  const Kernels<Real>& kernels_;
  const Range<Real> range_;
  Warping<Real> warping_;
  Colouring<Real> colouring_;
  std::vector<Real> scale_, offset_, span_;
  std::vector<std::vector<Real>> fills_;
  std::vector<EraseStep<Real>> erase_;
  Finish<Real> finish_{};
  bool plain_ = false;               // the pass only moves and saturates
  std::vector<Holes> holes_;         // one for each erase op
  std::vector<uint8_t> fill_pixel_, rect_pixel_, filled_, tables_;
  std::unique_ptr<Levels<Real>> levels_;
};

template <class Real> void run_batch(const PassSettings& settings, const PassParams& params, const Batch& batch) {
  const int64_t count = static_cast<int64_t>(batch.images.size());
  std::vector<std::unique_ptr<Worker<Real>>> workers(worker_count(count, batch.threads));
  parallel_for(count, batch.threads, [&](int64_t item, int worker) {
    if (!workers[worker]) workers[worker] = std::make_unique<Worker<Real>>(settings, params, batch);
    workers[worker]->run(item);
  });
}

}  // namespace

void run_pass(const PassSettings& settings, const PassParams& params, const Batch& batch) {
  if (batch.in == Dtype::uint16)
    run_batch<double>(settings, params, batch);
  else
    run_batch<float>(settings, params, batch);
}

}  // namespace onewarp
