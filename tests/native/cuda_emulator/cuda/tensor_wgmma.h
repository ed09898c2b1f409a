// Stands in for csrc/cuda/tensor_wgmma.h: the same products in software, from the layouts that the PTX ISA documents.
#pragma once

#include "cuda/launch.h"

namespace fasthash {

inline uint64_t shared_matrix(const void* start, int across, int down) {
  const auto address = reinterpret_cast<uintptr_t>(start) - reinterpret_cast<uintptr_t>(shared_words);
  if (address % 16 != 0 || across % 16 != 0 || down % 16 != 0 || address >= sizeof shared_words)
    emulator::fail("a matrix at an address that no descriptor can hold");
  return address >> 4 | static_cast<uint64_t>(across >> 4) << 16 | static_cast<uint64_t>(down >> 4) << 32;
}

// Words [word, word + 1) of a row of the matrix, of 8.
inline uint32_t matrix_word(uint64_t matrix, int row, int word) {
  const auto field = [matrix](int bit) { return static_cast<size_t>(matrix >> bit & 0x3fff) << 4; };
  const size_t at = field(0) + field(16) * (word / 4) + field(32) * (row / 8) + 16 * (row % 8) + 4 * (word % 4);
  return shared_words[at / 4];
}

inline void fence_stores_for_wgmma() {}

// At once: what is stored to the matrices too late, or too early over them, makes wrong numbers.
inline void wgmma_64x128x256(int32_t (&d)[64], uint64_t a, uint64_t b, int add) {
  const int lane = emulator::lane(), warp = static_cast<int>(threadIdx.x) / 32 % 4, g = lane / 4, t = lane % 4;
  for (int i = 0; i < 64; ++i) {
    const int row = 16 * warp + g + 8 * (i / 2 % 2), column = 8 * (i / 4) + 2 * t + i % 2;
    int32_t sum = add != 0 ? d[i] : 0;
    for (int w = 0; w < 8; ++w) sum += __builtin_popcount(matrix_word(a, row, w) & matrix_word(b, column, w));
    d[i] = sum;
  }
}

inline void wgmma_wait(int32_t (&)[64]) {}
inline bool wgmma_exists() { return true; }

}  // namespace fasthash
