// Scan on the tensor cores of 9.0 by wgmma, two warpgroups a block. 128 queries with their complements stand in shared
// memory, 64 for each warpgroup; 128 codes at a time, 128 bits of each, are stored beside them with their complements,
// in two buffers by turns, while the next ones are on their way from memory. 128 bits of 8 codes of 16 bytes are what
// the layout without swizzle wants, in the order in which they lie in memory.
//
// Reads nb * bytes per 128 queries, mostly from the L2: blocks that follow each other share their codes. Only a GPU can
// show more than csrc/cuda/tensor_wgmma.h says: whether the loads are hidden, and what a barrier for each 128 bits
// costs.
#include "cuda/hamming_topk_tensor.h"
#include "cuda/tensor_wgmma.h"

namespace fasthash {
namespace {

constexpr int kThreads = 256;
constexpr int kRows = 128;         // queries of a block
constexpr int kColumns = 128;      // codes at a time
constexpr int kHalf = 128 * 16;    // bytes of 128 bits of 128 codes; their complements follow
constexpr int kSlice = 2 * kHalf;  // bytes of those and their complements
constexpr int kDown = 8 * 16;      // bytes from 8 codes to the next 8
static_assert(kRows == 128 && kColumns == 128 && kThreads == 2 * kColumns, "a thread stores half a code");

struct alignas(8) Pair {
  uint32_t low, high;
};
__device__ inline Pair operator~(Pair x) { return {~x.low, ~x.high}; }

// Half of a code's slice: words 2 * half and 2 * half + 1 of it.
template <typename Word>
__device__ Pair code_pair(const uint8_t* code, int slice, int half, int bytes, uint32_t last) {
  const int w = slice * 4 + half * 2;
  return {code_word<Word>(code, w, bytes, last), code_word<Word>(code, w + 1, bytes, last)};
}

// The lane's part of the smallest distances of its rows g and g + 8.
__device__ void smallest(const int32_t (&sums)[64], int32_t (&least)[2]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    least[half] = min(sums[2 * half], sums[2 * half + 1]);
#pragma unroll
    for (int n = 1; n < 16; ++n)
      least[half] = min(min(least[half], sums[4 * n + 2 * half]), sums[4 * n + 2 * half + 1]);
  }
}

// Called by a whole warp: appends what is within the limits of the lane's rows, `row` and `row` + 8.
template <typename Word>
__device__ void append_near(const Codes& codes, const Survivors& to, int row, const int32_t (&limits)[2], int64_t code,
                            const int32_t (&sums)[64]) {
  int32_t least[2];
  smallest(sums, least);
  if (!__any_sync(kWholeWarp, least[0] <= limits[0] || least[1] <= limits[1])) return;
#pragma unroll
  for (int low = 0; low < 2; ++low) {
    unsigned hits = 0;
#pragma unroll
    for (int i = 0; i < 32; ++i) hits |= sums[i / 2 * 4 + 2 * low + i % 2] <= limits[low] ? 1u << i : 0;
    append_row<Word>(codes, to, row + 8 * low, hits,
                     [&](int i) { return code + i / 2 * 8 + threadIdx.x % 4 * 2 + i % 2; });
  }
  __syncwarp();  // the next product wants all lanes together
}

template <typename Word>
__global__ void __launch_bounds__(kThreads, 2) scan_wgmma_kernel(Codes codes, Part part, Survivors to) {
  const int half = threadIdx.x % 2, mine = threadIdx.x / 2;  // the thread's half of a code
  const unsigned groups = (static_cast<unsigned>(codes.nq) + kRows - 1) / kRows;
  const int first = static_cast<int>(blockIdx.x % groups) * kRows;
  const uint32_t last = last_bits(codes);
  const Way way{part, slices_of(codes.bytes), 0, kColumns, gridDim.x / groups};
  auto* rows = reinterpret_cast<uint8_t*>(shared_words);  // [slices][2][kRows][16]
  uint8_t* columns = rows + way.slices * kSlice;          // [2 buffers][2][kColumns][16]
  const auto place = [](uint8_t* half_slice) { return reinterpret_cast<Pair*>(half_slice) + threadIdx.x; };

  const uint8_t* query = codes.queries + int64_t{min(first + mine, codes.nq - 1)} * codes.bytes;
  for (int s = 0; s < way.slices; ++s) {
    const Pair word = code_pair<Word>(query, s, half, codes.bytes, last);
    *place(rows + s * kSlice) = ~word;
    *place(rows + s * kSlice + kHalf) = word;
  }
  const int row = first + static_cast<int>(threadIdx.x) / 32 * 16 + static_cast<int>(threadIdx.x) % 32 / 4;
  const int32_t limits[2] = {row < codes.nq ? to.limits[row] : -1, row + 8 < codes.nq ? to.limits[row + 8] : -1};
  const auto fetch = [&](const Walk& at) {  // beyond the end the last code once more
    const uint8_t* code = codes.database + min(at.code + mine, codes.nb - 1) * codes.bytes;
    return code_pair<Word>(code, at.slice, half, codes.bytes, last);
  };

  Walk at = way.start(blockIdx.x / groups);
  Pair next = fetch(at);
  const uint8_t* group_rows = rows + threadIdx.x / 128 * 64 * 16;
  int32_t sums[64];
  for (int buffer = 0; way.has(at); buffer ^= 1) {
    const Walk here = at;
    uint8_t* column = columns + buffer * kSlice;
    *place(column) = next;
    *place(column + kHalf) = ~next;
    fence_stores_for_wgmma();
    // One barrier is enough for two buffers: whoever is past it has waited for its product from the other one.
    __syncthreads();
    wgmma_64x128x256(sums, shared_matrix(group_rows + here.slice * kSlice, kHalf, kDown),
                     shared_matrix(column, kHalf, kDown), here.slice != 0);
    way.advance(at);
    next = fetch(at);
    wgmma_wait(sums);
    if (way.ends_codes(here)) append_near<Word>(codes, to, row, limits, here.code, sums);
  }
}

}  // namespace

bool has_wgmma() { return wgmma_exists(); }

void scan_wgmma(const Codes& codes, const Part& part, const Survivors& to, cudaStream_t stream) {
  if (part.tiles == 0) return;
  with_code_word(codes, [&](auto word) {
    const auto kernel = scan_wgmma_kernel<decltype(word)>;
    const size_t shared = static_cast<size_t>(slices_of(codes.bytes) + 2) * kSlice;
    launch_rounds("hamming_topk wgmma", kernel, kRows, kThreads, shared, stream, codes, part, to);
  });
}

}  // namespace fasthash
