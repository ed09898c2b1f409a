// Exact top-k by two passes of integer counting, no heap and no limit on k.
//
//   sample    a few chunks are counted in full: their k-th distance bounds the true one
//   count     counts[q, d, chunk] of the codes at distance d, up to the bound     reads nb * bytes per 4 queries
//   threshold the k-th distance, and where the hits of each (distance, chunk) begin in the output
//   emit      a warp walks a chunk in order of position and writes each hit to its own place; chunks without hits,
//             nearly all of them when k is small, are skipped                     reads nb * bytes at worst
//
// Every count is an integer and every output slot has one writer: the result does not depend on the order of execution.
#include <algorithm>

#include "cuda/hamming_topk.h"
#include "cuda/launch.h"

namespace fasthash {

extern __shared__ uint32_t shared_words[];

namespace {

constexpr int kGroup = 4;  // queries that share each load of a code
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr unsigned kWholeWarp = 0xffffffffu;
constexpr int64_t kMinChunk = 4096;                  // codes: 16 for each thread of a block
constexpr int64_t kCountBytes = int64_t{64} << 20;   // counters of a batch
constexpr int64_t kMinBatch = 32, kMaxBatch = 1024;  // queries
constexpr int64_t kMaxBytes = 512, kMaxK = 2147483647;
constexpr int32_t kNoDistance = 2147483647;

struct Codes {
  const uint8_t* queries;  // [nq, bytes], of this batch
  int nq;
  const uint8_t* database;  // [nb, bytes]
  int64_t nb;
  int bytes;
  const uint8_t* allow;  // [ceil(nb / 8)] or null
};

struct Counters {
  uint32_t* counts;  // [nq, bits + 1, chunks] how many codes, then where the first of them goes
  int64_t* totals;   // [nq, bits + 1] the same over all chunks
  int32_t* limits;   // [nq] no farther code is of use
  uint32_t* hits;    // [nq, chunks] hits to be written
  int64_t chunk;
  int chunks;
  int64_t k;
};

__host__ __device__ inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
__host__ __device__ inline bool allowed(const uint8_t* allow, int64_t j) {
  return allow == nullptr || (allow[j >> 3] >> (7 - (j & 7)) & 1) != 0;
}
__device__ inline int count_bits(uint64_t x) { return __popcll(x); }
__device__ inline int count_bits(uint32_t x) { return __popc(x); }
__device__ inline int count_bits(uint8_t x) { return __popc(x); }

__device__ inline int64_t warp_inclusive_sum(int64_t value, int lane) {
  for (int step = 1; step < 32; step <<= 1) {
    const int64_t before = __shfl_up_sync(kWholeWarp, value, step);
    if (lane >= step) value += before;
  }
  return value;
}

// Block (c, g): codes of chunk c against queries [g * kGroup, ...).
template <typename Word>
__global__ void count_kernel(Codes codes, Counters to) {
  const int bits = codes.bytes * 8, words = codes.bytes / static_cast<int>(sizeof(Word));
  uint32_t* bins = shared_words;                                        // [kGroup, bits + 1]
  Word* queries = reinterpret_cast<Word*>(bins + kGroup * (bits + 1));  // [kGroup, words]
  const int first = blockIdx.y * kGroup;
  for (int i = threadIdx.x; i < kGroup * (bits + 1); i += kThreads) bins[i] = 0;
  for (int i = threadIdx.x; i < kGroup * words; i += kThreads) {
    const int q = min(first + i / words, codes.nq - 1);
    queries[i] = reinterpret_cast<const Word*>(codes.queries + int64_t{q} * codes.bytes)[i % words];
  }
  int limits[kGroup];
  for (int g = 0; g < kGroup; ++g) limits[g] = first + g < codes.nq ? to.limits[first + g] : -1;
  __syncthreads();

  const int64_t begin = blockIdx.x * to.chunk, end = min(begin + to.chunk, codes.nb);
  for (int64_t j = begin + threadIdx.x; j < end; j += kThreads) {
    if (!allowed(codes.allow, j)) continue;
    const Word* code = reinterpret_cast<const Word*>(codes.database + j * codes.bytes);
    int distances[kGroup] = {};
    for (int w = 0; w < words; ++w) {
      const Word word = code[w];
      for (int g = 0; g < kGroup; ++g) distances[g] += count_bits(static_cast<Word>(queries[g * words + w] ^ word));
    }
    for (int g = 0; g < kGroup; ++g)
      if (distances[g] <= limits[g]) atomicAdd(&bins[g * (bits + 1) + distances[g]], 1u);
  }
  __syncthreads();
  for (int g = 0; g < kGroup; ++g) {
    uint32_t* rows = to.counts + int64_t{first + g} * (bits + 1) * to.chunks;
    for (int d = threadIdx.x; d <= limits[g]; d += kThreads)
      rows[int64_t{d} * to.chunks + blockIdx.x] = bins[g * (bits + 1) + d];
  }
}

// Warp (d, q): totals[q, d] over the first `chunks` chunks.
__global__ void total_kernel(Counters from, int bits, int chunks) {
  const int lane = threadIdx.x % 32, d = blockIdx.x * kWarps + threadIdx.x / 32, q = blockIdx.y;
  if (d > from.limits[q]) return;
  const int64_t cell = int64_t{q} * (bits + 1) + d;
  int64_t sum = 0;
  for (int c = lane; c < chunks; c += 32) sum += from.counts[cell * from.chunks + c];
  sum = warp_inclusive_sum(sum, lane);
  if (lane == 31) from.totals[cell] = sum;
}

// One warp a query: totals[q, d] becomes the number of codes nearer than d, limits[q] the k-th distance.
__global__ void threshold_kernel(Counters at, int bits) {
  const int lane = threadIdx.x, q = blockIdx.x, limit = at.limits[q];
  int64_t* totals = at.totals + int64_t{q} * (bits + 1);
  int64_t nearer = 0;
  for (int start = 0; start <= limit; start += 32) {
    const int d = start + lane;
    const int64_t count = d <= limit ? totals[d] : 0;
    const int64_t sum = warp_inclusive_sum(count, lane);
    if (d <= limit) totals[d] = nearer + sum - count;
    const unsigned reached = __ballot_sync(kWholeWarp, d <= limit && nearer + sum >= at.k);
    if (reached != 0) {
      if (lane == 0) at.limits[q] = start + __ffs(static_cast<int>(reached)) - 1;
      return;
    }
    nearer += __shfl_sync(kWholeWarp, sum, 31);
  }
}

// Warp (d, q): counts[q, d, c] becomes the output position of chunk c's first code at distance d, k where it is beyond.
__global__ void offset_kernel(Counters at, int bits) {
  const int lane = threadIdx.x % 32, d = blockIdx.x * kWarps + threadIdx.x / 32, q = blockIdx.y;
  if (d > at.limits[q]) return;
  const int64_t cell = int64_t{q} * (bits + 1) + d;
  int64_t position = at.totals[cell];
  for (int start = 0; start < at.chunks; start += 32) {
    const int c = start + lane;
    const int64_t count = c < at.chunks ? at.counts[cell * at.chunks + c] : 0;
    const int64_t sum = warp_inclusive_sum(count, lane);
    const int64_t from = min(position + sum - count, at.k), to = min(position + sum, at.k);
    if (c < at.chunks) at.counts[cell * at.chunks + c] = static_cast<uint32_t>(from);
    if (to > from) atomicAdd(&at.hits[int64_t{q} * at.chunks + c], static_cast<uint32_t>(to - from));
    position += __shfl_sync(kWholeWarp, sum, 31);
  }
}

template <typename Word>
__device__ int distance(const uint8_t* query, const uint8_t* code, int bytes) {
  int sum = 0;
  for (int w = 0; w < bytes / static_cast<int>(sizeof(Word)); ++w)
    sum +=
        count_bits(static_cast<Word>(reinterpret_cast<const Word*>(query)[w] ^ reinterpret_cast<const Word*>(code)[w]));
  return sum;
}

// Warp (c, q): the hits of query q in chunk c, in order of position, so that equal distances keep that order.
template <typename Word>
__global__ void emit_kernel(Codes codes, Counters at, int32_t* distances, int64_t* ids) {
  const int lane = threadIdx.x % 32, c = blockIdx.x, q = blockIdx.y * kWarps + threadIdx.x / 32;
  if (q >= codes.nq) return;
  const int limit = at.limits[q];
  const uint8_t* query = codes.queries + int64_t{q} * codes.bytes;
  uint32_t* places = at.counts + int64_t{q} * (codes.bytes * 8 + 1) * at.chunks + c;  // of distance d: [d * chunks]
  uint32_t left = at.hits[int64_t{q} * at.chunks + c];
  const int64_t begin = c * at.chunk, end = min(begin + at.chunk, codes.nb);
  for (int64_t start = begin; left > 0 && start < end; start += 32) {
    const int64_t j = start + lane;
    const bool counts = j < end && allowed(codes.allow, j);
    const int d = counts ? distance<Word>(query, codes.database + j * codes.bytes, codes.bytes) : kNoDistance;
    const unsigned near = __ballot_sync(kWholeWarp, d <= limit);
    if (near == 0) continue;
    bool written = false;
    if (d <= limit) {
      const unsigned equal = __match_any_sync(near, d);
      uint32_t* place = places + int64_t{d} * at.chunks;
      const uint32_t first = *place;
      const int64_t position = int64_t{first} + __popc(equal & ((1u << lane) - 1));
      __syncwarp(near);  // all have read before one writes
      if (lane == __ffs(static_cast<int>(equal)) - 1) *place = first + static_cast<uint32_t>(__popc(equal));
      written = position < at.k;
      if (written) {
        distances[q * at.k + position] = d;
        ids[q * at.k + position] = j;
      }
    }
    left -= static_cast<uint32_t>(__popc(__ballot_sync(kWholeWarp, written)));
    __syncwarp();  // the next round reads the places
  }
}

// Missing hits; those that exist are written over them.
__global__ void clear_kernel(int32_t* distances, int64_t* ids, int64_t slots) {
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < slots; i += int64_t{gridDim.x} * kThreads) {
    distances[i] = kNoDistance;
    ids[i] = -1;
  }
}

__global__ void reset_kernel(Counters at, int nq, int bits) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < nq) at.limits[i] = bits;
  if (i < int64_t{nq} * at.chunks) at.hits[i] = 0;
}

