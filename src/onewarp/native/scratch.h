// Memory that a thread works in, kept from call to call: fresh pages can cost as much as the arithmetic on them.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace onewarp {

class Scratch {
 public:
  // At least `size` bytes, not initialised, aligned to a cache line; the bytes given before are no longer valid.
  void* bytes(size_t size) {
#ifdef __SANITIZE_ADDRESS__
    const bool fits = size == size_;  // so that a read past the end is seen
#else
    const bool fits = size <= size_;
#endif
    if (!fits) {
      memory_.reset();
      size_ = 0;
      memory_.reset(::operator new(size, std::align_val_t(kLine)));
      size_ = size;
    }
    return memory_.get();
  }
  // Gives memory back that is too much to keep for a thread that may never need it again.
  void trim() {
    if (size_ <= kKept) return;
    memory_.reset();
    size_ = 0;
  }

 private:
  static constexpr size_t kLine = 64, kKept = size_t{16} << 20;
  struct Free {
    void operator()(void* memory) const { ::operator delete(memory, std::align_val_t(kLine)); }
  };
  std::unique_ptr<void, Free> memory_;
  size_t size_ = 0;
};

}  // namespace onewarp
