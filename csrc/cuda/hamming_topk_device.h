// What the parts of the top-k search share on the device. csrc/cuda/hamming_topk.cu says how they follow each other.
#pragma once

#include "cuda/hamming_codes.h"

namespace fasthash {

constexpr int32_t kNoDistance = 2147483647;
constexpr int kTile = 512;    // codes: what a warp (popcount) or a block (tensor cores) takes at a time
constexpr int kPeriod = 256;  // tiles
constexpr int kIdBits = 50;   // of a key: the distance stands above them

// Tiles [first, last) of every kPeriod: a share of the database that is spread over all of it, in order of position.
struct Part {
  int first, last;
  int64_t tiles;  // how many there are

  __host__ __device__ int64_t tile(int64_t i) const {
    const int width = last - first;
    return width == kPeriod ? i : i / width * kPeriod + first + i % width;
  }
};

inline Part make_part(int first, int last, int64_t nb) {
  const int64_t tiles = ceil_div(nb, kTile), over = tiles % kPeriod - first, width = last - first;
  return {first, last, tiles / kPeriod * width + (over < 0 ? 0 : over < width ? over : width)};
}

// The codes that may be among the k nearest, in the order in which they were found, which is any.
struct Survivors {
  uint64_t* keys;              // [nq, capacity] distance << kIdBits | id
  unsigned long long* counts;  // [nq] how many were found: those beyond the capacity are lost
  int32_t* limits;             // [nq] no farther code is of use; -1: nothing is
  int64_t capacity;
};

__device__ inline uint64_t make_key(int distance, int64_t id) {
  return static_cast<uint64_t>(distance) << kIdBits | static_cast<uint64_t>(id);
}

// Room for `count` more of query q, or at least the capacity when they would be lost: then the count need not be exact,
// and without this test a database of equal codes would be a queue of atomics.
__device__ inline unsigned long long reserve(const Survivors& to, int q, int count) {
  const auto capacity = static_cast<unsigned long long>(to.capacity);
  if (*static_cast<volatile unsigned long long*>(to.counts + q) > capacity) return capacity;
  return atomicAdd(to.counts + q, static_cast<unsigned long long>(count));
}

__device__ inline void store_key(const Survivors& to, int q, unsigned long long slot, int distance, int64_t id) {
  if (slot < static_cast<unsigned long long>(to.capacity)) to.keys[q * to.capacity + slot] = make_key(distance, id);
}

// Called by a whole warp: one atomic for all its survivors.
__device__ inline void append_warp(const Survivors& to, int q, bool wanted, int distance, int64_t id) {
  const unsigned near = __ballot_sync(kWholeWarp, wanted);
  if (near == 0) return;
  const int lane = threadIdx.x % 32, leader = __ffs(static_cast<int>(near)) - 1;
  unsigned long long slot = 0;
  if (lane == leader) slot = reserve(to, q, __popc(near));
  slot = __shfl_sync(kWholeWarp, slot, leader);
  if (wanted) store_key(to, q, slot + __popc(near & ((1u << lane) - 1)), distance, id);
}

// Of two codes that can be read as whole words.
template <typename Word>
__device__ inline int distance(const uint8_t* query, const uint8_t* code, int bytes, Word tail) {
  const int words = bytes / static_cast<int>(sizeof(Word));
  int sum = 0;
  for (int w = 0; w < words; ++w) {
    const Word unequal = reinterpret_cast<const Word*>(query)[w] ^ reinterpret_cast<const Word*>(code)[w];
    sum += count_bits(w == words - 1 ? static_cast<Word>(unequal & tail) : unequal);
  }
  return sum;
}

// Survivors are rare: to compute their distance again is cheaper than to keep all distances until some are appended.
template <typename Word>
__device__ inline int distance_again(const Codes& codes, int q, int64_t j) {
  return distance(codes.queries + int64_t{q} * codes.bytes, codes.database + j * codes.bytes, codes.bytes,
                  last_word_mask<Word>(codes.bits));
}

struct Output {
  int32_t* distances;  // [nq, k]
  int64_t* ids;        // [nq, k]
  int64_t k;
};

// Counters of the two passes that need no room for survivors.
struct Counters {
  uint32_t* counts;     // [nq, bits + 1, chunks] how many codes, then where the first of them goes
  int64_t* totals;      // [nq, bits + 1] the same over all chunks
  uint32_t* hits;       // [nq, chunks] hits to be written
  int32_t* limits;      // [nq] of Survivors: queries of -1 are left out
  const int32_t* lost;  // [1] 0: no query is left
  int64_t chunk;        // codes
  int chunks;
};

// All of these queue their work and return. scan_*: appends the codes of the part that are within the limits.
void scan_popcount(const Codes& codes, const Part& part, const Survivors& to, cudaStream_t stream);
void scan_mma(const Codes& codes, const Part& part, const Survivors& to, cudaStream_t stream);
void scan_wgmma(const Codes& codes, const Part& part, const Survivors& to, cudaStream_t stream);
bool has_wgmma();  // on this device, in this build

// histogram [nq, bits + 1], zero before: how many codes of the part are at each distance.
void sample_distances(const Codes& codes, const Part& part, uint32_t* histogram, cudaStream_t stream);
// limits[q] = the k-th distance of the histogram, bits where it has fewer; lost = all_lost.
void bound_limits(const uint32_t* histogram, int nq, int bits, int64_t k, int32_t* limits, int32_t* lost, bool all_lost,
                  cudaStream_t stream);
// The same from the survivors so far, where none is lost.
void tighten_limits(const Survivors& at, int nq, int bits, int64_t k, cudaStream_t stream);
// The k nearest survivors in order, and limits[q] = -1; where some are lost, lost = 1 and the limit stays.
void select_survivors(const Survivors& from, int nq, int bits, int64_t nb, int32_t* lost, const Output& out,
                      cudaStream_t stream);
// Fills the output with missing hits.
void clear_output(const Output& out, int64_t nq, cudaStream_t stream);
// The exact answer of the queries that have a limit, which must bound the k-th distance.
void count_and_emit(const Codes& codes, const Counters& at, const Output& out, cudaStream_t stream);

}  // namespace fasthash
