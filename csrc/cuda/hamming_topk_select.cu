// The bounds before and between the scans, and the k nearest of the survivors after them.
//
// Survivors lie in any order, but their keys (distance, id) are all different: the key of rank k is found digit by
// digit, the distance first and then 8 bits of the id at a time, only while ties leave a choice. The keys up to it,
// exactly k, are sorted in shared memory.
#include "cuda/hamming_group.h"
#include "cuda/hamming_topk_device.h"
#include "cuda/launch.h"

namespace fasthash {
namespace {

constexpr int kDigit = 8;  // bits of an id
constexpr int kDigits = 1 << kDigit;

// Where the code of some rank lies: its bin, how many codes the bins before it hold, and how many it holds.
struct Place {
  int64_t bin, before, size;
};

// One warp: the bin of a rank (from 1); an empty last one where there are fewer.
template <typename Count>
__device__ Place find_bin(const Count* counts, int bins, int64_t rank) {
  const int lane = threadIdx.x % 32;
  int64_t before = 0;
  for (int start = 0; start < bins; start += 32) {
    const int64_t mine = start + lane < bins ? counts[start + lane] : 0, sum = warp_inclusive_sum(mine, lane);
    const unsigned reached = __ballot_sync(kWholeWarp, before + sum >= rank);
    if (reached != 0) {
      const int at = __ffs(static_cast<int>(reached)) - 1;
      const int64_t size = __shfl_sync(kWholeWarp, mine, at), upto = before + __shfl_sync(kWholeWarp, sum, at);
      return {start + at, upto - size, size};
    }
    before += __shfl_sync(kWholeWarp, sum, 31);
  }
  return {bins - 1, before, 0};
}

// The shared memory of a block that selects.
struct Area {
  Place* place;
  uint32_t* slots;   // [2] keys collected
  uint32_t* bins;    // [bin_count]
  uint64_t* sorted;  // a power of two
};
__host__ __device__ inline int bin_count(int bits) { return (max(bits + 1, kDigits) + 1) / 2 * 2; }
__device__ inline Area shared_area(int bits) {
  auto* place = reinterpret_cast<Place*>(shared_words);
  auto* slots = reinterpret_cast<uint32_t*>(place + 1);
  return {place, slots, slots + 2, reinterpret_cast<uint64_t*>(slots + 2 + bin_count(bits))};
}
inline size_t area_bytes(int bits, int64_t sorted) {
  return sizeof(Place) + 4 * static_cast<size_t>(2 + bin_count(bits)) + 8 * static_cast<size_t>(sorted);
}

// Block: in which of `bins` digits (key >> shift) the key of a rank lies, of the keys that agree with `value` in
// `mask`.
__device__ Place find_digit(const Area& area, const uint64_t* keys, int64_t count, int64_t rank, uint64_t value,
                            uint64_t mask, int shift, int bins) {
  const uint64_t digit = shift == kIdBits ? ~uint64_t{0} : uint64_t{kDigits - 1};
  for (int i = threadIdx.x; i < bins; i += kThreads) area.bins[i] = 0;
  __syncthreads();
  for (int64_t i = threadIdx.x; i < count; i += kThreads)
    if ((keys[i] & mask) == value) atomicAdd(&area.bins[keys[i] >> shift & digit], 1u);
  __syncthreads();
  if (threadIdx.x < 32) {
    const Place found = find_bin(area.bins, bins, rank);
    if (threadIdx.x == 0) *area.place = found;
  }
  __syncthreads();
  return *area.place;
}

// Block: the key of a rank or, where no choice is left before, a larger one that no other key reaches.
__device__ uint64_t find_cut(const Area& area, const uint64_t* keys, int64_t count, int64_t rank, int bits,
                             int id_bits) {
  uint64_t value = 0, mask = 0;
  for (int shift = kIdBits, bins = bits + 1;; bins = kDigits) {
    const Place at = find_digit(area, keys, count, rank, value, mask, shift, bins);
    value |= static_cast<uint64_t>(at.bin) << shift;
    mask = ~uint64_t{0} << shift;
    rank -= at.before;
    if (at.size == rank) return value | ~mask;
    shift = max((shift == kIdBits ? id_bits : shift) - kDigit, 0);
  }
}

// Block: bitonic, ascending; size is a power of two.
__device__ void sort(uint64_t* keys, int size) {
  for (int run = 2; run <= size; run <<= 1)
    for (int stride = run >> 1; stride > 0; stride >>= 1) {
      __syncthreads();
      for (int i = threadIdx.x; i < size / 2; i += kThreads) {
        const int a = 2 * i - (i & (stride - 1)), b = a + stride;
        const uint64_t low = min(keys[a], keys[b]), high = max(keys[a], keys[b]);
        const bool ascending = (a & run) == 0;
        keys[a] = ascending ? low : high;
        keys[b] = ascending ? high : low;
      }
    }
  __syncthreads();
}

__global__ void __launch_bounds__(kThreads)
    select_kernel(Survivors from, int bits, int id_bits, int size, int32_t* lost, Output out) {
  const int64_t q = blockIdx.x, found = static_cast<int64_t>(from.counts[q]);
  if (found > from.capacity) {
    if (threadIdx.x == 0) *lost = 1;  // whoever writes it, it is the same
    return;
  }
  const Area area = shared_area(bits);
  const uint64_t* keys = from.keys + q * from.capacity;
  const int64_t wanted = min(found, out.k);
  const uint64_t cut = wanted < found ? find_cut(area, keys, found, wanted, bits, id_bits) : ~uint64_t{0};
  if (threadIdx.x == 0) {
    *area.slots = 0;
    from.limits[q] = -1;
  }
  for (int i = static_cast<int>(wanted + threadIdx.x); i < size; i += kThreads) area.sorted[i] = ~uint64_t{0};
  __syncthreads();
  for (int64_t i = threadIdx.x; i < found; i += kThreads)
    if (keys[i] <= cut) area.sorted[atomicAdd(area.slots, 1u)] = keys[i];
  sort(area.sorted, size);
  for (int64_t i = threadIdx.x; i < out.k; i += kThreads) {
    const bool exists = i < wanted;
    out.distances[q * out.k + i] = exists ? static_cast<int32_t>(area.sorted[i] >> kIdBits) : kNoDistance;
    out.ids[q * out.k + i] = exists ? static_cast<int64_t>(area.sorted[i] & ((uint64_t{1} << kIdBits) - 1)) : -1;
  }
}

__global__ void __launch_bounds__(kThreads) tighten_kernel(Survivors at, int bits, int64_t k) {
  const int64_t q = blockIdx.x, found = static_cast<int64_t>(at.counts[q]);
  if (found < k || found > at.capacity) return;
  const Place kth = find_digit(shared_area(bits), at.keys + q * at.capacity, found, k, 0, 0, kIdBits, bits + 1);
  if (threadIdx.x == 0) at.limits[q] = static_cast<int32_t>(kth.bin);
}

// Warp q.
__global__ void __launch_bounds__(kThreads) bound_kernel(const uint32_t* histogram, int nq, int bits, int64_t k,
                                                         int32_t* limits, int32_t* lost, int32_t all_lost) {
  const int q = blockIdx.x * kWarps + threadIdx.x / 32;
  if (blockIdx.x == 0 && threadIdx.x == 0) *lost = all_lost;
  if (q >= nq) return;
  const Place kth = find_bin(histogram + int64_t{q} * (bits + 1), bits + 1, k);
  if (threadIdx.x % 32 == 0) limits[q] = static_cast<int32_t>(kth.bin);
}

// Blocks stride over the tiles; those that follow each other take the same tiles for other queries.
template <typename Word>
__global__ void __launch_bounds__(kThreads) sample_kernel(Codes codes, Part part, uint32_t* histogram) {
  const unsigned groups = (static_cast<unsigned>(codes.nq) + kGroup - 1) / kGroup;
  const int distances = codes.bytes * 8 + 1;
  Tile tile = block_tile<kGroup>(codes, kTile);
  uint32_t* bins = shared_words + query_words(codes.bytes, kGroup);  // [kGroup, distances]
  for (int i = threadIdx.x; i < kGroup * distances; i += kThreads) bins[i] = 0;
  const Word* queries = load_queries<Word, kGroup>(codes, tile);
  __syncthreads();
  for (int64_t i = blockIdx.x / groups; i < part.tiles; i += gridDim.x / groups) {
    tile.begin = part.tile(i) * kTile;
    tile.end = min(tile.begin + kTile, codes.nb);
    each_code<Word, kGroup>(codes, tile, queries, [&](int64_t, const int (&found)[kGroup]) {
      for (int g = 0; g < kGroup; ++g) atomicAdd(&bins[g * distances + found[g]], 1u);
    });
  }
  __syncthreads();
  for (int i = threadIdx.x; i < tile.queries * distances; i += kThreads)
    if (bins[i] != 0) atomicAdd(&histogram[int64_t{tile.first} * distances + i], bins[i]);
}

}  // namespace

void sample_distances(const Codes& codes, const Part& part, uint32_t* histogram, cudaStream_t stream) {
  if (part.tiles == 0) return;
  const int64_t groups = ceil_div(codes.nq, kGroup);
  const auto shared = static_cast<size_t>(4 * (query_words(codes.bytes, kGroup) + kGroup * (codes.bytes * 8 + 1)));
  with_widest_word(codes.queries, codes.database, codes.bytes, [&](auto word) {
    const auto kernel = sample_kernel<decltype(word)>;
    const int64_t most = resident_blocks("hamming_topk sample", kernel, kThreads, shared);
    const int64_t rounds = std::clamp<int64_t>(most / groups, 1, part.tiles);
    launch("hamming_topk sample", kernel, static_cast<unsigned>(rounds * groups), kThreads, shared, stream, codes, part,
           histogram);
  });
}

void bound_limits(const uint32_t* histogram, int nq, int bits, int64_t k, int32_t* limits, int32_t* lost, bool all_lost,
                  cudaStream_t stream) {
  launch("hamming_topk bound", bound_kernel, static_cast<unsigned>(ceil_div(nq, kWarps)), kThreads, 0, stream,
         histogram, nq, bits, k, limits, lost, static_cast<int32_t>(all_lost));
}

void tighten_limits(const Survivors& at, int nq, int bits, int64_t k, cudaStream_t stream) {
  launch("hamming_topk tighten", tighten_kernel, static_cast<unsigned>(nq), kThreads, area_bytes(bits, 0), stream, at,
         bits, k);
}

void select_survivors(const Survivors& from, int nq, int bits, int64_t nb, int32_t* lost, const Output& out,
                      cudaStream_t stream) {
  int size = 1, id_bits = 1;
  while (size < std::min(out.k, from.capacity)) size *= 2;
  while (int64_t{1} << id_bits < nb) ++id_bits;
  launch("hamming_topk select", select_kernel, static_cast<unsigned>(nq), kThreads, area_bytes(bits, size), stream,
         from, bits, id_bits, size, lost, out);
}

}  // namespace fasthash