template <typename Word>
void search_batch(const Codes& codes, const Counters& at, int64_t sample, int32_t* distances, int64_t* ids,
                  cudaStream_t stream) {
  const int bits = codes.bytes * 8;
  const auto nq = static_cast<unsigned>(codes.nq), chunks = static_cast<unsigned>(at.chunks);
  const auto groups = static_cast<unsigned>(ceil_div(nq, kGroup));
  const size_t shared = kGroup * ((bits + 1) * sizeof(uint32_t) + codes.bytes);
  const dim3 distances_by_query(static_cast<unsigned>(ceil_div(bits + 1, kWarps)), nq);
  launch("hamming_topk clear", clear_kernel,
         static_cast<unsigned>(std::min<int64_t>(ceil_div(nq * at.k, kThreads), 65535)), kThreads, 0, stream, distances,
         ids, nq * at.k);
  launch("hamming_topk reset", reset_kernel, static_cast<unsigned>(ceil_div(int64_t{nq} * chunks, kThreads)), kThreads,
         0, stream, at, codes.nq, bits);
  for (const int64_t counted : {sample, int64_t{at.chunks}}) {
    if (counted == 0) continue;
    const dim3 blocks(static_cast<unsigned>(counted), groups);
    launch("hamming_topk count", count_kernel<Word>, blocks, kThreads, shared, stream, codes, at);
    launch("hamming_topk total", total_kernel, distances_by_query, kThreads, 0, stream, at, bits,
           static_cast<int>(counted));
    launch("hamming_topk threshold", threshold_kernel, nq, 32, 0, stream, at, bits);
  }
  launch("hamming_topk offset", offset_kernel, distances_by_query, kThreads, 0, stream, at, bits);
  const dim3 emitters(chunks, static_cast<unsigned>(ceil_div(nq, kWarps)));
  launch("hamming_topk emit", emit_kernel<Word>, emitters, kThreads, 0, stream, codes, at, distances, ids);
}

