// Every code within a Hamming distance, on the GPU: the hits of csrc/hamming.h's RangeHits, to the bit, in two steps
// between which the caller reads how many there are. No CUDA header is needed to call it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fasthash {

struct RangePlan {
  int64_t chunk;                                // codes whose hits are counted together
  int64_t chunks;                               // at most 2^31 - 1
  int64_t batch;                                // queries whose hits are placed together
  int64_t width;                                // distances of use: the radius, at most the code length, and 0
  size_t hits_at, places_at, totals_at, bytes;  // offsets into the scratch memory, and its size
};
RangePlan plan_range_cuda(int64_t nq, int64_t nb, int64_t bytes, int64_t radius, int64_t budget);

// Device memory that both steps want, in bytes: about `budget`, or what one query takes when that is more: for each
// query 4 bytes, and once 8 bytes a distance, for each 2^30 codes. A small budget costs launches and parallelism.
size_t hamming_range_cuda_scratch(int64_t nq, int64_t nb, int64_t bytes, int64_t radius, int64_t budget);

// All pointers are device memory; stream is a cudaStream_t.
struct HammingRange {
  const uint8_t* queries;   // [nq, bytes]
  int64_t nq;               // below 2^31
  const uint8_t* database;  // [nb, bytes], packed codes at any alignment
  int64_t nb;
  int64_t bytes;         // 1 to 512
  int bits;              // bytes = ceil(bits / 8); bits after it in the last byte count in no distance
  const uint8_t* allow;  // [ceil(nb / 8)] bitmask, most significant bit first, or null
  int64_t radius;        // 0 or more
  void* scratch;         // 256-byte aligned; the second step reads what the first one left
  size_t scratch_bytes;  // at least hamming_range_cuda_scratch(nq, nb, bytes, radius, budget)
  int64_t budget;
  void* stream;
};

// Both return when everything is queued, and throw std::invalid_argument for sizes out of range, std::runtime_error
// where CUDA refuses a launch.
//   lims [nq + 1]: hits of query q are [lims[q], lims[q + 1]); written by the first step, read by the second
//   distances, ids [lims[nq]]: hits of each query by (distance, id)
void hamming_range_count_cuda(const HammingRange& search, int64_t* lims);
void hamming_range_emit_cuda(const HammingRange& search, const int64_t* lims, int32_t* distances, int64_t* ids);

}  // namespace fasthash
