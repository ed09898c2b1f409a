// Precision at the rank of every relevant item, ties by database index: a counter for each (query, distance) says how
// many items stand before, so nothing is sorted and no ranking is stored.
#include <algorithm>

#include "cpu/hamming_histogram_blocks.h"

namespace fasthash {
namespace {

// A counter holds the rank reached in its low half and the relevant items up to there in its high half.
constexpr uint64_t kRelevantOne = uint64_t{1} << 32;
inline uint64_t rank_of(uint64_t counter) { return counter & (kRelevantOne - 1); }

void add_precisions_scalar(const uint64_t* ranks, int64_t groups, double* lanes) {
  for (int64_t g = 0; g < groups; ++g)
    for (int i = 0; i < kLanes; ++i) {
      const uint64_t counter = ranks[g * kLanes + i];
      lanes[i] += static_cast<double>(counter >> 32) / static_cast<double>(rank_of(counter));
    }
}

// What is known of one query's ranking so far.
struct Ranking {
  uint64_t* counters;  // [bits + 1]
  uint64_t* found;     // counters of relevant items that are not yet added up: fewer than kLanes between tiles
  int64_t pending;
  int64_t hits;
  int radius;            // no item farther than this is within the cut
  double lanes[kLanes];  // relevant item i of the database goes to lane i % kLanes: one order for every machine
};

class StablePrecision final : public BlockWorker {
 public:
  StablePrecision(const HammingEvaluation& e, const int64_t* counts, const int64_t* relevant, int64_t k, double* sums,
                  int64_t* hits)
      : e_(e),
        counts_(counts),
        relevant_(relevant),
        cut_(k == 0 || k >= e.nb ? 0 : k),
        sums_(sums),
        hits_(hits),
        distances_(tile_distances(e.isa)),
        near_(tile_near(e.isa, words_of(e.bytes))),
        add_precisions_(add_precisions(e.isa)),
        counters_(int64_t{kBlockQueries} * (e.bits + 1)),
        found_(int64_t{kBlockQueries} * kFound) {}

  void begin(int64_t first_query, int count) override {
    first_query_ = first_query;
    count_ = count;
    for (int q = 0; q < count; ++q) {
      Ranking& ranking = rankings_[q];
      ranking = {counters_.data() + int64_t{q} * (e_.bits + 1), found_.data() + int64_t{q} * kFound, 0, 0, e_.bits, {}};
      const int64_t row = (first_query + q) * (e_.bits + 1);
      uint64_t before = 0;  // rank and relevant items of all smaller distances
      for (int d = 0; d <= e_.bits; ++d) {
        ranking.counters[d] = before;
        if (cut_ != 0 && rank_of(before) >= static_cast<uint64_t>(cut_))
          ranking.radius = std::min(ranking.radius, d - 1);
        before += static_cast<uint64_t>(counts_[row + d]) + static_cast<uint64_t>(relevant_[row + d]) * kRelevantOne;
      }
    }
  }

  void take(const Run& run) override {
    for (int t = 0; t < tile_count(run); ++t) {
      if (cut_ != 0) {
        for (int q = 0; q < run.count; ++q) take_near(run, q, t);
      } else {
        int q = 0;
        for (; q + 4 <= run.count; q += 4) take_all<4>(run, q, t);
        for (; q < run.count; ++q) take_all<1>(run, q, t);
      }
      for (int q = 0; q < run.count; ++q) add_found(rankings_[q]);
    }
  }

  void end() override {
    for (int q = 0; q < count_; ++q) {
      Ranking& ranking = rankings_[q];
      double sum = 0;
      for (int i = 0; i < kLanes; ++i) {
        if (i < ranking.pending)
          ranking.lanes[i] +=
              static_cast<double>(ranking.found[i] >> 32) / static_cast<double>(rank_of(ranking.found[i]));
        sum += ranking.lanes[i];
      }
      sums_[first_query_ + q] = sum;
      hits_[first_query_ + q] = ranking.hits + ranking.pending;
    }
  }

 private:
  static constexpr int64_t kFound = kTileCodes + kLanes;

