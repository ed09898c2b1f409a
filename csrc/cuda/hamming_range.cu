// Range search by integer counting: nothing is sorted, no hit is held but in the output.
//
//   count   hits[q, chunk] of the codes within the radius, in registers   reads nb * bytes per 4 queries
//   lims    where the hits of each query begin; the caller reads the last one and allocates the output
//   bins    places[q, d, chunk] of the codes at distance d                 reads the chunks that have hits
//   offset  places become where the hits of each (distance, chunk) begin in the output
//   emit    a warp walks a chunk in order of position and writes each hit to its own place; reads those chunks again
//
// Every count is an integer and every output slot has one writer: the result does not depend on the order of execution.
#include "cuda/hamming_group.h"
#include "cuda/hamming_range.h"
#include "cuda/launch.h"

namespace fasthash {
namespace {

constexpr int64_t kMinChunk = 4096;              // codes: 16 for each thread of a block
constexpr int64_t kMaxChunk = int64_t{1} << 30;  // hits of a chunk are counted in 32 bits
constexpr int64_t kBatch = 32;                   // queries that the places are meant to have room for
constexpr int64_t kEmitBytes = 40 * 1024;        // shared memory of a block that emits
constexpr int64_t kMaxBlocks = 2147483647;       // of one launch
constexpr int kUnroll = 4;
constexpr int32_t kFar = 2147483647;

struct Scratch {
  uint32_t* hits;   // [nq, chunks]
  int64_t* places;  // [batch, width, chunks] how many codes, then where the first of them goes
  int64_t* totals;  // [batch, width] how many over all chunks
  int64_t chunk;
  int chunks;
  int width;
};

template <typename Word, int kQueries>
__global__ void range_count_kernel(Codes codes, Scratch at) {
  const Tile tile = block_tile<kQueries>(codes, at.chunk);
  const Word* queries = load_queries<Word, kQueries>(codes, tile);
  uint32_t* sums = shared_words + query_words(codes.bytes, kQueries);  // [kQueries]
  if (threadIdx.x < kQueries) sums[threadIdx.x] = 0;
  __syncthreads();
  int found[kQueries] = {};
  each_code<Word, kQueries>(codes, tile, queries, [&](int64_t, const int (&distances)[kQueries]) {
    for (int q = 0; q < kQueries; ++q) found[q] += distances[q] < at.width;
  });
  const int lane = threadIdx.x % 32;
  for (int q = 0; q < kQueries; ++q) {
    const int64_t sum = warp_inclusive_sum(found[q], lane);
    if (lane == 31) atomicAdd(&sums[q], static_cast<uint32_t>(sum));
  }
  __syncthreads();
  const int q = static_cast<int>(threadIdx.x);
  if (q < tile.queries) at.hits[int64_t{tile.first + q} * at.chunks + tile.chunk] = sums[q];
}

// Warp q: lims[q + 1] = the hits of query q.
__global__ void range_rows_kernel(Scratch from, int nq, int64_t* lims) {
  const int lane = threadIdx.x % 32;
  const int64_t q = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (q >= nq) return;
  const int64_t sum = warp_sum(from.hits + q * from.chunks, from.chunks, lane);
  if (lane == 31) lims[q + 1] = sum;
}

// One block: lims[q + 1] becomes the hits of queries 0 to q.
__global__ void range_lims_kernel(int nq, int64_t* lims) {
  int64_t* ends = reinterpret_cast<int64_t*>(shared_words);  // [kWarps] of each warp's queries
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int64_t before = 0;
  for (int64_t start = 0; start < nq; start += kThreads) {
    const int64_t q = start + threadIdx.x;
    int64_t sum = warp_inclusive_sum(q < nq ? lims[q + 1] : 0, lane);
    if (lane == 31) ends[warp] = sum;
    __syncthreads();
    for (int w = 0; w < kWarps; ++w) {
      if (w < warp) sum += ends[w];
    }
    if (q < nq) lims[q + 1] = before + sum;
    for (int w = 0; w < kWarps; ++w) before += ends[w];
    __syncthreads();
  }
  if (threadIdx.x == 0) lims[0] = 0;
}

template <typename Word, int kQueries>
__global__ void range_bins_kernel(Codes codes, Scratch at, int columns) {
  const Tile tile = block_tile<kQueries>(codes, at.chunk);
  uint32_t* bins = shared_words + query_words(codes.bytes, kQueries);  // [kQueries, width, columns]
  bool any = false;
  for (int q = 0; q < tile.queries; ++q) any |= at.hits[int64_t{tile.first + q} * at.chunks + tile.chunk] != 0;
  for (int i = threadIdx.x; i < kQueries * at.width * columns; i += kThreads) bins[i] = 0;
  const Word* queries = load_queries<Word, kQueries>(codes, tile);
  __syncthreads();
  if (any)
    each_code<Word, kQueries>(codes, tile, queries, [&](int64_t, const int (&distances)[kQueries]) {
      for (int q = 0; q < kQueries; ++q)
        if (distances[q] < at.width) add_to_bin(bins, q * at.width + distances[q], columns, 1);
    });
  __syncthreads();
  for (int i = threadIdx.x; i < tile.queries * at.width; i += kThreads) {
    int64_t sum = 0;
    each_column(bins, i, columns, [&](uint32_t count) { sum += count; });
    at.places[(int64_t{tile.first} * at.width + i) * at.chunks + tile.chunk] = sum;
  }
}

// Warp (d, q): totals[q, d].
__global__ void range_total_kernel(Scratch at, int64_t cells) {
  const int lane = threadIdx.x % 32;
  const int64_t cell = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (cell >= cells) return;
  const int64_t sum = warp_sum(at.places + cell * at.chunks, at.chunks, lane);
  if (lane == 31) at.totals[cell] = sum;
}

// Warp (d, q): places[q, d, c] becomes the output slot of chunk c's first code at distance d.
__global__ void range_offset_kernel(Scratch at, int64_t cells, const int64_t* lims) {
  const int lane = threadIdx.x % 32;
  const int64_t cell = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32, q = cell / at.width;
  if (cell >= cells) return;
  int64_t nearer = 0;
  for (int64_t other = q * at.width + lane; other < cell; other += 32) nearer += at.totals[other];
  int64_t place = lims[q] + __shfl_sync(kWholeWarp, warp_inclusive_sum(nearer, lane), 31);
  for (int start = 0; start < at.chunks; start += 32) {
    const int c = start + lane;
    const int64_t count = c < at.chunks ? at.places[cell * at.chunks + c] : 0;
    const int64_t sum = warp_inclusive_sum(count, lane);
    if (c < at.chunks) at.places[cell * at.chunks + c] = place + sum - count;
    place += __shfl_sync(kWholeWarp, sum, 31);
  }
}

template <typename Word>
__device__ int distance(const Word* query, const Word* code, int words, Word tail) {
  int sum = 0;
  for (int w = 0; w < words; ++w) {
    const Word unequal = query[w] ^ code[w];
    sum += count_bits(w == words - 1 ? static_cast<Word>(unequal & tail) : unequal);
  }
  return sum;
}

// Warp (c, q): the hits of query q in chunk c, in order of position, so that equal distances keep that order.
template <typename Word>
__global__ void range_emit_kernel(Codes codes, Scratch at, int32_t* distances, int64_t* ids) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t job = int64_t{blockIdx.x} * (blockDim.x / 32) + warp, q = job % codes.nq, c = job / codes.nq;
  int64_t left = c < at.chunks ? at.hits[q * at.chunks + c] : 0;
  if (left == 0) return;
  int64_t* places = reinterpret_cast<int64_t*>(shared_words) + warp * at.width;
  for (int d = lane; d < at.width; d += 32) places[d] = at.places[(q * at.width + d) * at.chunks + c];
  __syncwarp();
  const int words = codes.bytes / static_cast<int>(sizeof(Word));
  const Word tail = last_word_mask<Word>(codes.bits);
  const Word* query = reinterpret_cast<const Word*>(codes.queries + q * codes.bytes);
  const int64_t end = min((c + 1) * at.chunk, codes.nb);
  for (int64_t start = c * at.chunk + lane; left > 0 && start - lane < end; start += kUnroll * 32) {
    int near[kUnroll];  // the distances, read together so that their loads overlap
    for (int i = 0; i < kUnroll; ++i) {
      const int64_t j = start + i * 32;
      const bool wanted = j < end && allowed(codes.allow, j);
      const auto* code = reinterpret_cast<const Word*>(codes.database + j * codes.bytes);
      near[i] = wanted ? distance(query, code, words, tail) : kFar;
    }
    for (int i = 0; i < kUnroll; ++i) {
      const int d = near[i];
      const unsigned hits = __ballot_sync(kWholeWarp, d < at.width);
      if (d < at.width) {
        const unsigned equal = __match_any_sync(hits, d);
        const int64_t first = places[d], place = first + __popc(equal & ((1u << lane) - 1));
        __syncwarp(hits);  // all have read before one writes
        if (lane == __ffs(static_cast<int>(equal)) - 1) places[d] = first + __popc(equal);
        distances[place] = d;
        ids[place] = start + i * 32;
      }
      left -= __popc(hits);
      __syncwarp();  // the next round reads the places
    }
  }
}

RangePlan plan_of(const HammingRange& search) {
  return plan_range_cuda(search.nq, search.nb, search.bytes, search.radius, search.budget);
}

Scratch scratch_of(const HammingRange& search, const RangePlan& plan) {
  check_argument("hamming_range_cuda", search.scratch_bytes >= plan.bytes,
                 "scratch must have " + std::to_string(plan.bytes) + " bytes",
                 static_cast<int64_t>(search.scratch_bytes));
  auto* memory = static_cast<uint8_t*>(search.scratch);
  return {reinterpret_cast<uint32_t*>(memory + plan.hits_at),
          reinterpret_cast<int64_t*>(memory + plan.places_at),
          reinterpret_cast<int64_t*>(memory + plan.totals_at),
          plan.chunk,
          static_cast<int>(plan.chunks),
          static_cast<int>(plan.width)};
}

Codes codes_of(const HammingRange& search, int64_t first, int64_t count) {
  check_codes("hamming_range_cuda", search.nq, search.nb, search.bytes, search.bits);
  const auto bytes = static_cast<int>(search.bytes);
  return {search.queries + first * bytes,
          static_cast<int>(count),
          search.database,
          search.nb,
          bytes,
          search.bits,
          search.allow};
}

unsigned blocks_of(int64_t jobs, int64_t each) { return static_cast<unsigned>(ceil_div(jobs, each)); }

template <typename Word>
void emit_batch(const Codes& codes, const Scratch& at, const int64_t* lims, int32_t* distances, int64_t* ids,
                cudaStream_t stream) {
  const int group = codes.nq == 1 ? 1 : kGroup, columns = bin_columns(int64_t{group} * at.width);
  const size_t bins = 4 * (size_t{static_cast<unsigned>(group * at.width)} * columns + query_words(codes.bytes, group));
  launch("hamming_range bins", codes.nq == 1 ? range_bins_kernel<Word, 1> : range_bins_kernel<Word, kGroup>,
         blocks_of(codes.nq, group) * static_cast<unsigned>(at.chunks), kThreads, bins, stream, codes, at, columns);
  const int64_t cells = int64_t{codes.nq} * at.width, warp_bytes = int64_t{at.width} * 8;
  launch("hamming_range total", range_total_kernel, blocks_of(cells, kWarps), kThreads, 0, stream, at, cells);
  launch("hamming_range offset", range_offset_kernel, blocks_of(cells, kWarps), kThreads, 0, stream, at, cells, lims);
  const int64_t warps = std::clamp<int64_t>(kEmitBytes / warp_bytes, 1, kWarps);
  launch("hamming_range emit", range_emit_kernel<Word>, blocks_of(int64_t{codes.nq} * at.chunks, warps),
         static_cast<unsigned>(32 * warps), static_cast<size_t>(warps * warp_bytes), stream, codes, at, distances, ids);
}

}  // namespace

