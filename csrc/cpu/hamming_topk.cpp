// The k nearest codes without a heap: distances are small integers, so a histogram knows at any time how many accepted
// codes lie below each distance, the acceptance limit falls with it, and the result is a counting sort.
#include <memory>
#include <utility>

#include "cpu/hamming_guess.h"
#include "cpu/hamming_scan.h"

namespace fasthash {
namespace {

// Codes arrive in ascending order of position and only strictly nearer ones replace accepted ones, so ties go to the
// smaller id by themselves.
class TopK final : public Sink {
 public:
  // codes: an upper bound of how many can arrive. limit: none at this distance or beyond is wanted. ceiling: shared by
  // all parts of this query, or null.
  TopK(int64_t k, int64_t codes, int bits, int limit, std::atomic<int>* ceiling)
      : k_(k), capacity_(capacity(k, codes)), accepted_(new uint64_t[capacity_]), counts_(bits + 1, 0) {
    limit_ = limit;
    ceiling_ = ceiling;
  }

  static int64_t capacity(int64_t k, int64_t codes) {
    return k < codes / 2 ? std::min(2 * k + kTileCodes, codes) : codes;
  }

  void take(const uint64_t* keys, int64_t count) override {
    const int before = limit_;
    if (size_ + count > capacity_) compact();
    for (int64_t i = 0; i < count; ++i) {
      const int distance = distance_of(keys[i]);
      if (distance >= limit_) continue;  // the limit has fallen since the kernel saw it
      accepted_[size_++] = keys[i];
      ++counts_[distance];
      if (++nearer_ == k_) lower_limit();
    }
    if (ceiling_ != nullptr && limit_ < before) lower_ceiling();
  }

  // Drops what the limit has ruled out and gives memory back.
  void shrink() {
    compact();
    std::unique_ptr<uint64_t[]> exact(new uint64_t[size_]);
    std::copy(accepted_.get(), accepted_.get() + size_, exact.get());
    accepted_ = std::move(exact);
    capacity_ = size_;
  }

  const uint64_t* data() const { return accepted_.get(); }
  int64_t size() const { return size_; }

  // Writes k hits by (distance, id).
  void write(int32_t* distances, int64_t* ids) {
    compact();
    std::fill(counts_.begin(), counts_.end(), 0);
    for (int64_t i = 0; i < size_; ++i) ++counts_[distance_of(accepted_[i])];
    int64_t start = 0;
    for (auto& count : counts_) start += std::exchange(count, start);
    for (int64_t i = 0; i < size_; ++i) {
      const int64_t at = counts_[distance_of(accepted_[i])]++;
      distances[at] = distance_of(accepted_[i]);
      ids[at] = position_of(accepted_[i]);
    }
    std::fill(distances + size_, distances + k_, kNoDistance);
    std::fill(ids + size_, ids + k_, kNoId);
  }

 private:
  // k codes are nearer than the limit: the farthest of them becomes the limit, and no equal one is needed any more.
  void lower_limit() {
    while (counts_[--limit_] == 0) {
    }
    nearer_ -= counts_[limit_];
  }

  void lower_ceiling() {
    int known = ceiling_->load(std::memory_order_relaxed);
    while (limit_ < known && !ceiling_->compare_exchange_weak(known, limit_, std::memory_order_relaxed)) {
    }
  }

  // Keeps the codes nearer than the limit and as many of the first ones at the limit as make k.
  void compact() {
    int64_t at_limit = k_ - nearer_, kept = 0;
    for (int64_t i = 0; i < size_; ++i) {
      const int distance = distance_of(accepted_[i]);
      if (distance < limit_ || (distance == limit_ && at_limit-- > 0)) accepted_[kept++] = accepted_[i];
    }
    size_ = kept;
  }

