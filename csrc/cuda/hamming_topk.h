// Exact top-k by Hamming distance on the GPU: the hits of csrc/hamming.h's hamming_topk_cpu, to the bit. No CUDA header
// is needed to call it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fasthash {

// Device memory that hamming_topk_cuda wants, in bytes: at most 72 MiB, and 8 bytes a query and distance for at most
// 1024 queries. It does not depend on the device or the kernel.
size_t hamming_topk_cuda_scratch(int64_t nq, int64_t nb, int64_t bytes, int64_t k);

// The kernel that hamming_topk_cuda takes for these sizes on the current device.
const char* hamming_topk_cuda_kernel(int64_t nq, int64_t nb, int64_t bytes, int64_t k);

// All pointers are device memory; stream is a cudaStream_t. Returns when everything is queued.
//   queries [nq, bytes], database [nb, bytes]: packed codes at any alignment, 1 <= bytes <= 512
//   bits: the code length, bytes = ceil(bits / 8); bits after it in the last byte count in no distance
//   allow [ceil(nb / 8)]: bitmask, most significant bit first, or null; k: 1 to 2^31 - 1
//   distances, ids: [nq, k], by (distance, id), filled up with (2147483647, -1)
//   scratch: 256-byte aligned; its last 256 bytes then begin with an int32, 1 where of the last batch of queries some
//     were answered by counting: all with the kernel "count", otherwise those with more survivors than room
//   kernel: null for the one of hamming_topk_cuda_kernel, or one by name, for tests and calibration; all give the same
//     "count"     two passes of counting: any k, any device
//     "popcount"  a scan that keeps what may be a hit: k up to 8192, any device; reads the database once per 8 queries
//     "mma"       the same on the tensor cores of 8.0 to 9.0 by mma.sync (elsewhere emulated by the compiler, slow)
//     "wgmma"     the same by the instructions of 9.0 alone; the build must hold code for 9.0a
// Throws std::invalid_argument for sizes out of range or a kernel that cannot take them, std::runtime_error where CUDA
// refuses a launch.
void hamming_topk_cuda(const uint8_t* queries, int64_t nq, const uint8_t* database, int64_t nb, int64_t bytes, int bits,
                       const uint8_t* allow, int64_t k, int32_t* distances, int64_t* ids, void* scratch,
                       size_t scratch_bytes, void* stream, const char* kernel = nullptr);

}  // namespace fasthash
