#include <algorithm>

#include "cpu/hamming_block.h"
#include "cpu/multi_index_queries.h"

namespace fasthash {
namespace {

// The k nearest of codes that come in any order: the limit is the k-th distance, equal distances included, since a
// smaller row may still come.
class Nearest final : public QuerySink {
 public:
  Nearest(int64_t k, int bits, int32_t* distances, int64_t* ids, int32_t* limits)
      : k_(k), bits_(bits), distances_(distances), ids_(ids), limits_(limits), counts_(static_cast<size_t>(bits) + 1) {}

  void open() override {
    keys_.clear();
    std::fill(counts_.begin(), counts_.end(), 0);
    limit_ = bits_;
    within_ = 0;
    bound_ = ~uint64_t{0};
  }

  int limit() const override { return limit_; }
  bool settled() const override { return within_ >= k_; }

  void take(int distance, int64_t row) override {
    const uint64_t key = key_of(static_cast<uint64_t>(distance), row);
    if (distance > limit_ || key > bound_) return;
    keys_.push_back(key);
    ++counts_[distance];
    ++within_;
    while (within_ - counts_[limit_] >= k_) within_ -= counts_[limit_--];
    if (static_cast<int64_t>(keys_.size()) >= 2 * k_ + kSpare) compact();
  }

  void close(int64_t query) override {
    const auto last = keys_.begin() + std::min<int64_t>(k_, static_cast<int64_t>(keys_.size()));
    std::partial_sort(keys_.begin(), last, keys_.end());
    int32_t* distances = distances_ + query * k_;
    int64_t* ids = ids_ + query * k_;
    for (auto key = keys_.begin(); key != last; ++key) {
      *distances++ = distance_of(*key);
      *ids++ = position_of(*key);
    }
    std::fill(distances, distances_ + (query + 1) * k_, kNoDistance);
    std::fill(ids, ids_ + (query + 1) * k_, kNoId);
  }

  void give_up(int64_t query) override { limits_[query] = limit_ + 1; }

 private:
  static constexpr int64_t kSpare = 1024;

  // Keeps the k smallest keys. There are more than k, so the limit is the distance of the largest one kept.
  void compact() {
    const auto last = keys_.begin() + k_;
    std::nth_element(keys_.begin(), last - 1, keys_.end());
    keys_.erase(last, keys_.end());
    bound_ = keys_.back();
    counts_[limit_] -= within_ - k_;
    within_ = k_;
  }

  const int64_t k_;
  const int bits_;
  int32_t* const distances_;  // [nq, k]
  int64_t* const ids_;
  int32_t* const limits_;        // [nq] what the scan need not look for: hits are nearer than this
  std::vector<int64_t> counts_;  // keys taken at each distance up to the limit
  std::vector<uint64_t> keys_;
  int64_t within_ = 0;  // keys at distances up to the limit
  uint64_t bound_ = 0;  // larger keys are of no use
  int limit_ = 0;
};

}  // namespace

bool multi_index_topk_cpu(const HammingSearch& search, const SubstringTables& tables, int64_t k, int32_t* distances,
                          int64_t* ids, MultiIndexStats* stats) {
  const WalkPlan plan(search, tables);
  const int bits = static_cast<int>(search.bytes * 8);
  std::vector<int32_t> limits(static_cast<size_t>(search.nq), bits + 1);
  std::vector<int64_t> left;
  const auto make_sink = [&] { return std::make_unique<Nearest>(k, bits, distances, ids, limits.data()); };
  if (!walk_queries(plan, make_sink, left, stats)) return false;
  if (left.empty()) return true;
  const int64_t scanned = static_cast<int64_t>(left.size());
  const std::vector<uint8_t> codes = codes_of(search, left);
  std::vector<int32_t> left_limits;
  for (const int64_t q : left) left_limits.push_back(limits[q]);
  HammingSearch scan = search;
  scan.queries = codes.data();
  scan.nq = scanned;
  scan.limits = left_limits.data();
  if (scanned == search.nq) return hamming_topk_cpu(scan, k, distances, ids);
  std::vector<int32_t> left_distances(static_cast<size_t>(scanned * k));
  std::vector<int64_t> left_ids(static_cast<size_t>(scanned * k));
  if (!hamming_topk_cpu(scan, k, left_distances.data(), left_ids.data())) return false;
  for (int64_t i = 0; i < scanned; ++i) {
    std::copy_n(left_distances.data() + i * k, k, distances + left[i] * k);
    std::copy_n(left_ids.data() + i * k, k, ids + left[i] * k);
  }
  return true;
}

}  // namespace fasthash
