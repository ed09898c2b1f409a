// How a top-k search is cut, and which kernel it takes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fasthash {

enum class TopKKernel { kCount, kPopcount, kMma, kWgmma };

// The same for every device and kernel, so that the scratch memory is known before either.
struct TopKPlan {
  int64_t batch;     // queries
  int64_t capacity;  // survivors of a query; 0: k is too large for a scan
  int sample;        // tiles of every period that bound the k-th distance first; 0: none
  int growth;        // each scan covers this many times what was seen before it; then the bound is tightened
  int64_t counted;   // queries of the batch that are counted at a time
  int64_t chunk;     // codes of a column of counters
  int64_t chunks;
  // Offsets into the scratch memory, and its size. The survivors and the counters take turns in one place.
  size_t keys_at, totals_at, limits_at, hits_at, found_at, lost_at, bytes;
};

// Throws std::invalid_argument for sizes out of range.
TopKPlan plan_topk(int64_t nq, int64_t nb, int64_t bytes, int64_t k);

// name null: the first rule of the table that applies on the current device. Throws std::invalid_argument for a name
// that does not exist or cannot be taken.
TopKKernel choose_topk_kernel(const char* name, const TopKPlan& plan, int64_t nq, int64_t nb, int64_t k);
const char* name_of(TopKKernel kernel);

}  // namespace fasthash
