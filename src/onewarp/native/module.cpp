// Python module onewarp._native: checks arguments, releases the GIL, runs the kernels.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>

#include "arguments.h"
#include "crf.h"
#include "draws.h"
#include "filter.h"
#include "isa.h"
#include "jpeg.h"
#include "mix.h"
#include "random.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace onewarp {
namespace {

void require_finite(const char* name, const std::vector<double>& values, int channels) {
  if (values.size() != static_cast<size_t>(channels))
    bad_value(std::string(name) + ": expected " + std::to_string(channels) + " values, got " + std::to_string(values.size()));
  for (const double v : values)
    if (!std::isfinite(v)) bad_value(std::string(name) + ": values must be finite, got " + std::to_string(v));
}

void require_range(double low, double high) {
  if (!(std::isfinite(low) && std::isfinite(high) && low < high))
    bad_value("low, high: need finite low < high, got " + std::to_string(low) + ", " + std::to_string(high));
}

ColourKind parse_op(const std::string& name, int channels) {
  if (name == "affine") return ColourKind::affine;
  if (name == "table") return ColourKind::table;
  if (name == "autocontrast") return ColourKind::autocontrast;
  if (name == "equalize") return ColourKind::equalize;
  if (name != "hue") bad_value("ops: unknown '" + name + "'; use affine, table, hue, autocontrast or equalize");
  if (channels < 3) bad_value("ops: hue needs 3 or more channels, got " + std::to_string(channels));
  return ColourKind::hue;
}

using EraseSpec = std::pair<std::string, std::optional<std::vector<double>>>;

class Pass {
 public:
  Pass(int channels, const std::string& interpolation, const std::string& fill_mode, std::vector<double> fill_value,
       double low, double high, const std::vector<std::string>& ops, bool linear_tables,
       const std::vector<EraseSpec>& erase, std::vector<double> scale, std::vector<double> offset, bool channels_first)
      : channels_first_(channels_first) {
    if (channels < 1 || channels > 1024) bad_value("channels: must be in [1, 1024], got " + std::to_string(channels));
    require_finite("fill_value", fill_value, channels);
    require_finite("scale", scale, channels);
    require_finite("offset", offset, channels);
    require_range(low, high);
    isa();  // here, where an instruction set that cannot run can still be an error
    settings_ = {channels, parse_interpolation(interpolation), parse_border(fill_mode), std::move(fill_value), low, high,
                 {}, linear_tables, {}, std::move(scale), std::move(offset)};
    for (const std::string& op : ops) settings_.ops.push_back(parse_op(op, channels));
    for (const auto& [kind, fill] : erase) {
      if (kind != "rects" && kind != "grid") bad_value("erase: unknown '" + kind + "'; use rects or grid");
      if (fill) require_finite("erase fill", *fill, channels);
      settings_.erase.push_back({kind == "rects", fill.value_or(std::vector<double>{})});
    }
  }

  void run(nb::object images, nb::object out, nb::object matrices, nb::sequence fields, nb::object frames,
           nb::object reduction, nb::sequence ops, nb::sequence erase, int64_t start, int threads, bool streamed) const {
    BatchArguments arguments(images, out, channels_first_, start, threads);
    arguments.require_images({Dtype::uint8, Dtype::uint16, Dtype::float32});
    arguments.require_out({Dtype::uint8, Dtype::uint16, Dtype::float16, Dtype::float32});
    arguments.require_channels(settings_.channels);
    run_on(arguments, matrices, fields, frames, reduction, ops, erase, streamed);
  }

  std::vector<int64_t> run_jpegs(nb::sequence jpegs, nb::object places, nb::object out, nb::object matrices, nb::sequence fields,
                                 nb::object frames, nb::object reduction, nb::sequence ops, nb::sequence erase, int64_t start,
                                 bool streamed, bool fast) const {
    BatchArguments arguments(jpegs, places, fast, settings_.channels, out, channels_first_, start);
    arguments.require_out({Dtype::uint8, Dtype::uint16, Dtype::float16, Dtype::float32});
    std::vector<uint8_t> made(static_cast<size_t>(arguments.count()));
    arguments.batch.made = made.data();
    run_on(arguments, matrices, fields, frames, reduction, ops, erase, streamed);
    std::vector<int64_t> left;
    for (size_t k = 0; k < made.size(); ++k)
      if (!made[k]) left.push_back(static_cast<int64_t>(k));
    return left;
  }

