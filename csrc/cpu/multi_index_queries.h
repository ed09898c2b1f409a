// All queries of a search: by the tables on any number of threads, the rest by one scan together.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "cpu/multi_index_walk.h"

namespace fasthash {

// One thread's sink, used for one query after the other.
class QuerySink : public WalkSink {
 public:
  virtual void open() = 0;
  virtual void close(int64_t query) = 0;    // the query is answered
  virtual void give_up(int64_t query) = 0;  // or left to the scan
};

// Fills `left` with the queries that are for the scan, ascending. False: interrupted. Rethrows what a sink threw.
bool walk_queries(const WalkPlan& plan, const std::function<std::unique_ptr<QuerySink>()>& make_sink,
                  std::vector<int64_t>& left, MultiIndexStats* stats);

// The codes of some queries of a search, one after the other.
std::vector<uint8_t> codes_of(const HammingSearch& search, const std::vector<int64_t>& queries);

}  // namespace fasthash
