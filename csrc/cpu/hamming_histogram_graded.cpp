// Graded relevance in the pass that counts relevance: the number of labels that an item shares with a query is added up
// in bit slices, 64 items at a time, and the few items that share more than one are counted one by one.
#include <algorithm>

#include "cpu/hamming_histogram_blocks.h"
#include "cpu/label_index.h"

namespace fasthash {
namespace {

constexpr int kTileWords = static_cast<int>(kTileCodes / 64);

class Graded final : public BlockWorker {
 public:
  Graded(const HammingEvaluation& e, const LabelIndex& labels, const GradedHistogram& out)
      : e_(e),
        labels_(labels),
        out_(out),
        stride_(bin_stride(e.bits)),
        count_run_(count_run(e.isa, e.bits)),
        distances_(tile_distances(e.isa)),
        bins_(int64_t{kBlockQueries} * 2 * stride_),
        more_(int64_t{kBlockQueries} * per_query()),
        common_(plane_count(out.grades) * kRunWords) {}

  void begin(int64_t first_query, int count) override {
    first_query_ = first_query;
    count_ = count;
    std::fill_n(bins_.data(), int64_t{count} * 2 * stride_, 0u);
    std::fill_n(more_.data(), count * per_query(), 0u);
  }

  void take(const Run& run) override {
    count_run_(run, e_.isa, e_.bits, bins_.data());
    if (out_.grades < 2) return;
    for (int q = 0; q < run.count; ++q) {
      const uint64_t* labels = e_.query_labels + (first_query_ + q) * e_.words;
      int64_t number = 0;  // no item shares more
      for (int w = 0; w < e_.words; ++w) number += __builtin_popcountll(labels[w]);
      if (number < 2) continue;
      const int planes = plane_count(number);
      std::fill(common_.data(), common_.data() + planes * kRunWords, uint64_t{0});
      labels_.common(labels, run.first, run.items, planes, kRunWords, common_.data());
      for (int t = 0; t < tile_count(run); ++t) take_tile(run, q, t, planes);
    }
  }

  void end() override {
    for (int q = 0; q < count_; ++q) {
      const uint32_t *others = bins_.data() + int64_t{q} * 2 * stride_, *relevant = others + stride_;
      const int64_t row = (first_query_ + q) * (e_.bits + 1);
      int64_t* totals = out_.totals + (first_query_ + q) * out_.grades;
      std::fill_n(totals, out_.grades, int64_t{0});
      for (int d = 0; d <= e_.bits; ++d) {
        out_.counts[row + d] = int64_t{others[d]} + relevant[d];
        out_.relevant[row + d] = relevant[d];
        int64_t one = relevant[d];  // that share a single label
        double gained = 0;
        for (int64_t grade = 2; grade <= out_.grades; ++grade) {
          const uint32_t number = more(q, grade)[d];
          one -= number;
          totals[grade - 1] += number;
          gained += out_.gains[grade - 1] * number;
        }
        if (out_.grades > 0) {
          totals[0] += one;
          gained += out_.gains[0] * static_cast<double>(one);
        }
        out_.gained[row + d] = gained;
      }
    }
  }

 private:
  static int plane_count(int64_t grades) {
    int planes = 1;
    while (grades >> planes != 0) ++planes;
    return planes;
  }

  int64_t per_query() const { return std::max<int64_t>(out_.grades - 1, 0) * stride_; }
  uint32_t* more(int q, int64_t grade) { return more_.data() + q * per_query() + (grade - 2) * stride_; }

  void take_tile(const Run& run, int q, int t, int planes) {
    constexpr int kFew = 32;  // the distances of a whole tile cost as much as so many one by one
    const uint64_t *common = common_.data() + t * kTileWords, *query = run.queries + q * run.words;
    const uint64_t* tile = tile_of(run, t);
    uint64_t several[kTileWords];
    int number = 0;
    for (int w = 0; w < kTileWords; ++w) {
      several[w] = 0;
      for (int p = 1; p < planes; ++p) several[w] |= common[p * kRunWords + w];
      number += __builtin_popcountll(several[w]);
    }
    if (number == 0) return;
    alignas(64) uint16_t distance[kTileCodes];
    if (number > kFew) {
      distances_(query, tile, run.words, distance);
    } else {
      for (int w = 0; w < kTileWords; ++w)
        for (uint64_t rest = several[w]; rest != 0; rest &= rest - 1) {
          const int j = w * 64 + __builtin_ctzll(rest);
          int d = 0;
          for (int i = 0; i < run.words; ++i) d += __builtin_popcountll(query[i] ^ tile[i * kTileStride + j]);
          distance[j] = static_cast<uint16_t>(d);
        }
    }
    if (planes == 2)
      count<2>(2, several, common, distance, more(q, 2));
    else if (planes == 3)
      count<3>(3, several, common, distance, more(q, 2));
    else if (planes == 4)
      count<4>(4, several, common, distance, more(q, 2));
    else
      count<0>(planes, several, common, distance, more(q, 2));
  }

  // bins: [grades - 1, stride] of the query. The number of slices is known where it is usual: they stay in registers.
  template <int kPlanes>
  void count(int number, const uint64_t* several, const uint64_t* common, const uint16_t* distance,
             uint32_t* bins) const {
    const int planes = kPlanes == 0 ? number : kPlanes;
    for (int w = 0; w < kTileWords; ++w)
      for (uint64_t rest = several[w]; rest != 0; rest &= rest - 1) {
        const int bit = __builtin_ctzll(rest);
        uint64_t grade = 0;
        for (int p = 0; p < planes; ++p) grade |= (common[p * kRunWords + w] >> bit & 1) << p;
        ++bins[static_cast<int64_t>(grade - 2) * stride_ + distance[w * 64 + bit]];
      }
  }

  const HammingEvaluation& e_;
  const LabelIndex& labels_;
  const GradedHistogram out_;
  const int stride_;
  const CountRun count_run_;
  const TileDistances distances_;
  LineBuffer<uint32_t> bins_;    // as in hamming_histogram.cpp
  LineBuffer<uint32_t> more_;    // [kBlockQueries, grades - 1, stride] items of two common labels or more
  LineBuffer<uint64_t> common_;  // [planes, kRunWords] bit slices of the number of common labels
  int64_t first_query_ = 0;
  int count_ = 0;
};

}  // namespace

bool hamming_graded_histogram_cpu(const HammingEvaluation& evaluation, const GradedHistogram& out) {
  const LabelIndex labels(evaluation.database_labels, evaluation.nb, evaluation.words);
  return run_blocks(evaluation, [&] { return std::make_unique<Graded>(evaluation, labels, out); });
}

}  // namespace fasthash