 private:
  void run_on(BatchArguments& arguments, nb::object matrices, nb::sequence fields, nb::object frames, nb::object reduction,
              nb::sequence ops, nb::sequence erase, bool streamed) const {
    const WarpArguments warp(matrices, fields, frames, arguments);
    PassParams params;
    params.warp = warp.params;
    Held held;
    read_reduction(reduction, arguments, held, params);
    read_ops(ops, arguments, held, params);
    read_erase(erase, arguments, held, params);
    arguments.batch.streamed = streamed;
    const nb::gil_scoped_release release;
    run_pass(settings_, params, arguments.batch);
  }

  // Keeps the parameter arrays while the kernels read them.
  struct Held {
    std::list<Parameter<float>> floats;
    std::list<Parameter<int32_t>> ints;
    std::list<Parameter<uint32_t>> words;
    std::list<Parameter<uint8_t>> flags;
  };

  static void read_reduction(nb::handle object, const BatchArguments& arguments, Held& held, PassParams& params) {
    if (object.is_none()) return;
    params.reduction = held.ints.emplace_back(read_int32(object, "reduction", arguments.rows(), {})).data();
    for (int64_t k = arguments.batch.start; k < arguments.rows(); ++k) {
      const int32_t r = params.reduction[k];
      if (r != 1 && r != 2 && r != 4 && r != 8)
        bad_value("reduction[" + std::to_string(k) + "]: must be 1, 2, 4 or 8, got " + std::to_string(r));
      if (r != 1 && !params.warp.matrices)
        bad_value("reduction[" + std::to_string(k) + "]: is " + std::to_string(r) + " but matrices is None; pass matrices");
    }
  }

  // The items of a list of tuples, checked to be as many as `count`, each of `size` entries.
  static std::vector<nb::tuple> read_tuples(nb::sequence list, const char* name, size_t count, size_t size) {
    if (nb::len(list) != count)
      bad_value(std::string(name) + ": expected " + std::to_string(count) + " entries, got " + std::to_string(nb::len(list)));
    std::vector<nb::tuple> items;
    for (nb::handle item : list) {
      if (!nb::isinstance<nb::tuple>(item) || nb::len(item) != size)
        bad_type(std::string(name) + ": every entry must be a tuple of " + std::to_string(size));
      items.push_back(nb::borrow<nb::tuple>(item));
    }
    return items;
  }

  void read_ops(nb::sequence list, const BatchArguments& arguments, Held& held, PassParams& params) const {
    const int64_t rows = arguments.rows(), C = settings_.channels;
    size_t k = 0;
    for (const nb::tuple& item : read_tuples(list, "ops", settings_.ops.size(), 2)) {
      const std::string name = "ops[" + std::to_string(k) + "]";
      const ColourKind kind = settings_.ops[k++];
      ColourParams op{};
      op.active = held.flags.emplace_back(read_flags(item[1], name + " active", rows)).data();
      if (kind == ColourKind::affine) {
        op.data = held.floats.emplace_back(read_float(item[0], name + " affine", rows, {C, 2 * C + 1})).data();
      } else if (kind == ColourKind::hue) {
        op.data = held.floats.emplace_back(read_float(item[0], name + " hue", rows, {})).data();
      } else if (kind == ColourKind::table) {
        const auto& table = held.floats.emplace_back(read_float(item[0], name + " table", rows, {-1, -1}));
        const int64_t entries = table.shape(1), columns = table.shape(2);
        const bool levels = arguments.batch.in == Dtype::uint8;
        if (levels ? entries != 256 : entries < 2 || entries > (1 << 24))
          bad_value(name + " table: " + (levels ? "uint8 images need 256" : "need 2 to 2^24") + " entries, got " + std::to_string(entries));
        if (columns != 1 && columns != C)
          bad_value(name + " table: expected 1 or " + std::to_string(C) + " columns, got " + std::to_string(columns));
        op.data = table.data();
        op.entries = static_cast<int>(entries);
        op.columns = static_cast<int>(columns);
      } else if (!item[0].is_none()) {
        bad_type(name + ": takes no array; pass None");
      }
      params.ops.push_back(op);
    }
  }

  void read_erase(nb::sequence list, const BatchArguments& arguments, Held& held, PassParams& params) const {
    const int64_t rows = arguments.rows();
    size_t k = 0;
    for (const nb::tuple& item : read_tuples(list, "erase", settings_.erase.size(), 3)) {
      const std::string name = "erase[" + std::to_string(k) + "]";
      const EraseOp& settings = settings_.erase[k++];
      EraseParams op{};
      op.active = held.flags.emplace_back(read_flags(item[1], name + " active", rows)).data();
      if (settings.rects) {
        const auto& rects = held.ints.emplace_back(read_int32(item[0], name + " rects", rows, {-1, 4}));
        op.data = rects.data();
        op.count = static_cast<int>(rects.shape(1));
      } else {
        op.data = held.floats.emplace_back(read_float(item[0], name + " grid", rows, {6})).data();
      }
      if (settings.fill.empty()) {
        if (item[2].is_none()) bad_value(name + " keys: noise needs keys uint32 [N, 2], got None");
        op.keys = held.words.emplace_back(read_uint32(item[2], name + " keys", rows, {2})).data();
      }
      params.erase.push_back(op);
    }
  }

