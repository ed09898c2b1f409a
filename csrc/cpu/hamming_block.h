// The block kernels: which codes of a block are nearer than each query's limit. Search of every kind stands on them.
//
//   rows      distances of row-major codes where they lie: for few queries, which repay no preparation of a block
//   popcount  distances of a word-major tile, one vector of codes at a time
//   sliced    bit slices and tables of partial sums: a block costs more to prepare, a query half
//
// All give the same masks; hamming_calibration.inc says which one is fastest where.
#pragma once

#include <cstdint>

#include "cpu/hamming_tile.h"

namespace fasthash {

constexpr int kMaskWords = kTileCodes / 64;  // bit j % 64 of word j / 64 stands for code j of a block
constexpr int kMaxParts = 4;                 // pieces in which a kernel may report a block

// Words of a query's zero-padded code: whole cache lines.
static inline int64_t padded_words(int64_t bytes) { return (bytes + 63) / 64 * 8; }

// The queries that meet a block together.
struct QueryGroup {
  int64_t n;              // at most 65536
  const uint64_t* words;  // [n, padded_words(bytes)]
  const int* limits;      // [n] codes nearer than this are near; set_limit of the kernel has been told
  uint8_t* prepared;      // [n, kernel.query_bytes(bytes)]
};

struct Block {
  const uint8_t* codes;  // [count, bytes], at any alignment
  int64_t count;         // 1 to kTileCodes
  int64_t bytes;
  const uint64_t* allow;   // [kMaskWords], zero from bit `count` on
  const uint64_t* loaded;  // what kernel.load returned
  int64_t next_bytes;      // codes behind these that are scanned next
};

// Called after each query of a scan: fetches its share of the next block, which memory would otherwise be asked for
// only when nothing else can be done. One query alone reads as fast as memory gives. (Inline by force: GCC takes a call
// that does nothing but prefetch for one without effect, and drops it.)
[[gnu::always_inline]] static inline void fetch_next(const Block& block, int64_t query, int64_t queries) {
  constexpr int64_t kFewest = 4;
  if (queries < kFewest) return;
  const uint8_t* next = block.codes + block.count * block.bytes;
  const int64_t share = (block.next_bytes / queries + 63) & ~int64_t{63};
  for (int64_t at = query * share; at < (query + 1) * share && at < block.next_bytes; at += 64)
    __builtin_prefetch(next + at, 0, 2);
}

struct BlockKernel {
  const char* name;
  int64_t (*query_bytes)(int64_t bytes);  // prepared memory of a query, a multiple of 8
  int64_t (*block_bytes)(int64_t bytes);  // scratch memory of a block, 64-byte aligned
  void (*prepare)(const uint64_t* words, int64_t bytes, uint8_t* prepared);
  void (*set_limit)(int limit, int64_t bytes, uint8_t* prepared);  // 0 to 8 * bytes + 1
  const uint64_t* (*load)(const uint8_t* codes, int64_t count, int64_t bytes, uint64_t* scratch);
  // Writes indices of queries with masks of their near, allowed codes, and returns how many: none for most queries;
  // one, or several whose codes do not overlap and ascend, for the others.
  //   near [kMaxParts * n]; masks [kMaxParts * n, kMaskWords]
  int64_t (*scan)(const QueryGroup& queries, const Block& block, uint16_t* near, uint64_t* masks);
};

// The scan of a kernel that takes queries one by one; near_block(words, limit, mask) says whether there are near codes.
template <typename NearBlock>
static inline int64_t scan_queries(const QueryGroup& queries, const Block& block, uint16_t* near, uint64_t* masks,
                                   const NearBlock& near_block) {
  const int64_t stride = padded_words(block.bytes);
  int64_t found = 0;
  for (int64_t q = 0; q < queries.n; ++q) {
    if (near_block(queries.words + q * stride, queries.limits[q], masks + found * kMaskWords))
      near[found++] = static_cast<uint16_t>(q);
    fetch_next(block, q, queries.n);
  }
  return found;
}

// null: there is no such kernel for this instruction set.
const BlockKernel* find_block_kernel(Isa isa, const char* name);

// The kernel that measured fastest for so many queries together over so many codes.
const BlockKernel& choose_block_kernel(Isa isa, int64_t bytes, int64_t queries, int64_t codes);

// A hit as one integer, so that hits compare by (distance, position): distances fit 16 bits, positions 48.
constexpr int kDistanceShift = 48;
static inline int distance_of(uint64_t key) { return static_cast<int>(key >> kDistanceShift); }
static inline int64_t position_of(uint64_t key) {
  return static_cast<int64_t>(key & ((uint64_t{1} << kDistanceShift) - 1));
}
static inline uint64_t key_of(uint64_t distance, int64_t position) {
  return distance << kDistanceShift | static_cast<uint64_t>(position);
}

// The keys of the codes that `mask` names, in ascending order of position; returns how many.
//   first  position of the block's first code      keys  [kTileCodes + kKeySlack]: vector stores may run past the last
constexpr int kKeySlack = 8;
using BlockKeys = int (*)(const uint64_t* query, const Block& block, const uint64_t* mask, int64_t first,
                          uint64_t* keys);
BlockKeys block_keys(Isa isa);

}  // namespace fasthash