bool aligned(const void* p, int64_t bytes, size_t word) {
  return reinterpret_cast<uintptr_t>(p) % word == 0 && static_cast<size_t>(bytes) % word == 0;
}

void check(bool holds, const std::string& what, int64_t got) {
  if (!holds) throw std::invalid_argument("hamming_topk_cuda: " + what + ", got " + std::to_string(got));
}

void check_sizes(int64_t nq, int64_t nb, int64_t bytes, int64_t k) {
  check(nq >= 1, "nq must be at least 1", nq);
  check(nb >= 1, "nb must be at least 1", nb);
  check(bytes >= 1 && bytes <= kMaxBytes, "bytes must be 1 to 512", bytes);
  check(k >= 1 && k <= kMaxK, "k must be 1 to 2147483647", k);
}

}  // namespace

TopKPlan plan_topk_cuda(int64_t nq, int64_t nb, int64_t bytes, int64_t k) {
  check_sizes(nq, nb, bytes, k);
  const int64_t distances = bytes * 8 + 1, cells = kCountBytes / (4 * distances);
  TopKPlan plan;
  plan.batch = std::min(std::clamp(cells / ceil_div(nb, kMinChunk), kMinBatch, kMaxBatch), nq);
  const int64_t wanted = std::clamp<int64_t>(cells / plan.batch, 1, ceil_div(nb, kMinChunk));
  plan.chunk = ceil_div(ceil_div(nb, wanted), kThreads) * kThreads;
  plan.chunks = ceil_div(nb, plan.chunk);
  plan.sample = ceil_div(std::max(4 * k, nb / 64), plan.chunk);
  if (2 * plan.sample > plan.chunks) plan.sample = 0;
  size_t at = 0;
  const auto place = [&at](int64_t size) {
    const size_t here = at;
    at += static_cast<size_t>(ceil_div(size, 256) * 256);
    return here;
  };
  plan.counts_at = place(plan.batch * distances * plan.chunks * 4);
  plan.totals_at = place(plan.batch * distances * 8);
  plan.limits_at = place(plan.batch * 4);
  plan.hits_at = place(plan.batch * plan.chunks * 4);
  plan.bytes = at;
  return plan;
}

