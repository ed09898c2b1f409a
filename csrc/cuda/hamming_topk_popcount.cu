// Scan by popcount, on every architecture: the fastest way for few queries, where it reads the database once at the
// speed of the memory, and the only exact one where the tensor cores know no bits.
//
//   vectors  a warp reads 16 bytes a lane, neighbours together: several codes of 4 or 8 bytes, or a part of one of
//            16 * 2^i bytes whose lanes add up                       reads nb * bytes per 8 queries
//   words    codes of other lengths or addresses: one code a thread, as wide as the address allows
#include "cuda/hamming_group.h"
#include "cuda/hamming_topk_device.h"
#include "cuda/launch.h"

namespace fasthash {
namespace {

constexpr int kUnroll = 4;           // vectors of a lane in flight
constexpr int kStep = 32 * kUnroll;  // vectors of a warp at a time

// Blocks a multiprocessor must hold: what the registers of these many queries leave room for.
constexpr int resident(int queries) { return queries == 1 ? 4 : queries <= 4 ? 3 : 2; }

// Bytes [at, at + 16) of rows at any address, zero from `end` on.
__device__ Wide load_bytes(const uint8_t* rows, int at, int end) {
  Wide x = {};
  for (int i = 0; i < 8 && at + i < end; ++i) x.low |= uint64_t{rows[at + i]} << (8 * i);
  for (int i = 8; i < 16 && at + i < end; ++i) x.high |= uint64_t{rows[at + i]} << (8 * i - 64);
  return x;
}

__device__ Wide load_vector(const uint8_t* rows, int at, int end) {
  return at + 16 <= end ? *reinterpret_cast<const Wide*>(rows + at) : load_bytes(rows, at, end);
}

template <int kPack>
__device__ int count_part(Wide x, int part) {
  if (kPack == 1) return count_bits(x);
  const uint64_t half = part < kPack / 2 ? x.low : x.high;
  return kPack == 2 ? count_bits(half) : count_bits(static_cast<uint32_t>(part % 2 == 0 ? half : half >> 32));
}

// What a lane holds of its queries: the 16 bytes that meet its part of every vector.
template <int kQueries, int kPack>
struct Lane {
  Wide query[kQueries], mask;
  int limits[kQueries];
  int first, span;  // first query; lanes that share a code

  __device__ Lane(const Codes& codes, const int32_t* all_limits, int first_query) : first(first_query) {
    span = kPack == 1 ? codes.bytes / 16 : 1;
    const int lane = threadIdx.x % 32, part = lane % span;
    const uint64_t tail = last_word_mask<uint64_t>(codes.bits), tail_4 = last_word_mask<uint32_t>(codes.bits);
    mask = {~uint64_t{0}, part == span - 1 ? tail : ~uint64_t{0}};
    if (kPack == 2) mask.low = tail;
    if (kPack == 4) mask.low = mask.high = tail_4 | tail_4 << 32;
    for (int q = 0; q < kQueries; ++q) {
      const bool exists = first + q < codes.nq;
      limits[q] = exists ? all_limits[first + q] : -1;
      const uint8_t* code = codes.queries + int64_t{exists ? first + q : first} * codes.bytes + part * 16;
      query[q] = load_bytes(code, 0, 16 / kPack);
      if (kPack == 2) query[q].high = query[q].low;
      if (kPack == 4) query[q].low = query[q].high = query[q].low | query[q].low << 32;
    }
  }

  __device__ int distance(Wide x, int q, int part) const {
    int sum = count_part<kPack>((x ^ query[q]) & mask, part);
    if (kPack == 1)
      for (int step = 1; step < span; step <<= 1) sum += __shfl_xor_sync(kWholeWarp, sum, step);
    return sum;
  }

  __device__ bool near(Wide x) const {
    bool any = false;
#pragma unroll
    for (int q = 0; q < kQueries; ++q)
#pragma unroll
      for (int part = 0; part < kPack; ++part) any |= distance(x, q, part) <= limits[q];
    return any;
  }
};

// Called by a whole warp, rarely: the survivors among the codes of a vector that starts at byte `at` of the tile.
template <int kQueries, int kPack>
__device__ void append_vector(const Codes& codes, const Lane<kQueries, kPack>& lane, const Survivors& to, Wide x,
                              int64_t begin, int at, int end) {
  unsigned hits = 0;
#pragma unroll
  for (int i = 0; i < kPack * kQueries; ++i)
    hits |= lane.distance(x, i % kQueries, i / kQueries) <= lane.limits[i % kQueries] ? 1u << i : 0;
  if (threadIdx.x % 32 % lane.span != 0) hits = 0;  // one lane of those that share a code
  const bool whole_words = reinterpret_cast<uintptr_t>(codes.queries) % 4 == 0;
#pragma unroll 1
  for (int i = 0; i < kPack * kQueries; ++i) {
    const int from = at + i / kQueries * codes.bytes, q = lane.first + i % kQueries;
    const int64_t id = begin + from / codes.bytes;
    const bool wanted = (hits >> i & 1) != 0 && from < end && allowed(codes.allow, id);
    int distance = 0;
    if (wanted) distance = whole_words ? distance_again<uint32_t>(codes, q, id) : distance_again<uint8_t>(codes, q, id);
    append_warp(to, q, wanted, distance, id);
  }
}

// Warps stride over the tiles of the part; blocks that follow each other take the same tiles for other queries.
template <int kQueries, int kPack>
__global__ void __launch_bounds__(kThreads, resident(kQueries))
    scan_vectors_kernel(Codes codes, Part part, Survivors to) {
  const unsigned groups = (static_cast<unsigned>(codes.nq) + kQueries - 1) / kQueries;
  const Lane<kQueries, kPack> lane(codes, to.limits, static_cast<int>(blockIdx.x % groups) * kQueries);
  const int64_t warps = int64_t{gridDim.x / groups} * kWarps;
  const int offset = static_cast<int>(threadIdx.x % 32) * 16;
  for (int64_t i = int64_t{blockIdx.x / groups} * kWarps + threadIdx.x / 32; i < part.tiles; i += warps) {
    const int64_t begin = part.tile(i) * kTile;
    const int end = static_cast<int>(min(int64_t{kTile}, codes.nb - begin)) * codes.bytes;
    const uint8_t* rows = codes.database + begin * codes.bytes;
    for (int start = 0; start < end; start += kStep * 16) {
      Wide x[kUnroll];
      const bool whole = start + kStep * 16 <= end;  // all but the last step of the database: loads without a branch
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int at = start + u * 512 + offset;
        x[u] = whole ? *reinterpret_cast<const Wide*>(rows + at) : load_vector(rows, at, end);
      }
      unsigned hot = 0;
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) hot |= __any_sync(kWholeWarp, lane.near(x[u])) ? 1u << u : 0;
      for (; hot != 0; hot &= hot - 1) {  // read again: a register array cannot be indexed
        const int at = start + (__ffs(static_cast<int>(hot)) - 1) * 512 + offset;
        append_vector(codes, lane, to, load_vector(rows, at, end), begin, at, end);
      }
    }
  }
}

