#include "hamming_histogram.h"

#include <algorithm>

#include "cpu/hamming_histogram_blocks.h"

namespace fasthash {
namespace {

// One counter is added to for each pair. Several queries take turns, so that two equal distances in a row do not make
// the processor wait for its own store.
template <int kQueries>
void count_tile(const Run& run, int first_query, int t, TileDistances distances, int stride, uint32_t* bins) {
  alignas(64) uint16_t distance[kQueries][kTileCodes];
  for (int q = 0; q < kQueries; ++q)
    distances(run.queries + (first_query + q) * run.words, tile_of(run, t), run.words, distance[q]);
  const int64_t items = items_of(run, t);
  for (int64_t start = 0; start < items; start += 64) {
    uint64_t relevant[kQueries];
    for (int q = 0; q < kQueries; ++q)
      relevant[q] = run.relevant[(first_query + q) * kRunWords + (t * kTileCodes + start) / 64];
    const int64_t stop = std::min(start + 64, items);
    for (int64_t j = start; j < stop; ++j)
      for (int q = 0; q < kQueries; ++q) {
        const int plane = stride & -static_cast<int>(relevant[q] & 1);
        ++bins[(first_query + q) * 2 * stride + plane + distance[q][j]];
        relevant[q] >>= 1;
      }
  }
}

void count_run_plain(const Run& run, Isa isa, int bits, uint32_t* bins) {
  constexpr int kTogether = 4;
  const TileDistances distances = tile_distances(isa);
  const int stride = bin_stride(bits);
  for (int t = 0; t < tile_count(run); ++t) {
    int q = 0;
    for (; q + kTogether <= run.count; q += kTogether) count_tile<kTogether>(run, q, t, distances, stride, bins);
    for (; q < run.count; ++q) count_tile<1>(run, q, t, distances, stride, bins);
  }
}

class Histograms final : public BlockWorker {
 public:
  Histograms(const HammingEvaluation& e, int64_t* counts, int64_t* relevant)
      : bits_(e.bits),
        stride_(bin_stride(e.bits)),
        isa_(e.isa),
        count_run_(count_run(e.isa, e.bits)),
        counts_(counts),
        relevant_(relevant),
        bins_(int64_t{kBlockQueries} * 2 * stride_) {}

  void begin(int64_t first_query, int count) override {
    first_query_ = first_query;
    count_ = count;
    std::fill(bins_.data(), bins_.data() + int64_t{count} * 2 * stride_, 0u);
  }

  void take(const Run& run) override { count_run_(run, isa_, bits_, bins_.data()); }

  void end() override {
    for (int q = 0; q < count_; ++q) {
      const uint32_t* others = bins_.data() + int64_t{q} * 2 * stride_;
      const uint32_t* relevant = others + stride_;
      const int64_t row = (first_query_ + q) * (bits_ + 1);
      for (int d = 0; d <= bits_; ++d) {
        counts_[row + d] = int64_t{others[d]} + relevant[d];
        relevant_[row + d] = relevant[d];
      }
    }
  }

 private:
  const int bits_, stride_;
  const Isa isa_;
  const CountRun count_run_;
  int64_t* const counts_;
  int64_t* const relevant_;
  LineBuffer<uint32_t> bins_;
  int64_t first_query_ = 0;
  int count_ = 0;
};

}  // namespace

CountRun count_run(Isa isa, int bits) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512 && bits <= kSlicedBits) return count_run_avx512;
#endif
  (void)isa, (void)bits;
  return count_run_plain;
}

bool hamming_histogram_cpu(const HammingEvaluation& evaluation, int64_t* counts, int64_t* relevant) {
  return run_blocks(evaluation, [&] { return std::make_unique<Histograms>(evaluation, counts, relevant); });
}

}  // namespace fasthash
