// Scratch memory for vector loads and stores.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fasthash {

// A buffer of zeros whose elements start at a cache line.
template <typename T>
class LineBuffer {
 public:
  explicit LineBuffer(int64_t size) : lines_(static_cast<size_t>((size * sizeof(T) + 63) / 64)) {}
  T* data() { return reinterpret_cast<T*>(lines_.data()); }

 private:
  struct alignas(64) Line {
    unsigned char bytes[64];
  };
  std::vector<Line> lines_;
};

}  // namespace fasthash
