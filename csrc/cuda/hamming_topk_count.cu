// Exact top-k by two passes of integer counting: no heap, no room for survivors, no limit on k. Used for large k and
// for the queries whose survivors found no room; a block whose queries are all done returns at once.
//
//   count   counts[q, d, chunk] of the codes at distance d, up to the limit          reads nb * bytes per 4 queries
//   place   the k-th distance, and where the hits of each (distance, chunk) begin in the output
//   emit    a warp walks a chunk in order of position and writes each hit to its own place; chunks without hits,
//           nearly all of them when k is small, are skipped                          reads nb * bytes at worst
//
// Every count is an integer and every output slot has one writer: the result does not depend on the order of execution.
#include "cuda/hamming_group.h"
#include "cuda/hamming_topk_device.h"
#include "cuda/launch.h"

namespace fasthash {
namespace {

template <typename Word>
__global__ void __launch_bounds__(kThreads) count_kernel(Codes codes, Counters to) {
  if (*to.lost == 0) return;
  const int distances = codes.bytes * 8 + 1;
  const Tile tile = block_tile<kGroup>(codes, to.chunk);
  int limits[kGroup], farthest = -1;
  for (int g = 0; g < kGroup; ++g) {
    limits[g] = g < tile.queries ? to.limits[tile.first + g] : -1;
    farthest = max(farthest, limits[g]);
  }
  if (farthest < 0) return;
  uint32_t* bins = shared_words + query_words(codes.bytes, kGroup);  // [kGroup, distances]
  for (int i = threadIdx.x; i < kGroup * distances; i += kThreads) bins[i] = 0;
  const Word* queries = load_queries<Word, kGroup>(codes, tile);
  __syncthreads();
  each_code<Word, kGroup>(codes, tile, queries, [&](int64_t, const int (&found)[kGroup]) {
    for (int g = 0; g < kGroup; ++g)
      if (found[g] <= limits[g]) atomicAdd(&bins[g * distances + found[g]], 1u);
  });
  __syncthreads();
  for (int g = 0; g < kGroup; ++g) {
    uint32_t* rows = to.counts + int64_t{tile.first + g} * distances * to.chunks;
    for (int d = threadIdx.x; d <= limits[g]; d += kThreads)
      rows[int64_t{d} * to.chunks + tile.chunk] = bins[g * distances + d];
  }
}

// One warp: totals[d] becomes the number of codes nearer than d; returns the k-th distance, limit where it has fewer.
__device__ int accumulate(int64_t* totals, int limit, int64_t k) {
  const int lane = threadIdx.x % 32;
  int64_t nearer = 0;
  for (int start = 0; start <= limit; start += 32) {
    const int d = start + lane;
    const int64_t count = d <= limit ? totals[d] : 0;
    const int64_t sum = warp_inclusive_sum(count, lane);
    if (d <= limit) totals[d] = nearer + sum - count;
    const unsigned reached = __ballot_sync(kWholeWarp, d <= limit && nearer + sum >= k);
    if (reached != 0) return start + __ffs(static_cast<int>(reached)) - 1;
    nearer += __shfl_sync(kWholeWarp, sum, 31);
  }
  return limit;
}

// Block q: counts[q, d, c] becomes the output position of chunk c's first code at distance d, k where it is beyond.
__global__ void __launch_bounds__(kThreads) place_kernel(Counters at, int bits, int64_t k) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, q = blockIdx.x;
  int limit = at.limits[q];
  if (*at.lost == 0 || limit < 0) return;
  uint32_t* counts = at.counts + int64_t{q} * (bits + 1) * at.chunks;
  int64_t* totals = at.totals + int64_t{q} * (bits + 1);
  uint32_t* hits = at.hits + int64_t{q} * at.chunks;
  for (int c = threadIdx.x; c < at.chunks; c += kThreads) hits[c] = 0;
  for (int d = warp; d <= limit; d += kWarps) {
    const int64_t sum = warp_sum(counts + int64_t{d} * at.chunks, at.chunks, lane);
    if (lane == 31) totals[d] = sum;
  }
  __syncthreads();
  if (warp == 0) {
    const int kth = accumulate(totals, limit, k);
    if (lane == 0) at.limits[q] = shared_words[0] = kth;
  }
  __syncthreads();
  limit = shared_words[0];
  for (int d = warp; d <= limit; d += kWarps) {
    int64_t position = totals[d];
    for (int start = 0; start < at.chunks; start += 32) {
      const int c = start + lane;
      uint32_t* cell = counts + int64_t{d} * at.chunks + c;
      const int64_t count = c < at.chunks ? *cell : 0, sum = warp_inclusive_sum(count, lane);
      const int64_t from = min(position + sum - count, k), to = min(position + sum, k);
      if (c < at.chunks) *cell = static_cast<uint32_t>(from);
      if (to > from) atomicAdd(&hits[c], static_cast<uint32_t>(to - from));
      position += __shfl_sync(kWholeWarp, sum, 31);
    }
  }
}

// Warp (c, q): the hits of query q in chunk c, in order of position, so that equal distances keep that order.
template <typename Word>
__global__ void __launch_bounds__(kThreads) emit_kernel(Codes codes, Counters at, Output out) {
  if (*at.lost == 0) return;
  const int lane = threadIdx.x % 32, c = blockIdx.x, q = blockIdx.y * kWarps + threadIdx.x / 32;
  const int limit = q < codes.nq ? at.limits[q] : -1;
  if (limit < 0) return;
  const uint8_t* query = codes.queries + int64_t{q} * codes.bytes;
  const Word tail = last_word_mask<Word>(codes.bits);
  uint32_t* places = at.counts + int64_t{q} * (codes.bytes * 8 + 1) * at.chunks + c;  // of distance d: [d * chunks]
  uint32_t left = at.hits[int64_t{q} * at.chunks + c];
  const int64_t begin = c * at.chunk, end = min(begin + at.chunk, codes.nb);
  for (int64_t start = begin; left > 0 && start < end; start += 32) {
    const int64_t j = start + lane;
    const bool counts = j < end && allowed(codes.allow, j);
    const int d = counts ? distance(query, codes.database + j * codes.bytes, codes.bytes, tail) : kNoDistance;
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
      written = position < out.k;
      if (written) {
        out.distances[q * out.k + position] = d;
        out.ids[q * out.k + position] = j;
      }
    }
    left -= static_cast<uint32_t>(__popc(__ballot_sync(kWholeWarp, written)));
    __syncwarp();  // the next round reads the places
  }
}

