// Arrays that come from Python, through the buffer protocol, checked before any work starts.
#pragma once

#include <Python.h>
#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>
#include <vector>

#include "types.h"

namespace onewarp {

// A view of a Python array. Holds the buffer until destroyed (with the GIL held). Errors name the array.
class Array {
 public:
  Array(nanobind::handle object, std::string name, bool writable = false);
  Array(Array&& other) noexcept;
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  Array& operator=(Array&&) = delete;
  ~Array();

  const std::string& name() const { return name_; }
  int ndim() const { return buffer_.ndim; }
  int64_t shape(int axis) const { return buffer_.shape[axis]; }
  ptrdiff_t stride(int axis) const { return buffer_.strides[axis]; }  // bytes
  ptrdiff_t itemsize() const { return buffer_.itemsize; }
  uint8_t* data() const { return static_cast<uint8_t*>(buffer_.buf); }

  // NumPy's name of the element type ("uint8", "float32" ...), or the raw format where there is none.
  std::string dtype() const;
  std::string describe() const;  // e.g. "float32 [8, 3, 3]"
  bool contiguous() const;       // C order
  bool overlaps(const Array& other) const;

 private:
  std::string name_;
  Py_buffer buffer_{};
  bool held_ = false;
};

// Raises ValueError("name: fact, value; remedy") or TypeError.
[[noreturn]] void bad_value(const std::string& message);
[[noreturn]] void bad_type(const std::string& message);

// "[N, 3, 3]"; -1 is written as the letter N.
std::string shape_text(const std::vector<int64_t>& shape);

// A parameter array: C-contiguous elements of type T, copied only when the caller's are not so.
template <class T> class Parameter {
 public:
  Parameter(Array array, const T* data, std::vector<T> copy) : array_(std::move(array)), copy_(std::move(copy)) {
    data_ = copy_.empty() ? data : copy_.data();
  }
  const T* data() const { return data_; }
  int64_t shape(int axis) const { return array_.shape(axis); }

 private:
  Array array_;
  std::vector<T> copy_;
  const T* data_;
};

// Reads a parameter array. Its first dimension must be at least `rows`; of the others, -1 allows any size.
Parameter<float> read_float(nanobind::handle object, const std::string& name, int64_t rows, const std::vector<int64_t>& rest);
Parameter<int32_t> read_int32(nanobind::handle object, const std::string& name, int64_t rows, const std::vector<int64_t>& rest);
Parameter<uint32_t> read_uint32(nanobind::handle object, const std::string& name, int64_t rows,
                                const std::vector<int64_t>& rest);
// uint8 or bool.
Parameter<uint8_t> read_flags(nanobind::handle object, const std::string& name, int64_t rows);

}  // namespace onewarp
