// Scan on the tensor cores by mma.sync, 8.0 to 9.0 (on 10.0 the compiler replaces it by products of bytes). A block
// keeps 64 queries as fragments in shared memory, its warps take 32 codes at a time: a lane's share of them is one word
// of each group of 8 codes, which for codes of 16 bytes is one line of memory for the warp, so they come straight from
// the cache to the registers, complemented there. Codes up to 64 bits fit 128 bits with their complement.
//
// The accumulators start at -(limit + 1): what may be a hit has its sign set, and one OR over all of them tells whether
// a warp has any. Reads nb * bytes per 64 queries, mostly from the L2: blocks that follow each other share their codes.
#include "cuda/hamming_topk_tensor.h"
#include "cuda/tensor_mma.h"

namespace fasthash {
namespace {

constexpr int kThreads = 256;
constexpr int kRowTiles = 4, kRows = 16 * kRowTiles;          // queries of a block
constexpr int kColumnTiles = 4, kColumns = 8 * kColumnTiles;  // codes of a warp

struct alignas(8) Pair {
  uint32_t upper, lower;  // rows g and g + 8
};

// Word w of the product's row for a query: of K = 256 the first half, which is complemented later; of K = 128 all.
template <typename Word, bool kShort>
__device__ uint32_t query_word(const Codes& codes, int q, int w, uint32_t last) {
  const uint8_t* code = codes.queries + int64_t{min(q, codes.nq - 1)} * codes.bytes;
  if (!kShort) return code_word<Word>(code, w, codes.bytes, last);
  const uint32_t word = code_word<Word>(code, w % 2, codes.bytes, last);
  return w < 2 ? ~word : word;
}

template <bool kShort>
__device__ void multiply(int32_t (&d)[4], Pair a, uint32_t b, const int32_t (&c)[4]) {
  if (kShort) {
    const uint32_t both[2] = {a.upper, a.lower};
    mma_16x8x128(d, both, b, c);
  } else {
    const uint32_t rows[4] = {~a.upper, ~a.lower, a.upper, a.lower}, column[2] = {b, ~b};
    mma_16x8x256(d, rows, column, c);
  }
}

// What a block and a lane hold of their queries.
template <typename Word, bool kShort>
struct Queries {
  Pair* fragments;              // [slices, kRowTiles, 32] in shared memory
  int32_t start[kRowTiles][4];  // -(limit + 1): no sum is below zero where there is no query

  __device__ Queries(const Codes& codes, const int32_t* limits, int first, int slices, uint32_t last) {
    fragments = reinterpret_cast<Pair*>(shared_words);
    for (int i = threadIdx.x; i < slices * kRowTiles * 32; i += kThreads) {
      const int w = i / (kRowTiles * 32) * 4 + i % 4, q = first + i / 32 % kRowTiles * 16 + i % 32 / 4;
      fragments[i] = {query_word<Word, kShort>(codes, q, w, last), query_word<Word, kShort>(codes, q + 8, w, last)};
    }
    for (int i = 0; i < kRowTiles * 4; ++i) {
      const int q = first + i / 4 * 16 + i % 4 / 2 * 8 + static_cast<int>(threadIdx.x) % 32 / 4;
      start[i / 4][i % 4] = q < codes.nq ? -1 - limits[q] : 0;
    }
    __syncthreads();
  }
};

// A lane's words of the codes: word t of column g of each 8.
template <typename Word, bool kShort>
__device__ void fetch(const Codes& codes, const Walk& at, uint32_t last, uint32_t (&b)[kColumnTiles]) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int n = 0; n < kColumnTiles; ++n) {
    const uint8_t* code = codes.database + min(at.code + n * 8 + g, codes.nb - 1) * codes.bytes;
    b[n] = code_word<Word>(code, kShort ? t % 2 : at.slice * 4 + t, codes.bytes, last);
    if (kShort && t >= 2) b[n] = ~b[n];
  }
}