RangePlan plan_range_cuda(int64_t nq, int64_t nb, int64_t bytes, int64_t radius, int64_t budget) {
  check_codes("hamming_range_cuda", nq, nb, bytes, 8 * bytes);
  check_argument("hamming_range_cuda", nq < int64_t{1} << 31, "nq must be below 2^31", nq);
  check_argument("hamming_range_cuda", radius >= 0, "radius must be at least 0", radius);
  check_argument("hamming_range_cuda", budget >= 0, "budget must be at least 0", budget);
  RangePlan plan;
  plan.width = std::min(radius, 8 * bytes) + 1;
  const int64_t cells = budget / 16, hits = budget / 8 / nq;  // half of the budget for each of the two
  const int64_t most = std::min(cells / (std::min(nq, kBatch) * plan.width), hits);
  const int64_t wanted = std::clamp(most, ceil_div(nb, kMaxChunk), ceil_div(nb, kMinChunk));
  plan.chunk = ceil_div(ceil_div(nb, wanted), kThreads) * kThreads;
  plan.chunks = ceil_div(nb, plan.chunk);
  const int64_t blocks = nq == 1 ? plan.chunks : ceil_div(nq, kGroup) * plan.chunks;
  check_argument("hamming_range_cuda", blocks <= kMaxBlocks, "nq / 4 * ceil(nb / 2^30) must be below 2^31", blocks);
  plan.batch = std::clamp<int64_t>(cells / (plan.width * plan.chunks), 1, nq);
  const auto whole = [](int64_t size) { return static_cast<size_t>(ceil_div(size, 256) * 256); };
  plan.hits_at = 0;
  plan.places_at = whole(nq * plan.chunks * 4);
  plan.totals_at = plan.places_at + whole(plan.batch * plan.width * plan.chunks * 8);
  plan.bytes = plan.totals_at + whole(plan.batch * plan.width * 8);
  return plan;
}

