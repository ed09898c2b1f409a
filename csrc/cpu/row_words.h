// Words of row-major codes at any alignment.
//
// static: a shared inline function could be linked in the form of the widest instruction set that includes this.
#pragma once

#include <cstdint>
#include <cstring>

namespace fasthash {

static inline uint64_t load_word(const uint8_t* from) {
  uint64_t word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

// The last `tail` bytes (1..7) of a code: never reads outside [code, code + bytes).
static inline uint64_t load_tail(const uint8_t* code, int64_t bytes, int tail) {
  if (bytes >= 8) return load_word(code + bytes - 8) >> (8 * (8 - tail));
  uint64_t word = 0;
  for (int i = tail - 1; i >= 0; --i) word = word << 8 | code[i];
  return word;
}

}  // namespace fasthash