size_t hamming_topk_cuda_scratch(int64_t nq, int64_t nb, int64_t bytes, int64_t k) {
  return plan_topk_cuda(nq, nb, bytes, k).bytes;
}

void hamming_topk_cuda(const uint8_t* queries, int64_t nq, const uint8_t* database, int64_t nb, int64_t bytes,
                       const uint8_t* allow, int64_t k, int32_t* distances, int64_t* ids, void* scratch,
                       size_t scratch_bytes, void* stream) {
  const TopKPlan plan = plan_topk_cuda(nq, nb, bytes, k);
  check(scratch_bytes >= plan.bytes, "scratch must have " + std::to_string(plan.bytes) + " bytes",
        static_cast<int64_t>(scratch_bytes));
  auto* memory = static_cast<uint8_t*>(scratch);
  const Counters counters{reinterpret_cast<uint32_t*>(memory + plan.counts_at),
                          reinterpret_cast<int64_t*>(memory + plan.totals_at),
                          reinterpret_cast<int32_t*>(memory + plan.limits_at),
                          reinterpret_cast<uint32_t*>(memory + plan.hits_at),
                          plan.chunk,
                          static_cast<int>(plan.chunks),
                          k};
  const auto fits = [&](size_t word) { return aligned(queries, bytes, word) && aligned(database, bytes, word); };
  const auto search = fits(8) ? search_batch<uint64_t> : fits(4) ? search_batch<uint32_t> : search_batch<uint8_t>;
  for (int64_t first = 0; first < nq; first += plan.batch) {
    const Codes codes{queries + first * bytes,
                      static_cast<int>(std::min(plan.batch, nq - first)),
                      database,
                      nb,
                      static_cast<int>(bytes),
                      allow};
    search(codes, counters, plan.sample, distances + first * k, ids + first * k, static_cast<cudaStream_t>(stream));
  }
}

}  // namespace fasthash
