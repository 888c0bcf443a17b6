// The colour program of one sample: which ops run, with coefficients for raw values v = low + x * (high - low).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels.h"
#include "pass.h"

namespace onewarp {

template <class Real> class Colouring {
 public:
  Colouring(const PassSettings& settings, const PassParams& params, const Range<Real>& range, Dtype dtype)
      : settings_(settings),
        params_(params),
        range_(range),
        kernels_(kernels(Real())),
        channels_(settings.channels),
        direct_(dtype == Dtype::uint8),
        steps_(settings.ops.size()),
        scratch_(channels_),
        sum_(channels_),
        lo_(channels_),
        hi_(channels_),
        histogram_(static_cast<size_t>(channels_) * kHistogram) {}

  // Sets up the active ops of sample `row`.
  void prepare(int64_t row) {
    count_ = 0;
    for (size_t k = 0; k < settings_.ops.size(); ++k)
      if (params_.ops[k].active[row]) prepare_step(steps_[count_++], settings_.ops[k], params_.ops[k], row);
  }

  int count() const { return count_; }

  // Whether op k needs a statistic of the whole frame at its place: observe() every span, then complete().
  bool observes(int k) const { return steps_[k].observes; }

  void reset_statistics() {
    std::fill(sum_.begin(), sum_.end(), 0.0);
    std::fill(lo_.begin(), lo_.end(), range_.high);
    std::fill(hi_.begin(), hi_.end(), range_.low);
    std::fill(histogram_.begin(), histogram_.end(), 0u);
  }

  // Of an affine op that is complete: [C][C], then offset [C].
  const Real* matrix(int k) const { return steps_[k].op.matrix; }

  ColourKind kind(int k) const { return steps_[k].op.kind; }

  // Whether every prepared op makes of a value of a channel what it makes of that value anywhere: no mixing of channels.
  bool by_level() const {
    for (int k = 0; k < count_; ++k) {
      const Step& step = steps_[k];
      if (step.op.kind == ColourKind::hue) return false;
      if (step.op.kind != ColourKind::affine) continue;
      for (int r = 0; r < channels_; ++r)
        for (int c = 0; c < channels_; ++c)
          if (r != c && step.affine[r * (2 * channels_ + 1) + c] != 0) return false;
    }
    return true;
  }

  // Instead of observe(): the values that the 256 levels of channel c have become, and how often each level occurs.
  void observe_levels(int k, int c, Real* values, const uint32_t* counts) {
    const ColourKind kind = steps_[k].op.kind;
    for (int level = 0; level < 256; ++level) {
      Real& v = values[level];
      if (kind == ColourKind::affine) {
        sum_[c] += static_cast<double>(v) * counts[level];
        continue;
      }
      v = std::min(std::max(v, range_.low), range_.high);
      if (kind == ColourKind::equalize) {
        const Real bin = std::nearbyint((v - range_.low) * (255 / (range_.high - range_.low)));
        histogram_[static_cast<size_t>(c) * kHistogram + static_cast<size_t>(std::min(std::max(bin, Real(0)), Real(255)))] +=
            counts[level];
        continue;
      }
      v = range_.low + std::nearbyint(v - range_.low);
      if (counts[level] == 0) continue;
      lo_[c] = std::min(lo_[c], v);
      hi_[c] = std::max(hi_[c], v);
    }
  }

  // Instead of observing for a mean: the sums of the values of each channel.
  void set_means(const double* sums) { std::copy(sums, sums + channels_, sum_.begin()); }

  void observe(int k, int n, Real* values, int stride) {
    kernels_.observe(steps_[k].op.kind, range_, channels_, n, values, stride,
                     {sum_.data(), lo_.data(), hi_.data(), histogram_.data()});
  }

  void complete(int k, double pixels) {
    Step& step = steps_[k];
    if (step.op.kind == ColourKind::affine) {
      for (double& sum : sum_) sum = (sum / pixels - settings_.low) / (settings_.high - settings_.low);
      fold_affine(step);
    } else if (step.op.kind == ColourKind::autocontrast) {
      step.coefficients = lo_;
      step.coefficients.insert(step.coefficients.end(), hi_.begin(), hi_.end());
      step.op.matrix = step.coefficients.data();
    } else {
      complete_equalize(step);
    }
  }

  void apply(int k, int n, Real* values, int stride) const {
    kernels_.colour(steps_[k].op, range_, channels_, n, values, stride);
  }

 private:
  struct Step {
    ColourStep<Real> op;
    bool observes;
    const float* affine;  // [C, 2C + 1] = [A | K | d]
    std::vector<Real> coefficients;
    std::vector<uint8_t> keep;
  };

  void prepare_step(Step& step, ColourKind kind, const ColourParams& params, int64_t row) {
    step.op = {};
    step.op.kind = kind;
    step.op.scratch = scratch_.data();
    step.observes = kind == ColourKind::autocontrast || kind == ColourKind::equalize;
    if (kind == ColourKind::affine) {
      step.affine = params.data + row * channels_ * (2 * channels_ + 1);
      step.observes = uses_mean(step.affine);
      std::fill(sum_.begin(), sum_.end(), 0.0);
      if (!step.observes) fold_affine(step);
    } else if (kind == ColourKind::table) {
      step.op.table = params.data + row * params.entries * params.columns;
      step.op.entries = params.entries;
      step.op.columns = params.columns;
      step.op.direct = direct_;
      step.op.linear = settings_.linear_tables;
    } else if (kind == ColourKind::hue) {
      const double turns = params.data[row];
      step.op.shift = static_cast<Real>(turns - std::floor(turns));
    }
  }

  bool uses_mean(const float* affine) const {
    for (int r = 0; r < channels_; ++r)
      for (int c = 0; c < channels_; ++c)
        if (affine[r * (2 * channels_ + 1) + channels_ + c] != 0) return true;
    return false;
  }

  // x' = A x + K mean + d on unit values, rewritten for raw values; sum_ holds the unit means.
  void fold_affine(Step& step) {
    const int C = channels_;
    const double low = settings_.low, extent = settings_.high - settings_.low;
    step.coefficients.resize(static_cast<size_t>(C) * (C + 1));
    for (int r = 0; r < C; ++r) {
      const float* line = step.affine + r * (2 * C + 1);
      double offset = low + extent * line[2 * C];
      for (int c = 0; c < C; ++c) {
        step.coefficients[r * C + c] = static_cast<Real>(line[c]);
        offset += extent * line[C + c] * sum_[c] - line[c] * low;
      }
      step.coefficients[C * C + r] = static_cast<Real>(offset);
    }
    step.op.matrix = step.coefficients.data();
  }

  // Pillow's equalisation: the level table of each channel from its histogram.
  void complete_equalize(Step& step) {
    step.coefficients.resize(static_cast<size_t>(channels_) * 256);
    step.keep.assign(channels_, 0);
    for (int c = 0; c < channels_; ++c) {
      uint32_t* histogram = histogram_.data() + static_cast<size_t>(c) * kHistogram;
      for (int k = 256; k < kHistogram; ++k) histogram[k % 256] += histogram[k];
      uint64_t sum = 0, last = 0;
      for (int k = 0; k < 256; ++k) {
        sum += histogram[k];
        if (histogram[k]) last = histogram[k];
      }
      const uint64_t width = (sum - last) / 255;
      if (width == 0) {
        step.keep[c] = 1;
        continue;
      }
      uint64_t below = width / 2;
      for (int k = 0; k < 256; ++k) {
        const double level = static_cast<double>(std::min<uint64_t>(255, below / width));
        step.coefficients[c * 256 + k] = static_cast<Real>(settings_.low + level * (settings_.high - settings_.low) / 255.0);
        below += histogram[k];
      }
    }
    step.op.levels = step.coefficients.data();
    step.op.keep = step.keep.data();
  }

  const PassSettings& settings_;
  const PassParams& params_;
  const Range<Real> range_;
  const Kernels<Real>& kernels_;
  const int channels_;
  const bool direct_;  // a level is a table's index
  int count_ = 0;
  std::vector<Step> steps_;
  std::vector<Real> scratch_;
  std::vector<double> sum_;
  std::vector<Real> lo_, hi_;
  std::vector<uint32_t> histogram_;
};

}  // namespace onewarp
