// What the Hamming kernels share: packed codes on the device, their words, sums over a warp.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace fasthash {

constexpr unsigned kWholeWarp = 0xffffffffu;

struct Codes {
  const uint8_t* queries;  // [nq, bytes], of this batch
  int nq;
  const uint8_t* database;  // [nb, bytes]
  int64_t nb;
  int bytes;
  int bits;              // those after them in the last byte count in no distance, whatever they are
  const uint8_t* allow;  // [ceil(nb / 8)] or null
};

__host__ __device__ inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
__host__ __device__ inline bool allowed(const uint8_t* allow, int64_t j) {
  return allow == nullptr || (allow[j >> 3] >> (7 - (j & 7)) & 1) != 0;
}
__device__ inline int count_bits(uint64_t x) { return __popcll(x); }
__device__ inline int count_bits(uint32_t x) { return __popc(x); }
__device__ inline int count_bits(uint8_t x) { return __popc(x); }

// 128 bits, read by one load.
struct alignas(16) Wide {
  uint64_t low, high;
};
__device__ inline Wide operator^(Wide a, Wide b) { return {a.low ^ b.low, a.high ^ b.high}; }
__device__ inline Wide operator&(Wide a, Wide b) { return {a.low & b.low, a.high & b.high}; }
__device__ inline int count_bits(Wide x) { return __popcll(x.low) + __popcll(x.high); }

// The bits of a code's last word that count: all but the lowest ones of its last byte, which is its highest.
template <typename Word>
__host__ __device__ inline Word last_word_mask(int bits) {
  const uint64_t unused = (1u << (-bits & 7)) - 1;
  return static_cast<Word>(~(unused << (8 * (sizeof(Word) - 1))));
}

template <>
__host__ __device__ inline Wide last_word_mask<Wide>(int bits) {
  return {~uint64_t{0}, last_word_mask<uint64_t>(bits)};
}

// Whether rows of `bytes` bytes at p can be read as whole words.
inline bool aligned(const void* p, int64_t bytes, size_t word) {
  return reinterpret_cast<uintptr_t>(p) % word == 0 && static_cast<size_t>(bytes) % word == 0;
}

inline void check_argument(const char* op, bool holds, const std::string& what, int64_t got) {
  if (!holds) throw std::invalid_argument(std::string(op) + ": " + what + ", got " + std::to_string(got));
}

inline void check_codes(const char* op, int64_t nq, int64_t nb, int64_t bytes, int64_t bits) {
  check_argument(op, nq >= 1, "nq must be at least 1", nq);
  check_argument(op, nb >= 1, "nb must be at least 1", nb);
  check_argument(op, bytes >= 1 && bytes <= 512, "bytes must be 1 to 512", bytes);
  check_argument(op, bits > 8 * bytes - 8 && bits <= 8 * bytes, "bits must fill " + std::to_string(bytes) + " bytes",
                 bits);
}

__device__ inline int64_t warp_inclusive_sum(int64_t value, int lane) {
  for (int step = 1; step < 32; step <<= 1) {
    const int64_t before = __shfl_up_sync(kWholeWarp, value, step);
    if (lane >= step) value += before;
  }
  return value;
}

// Lane 31 of a warp has the sum of values[0 .. count - 1].
template <typename Value>
__device__ inline int64_t warp_sum(const Value* values, int count, int lane) {
  int64_t sum = 0;
  for (int i = lane; i < count; i += 32) sum += values[i];
  return warp_inclusive_sum(sum, lane);
}

}  // namespace fasthash
