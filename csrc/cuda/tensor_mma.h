// Products of bits by one warp: d += popc(a & b) over K bits. The PTX instructions and nothing else, with the layouts
// of the PTX ISA, "Warp level matrix multiply-accumulate instructions".
//
// tests/native/cuda_emulator/cuda/tensor_mma.h computes the same in software from the same layouts, so everything
// around these functions runs on a CPU. Only a GPU can show that the hardware agrees with the text of the ISA: the
// order of the fragments.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace fasthash {

// One warp, d [16, 8] = c + popc(a [16, 256] & b [256, 8]). With g = lane / 4, t = lane % 4:
//   a[0], a[1]: bits 32 t .. of rows g and g + 8; a[2], a[3]: bits 128 + 32 t .. of them
//   b[0], b[1]: bits 32 t .. and 128 + 32 t .. of column g
//   c, d: (g, 2 t), (g, 2 t + 1), (g + 8, 2 t), (g + 8, 2 t + 1)
__device__ inline void mma_16x8x256(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                    const int32_t (&c)[4]) {
  asm("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
      : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
}

// The same with K = 128: a[0], a[1] are bits 32 t .. of rows g and g + 8, b those of column g.
__device__ inline void mma_16x8x128(int32_t (&d)[4], const uint32_t (&a)[2], uint32_t b, const int32_t (&c)[4]) {
  asm("mma.sync.aligned.m16n8k128.row.col.s32.b1.b1.s32.and.popc "
      "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %8, %9, %10};"
      : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(b), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
}

}  // namespace fasthash