  const int64_t k_;
  int64_t capacity_;
  std::unique_ptr<uint64_t[]> accepted_;  // keys, in order of arrival
  int64_t size_ = 0;
  int64_t nearer_ = 0;           // accepted codes nearer than the limit; below k
  std::vector<int64_t> counts_;  // accepted codes at each distance
};

class TopKCollector final : public Collector {
 public:
  // rows: where the hits of each query go; null: in the order of the queries.
  TopKCollector(const HammingSearch& search, int64_t k, int64_t parts, const int64_t* rows, int32_t* distances,
                int64_t* ids)
      : search_(search),
        k_(k),
        parts_(parts),
        bits_(static_cast<int>(search.bytes * 8)),
        rows_(rows),
        distances_(distances),
        ids_(ids),
        sinks_(static_cast<size_t>(search.nq * parts)),
        ceilings_(static_cast<size_t>(search.nq)) {
    for (auto& ceiling : ceilings_) ceiling = bits_;
  }

  Sink* open(int64_t query, int64_t part, int64_t codes) override {
    auto& sink = sinks_[query * parts_ + part];
    sink =
        std::make_unique<TopK>(k_, codes, bits_, first_limit(search_, query), parts_ > 1 ? &ceilings_[query] : nullptr);
    return sink.get();
  }

  void finish(int64_t query, int64_t part) override {
    if (parts_ > 1) sinks_[query * parts_ + part]->shrink();
  }

  void close(int64_t query) override {
    const auto first = sinks_.begin() + query * parts_;
    const int64_t at = (rows_ ? rows_[query] : query) * k_;
    if (parts_ == 1) {
      (*first)->write(distances_ + at, ids_ + at);
    } else {
      int64_t codes = 0;
      for (auto sink = first; sink != first + parts_; ++sink) codes += (*sink)->size();
      TopK merged(k_, codes, bits_, first_limit(search_, query), nullptr);
      for (auto sink = first; sink != first + parts_; ++sink)  // in order of position, as take() wants it
        for (int64_t i = 0; i < (*sink)->size(); i += kTileCodes)
          merged.take((*sink)->data() + i, std::min(kTileCodes, (*sink)->size() - i));
      merged.write(distances_ + at, ids_ + at);
    }
    for (auto sink = first; sink != first + parts_; ++sink) sink->reset();
  }

 private:
  const HammingSearch& search_;
  const int64_t k_, parts_;
  const int bits_;
  const int64_t* const rows_;
  int32_t* distances_;
  int64_t* ids_;
  std::vector<std::unique_ptr<TopK>> sinks_;  // [nq, parts]
  std::vector<std::atomic<int>> ceilings_;    // [nq] the smallest limit that any part has reached
};

// rows: as in TopKCollector.
bool scan_topk(const HammingSearch& search, int64_t k, const int64_t* rows, int32_t* distances, int64_t* ids) {
  const int64_t query_bytes = 8 * (TopK::capacity(k, search.nb) + 8 * search.bytes + 1);
  const ScanPlan plan = plan_scan(search, query_bytes);
  TopKCollector collector(search, k, plan.parts, rows, distances, ids);
  return scan(search, plan, collector);
}

// Searches again for the queries whose guessed limit left too few.
bool repair(const HammingSearch& search, int64_t k, const std::vector<int32_t>& guessed, int32_t* distances,
            int64_t* ids) {
  std::vector<int64_t> rows;
  std::vector<uint8_t> queries;
  std::vector<int32_t> limits;
  for (int64_t q = 0; q < search.nq; ++q) {
    const int limit = first_limit(search, q);
    if (ids[(q + 1) * k - 1] != kNoId || guessed[q] >= limit) continue;
    rows.push_back(q);
    queries.insert(queries.end(), search.queries + q * search.bytes, search.queries + (q + 1) * search.bytes);
    limits.push_back(limit);
  }
  if (rows.empty()) return true;
  HammingSearch rest = search;
  rest.queries = queries.data();
  rest.nq = static_cast<int64_t>(rows.size());
  rest.limits = limits.data();
  return scan_topk(rest, k, rows.data(), distances, ids);
}

}  // namespace

bool hamming_topk_cpu(const HammingSearch& search, int64_t k, int32_t* distances, int64_t* ids) {
  if (!guess_pays(search, k)) return scan_topk(search, k, nullptr, distances, ids);
  std::vector<int32_t> limits;
  if (!guess_limits(search, k, limits)) return false;
  HammingSearch guessed = search;
  guessed.limits = limits.data();
  return scan_topk(guessed, k, nullptr, distances, ids) && repair(search, k, limits, distances, ids);
}

}  // namespace fasthash
