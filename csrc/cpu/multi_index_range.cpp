#include <algorithm>
#include <utility>

#include "cpu/hamming_block.h"
#include "cpu/multi_index_queries.h"

namespace fasthash {
namespace {

class Within final : public QuerySink {
 public:
  Within(int radius, std::vector<std::vector<uint64_t>>& rows) : radius_(radius), rows_(rows) {}

  void open() override { keys_.clear(); }
  int limit() const override { return radius_; }
  bool settled() const override { return true; }
  void take(int distance, int64_t row) override { keys_.push_back(key_of(static_cast<uint64_t>(distance), row)); }

  void close(int64_t query) override {
    std::sort(keys_.begin(), keys_.end());
    rows_[query] = keys_;
  }

  void give_up(int64_t) override {}

 private:
  const int radius_;
  std::vector<std::vector<uint64_t>>& rows_;
  std::vector<uint64_t> keys_;
};

}  // namespace

bool MultiRangeHits::search(const HammingSearch& search, const SubstringTables& tables, int radius,
                            MultiIndexStats* stats) {
  radius = static_cast<int>(std::min<int64_t>(radius, search.bytes * 8));
  rows_.assign(static_cast<size_t>(search.nq), {});
  const WalkPlan plan(search, tables);
  std::vector<int64_t> left;
  const auto make_sink = [&] { return std::make_unique<Within>(radius, rows_); };
  if (!walk_queries(plan, make_sink, left, stats)) return false;
  const int64_t scanned = static_cast<int64_t>(left.size());
  if (scanned == 0) return true;
  const std::vector<uint8_t> codes = codes_of(search, left);
  HammingSearch scan = search;
  scan.queries = codes.data();
  scan.nq = scanned;
  MultiRangeHits rest;
  if (!rest.RangeHits::search(scan, radius)) return false;
  for (int64_t i = 0; i < scanned; ++i) rows_[left[i]] = std::move(rest.rows_[i]);
  return true;
}

}  // namespace fasthash