  // Every item, several queries in turn (see hamming_histogram.cpp), without a branch on relevance.
  template <int kQueries>
  void take_all(const Run& run, int first_query, int t) {
    alignas(64) uint16_t distance[kQueries][kTileCodes];
    for (int q = 0; q < kQueries; ++q)
      distances_(run.queries + (first_query + q) * run.words, tile_of(run, t), run.words, distance[q]);
    uint64_t *counters[kQueries], *found[kQueries];
    for (int q = 0; q < kQueries; ++q) {
      counters[q] = rankings_[first_query + q].counters;
      found[q] = rankings_[first_query + q].found + rankings_[first_query + q].pending;
    }
    const int64_t items = items_of(run, t);
    for (int64_t start = 0; start < items; start += 64) {
      uint64_t relevant[kQueries];
      for (int q = 0; q < kQueries; ++q)
        relevant[q] = run.relevant[(first_query + q) * kRunWords + (t * kTileCodes + start) / 64];
      const int64_t stop = std::min(start + 64, items);
      for (int64_t j = start; j < stop; ++j)
        for (int q = 0; q < kQueries; ++q) {
          const uint64_t hit = relevant[q] & 1;
          *found[q] = counters[q][distance[q][j]] += 1 + hit * kRelevantOne;
          found[q] += hit;
          relevant[q] >>= 1;
        }
    }
    for (int q = 0; q < kQueries; ++q) {
      Ranking& ranking = rankings_[first_query + q];
      ranking.pending = found[q] - ranking.found;
    }
  }

  // Only the items that can be within the cut.
  void take_near(const Run& run, int q, int t) {
    Ranking& ranking = rankings_[q];
    const uint64_t *query = run.queries + q * run.words, *relevant = run.relevant + q * kRunWords + t * kTileCodes / 64;
    uint64_t exist[kTileCodes / 64], near[kTileCodes / 64];
    first_bits(items_of(run, t), exist);
    if (!near_(query, tile_of(run, t), run.words, exist, ranking.radius + 1, near)) return;
    alignas(64) uint16_t distance[kTileCodes];
    distances_(query, tile_of(run, t), run.words, distance);
    for (int w = 0; w < kTileCodes / 64; ++w)
      for (uint64_t bits = near[w]; bits != 0; bits &= bits - 1) {
        const int j = __builtin_ctzll(bits);
        const uint64_t hit = relevant[w] >> j & 1;
        const uint64_t counter = ranking.counters[distance[w * 64 + j]] += 1 + hit * kRelevantOne;
        ranking.found[ranking.pending] = counter;
        ranking.pending +=
            static_cast<int64_t>(hit & static_cast<uint64_t>(rank_of(counter) <= static_cast<uint64_t>(cut_)));
      }
  }

  void add_found(Ranking& ranking) {
    const int64_t groups = ranking.pending / kLanes;
    if (groups == 0) return;
    add_precisions_(ranking.found, groups, ranking.lanes);
    ranking.hits += groups * kLanes;
    ranking.pending -= groups * kLanes;
    std::copy_n(ranking.found + groups * kLanes, ranking.pending, ranking.found);
  }

  const HammingEvaluation& e_;
  const int64_t* const counts_;
  const int64_t* const relevant_;
  const int64_t cut_;
  double* const sums_;
  int64_t* const hits_;
  const TileDistances distances_;
  const TileNear near_;
  const AddPrecisions add_precisions_;
  LineBuffer<uint64_t> counters_, found_;
  Ranking rankings_[kBlockQueries];
  int64_t first_query_ = 0;
  int count_ = 0;
};

}  // namespace

AddPrecisions add_precisions(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return add_precisions_avx512;
  if (isa == Isa::kAvx2) return add_precisions_avx2;
#endif
  (void)isa;
  return add_precisions_scalar;
}

bool hamming_stable_precision_cpu(const HammingEvaluation& evaluation, const int64_t* counts, const int64_t* relevant,
                                  int64_t k, double* sums, int64_t* hits) {
  return run_blocks(evaluation,
                    [&] { return std::make_unique<StablePrecision>(evaluation, counts, relevant, k, sums, hits); });
}

}  // namespace fasthash
