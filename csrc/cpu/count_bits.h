// The number of set bits of a word, for files compiled without a popcount instruction of their own.
#pragma once

#include <cstdint>

namespace fasthash {

// Without a popcount instruction the builtin is a call; this form stays inline and the compiler vectorises it.
static inline uint64_t count_bits(uint64_t x) {
#if defined(__aarch64__) || defined(__POPCNT__)
  return static_cast<uint64_t>(__builtin_popcountll(x));
#else
  x -= (x >> 1) & 0x5555555555555555u;
  x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return (x * 0x0101010101010101u) >> 56;
#endif
}

}  // namespace fasthash
