// Searches, evaluations and losses of many threads at once, for the thread sanitizer. Exits with 0 when every result is
// that of one thread alone; the sanitizer adds its own exit status when two threads touch the same memory. With an
// argument: a race on purpose.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "cpu/hamming_block.h"
#include "cpu/isa.h"
#include "hamming.h"
#include "hamming_histogram.h"
#include "pair_loss.h"

namespace {

using fasthash::Isa;

constexpr int kCallers = 4;

void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::_Exit(1);
}

std::vector<uint8_t> random_bytes(int64_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(static_cast<size_t>(n));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

// Calls work(caller) on threads of their own, all at once. They end together: what a thread that has ended did is not
// always known to the sanitizer any more.
void at_once(const std::function<void(int)>& work) {
  std::atomic<int> waiting{kCallers}, running{kCallers};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&, caller] {
      for (--waiting; waiting > 0;) std::this_thread::yield();
      work(caller);
      for (--running; running > 0;) std::this_thread::yield();
    });
  }
  for (std::thread& caller : callers) caller.join();
}

struct Case {
  int64_t nq, nb, bytes;
  Isa isa;
  bool filtered;
};

struct Data {
  explicit Data(const Case& c)
      : queries(random_bytes(c.nq * c.bytes, 1)),
        database(random_bytes(c.nb * c.bytes, 2)),
        allow(random_bytes((c.nb + 7) / 8, 3)) {}

  fasthash::HammingSearch search(const Case& c, int threads) const {
    fasthash::HammingSearch search{};
    search.queries = queries.data();
    search.nq = c.nq;
    search.database = database.data();
    search.nb = c.nb;
    search.bytes = c.bytes;
    search.allow = c.filtered ? allow.data() : nullptr;
    search.threads = threads;
    search.isa = c.isa;
    search.interrupted = [] { return false; };
    return search;
  }

  std::vector<uint8_t> queries, database, allow;
};

struct Hits {
  std::vector<int64_t> lims, ids;
  std::vector<int32_t> distances;
  bool operator==(const Hits& other) const {
    return lims == other.lims && ids == other.ids && distances == other.distances;
  }
};

Hits topk(const fasthash::HammingSearch& search, int64_t k) {
  Hits hits;
  hits.ids.resize(static_cast<size_t>(search.nq * k));
  hits.distances.resize(hits.ids.size());
  check(hamming_topk_cpu(search, k, hits.distances.data(), hits.ids.data()), "top-k: interrupted");
  return hits;
}

Hits range(const fasthash::HammingSearch& search, int radius) {
  fasthash::RangeHits found;
  check(found.search(search, radius), "range: interrupted");
  Hits hits;
  hits.lims.resize(static_cast<size_t>(search.nq) + 1);
  found.lims(hits.lims.data());
  hits.ids.resize(static_cast<size_t>(hits.lims.back()));
  hits.distances.resize(hits.ids.size());
  found.take(hits.distances.data(), hits.ids.data());
  return hits;
}

// One database, callers that search it with teams of different sizes.
void searches(const Case& c) {
  const Data data(c);
  const int radius = static_cast<int>(c.bytes * 4);
  for (const int64_t k : {int64_t{1}, int64_t{10}, c.nq <= 20 ? c.nb + 3 : 100}) {
    const Hits want = topk(data.search(c, 1), k);
    at_once([&](int caller) { check(topk(data.search(c, caller + 1), k) == want, "top-k: not that of one thread"); });
  }
  for (const char* name : {"rows", "popcount", "sliced"}) {
    fasthash::HammingSearch forced = data.search(c, 2);
    forced.kernel = fasthash::find_block_kernel(c.isa, name);
    check(forced.kernel != nullptr, "top-k: no such kernel");
    const Hits want = topk(forced, 10);
    at_once([&](int) { check(topk(forced, 10) == want, "top-k: not the same for callers at once"); });
  }
  const Hits want = range(data.search(c, 1), radius);
  at_once(
      [&](int caller) { check(range(data.search(c, caller + 1), radius) == want, "range: not that of one thread"); });
}

// A search of the first rows while rows behind them are being written: an index that grows in place.
void growing(const Case& c) {
  Case begun = c;
  begun.nb = c.nb / 2 + 1;
  Data data(c);
  const Hits want = topk(data.search(begun, 2), 10);
  at_once([&](int caller) {
    if (caller > 0) return check(topk(data.search(begun, 2), 10) == want, "top-k: changed by rows behind the last");
    for (size_t at = static_cast<size_t>(begun.nb * c.bytes); at < data.database.size(); ++at) data.database[at] ^= 255;
  });
}

