// Exact Hamming search through tables over substrings of the codes.
//
// Multi-index hashing: Norouzi, Punjani and Fleet, Fast Exact Search in Hamming Space with Multi-Index Hashing, TPAMI
// 2014. A code within distance r of the query is within r_t of it in at least one substring t as long as the
// r_t + 1 add up to more than r, so looking up all buckets within r_t of the query in every table misses none.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "hamming.h"

namespace fasthash {

constexpr int kMaxSubstring = 24;  // bits: 64 MiB of offsets a table

// The codes of an index, sorted by the value of one substring and, where it is the same, by row.
struct SubstringTable {
  int start;                // first bit; bit 0 is the most significant one of byte 0
  int width;                // bits, 1 to kMaxSubstring; no two tables share a bit
  const uint32_t* offsets;  // [2^width + 1] bucket b is [offsets[b], offsets[b + 1]): ascending, from 0 to nb
  const uint32_t* rows;     // [nb]; may be anything: rows out of the index are noticed
  const uint64_t* codes;    // [nb, ceil(bytes / 8)] the codes in the order of rows, zero padded; null: read the index's
};

// What goes into a table.
struct TableBuild {
  const uint8_t* codes;  // [nb, bytes]
  int64_t nb;            // below 2^32
  int64_t bytes;
  int start, width;
  int threads;
  std::function<bool()> interrupted;  // as in HammingSearch
  uint64_t* scratch;                  // [nb] and, with copies, [nb, ceil(bytes / 8)] more
};

// Fills offsets, rows and, unless null, copies: a SubstringTable's arrays. False: interrupted, they are incomplete.
bool multi_index_build_cpu(const TableBuild& build, uint32_t* offsets, uint32_t* rows, uint64_t* copies);

// What the tables did for a search.
struct MultiIndexStats {
  int64_t by_tables = 0;  // queries that they answered; the others took the scan
  int64_t by_scan = 0;
  int64_t buckets = 0;  // looked up
  int64_t codes = 0;    // compared
};

// The tables of an index, and how long a query may stay with them: `patience` is 1 in use, 0 sends every query to the
// scan, infinity none.
struct SubstringTables {
  std::vector<SubstringTable> tables;
  double patience;  // times the expected cost of the scan
};

// The same results as hamming_topk_cpu. A query leaves the tables for the scan when that is expected to be cheaper.
// std::runtime_error: a table names a row that the index does not have.
bool multi_index_topk_cpu(const HammingSearch& search, const SubstringTables& tables, int64_t k, int32_t* distances,
                          int64_t* ids, MultiIndexStats* stats);

// The same hits as RangeHits.
class MultiRangeHits : public RangeHits {
 public:
  bool search(const HammingSearch& search, const SubstringTables& tables, int radius, MultiIndexStats* stats);
};

}  // namespace fasthash
