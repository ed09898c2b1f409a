// Blocks that compare a group of queries, held in shared memory, with codes that each thread reads on its own.
#pragma once

#include <algorithm>

#include "cuda/hamming_codes.h"

namespace fasthash {

alignas(16) extern __shared__ uint32_t shared_words[];  // of a block: the queries of its group, then its bins

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kGroup = 4;     // queries that share each load of a code
constexpr int kInFlight = 2;  // codes that a thread reads at once

// Which queries and codes a block compares: blocks that follow each other read the same codes.
struct Tile {
  int first;  // query
  int queries;
  int64_t chunk;  // its number
  int64_t begin, end;
};

template <int kQueries>
__device__ inline Tile block_tile(const Codes& codes, int64_t chunk) {
  const unsigned groups = (static_cast<unsigned>(codes.nq) + kQueries - 1) / kQueries;
  Tile tile;
  tile.first = static_cast<int>(blockIdx.x % groups) * kQueries;
  tile.queries = min(kQueries, codes.nq - tile.first);
  tile.chunk = blockIdx.x / groups;
  tile.begin = tile.chunk * chunk;
  tile.end = min(tile.begin + chunk, codes.nb);
  return tile;
}

// The tile's queries as [kQueries, words] at the start of the shared memory; missing ones repeat the last.
template <typename Word, int kQueries>
__device__ const Word* load_queries(const Codes& codes, const Tile& tile) {
  Word* to = reinterpret_cast<Word*>(shared_words);
  const int words = codes.bytes / static_cast<int>(sizeof(Word));
  for (int i = threadIdx.x; i < kQueries * words; i += kThreads) {
    const int64_t q = tile.first + min(i / words, tile.queries - 1);
    to[i] = reinterpret_cast<const Word*>(codes.queries + q * codes.bytes)[i % words];
  }
  return to;
}

// Shared words that load_queries takes: what follows is aligned like the start.
__host__ __device__ inline int query_words(int bytes, int queries) { return (queries * bytes + 15) / 16 * 4; }

// Calls each(j, distances) for the thread's codes of the tile that are allowed.
template <typename Word, int kQueries, typename Each>
__device__ inline void each_code(const Codes& codes, const Tile& tile, const Word* queries, Each each) {
  const int words = codes.bytes / static_cast<int>(sizeof(Word));
  const Word tail = last_word_mask<Word>(codes.bits);
  for (int64_t start = tile.begin + threadIdx.x; start < tile.end; start += kInFlight * kThreads) {
    const Word* code[kInFlight];
    bool wanted[kInFlight], any = false;
    for (int i = 0; i < kInFlight; ++i) {
      const int64_t j = start + i * kThreads;
      wanted[i] = j < tile.end && allowed(codes.allow, j);
      code[i] = reinterpret_cast<const Word*>(codes.database + (j < tile.end ? j : start) * codes.bytes);
      any |= wanted[i];
    }
    if (!any) continue;
    int distances[kInFlight][kQueries] = {};
    for (int w = 0; w < words; ++w) {
      Word word[kInFlight];
      for (int i = 0; i < kInFlight; ++i) word[i] = code[i][w];
      for (int q = 0; q < kQueries; ++q) {
        const Word query = queries[q * words + w];
        for (int i = 0; i < kInFlight; ++i) {
          const Word unequal = query ^ word[i];
          distances[i][q] += count_bits(w == words - 1 ? static_cast<Word>(unequal & tail) : unequal);
        }
      }
    }
    for (int i = 0; i < kInFlight; ++i)
      if (wanted[i]) each(start + i * kThreads, distances[i]);
  }
}

// Bins [queries, width, columns] in shared memory: lanes with different columns never meet in one word. As many columns
// as fit, a power of two; the caller launches with bin_bytes more.
inline int bin_columns(int64_t cells) {
  int columns = 32;
  while (columns > 1 && cells * columns * 4 > 40 * 1024) columns /= 2;
  return columns;
}

__device__ inline void add_to_bin(uint32_t* bins, int cell, int columns, uint32_t what) {
  atomicAdd(&bins[cell * columns + (threadIdx.x & (columns - 1))], what);
}

// Calls each(column) for the columns of a cell, in an order that keeps lanes with neighbouring cells in different
// banks.
template <typename Each>
__device__ inline void each_column(const uint32_t* bins, int cell, int columns, Each each) {
  for (int c = 0; c < columns; ++c) each(bins[cell * columns + ((c + cell) & (columns - 1))]);
}

// The widest word that rows of `bytes` bytes at both addresses can be read by: calls run(Word{}).
template <typename Run>
void with_widest_word(const void* queries, const void* database, int64_t bytes, Run run) {
  const auto fits = [&](size_t word) { return aligned(queries, bytes, word) && aligned(database, bytes, word); };
  if (fits(16))
    run(Wide{});
  else if (fits(8))
    run(uint64_t{});
  else if (fits(4))
    run(uint32_t{});
  else
    run(uint8_t{});
}

}  // namespace fasthash