template <typename Word, int kQueries>
__global__ void __launch_bounds__(kThreads, 2) scan_words_kernel(Codes codes, Part part, Survivors to) {
  const unsigned groups = (static_cast<unsigned>(codes.nq) + kQueries - 1) / kQueries;
  Tile tile = block_tile<kQueries>(codes, kTile);
  const Word* queries = load_queries<Word, kQueries>(codes, tile);
  __syncthreads();
  int limits[kQueries];
  for (int q = 0; q < kQueries; ++q) limits[q] = q < tile.queries ? to.limits[tile.first + q] : -1;
  for (int64_t i = blockIdx.x / groups; i < part.tiles; i += gridDim.x / groups) {
    tile.begin = part.tile(i) * kTile;
    tile.end = min(tile.begin + kTile, codes.nb);
    each_code<Word, kQueries>(codes, tile, queries, [&](int64_t id, const int (&distances)[kQueries]) {
      unsigned near = 0;
      for (int q = 0; q < kQueries; ++q) near |= distances[q] <= limits[q] ? 1u << q : 0;
      for (; near != 0; near &= near - 1) {
        const int q = tile.first + __ffs(static_cast<int>(near)) - 1;
        store_key(to, q, reserve(to, q, 1), distance_again<Word>(codes, q, id), id);
      }
    });
  }
}

using Kernel = void (*)(Codes, Part, Survivors);

void launch_scan(Kernel kernel, int group, size_t shared, int64_t blocks, const Codes& codes, const Part& part,
                 const Survivors& to, cudaStream_t stream) {
  const int64_t groups = ceil_div(codes.nq, group),
                most = resident_blocks("hamming_topk scan", kernel, kThreads, shared);
  const int64_t rounds = std::clamp<int64_t>(most / groups, 1, blocks);
  launch("hamming_topk scan", kernel, static_cast<unsigned>(rounds * groups), kThreads, shared, stream, codes, part,
         to);
}

// Instances for one query, for up to four and for more: the fewest whose padding costs little.
template <typename Choose>
void scan_by_group(const Codes& codes, Choose choose) {
  if (codes.nq == 1)
    choose(std::integral_constant<int, 1>{});
  else if (codes.nq <= 4)
    choose(std::integral_constant<int, 4>{});
  else
    choose(std::integral_constant<int, 8>{});
}

bool whole_vectors(const Codes& codes) {
  const int span = codes.bytes / 16;
  const bool shared = codes.bytes % 16 == 0 && (span & (span - 1)) == 0;
  return reinterpret_cast<uintptr_t>(codes.database) % 16 == 0 && (codes.bytes == 4 || codes.bytes == 8 || shared);
}

}  // namespace

void scan_popcount(const Codes& codes, const Part& part, const Survivors& to, cudaStream_t stream) {
  if (part.tiles == 0) return;
  scan_by_group(codes, [&](auto group) {
    constexpr int kQueries = decltype(group)::value;
    if (whole_vectors(codes)) {
      const Kernel kernel = codes.bytes == 4   ? scan_vectors_kernel<kQueries, 4>
                            : codes.bytes == 8 ? scan_vectors_kernel<kQueries, 2>
                                               : scan_vectors_kernel<kQueries, 1>;
      launch_scan(kernel, kQueries, 0, ceil_div(part.tiles, kWarps), codes, part, to, stream);
    } else {
      with_widest_word(codes.queries, codes.database, codes.bytes, [&](auto word) {
        const auto shared = static_cast<size_t>(4 * query_words(codes.bytes, kQueries));
        launch_scan(scan_words_kernel<decltype(word), kQueries>, kQueries, shared, part.tiles, codes, part, to, stream);
      });
    }
  });
}

}  // namespace fasthash