__global__ void clear_kernel(Output out, int64_t slots) {
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < slots; i += int64_t{gridDim.x} * kThreads) {
    out.distances[i] = kNoDistance;
    out.ids[i] = -1;
  }
}

}  // namespace

void clear_output(const Output& out, int64_t nq, cudaStream_t stream) {
  const int64_t slots = nq * out.k;
  launch("hamming_topk clear", clear_kernel, static_cast<unsigned>(std::min<int64_t>(ceil_div(slots, kThreads), 65535)),
         kThreads, 0, stream, out, slots);
}

void count_and_emit(const Codes& codes, const Counters& at, const Output& out, cudaStream_t stream) {
  const int bits = codes.bytes * 8;
  const auto nq = static_cast<unsigned>(codes.nq), chunks = static_cast<unsigned>(at.chunks);
  const auto groups = static_cast<unsigned>(ceil_div(nq, kGroup));
  const auto shared = static_cast<size_t>(4 * (query_words(codes.bytes, kGroup) + kGroup * (bits + 1)));
  const dim3 emitters(chunks, static_cast<unsigned>(ceil_div(nq, kWarps)));
  with_widest_word(codes.queries, codes.database, codes.bytes, [&](auto word) {
    using Word = decltype(word);
    launch("hamming_topk count", count_kernel<Word>, chunks * groups, kThreads, shared, stream, codes, at);
    launch("hamming_topk place", place_kernel, nq, kThreads, 4, stream, at, bits, out.k);
    launch("hamming_topk emit", emit_kernel<Word>, emitters, kThreads, 0, stream, codes, at, out);
  });
}

}  // namespace fasthash
