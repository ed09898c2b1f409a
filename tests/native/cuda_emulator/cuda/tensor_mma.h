// Stands in for csrc/cuda/tensor_mma.h: the same products in software, from the layouts that the PTX ISA documents.
#pragma once

#include "cuda/launch.h"

namespace fasthash {

// What a lane brings to a product of its warp, and the place of its share of the result.
struct MmaLane {
  const uint32_t *a, *b;
  const int32_t* c;
  int32_t* d;
};

// words: 32-bit words of a row of a, and of a column of b, that a lane holds: 1 or 2.
inline void mma_16x8(const MmaLane& mine, int words) {
  const auto all = [words](const emulator::Fibre* warp) {
    const MmaLane* lanes[32];
    for (int i = 0; i < 32; ++i) lanes[i] = emulator::from_bits<const MmaLane*>(warp[i].value);
    for (int row = 0; row < 16; ++row)
      for (int column = 0; column < 8; ++column) {
        const int g = row % 8, high = row / 8, at = 2 * high + column % 2;
        const MmaLane& owner = *lanes[4 * g + column / 2];
        int32_t sum = owner.c[at];
        for (int t = 0; t < 4; ++t)
          for (int w = 0; w < words; ++w)
            sum += __builtin_popcount(lanes[4 * g + t]->a[2 * w + high] & lanes[4 * column + t]->b[w]);
        owner.d[at] = sum;
      }
  };
  // c and d may be one array: an entry is read and written by the same step alone.
  emulator::exchange(0xffffffffu, emulator::to_bits(&mine), all);
}

inline void mma_16x8x256(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const int32_t (&c)[4]) {
  mma_16x8({a, b, c, d}, 2);
}

inline void mma_16x8x128(int32_t (&d)[4], const uint32_t (&a)[2], uint32_t b, const int32_t (&c)[4]) {
  mma_16x8({a, &b, c, d}, 1);
}

}  // namespace fasthash
