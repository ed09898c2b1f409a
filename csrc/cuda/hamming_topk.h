// Exact top-k by Hamming distance on the GPU: the hits of csrc/hamming.h's hamming_topk_cpu, to the bit. No CUDA header
// is needed to call it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fasthash {

// How the work is cut: queries in batches, the database in chunks, counters for each (query, distance, chunk).
struct TopKPlan {
  int64_t batch;   // queries
  int64_t chunk;   // codes
  int64_t chunks;  // at most 2^31 - 1
  int64_t sample;  // chunks of the first pass that bounds the k-th distance; 0: no such pass
  size_t counts_at, totals_at, limits_at, hits_at, bytes;  // offsets into the scratch memory, and its size
};
TopKPlan plan_topk_cuda(int64_t nq, int64_t nb, int64_t bytes, int64_t k);

// Device memory that hamming_topk_cuda wants, in bytes: about 64 MiB at most, plus 8 bytes a query and distance.
size_t hamming_topk_cuda_scratch(int64_t nq, int64_t nb, int64_t bytes, int64_t k);

// All pointers are device memory; stream is a cudaStream_t. Returns when everything is queued.
//   queries [nq, bytes], database [nb, bytes]: packed codes at any alignment, 1 <= bytes <= 512
//   allow [ceil(nb / 8)]: bitmask, most significant bit first, or null; k: 1 to 2^31 - 1
//   distances, ids: [nq, k], by (distance, id), filled up with (2147483647, -1)
//   scratch: 256-byte aligned
// Throws std::invalid_argument for sizes out of range, std::runtime_error where CUDA refuses a launch.
void hamming_topk_cuda(const uint8_t* queries, int64_t nq, const uint8_t* database, int64_t nb, int64_t bytes,
                       const uint8_t* allow, int64_t k, int32_t* distances, int64_t* ids, void* scratch,
                       size_t scratch_bytes, void* stream);

}  // namespace fasthash
