#include "jpeg.h"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "arrays.h"

#ifdef ONEWARP_JPEG
#include <csetjmp>
#include <cstdio>

#include <jpeglib.h>
#endif

namespace nb = nanobind;
using namespace nb::literals;

namespace onewarp {
namespace {

#ifdef ONEWARP_JPEG

constexpr bool kDecodesParts = true;

struct Failure {
  jpeg_error_mgr manager;
  std::jmp_buf back;
};

[[noreturn]] void give_up(j_common_ptr decoder) { std::longjmp(reinterpret_cast<Failure*>(decoder->err)->back, 1); }

// A warning says that data were made up: as bad as an error.
void on_message(j_common_ptr decoder, int level) {
  if (level < 0) give_up(decoder);
}

// Fancy upsampling reads the chroma beside a pixel, which at the edge of what is decoded is not the true one.
constexpr int kBeside = 4;

// Without its end marker a file is broken off, wherever the part lies; what stands behind the marker is for others to judge.
bool has_end(const uint8_t* data, size_t size) { return size >= 4 && data[size - 2] == 0xff && data[size - 1] == 0xd9; }

}  // namespace

// Nothing in here has a destructor: libjpeg reports errors by jumping out.
bool decode_part(const uint8_t* data, size_t size, uint8_t* out, int height, int width, int channels, const Rect& part,
                 const JpegOptions& options) {
  if (!has_end(data, size)) return false;
  jpeg_decompress_struct decoder;
  Failure failure;
  decoder.err = jpeg_std_error(&failure.manager);
  failure.manager.error_exit = give_up;
  failure.manager.emit_message = on_message;
  if (setjmp(failure.back)) {
    jpeg_destroy_decompress(&decoder);
    return false;
  }
  jpeg_create_decompress(&decoder);
  jpeg_mem_src(&decoder, data, size);
  jpeg_read_header(&decoder, TRUE);
  const J_COLOR_SPACE stored = decoder.jpeg_color_space;
  const bool known = stored == JCS_YCbCr || stored == JCS_GRAYSCALE || (stored == JCS_RGB && channels == 3);
  decoder.scale_num = 1;
  decoder.scale_denom = static_cast<unsigned>(options.reduction);
  jpeg_calc_output_dimensions(&decoder);
  const bool fits = static_cast<int>(decoder.output_height) == height && static_cast<int>(decoder.output_width) == width;
  // The rows of several scans come one scan after the other: there is nothing to save.
  if (!known || !fits || decoder.data_precision != 8 || jpeg_has_multiple_scans(&decoder)) give_up(reinterpret_cast<j_common_ptr>(&decoder));
  decoder.out_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  decoder.dct_method = options.fast ? JDCT_IFAST : JDCT_ISLOW;
  decoder.do_fancy_upsampling = options.fast ? FALSE : TRUE;
  jpeg_start_decompress(&decoder);

  const JDIMENSION wanted = static_cast<JDIMENSION>(std::max(part.left - kBeside, 0));
  JDIMENSION left = wanted, columns = static_cast<JDIMENSION>(std::min(part.right + kBeside, width)) - wanted;
  if (static_cast<int>(columns) < width) jpeg_crop_scanline(&decoder, &left, &columns);  // moves them to whole blocks
  if (part.top > 0) jpeg_skip_scanlines(&decoder, static_cast<JDIMENSION>(part.top));
  const ptrdiff_t row = static_cast<ptrdiff_t>(width) * channels;
  while (static_cast<int>(decoder.output_scanline) < part.bottom) {
    JSAMPROW rows[8];
    const int first = static_cast<int>(decoder.output_scanline), count = std::min(8, part.bottom - first);
    for (int k = 0; k < count; ++k) rows[k] = out + (first + k) * row + static_cast<ptrdiff_t>(left) * channels;
    jpeg_read_scanlines(&decoder, rows, static_cast<JDIMENSION>(count));
  }
  jpeg_destroy_decompress(&decoder);  // what lies below is not looked at
  return true;
}

#else

constexpr bool kDecodesParts = false;

}  // namespace

bool decode_part(const uint8_t*, size_t, uint8_t*, int, int, int, const Rect&, const JpegOptions&) { return false; }

#endif

namespace {

bool jpeg_part(nb::object data, nb::object out, int top, int left, int bottom, int right) {
  const Array bytes(data, "data"), pixels(out, "out", true);
  if (bytes.ndim() != 1 || bytes.itemsize() != 1 || !bytes.contiguous()) bad_type("data: expected bytes, got " + bytes.describe());
  if (pixels.dtype() != "uint8" || pixels.ndim() != 3 || !pixels.contiguous())
    bad_type("out: expected contiguous uint8 [h, w, c], got " + pixels.describe());
  const int64_t height = pixels.shape(0), width = pixels.shape(1), channels = pixels.shape(2);
  if (channels != 1 && channels != 3) bad_value("out: expected 1 or 3 channels, got " + std::to_string(channels));
  if (top < 0 || left < 0 || bottom > height || right > width || top >= bottom || left >= right)
    bad_value("top, left, bottom, right: must be a part of " + shape_text({height, width}) + ", got " +
              shape_text({top, left, bottom, right}));
  const size_t size = static_cast<size_t>(bytes.shape(0));
  const nb::gil_scoped_release release;
  return decode_part(bytes.data(), size, pixels.data(), static_cast<int>(height), static_cast<int>(width),
                     static_cast<int>(channels), {top, left, bottom, right});
}

}  // namespace

void define_jpeg(nb::module_& m) {
  m.attr("decodes_parts") = kDecodesParts;
  m.def("jpeg_part", &jpeg_part, "data"_a, "out"_a, "top"_a, "left"_a, "bottom"_a, "right"_a,
        "Decodes rows [top, bottom) and columns [left, right) of a JPEG into their places in out, uint8 [h, w, 1 or 3] of the\n"
        "image's size; pixels beside them may be written, too. Accurate DCT and upsampling: the pixels of the whole image.\n"
        "False, and out is not complete, where it has to be decoded as a whole: several scans, CMYK, damage, another size.");
}

}  // namespace onewarp