size_t hamming_range_cuda_scratch(int64_t nq, int64_t nb, int64_t bytes, int64_t radius, int64_t budget) {
  return plan_range_cuda(nq, nb, bytes, radius, budget).bytes;
}

void hamming_range_count_cuda(const HammingRange& search, int64_t* lims) {
  const RangePlan plan = plan_of(search);
  const Scratch at = scratch_of(search, plan);
  const Codes codes = codes_of(search, 0, search.nq);
  const auto stream = static_cast<cudaStream_t>(search.stream);
  const int group = codes.nq == 1 ? 1 : kGroup;
  with_widest_word(search.queries, search.database, search.bytes, [&](auto word) {
    using Word = decltype(word);
    launch("hamming_range count", codes.nq == 1 ? range_count_kernel<Word, 1> : range_count_kernel<Word, kGroup>,
           blocks_of(codes.nq, group) * static_cast<unsigned>(at.chunks), kThreads,
           4 * static_cast<size_t>(query_words(codes.bytes, group) + group), stream, codes, at);
  });
  launch("hamming_range rows", range_rows_kernel, blocks_of(codes.nq, kWarps), kThreads, 0, stream, at, codes.nq, lims);
  launch("hamming_range lims", range_lims_kernel, 1, kThreads, kWarps * 8, stream, codes.nq, lims);
}

void hamming_range_emit_cuda(const HammingRange& search, const int64_t* lims, int32_t* distances, int64_t* ids) {
  const RangePlan plan = plan_of(search);
  for (int64_t first = 0; first < search.nq; first += plan.batch) {
    Scratch at = scratch_of(search, plan);
    at.hits += first * plan.chunks;
    const Codes codes = codes_of(search, first, std::min(plan.batch, search.nq - first));
    with_widest_word(search.queries, search.database, search.bytes, [&](auto word) {
      emit_batch<decltype(word)>(codes, at, lims + first, distances, ids, static_cast<cudaStream_t>(search.stream));
    });
  }
}

}  // namespace fasthash