using Sums = int32_t[kRowTiles][kColumnTiles][4];

// Called by a whole warp: appends what is below zero.
template <typename Word>
__device__ void append_negative(const Codes& codes, const Survivors& to, int first, int64_t code, const Sums& sums) {
  int32_t signs = 0;
  for (const auto& row : sums)
    for (const auto& tile : row) signs |= tile[0] | tile[1] | tile[2] | tile[3];
  if (!__any_sync(kWholeWarp, signs < 0)) return;
  static_assert(kRowTiles == 4 && kColumnTiles == 4, "the 8 rows of a lane have 8 bits each");
  const int lane = threadIdx.x % 32;
  uint64_t hits = 0;
#pragma unroll
  for (int i = 0; i < 64; ++i)  // the sign of row (m, half), column (n, c) becomes bit ((m, half), (n, c))
    hits |= static_cast<uint64_t>(static_cast<uint32_t>(sums[i / 16][i / 2 % 4][i / 8 % 2 * 2 + i % 2]) >> 31) << i;
#pragma unroll 1
  for (int i = 0; hits != 0; ++i, hits >>= 8)
    append_row<Word>(codes, to, first + i * 8 + lane / 4, static_cast<unsigned>(hits & 255),
                     [&](int at) { return code + at / 2 * 8 + lane % 4 * 2 + at % 2; });
  __syncwarp();  // the next product wants all lanes together
}

template <typename Word, bool kShort>
__global__ void __launch_bounds__(kThreads, 2) scan_mma_kernel(Codes codes, Part part, Survivors to) {
  const unsigned groups = (static_cast<unsigned>(codes.nq) + kRows - 1) / kRows;
  const int first = static_cast<int>(blockIdx.x % groups) * kRows, warp = threadIdx.x / 32;
  const uint32_t last = last_bits(codes);
  const Way way{part, slices_of(codes.bytes), warp * kColumns, kThreads, gridDim.x / groups};
  const Queries<Word, kShort> queries(codes, to.limits, first, way.slices, last);
  constexpr bool kAhead = sizeof(Word) == 4;  // bytes one by one leave no registers for the next codes
  Walk at = way.start(blockIdx.x / groups);
  uint32_t next[kColumnTiles] = {};
  if (kAhead) fetch<Word, kShort>(codes, at, last, next);
  Sums sums;
  while (way.has(at)) {
    const Walk here = at;
    uint32_t b[kColumnTiles];
    for (int n = 0; n < kColumnTiles; ++n) b[n] = next[n];
    if (!kAhead) fetch<Word, kShort>(codes, here, last, b);
    way.advance(at);
    if (kAhead) fetch<Word, kShort>(codes, at, last, next);  // beyond the end the last code once more
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
      const Pair a = queries.fragments[(here.slice * kRowTiles + m) * 32 + threadIdx.x % 32];
      for (int n = 0; n < kColumnTiles; ++n) {
        if (here.slice == 0)
          multiply<kShort>(sums[m][n], a, b[n], queries.start[m]);
        else
          multiply<kShort>(sums[m][n], a, b[n], sums[m][n]);
      }
    }
    if (way.ends_codes(here)) append_negative<Word>(codes, to, first, here.code, sums);
  }
}

}  // namespace

void scan_mma(const Codes& codes, const Part& part, const Survivors& to, cudaStream_t stream) {
  if (part.tiles == 0) return;
  with_code_word(codes, [&](auto word) {
    using Word = decltype(word);
    const auto kernel = codes.bytes <= 8 ? scan_mma_kernel<Word, true> : scan_mma_kernel<Word, false>;
    const size_t shared = static_cast<size_t>(slices_of(codes.bytes)) * kRowTiles * 32 * sizeof(Pair);
    launch_rounds("hamming_topk mma", kernel, kRows, kThreads, shared, stream, codes, part, to);
  });
}

}  // namespace fasthash
