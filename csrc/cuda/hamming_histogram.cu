// A block counts its codes in shared memory for a group of queries and adds what it found to the result. Reads nb *
// bytes, and the labels, per 4 queries. Integer sums: the order of adds cannot change the result.
#include "cuda/hamming_group.h"
#include "cuda/hamming_histogram.h"
#include "cuda/launch.h"

namespace fasthash {
namespace {

// A bin holds items in its lower half and relevant items in its upper half, so that one add counts both.
constexpr int kHalf = 16;
constexpr int64_t kMaxChunk = 255 * kThreads;  // codes of a block: no half of a bin overflows
static_assert(kMaxChunk < int64_t{1} << kHalf);
constexpr int64_t kMinChunk = 16 * kThreads;
constexpr int64_t kBlocks = 1024;           // meant to be there at least, where the codes are enough
constexpr int64_t kMaxBlocks = 2147483647;  // of one launch

struct Labels {
  const uint64_t* queries;  // of this batch
  const uint64_t* database;
  int words;
};

// Bit q: query q of the tile and item j share a label.
template <int kQueries>
__device__ unsigned shares_label(const Labels& labels, const Tile& tile, int64_t j) {
  unsigned shared = 0;
  if (labels.words == 0) {
    const uint64_t item = labels.database[j];
    for (int q = 0; q < kQueries; ++q)
      shared |= (labels.queries[tile.first + min(q, tile.queries - 1)] == item ? 1u : 0u) << q;
    return shared;
  }
  for (int w = 0; w < labels.words; ++w) {
    const uint64_t item = labels.database[j * labels.words + w];
    if (item == 0) continue;
    for (int q = 0; q < kQueries; ++q) {
      const int64_t row = tile.first + min(q, tile.queries - 1);
      shared |= ((labels.queries[row * labels.words + w] & item) != 0 ? 1u : 0u) << q;
    }
  }
  return shared;
}

template <typename Word, int kQueries, bool kLabels>
__global__ void histogram_kernel(Codes codes, Labels labels, int64_t chunk, int columns, int64_t* counts,
                                 int64_t* relevant) {
  const Tile tile = block_tile<kQueries>(codes, chunk);
  const int width = codes.bits + 1;
  uint32_t* bins = shared_words + query_words(codes.bytes, kQueries);  // [kQueries, width, columns]
  for (int i = threadIdx.x; i < kQueries * width * columns; i += kThreads) bins[i] = 0;
  const Word* queries = load_queries<Word, kQueries>(codes, tile);
  __syncthreads();
  each_code<Word, kQueries>(codes, tile, queries, [&](int64_t j, const int (&distances)[kQueries]) {
    const unsigned shared = kLabels ? shares_label<kQueries>(labels, tile, j) : 0;
    for (int q = 0; q < kQueries; ++q)
      if (q < tile.queries) add_to_bin(bins, q * width + distances[q], columns, 1 + ((shared >> q & 1) << kHalf));
  });
  __syncthreads();
  for (int i = threadIdx.x; i < tile.queries * width; i += kThreads) {
    unsigned long long items = 0, common = 0;
    each_column(bins, i, columns, [&](uint32_t both) {
      items += both & ((1u << kHalf) - 1);
      common += both >> kHalf;
    });
    const int64_t cell = int64_t{tile.first} * width + i;
    if (items != 0) atomicAdd(reinterpret_cast<unsigned long long*>(counts) + cell, items);
    if (kLabels && common != 0) atomicAdd(reinterpret_cast<unsigned long long*>(relevant) + cell, common);
  }
}

template <typename Word, int kQueries>
void count_batch(const Codes& codes, const Labels& labels, int64_t chunk, int64_t* counts, int64_t* relevant,
                 cudaStream_t stream) {
  const int64_t cells = int64_t{kQueries} * (codes.bits + 1);
  const int columns = bin_columns(cells);
  const auto shared = static_cast<size_t>(4 * (cells * columns + query_words(codes.bytes, kQueries)));
  const int64_t blocks = ceil_div(codes.nq, kQueries) * ceil_div(codes.nb, chunk);
  launch("hamming_histogram",
         labels.database == nullptr ? histogram_kernel<Word, kQueries, false> : histogram_kernel<Word, kQueries, true>,
         static_cast<unsigned>(blocks), kThreads, shared, stream, codes, labels, chunk, columns, counts, relevant);
}

}  // namespace

void hamming_histogram_cuda(const HammingHistogram& search, int64_t* counts, int64_t* relevant) {
  const char* op = "hamming_histogram_cuda";
  const int64_t nq = search.nq, nb = search.nb;
  check_codes(op, nq, nb, search.bytes, search.bits);
  check_argument(op, nq < int64_t{1} << 31, "nq must be below 2^31", nq);
  check_argument(op, search.words >= 0, "words must be at least 0", search.words);
  const int64_t groups = nq == 1 ? 1 : ceil_div(nq, kGroup);
  const int64_t wanted = std::clamp(ceil_div(nb, std::max<int64_t>(kBlocks / groups, 1)), kMinChunk, kMaxChunk);
  const int64_t chunk = ceil_div(wanted, kThreads) * kThreads;
  const int64_t batch = std::min(kMaxBlocks / ceil_div(nb, chunk), groups) * (nq == 1 ? 1 : kGroup);
  check_argument(op, batch >= 1, "nb must be at most 2^31 chunks of " + std::to_string(chunk) + " codes", nb);
  for (int64_t first = 0; first < nq; first += batch) {
    const Codes codes{search.queries + first * search.bytes,
                      static_cast<int>(std::min(batch, nq - first)),
                      search.database,
                      nb,
                      static_cast<int>(search.bytes),
                      search.bits,
                      nullptr};
    const int64_t label_row = std::max(search.words, 1), width = search.bits + 1;
    const Labels labels{search.query_labels == nullptr ? nullptr : search.query_labels + first * label_row,
                        search.database_labels, search.words};
    with_widest_word(search.queries, search.database, search.bytes, [&](auto word) {
      const auto count = nq == 1 ? count_batch<decltype(word), 1> : count_batch<decltype(word), kGroup>;
      count(codes, labels, chunk, counts + first * width, relevant == nullptr ? nullptr : relevant + first * width,
            static_cast<cudaStream_t>(search.stream));
    });
  }
}

}  // namespace fasthash
