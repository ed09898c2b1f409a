// The value of a substring of a code.
#pragma once

#include <cstdint>
#include <cstring>

namespace fasthash {

// Eight bytes as a number whose most significant bit is the first bit of the code.
inline uint64_t first_bit_on_top(uint64_t word) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  return word;
#else
  return __builtin_bswap64(word);
#endif
}

// words: [count] as load_query makes them; width 1 to 32, start + width <= 64 * count.
inline uint32_t substring(const uint64_t* words, int start, int width) {
  const int word = start / 64, skip = start % 64;
  uint64_t bits = first_bit_on_top(words[word]) << skip;
  if (skip + width > 64) bits |= first_bit_on_top(words[word + 1]) >> (64 - skip);
  return static_cast<uint32_t>(bits >> (64 - width));
}

}  // namespace fasthash
