#include "arguments.h"

#include <algorithm>

namespace nb = nanobind;

namespace onewarp {
namespace {

constexpr int64_t kLongestSide = 100'000'000;  // = kFar
constexpr int64_t kMostNodes = 1 << 27;         // of a field: offsets into it are 32 bits

const char* dtype_name(Dtype dtype) {
  switch (dtype) {
    case Dtype::uint8: return "uint8";
    case Dtype::uint16: return "uint16";
    case Dtype::float16: return "float16";
    case Dtype::float32: return "float32";
    case Dtype::sum32: break;
  }
  return "?";
}

Dtype require_dtype(const Array& array, std::initializer_list<Dtype> allowed) {
  std::string names;
  for (const Dtype dtype : allowed) {
    if (array.dtype() == dtype_name(dtype)) return dtype;
    names += (names.empty() ? "" : ", ") + std::string(dtype_name(dtype));
  }
  bad_type(array.name() + ": elements must be one of " + names + ", got " + array.dtype() + "; convert with astype");
}

void require_start(int64_t start) {
  if (start < 0) bad_value("start: must not be negative, got " + std::to_string(start));
}

bool is_list(nb::handle object) { return nb::isinstance<nb::list>(object) || nb::isinstance<nb::tuple>(object); }

}  // namespace

Interpolation parse_interpolation(const std::string& name) {
  if (name == "nearest") return Interpolation::nearest;
  if (name == "bilinear") return Interpolation::bilinear;
  if (name == "bicubic") return Interpolation::bicubic;
  bad_value("interpolation: unknown '" + name + "'; use nearest, bilinear or bicubic");
}

Border parse_border(const std::string& name) {
  if (name == "constant") return Border::constant;
  if (name == "nearest") return Border::nearest;
  if (name == "reflect") return Border::reflect;
  if (name == "wrap") return Border::wrap;
  bad_value("fill_mode: unknown '" + name + "'; use constant, nearest, reflect or wrap");
}

BatchArguments::BatchArguments(nb::sequence jpegs, nb::handle places, bool fast, int channels, nb::handle out,
                               bool channels_first, int64_t start)
    : out_(out, "out", true) {
  require_start(start);
  batch.start = start;
  batch.threads = 1;
  batch.in = Dtype::uint8;
  if (channels != 1 && channels != 3) bad_value("channels: JPEGs have 1 or 3, got " + std::to_string(channels));
  const int64_t n = static_cast<int64_t>(nb::len(jpegs));
  const Parameter<int32_t> numbers = read_int32(places, "places", n, {7});
  for (int64_t k = 0; k < n; ++k) {
    const Array& bytes = images_.emplace_back(jpegs[k], "jpegs[" + std::to_string(k) + "]");
    if (bytes.ndim() != 1 || bytes.itemsize() != 1 || !bytes.contiguous()) bad_type(bytes.name() + ": expected bytes, got " + bytes.describe());
    const int32_t* p = numbers.data() + 7 * k;
    const Rect part{p[2], p[3], p[4], p[5]};
    const bool inside = part.top >= 0 && part.left >= 0 && part.top < part.bottom && part.left < part.right && part.bottom <= p[0] &&
                        part.right <= p[1];
    const int r = p[6];
    const bool known = r == 1 || r == 2 || r == 4 || r == 8;
    if (!inside || !known || p[0] > kLongestSide || p[1] > kLongestSide)
      bad_value("places[" + std::to_string(k) + "]: needs height, width, a part inside them and 1, 2, 4 or 8, got " +
                shape_text({p[0], p[1], p[2], p[3], p[4], p[5], p[6]}));
    batch.images.push_back({nullptr, p[0], p[1], channels, static_cast<ptrdiff_t>(p[1]) * channels, channels, 1});
    batch.encoded.push_back({bytes.data(), static_cast<size_t>(bytes.shape(0)), part, {fast, r}});
  }
  add_targets(channels_first);
}

BatchArguments::BatchArguments(nb::handle images, nb::handle out, bool channels_first, int64_t start, int threads)
    : out_(out, "out", true) {
  require_start(start);
  if (threads < 1) bad_value("threads: must be at least 1, got " + std::to_string(threads));
  batch.start = start;
  batch.threads = threads;

  if (is_list(images)) {
    int64_t index = 0;
    for (nb::handle image : nb::borrow<nb::sequence>(images)) {
      const Array& array = images_.emplace_back(image, "images[" + std::to_string(index++) + "]");
      if (array.ndim() != 3) bad_value(array.name() + ": expected [H, W, C], got " + array.describe());
      add_image(array.data(), array, 0);
    }
  } else {
    const Array& array = images_.emplace_back(images, "images");
    if (array.ndim() != 4) bad_value("images: expected [n, H, W, C] or a list of [H, W, C], got " + array.describe());
    for (int64_t k = 0; k < array.shape(0); ++k) add_image(array.data() + k * array.stride(0), array, 1);
  }

  add_targets(channels_first);
  for (const Array& array : images_) {
    if (array.dtype() != images_.front().dtype())
      bad_type(array.name() + ": is " + array.dtype() + " but images[0] is " + images_.front().dtype() + "; use one type");
    if (out_.overlaps(array)) bad_value("out: shares memory with " + array.name() + "; pass a separate array");
  }
}

void BatchArguments::add_targets(bool channels_first) {
  const char* expected = channels_first ? "[n, C, h, w]" : "[n, h, w, C]";
  if (out_.ndim() != 4 || out_.shape(0) != count())
    bad_value(std::string("out: expected ") + expected + " with n = " + std::to_string(count()) + ", got " + out_.describe());
  const int height = channels_first ? 2 : 1, width = height + 1, channel = channels_first ? 1 : 3;
  for (const int axis : {1, 2, 3})
    if (out_.shape(axis) > kLongestSide) bad_value("out: too large, " + out_.describe());
  for (int64_t k = 0; k < count(); ++k) {
    batch.targets.push_back({out_.data() + k * out_.stride(0), static_cast<int>(out_.shape(height)),
                             static_cast<int>(out_.shape(width)), static_cast<int>(out_.shape(channel)),
                             out_.stride(height), out_.stride(width), out_.stride(channel)});
  }
  for (int64_t k = 0; k < count(); ++k) {
    const int channels = batch.images[k].channels, wanted = batch.images[0].channels;
    if (channels != wanted)
      bad_value("images[" + std::to_string(k) + "]: has " + std::to_string(channels) + " channels but images[0] has " +
                std::to_string(wanted) + "; use one number");
  }
  if (count() && batch.targets[0].channels != batch.images[0].channels)
    bad_value(std::string("out: expected ") + expected + ", got " + out_.describe() + ", but images have " +
              std::to_string(batch.images[0].channels) + " channels; both need the same number");
}

void BatchArguments::add_image(const uint8_t* data, const Array& array, int axis) {
  for (int k = axis; k < axis + 3; ++k)
    if (array.shape(k) < 1 || array.shape(k) > kLongestSide)
      bad_value(array.name() + ": every side must be in [1, 1e8], got " + array.describe());
  batch.images.push_back({data, static_cast<int>(array.shape(axis)), static_cast<int>(array.shape(axis + 1)),
                          static_cast<int>(array.shape(axis + 2)), array.stride(axis), array.stride(axis + 1),
                          array.stride(axis + 2)});
}

void BatchArguments::require_images(std::initializer_list<Dtype> allowed) {
  batch.in = images_.empty() ? Dtype::uint8 : require_dtype(images_.front(), allowed);
}

void BatchArguments::require_out(std::initializer_list<Dtype> allowed) { batch.out = require_dtype(out_, allowed); }

void BatchArguments::require_same_dtype() const {
  if (!images_.empty() && images_.front().dtype() != out_.dtype())
    bad_type("out: is " + out_.dtype() + " but the images are " + images_.front().dtype() + "; use one type");
}

void BatchArguments::require_same_size() const {
  for (const Image& image : batch.images)
    if (image.height != batch.targets[0].height || image.width != batch.targets[0].width)
      bad_value("out: is " + out_.describe() + " but an image is " + shape_text({image.height, image.width, image.channels}) +
                "; without a warp the sizes must agree");
}

void BatchArguments::require_channels(int channels) const {
  if (count() && batch.images[0].channels != channels)
    bad_value("images: expected " + std::to_string(channels) + " channels, got " + std::to_string(batch.images[0].channels));
}

WarpArguments::WarpArguments(nb::object matrices, nb::sequence fields, nb::object frames, const BatchArguments& batch) {
  const int64_t count = static_cast<int64_t>(nb::len(fields)), rows = batch.rows();
  if (matrices.is_none()) {
    if (count > 0) bad_value("fields: need matrices, got None; pass identity matrices float32 [N, f+1, 3, 3]");
    batch.require_same_size();
    return;
  }
  matrices_.emplace(read_float(matrices, "matrices", rows, {count + 1, 3, 3}));
  params.matrices = matrices_->data();
  if (count == 0) return;

  if (frames.is_none()) bad_value("frames: fields need frames float32 [N, f, 2], got None");
  frames_.emplace(read_float(frames, "frames", rows, {count, 2}));
  params.frames = frames_->data();
  for (int64_t k = 0; k < count; ++k) {
    const std::string name = "fields[" + std::to_string(k) + "]";
    const Parameter<float>& field = fields_.emplace_back(read_float(fields[k], name, rows, {-1, -1, 2}));
    if (field.shape(1) < 1 || field.shape(2) < 1 || field.shape(1) > kMostNodes / field.shape(2))
      bad_value(name + ": the grid must have at least one node and at most 2^27, got [N, " +
                std::to_string(field.shape(1)) + ", " + std::to_string(field.shape(2)) + ", 2]");
    params.fields.push_back({field.data(), static_cast<int>(field.shape(1)), static_cast<int>(field.shape(2))});
  }
}

}  // namespace onewarp
