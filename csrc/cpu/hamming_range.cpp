// All codes within a radius: the limit never moves, hits are kept as they come and sorted by counting at the end.
#include <memory>
#include <utility>

#include "cpu/hamming_scan.h"

namespace fasthash {
namespace {

class Within final : public Sink {
 public:
  explicit Within(int radius) { limit_ = radius + 1; }
  void take(const uint64_t* keys, int64_t count) override { hits.insert(hits.end(), keys, keys + count); }
  std::vector<uint64_t> hits;
};

class RangeCollector final : public Collector {
 public:
  RangeCollector(const HammingSearch& search, int radius, int64_t parts, std::vector<std::vector<uint64_t>>& rows)
      : radius_(radius), parts_(parts), sinks_(static_cast<size_t>(search.nq * parts)), rows_(rows) {}

  Sink* open(int64_t query, int64_t part, int64_t) override {
    auto& sink = sinks_[query * parts_ + part];
    sink = std::make_unique<Within>(radius_);
    return sink.get();
  }

  void finish(int64_t, int64_t) override {}

  void close(int64_t query) override {
    const auto first = sinks_.begin() + query * parts_, last = first + parts_;
    std::vector<int64_t> starts(static_cast<size_t>(radius_) + 2, 0);
    for (auto sink = first; sink != last; ++sink)
      for (const uint64_t key : (*sink)->hits) ++starts[distance_of(key) + 1];
    for (int d = 0; d <= radius_; ++d) starts[d + 1] += starts[d];
    std::vector<uint64_t> row(static_cast<size_t>(starts[radius_ + 1]));
    for (auto sink = first; sink != last; ++sink) {
      for (const uint64_t key : (*sink)->hits) row[starts[distance_of(key)]++] = key;
      sink->reset();
    }
    rows_[query] = std::move(row);
  }

 private:
  const int radius_;
  const int64_t parts_;
  std::vector<std::unique_ptr<Within>> sinks_;  // [nq, parts]
  std::vector<std::vector<uint64_t>>& rows_;
};

}  // namespace

bool RangeHits::search(const HammingSearch& search, int radius) {
  radius = static_cast<int>(std::min<int64_t>(radius, search.bytes * 8));
  rows_.assign(static_cast<size_t>(search.nq), {});
  const ScanPlan plan = plan_scan(search, 8 * kTileCodes);
  RangeCollector collector(search, radius, plan.parts, rows_);
  return scan(search, plan, collector);
}

void RangeHits::lims(int64_t* out) const {
  *out = 0;
  for (const auto& row : rows_) {
    out[1] = out[0] + static_cast<int64_t>(row.size());
    ++out;
  }
}

void RangeHits::take(int32_t* distances, int64_t* ids) {
  for (auto& row : rows_) {
    for (const uint64_t key : row) {
      *distances++ = distance_of(key);
      *ids++ = position_of(key);
    }
    std::vector<uint64_t>().swap(row);
  }
}

}  // namespace fasthash
