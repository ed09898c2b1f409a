#include "cpu/hamming_histogram_blocks.h"

#include <algorithm>
#include <atomic>

#include "cpu/hamming_threads.h"
#include "cpu/label_index.h"

namespace fasthash {
namespace {

constexpr int kRunTileWords = 16;  // tiles of a run times words of a code: 64 KiB, which stays in the second cache
constexpr int64_t kPairWordsPerPoll = int64_t{1} << 26;  // between two questions about an interrupt: 10 to 100 ms

class Blocks {
 public:
  Blocks(const HammingEvaluation& e, const std::function<std::unique_ptr<BlockWorker>()>& make_worker)
      : e_(e),
        make_worker_(make_worker),
        labels_(e.query_labels ? e.database_labels : nullptr, e.nb, e.words),
        words_(words_of(e.bytes)),
        run_tiles_(std::clamp(kRunTileWords / words_, 1, kRunTiles)),
        block_(std::clamp<int64_t>((e.nq + e.threads - 1) / e.threads, 1, kBlockQueries)),
        blocks_((e.nq + block_ - 1) / block_) {}

  bool run() {
    const int64_t threads = std::min<int64_t>(e_.threads, blocks_);
    run_team(threads, [this](bool calling) { work(calling); }, [this] { ask(); });
    return !interrupted_;
  }

 private:
  struct Scratch {
    LineBuffer<uint64_t> queries, tiles, relevant;
  };

  void work(bool calling) {
    try {
      const auto worker = make_worker_();
      Scratch scratch{LineBuffer<uint64_t>(kBlockQueries * words_),
                      LineBuffer<uint64_t>(run_tiles_ * words_ * kTileStride),
                      LineBuffer<uint64_t>(kBlockQueries * kRunWords)};
      for (int64_t block = next_.fetch_add(1); block < blocks_ && !stop_; block = next_.fetch_add(1))
        walk(block * block_, calling, *worker, scratch);
    } catch (...) {
      stop_ = true;
      throw;
    }
  }

  void walk(int64_t first_query, bool calling, BlockWorker& worker, Scratch& scratch) {
    const int count = static_cast<int>(std::min(block_, e_.nq - first_query));
    for (int q = 0; q < count; ++q)
      load_query(e_.queries + (first_query + q) * e_.bytes, e_.bytes, scratch.queries.data() + q * words_);
    worker.begin(first_query, count);
    for (int64_t first = 0; first < e_.nb; first += run_tiles_ * kTileCodes) {
      if (calling) poll(count);
      if (stop_.load(std::memory_order_relaxed)) return;
      worker.take(load(first_query, count, first, scratch));
    }
    worker.end();
  }

  Run load(int64_t first_query, int count, int64_t first, Scratch& scratch) const {
    const int64_t items = std::min(run_tiles_ * kTileCodes, e_.nb - first);
    Run run{scratch.queries.data(), scratch.tiles.data(), scratch.relevant.data(), count, words_, items, first};
    for (int t = 0; t < tile_count(run); ++t) {
      const uint8_t* codes = e_.database + (first + t * kTileCodes) * e_.bytes;
      tile_loader(e_.isa)(codes, items_of(run, t), e_.bytes, scratch.tiles.data() + t * (words_ * kTileStride));
    }
    const int64_t stride = e_.words == 0 ? 1 : e_.words;
    for (int q = 0; q < count; ++q) {
      uint64_t* bits = scratch.relevant.data() + q * kRunWords;
      std::fill(bits + (items + 63) / 64, bits + kRunWords, uint64_t{0});
      if (e_.query_labels == nullptr)
        std::fill(bits, bits + (items + 63) / 64, uint64_t{0});
      else
        labels_.relevant(e_.query_labels + (first_query + q) * stride, first, items, bits);
    }
    return run;
  }

  void poll(int count) {
    unpolled_ += int64_t{count} * run_tiles_ * kTileCodes * words_;
    if (unpolled_ < kPairWordsPerPoll || !e_.interrupted) return;
    unpolled_ = 0;
    ask();
  }

  void ask() {
    if (stop_ || !e_.interrupted || !e_.interrupted()) return;
    interrupted_ = true;
    stop_ = true;
  }

  const HammingEvaluation& e_;
  const std::function<std::unique_ptr<BlockWorker>()>& make_worker_;
  const LabelIndex labels_;
  const int words_;
  const int run_tiles_;
  const int64_t block_;
  const int64_t blocks_;
  std::atomic<int64_t> next_{0};
  std::atomic<bool> stop_{false};
  bool interrupted_ = false;  // the calling thread alone writes and reads these
  int64_t unpolled_ = 0;
};

}  // namespace

bool run_blocks(const HammingEvaluation& evaluation, const std::function<std::unique_ptr<BlockWorker>()>& make_worker) {
  return Blocks(evaluation, make_worker).run();
}

}  // namespace fasthash
