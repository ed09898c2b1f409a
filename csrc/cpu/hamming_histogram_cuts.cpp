// Many cuts of the stable ranking at once: one counting pass tells the rank of every relevant item, and which of the
// cuts it lies between is known but for the few distances at which a cut falls.
#include <algorithm>

#include "cpu/hamming_histogram_blocks.h"

namespace fasthash {
namespace {

constexpr int kTogether = 4;
constexpr uint64_t kRelevantOne = uint64_t{1} << 32;  // a counter holds the rank reached below, and the hits above

// Sorted cuts of one kind, and for each (query, distance) the first that the nearest item there can lie within.
struct Slots {
  const int64_t* cuts;  // [count], ascending
  int64_t count;
  LineBuffer<int32_t> first;  // [kBlockQueries, bits + 1]

  Slots(const int64_t* cuts, int64_t count, int bits)
      : cuts(cuts), count(count), first(int64_t{kBlockQueries} * (bits + 1)) {}

  int32_t of(int64_t value, int32_t from) const {
    while (from < count && value > cuts[from]) ++from;
    return from;
  }
};

class StableCuts final : public BlockWorker {
 public:
  StableCuts(const HammingEvaluation& e, const int64_t* counts, const int64_t* relevant, const Cuts& cuts,
             const CutSums& out)
      : e_(e),
        counts_(counts),
        relevant_(relevant),
        out_(out),
        distances_(tile_distances(e.isa)),
        ranks_(cuts.ranks, cuts.rank_count, e.bits),
        firsts_(cuts.hits, cuts.hit_count, e.bits),
        reached_(int64_t{kBlockQueries} * (e.bits + 1)),
        rank_sums_(kBlockQueries * (cuts.rank_count + 1)),
        rank_hits_(kBlockQueries * (cuts.rank_count + 1)),
        hit_sums_(kBlockQueries * (cuts.hit_count + 1)) {}

  void begin(int64_t first_query, int count) override {
    first_query_ = first_query;
    count_ = count;
    std::fill_n(rank_sums_.data(), kBlockQueries * (ranks_.count + 1), 0.0);
    std::fill_n(rank_hits_.data(), kBlockQueries * (ranks_.count + 1), int64_t{0});
    std::fill_n(hit_sums_.data(), kBlockQueries * (firsts_.count + 1), 0.0);
    for (int q = 0; q < count; ++q) {
      const int64_t row = (first_query + q) * (e_.bits + 1), own = int64_t{q} * (e_.bits + 1);
      int64_t before = 0, found = 0;
      int32_t by_rank = 0, by_hits = 0;
      for (int d = 0; d <= e_.bits; ++d) {
        reached_.data()[own + d] = static_cast<uint64_t>(before) + static_cast<uint64_t>(found) * kRelevantOne;
        ranks_.first.data()[own + d] = by_rank = ranks_.of(before + 1, by_rank);
        firsts_.first.data()[own + d] = by_hits = firsts_.of(found + 1, by_hits);
        before += counts_[row + d];
        found += relevant_[row + d];
      }
    }
  }

  void take(const Run& run) override {
    for (int t = 0; t < tile_count(run); ++t) {
      int q = 0;
      for (; q + kTogether <= run.count; q += kTogether) take_tile<kTogether>(run, q, t);
      for (; q < run.count; ++q) take_tile<1>(run, q, t);
    }
  }

  void end() override {
    for (int q = 0; q < count_; ++q) {
      running_sums(rank_sums_.data() + q * (ranks_.count + 1), ranks_.count, out_.rank_sums + at(q, ranks_));
      running_sums(rank_hits_.data() + q * (ranks_.count + 1), ranks_.count, out_.rank_hits + at(q, ranks_));
      running_sums(hit_sums_.data() + q * (firsts_.count + 1), firsts_.count, out_.hit_sums + at(q, firsts_));
    }
  }

 private:
  int64_t at(int q, const Slots& slots) const { return (first_query_ + q) * slots.count; }

  template <typename T>
  static void running_sums(const T* slots, int64_t count, T* out) {
    T sum = 0;
    for (int64_t i = 0; i < count; ++i) out[i] = sum += slots[i];
  }

  // Several queries in turn, without a branch on relevance (see hamming_histogram.cpp): what is known of a relevant
  // item is written down first and added up after.
  template <int kQueries>
  void take_tile(const Run& run, int first_query, int t) {
    alignas(64) uint16_t distance[kQueries][kTileCodes];
    uint64_t *reached[kQueries], *found[kQueries];
    uint16_t* at[kQueries];
    for (int q = 0; q < kQueries; ++q) {
      distances_(run.queries + (first_query + q) * run.words, tile_of(run, t), run.words, distance[q]);
      reached[q] = reached_.data() + int64_t{first_query + q} * (e_.bits + 1);
      found[q] = found_[q];
      at[q] = distance_[q];
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
          const uint16_t d = distance[q][j];
          *found[q] = reached[q][d] += 1 + hit * kRelevantOne;
          *at[q] = d;
          found[q] += hit;
          at[q] += hit;
          relevant[q] >>= 1;
        }
    }
    for (int q = 0; q < kQueries; ++q) add(first_query + q, found_[q], distance_[q], found[q] - found_[q]);
  }

  // Relevant items: where in the ranking they stand, and at what distance.
  void add(int q, const uint64_t* found, const uint16_t* distance, int64_t count) {
    const int64_t own = int64_t{q} * (e_.bits + 1);
    const int32_t *by_rank = ranks_.first.data() + own, *by_hits = firsts_.first.data() + own;
    double* rank_sums = rank_sums_.data() + q * (ranks_.count + 1);
    double* hit_sums = hit_sums_.data() + q * (firsts_.count + 1);
    int64_t* rank_hits = rank_hits_.data() + q * (ranks_.count + 1);
    for (int64_t i = 0; i < count; ++i) {
      const auto rank = static_cast<int64_t>(found[i] & (kRelevantOne - 1));
      const auto hits = static_cast<int64_t>(found[i] >> 32);
      const double precision = static_cast<double>(hits) / static_cast<double>(rank);
      const int32_t slot = ranks_.of(rank, by_rank[distance[i]]);
      rank_sums[slot] += precision;
      ++rank_hits[slot];
      hit_sums[firsts_.of(hits, by_hits[distance[i]])] += precision;
    }
  }

  const HammingEvaluation& e_;
  const int64_t* const counts_;
  const int64_t* const relevant_;
  const CutSums out_;
  const TileDistances distances_;
  Slots ranks_, firsts_;
  LineBuffer<uint64_t> reached_;  // [kBlockQueries, bits + 1] at each distance so far: rank, and above it hits
  uint64_t found_[kTogether][kTileCodes + 1];  // what was reached at the relevant items of a tile
  uint16_t distance_[kTogether][kTileCodes + 1];
  LineBuffer<double> rank_sums_;  // [kBlockQueries, cuts + 1], the last of what no cut keeps
  LineBuffer<int64_t> rank_hits_;
  LineBuffer<double> hit_sums_;
  int64_t first_query_ = 0;
  int count_ = 0;
};

}  // namespace

bool hamming_stable_cuts_cpu(const HammingEvaluation& evaluation, const int64_t* counts, const int64_t* relevant,
                             const Cuts& cuts, const CutSums& out) {
  return run_blocks(evaluation, [&] { return std::make_unique<StableCuts>(evaluation, counts, relevant, cuts, out); });
}

}  // namespace fasthash