  PassSettings settings_;
  bool channels_first_;
};

void nearest(nb::object images, nb::object out, nb::object matrices, nb::sequence fields, nb::object frames,
             const std::string& fill_mode, nb::bytes fill, int64_t start, int threads) {
  BatchArguments arguments(images, out, false, start, threads);
  arguments.require_same_dtype();
  const Border border = parse_border(fill_mode);
  const WarpArguments warp(matrices, fields, frames, arguments);
  const ptrdiff_t size = arguments.itemsize();
  if (size != 1 && size != 2 && size != 4 && size != 8)
    bad_type("out: elements must have 1, 2, 4 or 8 bytes, got " + std::to_string(size));
  if (fill.size() != static_cast<size_t>(size))
    bad_value("fill: expected one element of " + std::to_string(size) + " bytes, got " + std::to_string(fill.size()));
  const uint8_t* value = reinterpret_cast<const uint8_t*>(fill.c_str());
  const nb::gil_scoped_release release;
  run_nearest(warp.params, border, value, static_cast<int>(size), arguments.batch);
}

void gaussian_blur(nb::object images, nb::object out, nb::object weights, nb::object active, int64_t start, int threads) {
  BatchArguments arguments(images, out, false, start, threads);
  arguments.require_images({Dtype::uint8, Dtype::uint16, Dtype::float32});
  arguments.require_same_dtype();
  arguments.require_same_size();
  const Parameter<float> kernel = read_float(weights, "weights", arguments.rows(), {-1});
  const Parameter<uint8_t> flags = read_flags(active, "active", arguments.rows());
  const int64_t taps = kernel.shape(1);
  if (taps % 2 == 0 || taps > (1 << 20)) bad_value("weights: need an odd number of taps, got " + std::to_string(taps));
  const nb::gil_scoped_release release;
  run_blur(kernel.data(), static_cast<int>(taps), flags.data(), arguments.batch);
}

void gaussian_noise(nb::object images, nb::object out, nb::object std, nb::object keys, nb::object active, double low,
                    double high, int64_t start, int threads) {
  BatchArguments arguments(images, out, false, start, threads);
  arguments.require_images({Dtype::uint8, Dtype::uint16, Dtype::float32});
  arguments.require_same_dtype();
  arguments.require_same_size();
  require_range(low, high);
  const Parameter<float> strength = read_float(std, "std", arguments.rows(), {});
  const Parameter<uint32_t> words = read_uint32(keys, "keys", arguments.rows(), {2});
  const Parameter<uint8_t> flags = read_flags(active, "active", arguments.rows());
  const nb::gil_scoped_release release;
  run_noise({strength.data(), words.data(), flags.data(), static_cast<float>(low), static_cast<float>(high)}, arguments.batch);
}

void mix(nb::object images, nb::object out, nb::object share, nb::object partners, int threads) {
  BatchArguments arguments(images, out, false, 0, threads);
  arguments.require_images({Dtype::uint8, Dtype::uint16, Dtype::float16, Dtype::float32});
  arguments.require_same_dtype();
  arguments.require_same_size();
  const Parameter<float> shares = read_float(share, "share", arguments.rows(), {});
  const Parameter<int32_t> others = read_int32(partners, "partners", arguments.rows(), {});
  for (int64_t k = 0; k < arguments.count(); ++k)
    if (others.data()[k] < 0 || others.data()[k] >= arguments.count())
      bad_value("partners[" + std::to_string(k) + "]: must be in [0, " + std::to_string(arguments.count()) + "), got " +
                std::to_string(others.data()[k]));
  const nb::gil_scoped_release release;
  run_mix(shares.data(), others.data(), arguments.batch);
}

using Uint32Array = nb::ndarray<nb::numpy, uint32_t, nb::ndim<1>>;

std::pair<Uint32Array, Uint32Array> threefry2x32(nb::object k0, nb::object k1, nb::object c0, nb::object c1) {
  const Parameter<uint32_t> words[4] = {read_uint32(k0, "k0", 0, {}), read_uint32(k1, "k1", 0, {}),
                                        read_uint32(c0, "c0", 0, {}), read_uint32(c1, "c1", 0, {})};
  const size_t n = static_cast<size_t>(words[0].shape(0));
  for (const Parameter<uint32_t>& word : words)
    if (static_cast<size_t>(word.shape(0)) != n) bad_value("k0, k1, c0, c1: lengths must agree");
  uint32_t* result[2];
  nb::capsule owners[2];
  for (int w = 0; w < 2; ++w) {
    result[w] = new uint32_t[n];
    owners[w] = nb::capsule(result[w], [](void* p) noexcept { delete[] static_cast<uint32_t*>(p); });
  }
  for (size_t k = 0; k < n; ++k) {
    const Words out = threefry(words[0].data()[k], words[1].data()[k], words[2].data()[k], words[3].data()[k]);
    for (int w = 0; w < 2; ++w) result[w][k] = out.word[w];
  }
  return {Uint32Array(result[0], {n}, owners[0]), Uint32Array(result[1], {n}, owners[1])};
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "Kernels of the host engine: warp, colour, erase and cast in one pass; nearest warp of masks; blur; noise; mixes; dense CRF.";
  nb::class_<Pass>(m, "Pass", "Warp, colour, erase and cast of a batch in one pass. Immutable; may be shared by threads.")
      .def(nb::init<int, const std::string&, const std::string&, std::vector<double>, double, double,
                    const std::vector<std::string>&, bool, const std::vector<EraseSpec>&, std::vector<double>,
                    std::vector<double>, bool>(),
           "channels"_a, "interpolation"_a, "fill_mode"_a, "fill_value"_a, "low"_a, "high"_a, "ops"_a, "linear_tables"_a,
           "erase"_a, "scale"_a, "offset"_a, "channels_first"_a)
      .def("run", &Pass::run, "images"_a, "out"_a, "matrices"_a.none(), "fields"_a, "frames"_a.none(), "reduction"_a.none(),
           "ops"_a, "erase"_a, "start"_a = 0, "threads"_a = 1, "streamed"_a = false,
           "Runs the pass on images [n, H, W, C] or a list of [H, W, C] (uint8, uint16, float32) and writes out\n"
           "[n, h, w, C] or [n, C, h, w]. Row start + k of every parameter array belongs to image k.\n"
           "streamed: out is more than the caches hold; it is written past them.\n"
           "Raises ValueError or TypeError naming the argument.")
      .def("run_jpegs", &Pass::run_jpegs, "jpegs"_a, "places"_a, "out"_a, "matrices"_a.none(), "fields"_a, "frames"_a.none(),
           "reduction"_a.none(), "ops"_a, "erase"_a, "start"_a = 0, "streamed"_a = false, "fast"_a = false,
           "The same on JPEGs (a list of bytes), each decoded as far as its part goes: places int32 [n, 7], height, width,\n"
           "top, left, bottom, right, and 1, or the 2, 4 or 8 by which it is reduced in decoding. fast: the faster DCT and\n"
           "upsampling, whose pixels differ. Returns the numbers of those that were not done, see `jpeg_part`.");
  m.def("nearest", &nearest, "images"_a, "out"_a, "matrices"_a.none(), "fields"_a, "frames"_a.none(), "fill_mode"_a,
        "fill"_a, "start"_a = 0, "threads"_a = 1,
        "Warps images of any element type of 1, 2, 4 or 8 bytes by nearest sampling; elements are copied exactly.");
  m.def("gaussian_blur", &gaussian_blur, "images"_a, "out"_a, "weights"_a, "active"_a, "start"_a = 0, "threads"_a = 1,
        "Separable blur with weights float32 [N, k], k odd; borders reflect without repeating the edge pixel.");
  m.def("gaussian_noise", &gaussian_noise, "images"_a, "out"_a, "std"_a, "keys"_a, "active"_a, "low"_a, "high"_a,
        "start"_a = 0, "threads"_a = 1,
        "Adds std * (high - low) * z, z standard normal, keyed per element by keys uint32 [N, 2]; saturates.");
  m.def("mix", &mix, "images"_a, "out"_a, "share"_a, "partners"_a, "threads"_a = 1,
        "Weighted means of images [n, H, W, C] (uint8, uint16, float16, float32) of one size with each other:\n"
        "out[k] = share[k] * images[k] + (1 - share[k]) * images[partners[k]], in float32; integers are rounded.");
  m.def("isa", &isa, "The instruction set in use: avx512, avx2 or plain; ONEWARP_ISA forces one.");
  m.def("isas", &runnable_isas, "All instruction sets that this machine can run, best first.");
  m.def("threefry2x32", &threefry2x32, "k0"_a, "k1"_a, "c0"_a, "c1"_a,
        "Threefry-2x32-20 of uint32 arrays [N]: key words k0, k1 and counter words c0, c1 to two output words.");
  define_draws(m);
  define_crf(m);
  define_jpeg(m);
}

}  // namespace onewarp
