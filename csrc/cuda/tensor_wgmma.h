// Products of bits by four warps: d += popc(a & b) over 256 bits. The PTX instructions and nothing else, with the
// layouts of the PTX ISA, "Asynchronous warpgroup level matrix instructions".
//
// tests/native/cuda_emulator/cuda/tensor_wgmma.h computes the same in software from the same layouts, so everything
// around these functions runs on a CPU. Only a GPU can show that the hardware agrees with the text of the ISA: the
// order of the accumulators, the strides of the descriptors, and that the fences order the stores before the
// asynchronous reads.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/launch.h"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define FASTHASH_WGMMA 1
#endif

namespace fasthash {

// A matrix [rows, 256 bits] in shared memory, without swizzle: 8 rows of 128 bits are 128 bytes in a row; `across`
// bytes lead to the same rows' other 128 bits, `down` bytes to the next 8 rows. All multiples of 16, the address too.
__device__ inline uint64_t shared_matrix(const void* start, int across, int down) {
  const auto address = static_cast<uint64_t>(__cvta_generic_to_shared(start));
  return (address & 0x3ffff) >> 4 | static_cast<uint64_t>(across >> 4) << 16 | static_cast<uint64_t>(down >> 4) << 32;
}

// Each thread that stored to shared memory, before the barrier after which wgmma reads it.
__device__ inline void fence_stores_for_wgmma() {
#ifdef FASTHASH_WGMMA
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// Four warps, d [64, 128] = popc(a [64, 256] & b [128, 256]) where `add` is 0, d + that where it is 1. Warp w has rows
// 16 w .. 16 w + 15; d[4 n ..] are (g, 8 n + 2 t), (g, 8 n + 2 t + 1), (g + 8, 8 n + 2 t), (g + 8, 8 n + 2 t + 1).
// It has ended after wgmma_wait, until when d must be left alone.
__device__ inline void wgmma_64x128x256(int32_t (&d)[64], uint64_t a, uint64_t b, int add) {
#ifdef FASTHASH_WGMMA
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k256.s32.b1.b1.and.popc "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, "
      "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, p;\n}\n"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]), "+r"(d[4]), "+r"(d[5]), "+r"(d[6]), "+r"(d[7]), "+r"(d[8]),
        "+r"(d[9]), "+r"(d[10]), "+r"(d[11]), "+r"(d[12]), "+r"(d[13]), "+r"(d[14]), "+r"(d[15]), "+r"(d[16]),
        "+r"(d[17]), "+r"(d[18]), "+r"(d[19]), "+r"(d[20]), "+r"(d[21]), "+r"(d[22]), "+r"(d[23]), "+r"(d[24]),
        "+r"(d[25]), "+r"(d[26]), "+r"(d[27]), "+r"(d[28]), "+r"(d[29]), "+r"(d[30]), "+r"(d[31]), "+r"(d[32]),
        "+r"(d[33]), "+r"(d[34]), "+r"(d[35]), "+r"(d[36]), "+r"(d[37]), "+r"(d[38]), "+r"(d[39]), "+r"(d[40]),
        "+r"(d[41]), "+r"(d[42]), "+r"(d[43]), "+r"(d[44]), "+r"(d[45]), "+r"(d[46]), "+r"(d[47]), "+r"(d[48]),
        "+r"(d[49]), "+r"(d[50]), "+r"(d[51]), "+r"(d[52]), "+r"(d[53]), "+r"(d[54]), "+r"(d[55]), "+r"(d[56]),
        "+r"(d[57]), "+r"(d[58]), "+r"(d[59]), "+r"(d[60]), "+r"(d[61]), "+r"(d[62]), "+r"(d[63])
      : "l"(a), "l"(b), "r"(add)
      : "memory");
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
  __trap();
#endif
}

__device__ inline void wgmma_wait(int32_t (&d)[64]) {
#ifdef FASTHASH_WGMMA
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  for (int32_t& value : d) asm volatile("" : "+r"(value)::"memory");  // nothing reads d before this
#endif
}

// Static shared memory marks code that was made for 9.0a: the only thing about it that the host can ask for.
__global__ static void wgmma_mark_kernel(int* out) {
#ifdef FASTHASH_WGMMA
  __shared__ int mark;
  if (threadIdx.x == 0) mark = *out;
  __syncthreads();
  *out = mark + 1;
#endif
}

// Whether the device has wgmma and this build code for it.
inline bool wgmma_exists() {
  cudaFuncAttributes attributes;
  if (current_device().capability != 90) return false;
  check_cuda(cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(wgmma_mark_kernel)), "wgmma_exists");
  return attributes.sharedSizeBytes != 0;
}

}  // namespace fasthash
