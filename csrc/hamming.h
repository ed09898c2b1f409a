// Exact Hamming search over packed codes: uint8 rows of `bytes` bytes, unused bits zero. Order of hits: (distance, id).
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "cpu/isa.h"

namespace fasthash {

struct BlockKernel;  // cpu/hamming_block.h

constexpr int32_t kNoDistance = std::numeric_limits<int32_t>::max();  // distance of a missing hit
constexpr int64_t kNoId = -1;                                         // and its id

// What is searched, and how. The database is read where it lies, at any alignment, and never copied.
struct HammingSearch {
  const uint8_t* queries;  // [nq, bytes]
  int64_t nq;
  const uint8_t* database;  // [nb, bytes]
  int64_t nb;
  int64_t bytes;         // 1 to 512
  const uint8_t* allow;  // [ceil(nb / 8)] bitmask, most significant bit first: which codes may be hits; null: all
  int threads;
  Isa isa;
  std::function<bool()> interrupted;    // asked now and then by the calling thread; true abandons the search
  const BlockKernel* kernel = nullptr;  // null: the one that the calibration names
  const int32_t* limits = nullptr;      // [nq] hits of a top-k must be nearer than this, at least 1; null: any will do
};

// distances, ids: [nq, k], rows filled up with (kNoDistance, kNoId). False: interrupted, the outputs are incomplete.
// Scratch memory of a thread while k is below a million, at most: 16 MiB for the queries in flight and 2.6 KiB for each
// byte of a code (1.3 MiB for the longest). Where there are few queries the database is cut into parts and each keeps
// its k nearest (8 bytes a code) until all parts of the query are done, about 32 MiB a thread, and finishing and
// merging them 24 MiB more. A larger k takes more in proportion.
bool hamming_topk_cpu(const HammingSearch& search, int64_t k, int32_t* distances, int64_t* ids);

// The codes at distance <= radius of each query. One 8-byte key a hit: how many there are is known only afterwards.
class RangeHits {
 public:
  // False: interrupted, the object is to be dropped.
  bool search(const HammingSearch& search, int radius);
  void lims(int64_t* out) const;                // [nq + 1]: hits of query q are [out[q], out[q + 1])
  void take(int32_t* distances, int64_t* ids);  // [lims(nq)] each; frees the keys on the way

 protected:
  std::vector<std::vector<uint64_t>> rows_;  // of each query, keys (cpu/hamming_block.h) ascending
};

}  // namespace fasthash
