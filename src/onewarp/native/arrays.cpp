#include "arrays.h"

#include <utility>

namespace nb = nanobind;

namespace onewarp {

void bad_value(const std::string& message) { throw nb::value_error(message.c_str()); }
void bad_type(const std::string& message) { throw nb::type_error(message.c_str()); }

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t k = 0; k < shape.size(); ++k) text += (k ? ", " : "") + (shape[k] < 0 ? "N" : std::to_string(shape[k]));
  return text + "]";
}

Array::Array(nb::handle object, std::string name, bool writable) : name_(std::move(name)) {
  if (PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_STRIDED_RO | PyBUF_FORMAT) != 0) {
    PyErr_Clear();
    bad_type(name_ + ": expected a NumPy array, got " + nb::type_name(object.type()).c_str() + "; convert it with numpy.asarray");
  }
  held_ = true;
  if (writable && buffer_.readonly) {
    PyBuffer_Release(&buffer_);
    bad_value(name_ + ": the array is read-only; pass one that can be written to");
  }
}

Array::Array(Array&& other) noexcept
    : name_(std::move(other.name_)), buffer_(other.buffer_), held_(std::exchange(other.held_, false)) {}

Array::~Array() {
  if (held_) PyBuffer_Release(&buffer_);
}

std::string Array::dtype() const {
  std::string format = buffer_.format ? buffer_.format : "B";
  const char order = format.empty() ? '\0' : format[0];
  if (order == '@' || order == '=' || order == '<') format.erase(0, 1);
  if (format.size() != 1) return "'" + format + "'";
  const std::string bits = std::to_string(8 * itemsize());
  switch (format[0]) {
    case '?': return "bool";
    case 'B': case 'H': case 'I': case 'L': case 'Q': return "uint" + bits;
    case 'b': case 'h': case 'i': case 'l': case 'q': return "int" + bits;
    case 'e': case 'f': case 'd': return "float" + bits;
    default: return "'" + format + "'";
  }
}

std::string Array::describe() const {
  return dtype() + " " + shape_text(std::vector<int64_t>(buffer_.shape, buffer_.shape + buffer_.ndim));
}

bool Array::contiguous() const { return PyBuffer_IsContiguous(&buffer_, 'C') != 0; }

bool Array::overlaps(const Array& other) const {
  auto range = [](const Array& a) {
    const uint8_t* low = a.data();
    const uint8_t* high = a.data() + a.itemsize();
    for (int k = 0; k < a.ndim(); ++k) {
      if (a.shape(k) == 0) return std::make_pair(low, low);
      const ptrdiff_t reach = a.stride(k) * (a.shape(k) - 1);
      (reach < 0 ? low : high) += reach;
    }
    return std::make_pair(low, high);
  };
  const auto mine = range(*this), theirs = range(other);
  return mine.first < theirs.second && theirs.first < mine.second;
}

namespace {

// Appends the elements of `array` from `axis` on, in C order.
template <class T> void gather(const Array& array, int axis, const uint8_t* from, std::vector<T>& to) {
  if (axis == array.ndim()) {
    to.push_back(load<T>(from));
    return;
  }
  for (int64_t k = 0; k < array.shape(axis); ++k) gather(array, axis + 1, from + k * array.stride(axis), to);
}

template <class T>
Parameter<T> read(nb::handle object, const std::string& name, const char* dtype, int64_t rows, const std::vector<int64_t>& rest) {
  Array array(object, name);
  bool fits = array.dtype() == dtype || (sizeof(T) == 1 && array.dtype() == "bool");
  std::vector<int64_t> wanted = {-1};
  wanted.insert(wanted.end(), rest.begin(), rest.end());
  const std::string expected =
      name + ": expected " + dtype + " " + shape_text(wanted) + " with N >= " + std::to_string(rows) + ", got " + array.describe();
  if (!fits) bad_type(expected);
  fits = array.ndim() == static_cast<int>(wanted.size()) && array.shape(0) >= rows;
  for (size_t k = 1; fits && k < wanted.size(); ++k) fits = wanted[k] < 0 || array.shape(static_cast<int>(k)) == wanted[k];
  if (!fits) bad_value(expected);

  std::vector<T> copy;
  if (!array.contiguous() || reinterpret_cast<uintptr_t>(array.data()) % alignof(T) != 0) gather(array, 0, array.data(), copy);
  const T* data = reinterpret_cast<const T*>(array.data());
  return Parameter<T>(std::move(array), data, std::move(copy));
}

}  // namespace

Parameter<float> read_float(nb::handle object, const std::string& name, int64_t rows, const std::vector<int64_t>& rest) {
  return read<float>(object, name, "float32", rows, rest);
}
Parameter<int32_t> read_int32(nb::handle object, const std::string& name, int64_t rows, const std::vector<int64_t>& rest) {
  return read<int32_t>(object, name, "int32", rows, rest);
}
Parameter<uint32_t> read_uint32(nb::handle object, const std::string& name, int64_t rows, const std::vector<int64_t>& rest) {
  return read<uint32_t>(object, name, "uint32", rows, rest);
}
Parameter<uint8_t> read_flags(nb::handle object, const std::string& name, int64_t rows) {
  return read<uint8_t>(object, name, "uint8", rows, {});
}

}  // namespace onewarp