// Abandoned searches beside one that is not.
void interrupted(const Case& c) {
  const Data data(c);
  const Hits want = topk(data.search(c, 1), 10);
  at_once([&](int caller) {
    fasthash::HammingSearch search = data.search(c, 2);
    if (caller == 0) return check(topk(search, 10) == want, "top-k: changed by others that were interrupted");
    search.interrupted = [] { return true; };
    Hits hits = want;
    hamming_topk_cpu(search, 10, hits.distances.data(), hits.ids.data());
    fasthash::RangeHits found;
    found.search(search, 3);
  });
}

struct Scores {
  std::vector<int64_t> counts, relevant, hits;
  std::vector<double> sums;
  bool operator==(const Scores& other) const {
    return counts == other.counts && relevant == other.relevant && hits == other.hits && sums == other.sums;
  }
};

Scores evaluate(const Case& c, const Data& data, const std::vector<uint64_t>& labels, int threads) {
  fasthash::HammingEvaluation evaluation{};
  evaluation.queries = data.queries.data();
  evaluation.nq = c.nq;
  evaluation.database = data.database.data();
  evaluation.nb = c.nb;
  evaluation.bytes = c.bytes;
  evaluation.bits = static_cast<int>(c.bytes * 8);
  evaluation.query_labels = labels.data();
  evaluation.database_labels = labels.data();
  evaluation.words = 1;
  evaluation.threads = threads;
  evaluation.isa = c.isa;
  evaluation.interrupted = [] { return false; };
  Scores scores;
  const auto queries = static_cast<size_t>(c.nq);
  const size_t bins = queries * static_cast<size_t>(c.bytes * 8 + 1);
  scores.counts.resize(bins);
  scores.relevant.resize(bins);
  scores.hits.resize(queries);
  scores.sums.resize(queries);
  check(hamming_histogram_cpu(evaluation, scores.counts.data(), scores.relevant.data()), "histogram: interrupted");
  check(hamming_stable_precision_cpu(evaluation, scores.counts.data(), scores.relevant.data(), 50, scores.sums.data(),
                                     scores.hits.data()),
        "precision: interrupted");
  return scores;
}

void evaluations(const Case& c) {
  const Data data(c);
  std::vector<uint64_t> labels(static_cast<size_t>(c.nq > c.nb ? c.nq : c.nb));
  std::mt19937 random(4);
  for (uint64_t& label : labels) label = uint64_t{1} << (random() % 24);
  const Scores want = evaluate(c, data, labels, 1);
  at_once(
      [&](int caller) { check(evaluate(c, data, labels, caller + 1) == want, "evaluation: not that of one thread"); });
}

// Loss and both gradients of a whole problem.
std::vector<float> likelihood(const std::vector<float>& codes, const std::vector<int64_t>& ids, int64_t d,
                              int64_t batch, Isa isa, int threads) {
  const auto rows = static_cast<int64_t>(ids.size());
  std::vector<float> found(static_cast<size_t>((batch + rows) * d + 1));
  fasthash::PairLoss problem{};
  problem.a = {codes.data(), batch, d, ids.data(), 1, nullptr, found.data()};
  problem.b = {codes.data(), rows, d, ids.data(), 1, nullptr, found.data() + batch * d};
  problem.d = d;
  problem.factor = 1;
  found.back() = static_cast<float>(fasthash::pairwise_nll_cpu(problem, 0.5f, isa, threads));
  return found;
}

void losses(Isa isa) {
  constexpr int64_t kRows = 3000, kBatch = 200;
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (const int64_t d : {int64_t{16}, int64_t{37}}) {
    std::vector<float> codes(static_cast<size_t>(kRows * d));
    std::vector<int64_t> ids(static_cast<size_t>(kRows));
    for (float& x : codes) x = normal(random);
    for (int64_t& id : ids) id = static_cast<int64_t>(random() % 9);
    const std::vector<float> want = likelihood(codes, ids, d, kBatch, isa, 1);
    at_once([&](int caller) {
      check(likelihood(codes, ids, d, kBatch, isa, caller + 1) == want, "likelihood: not that of one thread");
    });
  }
}

// Threads that write the same number: the sanitizer must say so, or it is not at work.
void race() {
  int64_t number = 0;
  at_once([&](int) {
    for (int round = 0; round < 20000; ++round) {
      ++number;
      if (round % 100 == 0) std::this_thread::yield();
    }
  });
  std::printf("%lld\n", static_cast<long long>(number));
}

}  // namespace

int main(int argc, char**) {
  if (argc > 1) {
    race();
    return 0;
  }
  const int best = static_cast<int>(fasthash::best_isa());
  for (int isa = 0; isa <= best; ++isa) {
    losses(static_cast<Isa>(isa));
    for (const int64_t bytes : {int64_t{8}, int64_t{17}}) {
      for (const int64_t nq : {int64_t{1}, int64_t{20}, int64_t{300}}) {
        const Case c{nq, nq == 1 ? 60000 : 3000, bytes, static_cast<Isa>(isa), nq == 20};
        searches(c);
        growing(c);
        interrupted(c);
        evaluations(c);
      }
    }
  }
}
