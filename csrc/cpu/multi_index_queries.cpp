#include "cpu/multi_index_queries.h"

#include <algorithm>
#include <atomic>

#include "cpu/hamming_threads.h"

namespace fasthash {
namespace {

constexpr int64_t kQueriesPerThread = 4;  // repay starting one
constexpr double kCostPerPoll = 2e7;      // nanoseconds between two questions about an interrupt
// When so many queries have left the tables, and none was answered by them for each, the others do not try.
constexpr int64_t kTries = 8;

class Queries {
 public:
  Queries(const WalkPlan& plan, const std::function<std::unique_ptr<QuerySink>()>& make_sink)
      : plan_(plan), make_sink_(make_sink), answered_(static_cast<size_t>(plan.search.nq), 0) {}

  bool run() {
    const int64_t threads = std::clamp<int64_t>(plan_.search.nq / kQueriesPerThread, 1, plan_.search.threads);
    run_team(threads, [this](bool calling) { work(calling); }, [this] { ask(); });
    return !interrupted_;
  }

  bool answered(int64_t query) const { return answered_[query] != 0; }

  MultiIndexStats stats() const { return {by_tables_, plan_.search.nq - by_tables_, buckets_, codes_}; }

 private:
  void work(bool calling) {
    try {
      Walk walk(plan_);
      const std::unique_ptr<QuerySink> sink = make_sink_();
      for (;;) {
        const int64_t query = next_.fetch_add(1);
        if (stop_ || query >= plan_.search.nq || gave_up_ - by_tables_ >= kTries) break;
        sink->open();
        if (walk.run(query, *sink)) {
          sink->close(query);
          answered_[query] = 1;
          ++by_tables_;
        } else {
          sink->give_up(query);
          ++gave_up_;
        }
        if (calling) poll(walk.spent());
      }
      buckets_ += walk.buckets();
      codes_ += walk.codes();
    } catch (...) {
      stop_ = true;
      throw;
    }
  }

  void poll(double spent) {
    unpolled_ += spent;
    if (unpolled_ < kCostPerPoll) return;
    unpolled_ = 0;
    ask();
  }

  void ask() {
    if (stop_ || !plan_.search.interrupted || !plan_.search.interrupted()) return;
    interrupted_ = true;
    stop_ = true;
  }

  const WalkPlan& plan_;
  const std::function<std::unique_ptr<QuerySink>()>& make_sink_;
  std::vector<uint8_t> answered_;  // [nq]
  std::atomic<int64_t> next_{0}, by_tables_{0}, gave_up_{0}, buckets_{0}, codes_{0};
  std::atomic<bool> stop_{false};
  bool interrupted_ = false;  // the calling thread alone writes and reads these
  double unpolled_ = 0;
};

}  // namespace

bool walk_queries(const WalkPlan& plan, const std::function<std::unique_ptr<QuerySink>()>& make_sink,
                  std::vector<int64_t>& left, MultiIndexStats* stats) {
  Queries queries(plan, make_sink);
  if (!queries.run()) return false;
  *stats = queries.stats();
  left.clear();
  for (int64_t q = 0; q < plan.search.nq; ++q)
    if (!queries.answered(q)) left.push_back(q);
  return true;
}

std::vector<uint8_t> codes_of(const HammingSearch& search, const std::vector<int64_t>& queries) {
  std::vector<uint8_t> codes;
  codes.reserve(queries.size() * static_cast<size_t>(search.bytes));
  for (const int64_t q : queries)
    codes.insert(codes.end(), search.queries + q * search.bytes, search.queries + (q + 1) * search.bytes);
  return codes;
}

}  // namespace fasthash
