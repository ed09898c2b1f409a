// Runs every query over every code, on any number of threads, and hands the near ones to sinks.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "cpu/hamming_block.h"
#include "hamming.h"

namespace fasthash {

// Takes the hits of one query within one part of the database, in ascending order of position.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual void take(const uint64_t* keys, int64_t count) = 0;

  // Only codes nearer than this are of use. The ceiling is what another part of the database has already proved: its
  // codes may lie at lower positions, so equal distances still count.
  int limit() const { return ceiling_ ? std::min(limit_, ceiling_->load(std::memory_order_relaxed) + 1) : limit_; }

 protected:
  int limit_ = 0;
  std::atomic<int>* ceiling_ = nullptr;
};

// Hits of a top-k must be nearer than this. 8 * bytes + 1: any will do.
static inline int first_limit(const HammingSearch& search, int64_t query) {
  const int any = static_cast<int>(8 * search.bytes + 1);
  return search.limits ? std::min(search.limits[query], any) : any;
}

// Owns the sinks. open() and close() are called from the working threads, for different queries at the same time.
class Collector {
 public:
  virtual ~Collector() = default;
  virtual Sink* open(int64_t query, int64_t part, int64_t codes) = 0;
  virtual void finish(int64_t query, int64_t part) = 0;  // the sink has taken everything of this part
  virtual void close(int64_t query) = 0;                 // and now all parts are finished
};

// Work items are (group of queries, part of the database); a block is prepared once for all queries of a group.
struct ScanPlan {
  int64_t group;  // queries
  int64_t groups;
  int64_t part;  // codes, a multiple of kTileCodes
  int64_t parts;
  const BlockKernel* kernel;
  int64_t threads;  // at most those of the search: little work does not repay starting them
};

// query_bytes: scratch memory of one query's sink.
ScanPlan plan_scan(const HammingSearch& search, int64_t query_bytes);

// False: interrupted. Rethrows what a sink threw.
bool scan(const HammingSearch& search, const ScanPlan& plan, Collector& collector);

}  // namespace fasthash
