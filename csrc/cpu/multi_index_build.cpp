// A radix sort in two steps. Placing codes in all buckets at once would miss the cache for every code: they are first
// dealt out to a few hundred ranges of buckets, then sorted range by range, within the cache.
#include <algorithm>
#include <atomic>
#include <utility>

#include "cpu/hamming_threads.h"
#include "cpu/hamming_tile.h"
#include "cpu/multi_index_substring.h"
#include "multi_index.h"

namespace fasthash {
namespace {

constexpr int kRangeBits = 9;                       // at most: so many places are written to at the same time
constexpr int64_t kPartsPerThread = 4;              // so that a slow thread leaves work to the others
constexpr int64_t kRowsPerPart = int64_t{1} << 16;  // at least: repay starting a thread

class Builder {
 public:
  Builder(const TableBuild& build, uint32_t* offsets, uint32_t* rows, uint64_t* copies)
      : build_(build),
        offsets_(offsets),
        rows_(rows),
        copies_(copies),
        words_(words_of(build.bytes)),
        fine_(std::max(build.width - kRangeBits, 0)),
        ranges_(int64_t{1} << (build.width - fine_)),
        parts_(std::clamp<int64_t>(build.nb / kRowsPerPart, 1, kPartsPerThread * build.threads)),
        places_(static_cast<size_t>(parts_ * ranges_), 0),
        starts_(static_cast<size_t>(ranges_) + 1, 0),
        dealt_(build.scratch),
        dealt_codes_(build.scratch + build.nb) {}

  bool run() {
    if (!for_each(parts_, [this](int64_t part) { count(part); })) return false;
    find_places();
    if (!for_each(parts_, [this](int64_t part) { deal(part); })) return false;
    if (!for_each(ranges_, [this](int64_t range) { sort(range); })) return false;
    offsets_[int64_t{1} << build_.width] = static_cast<uint32_t>(build_.nb);
    return true;
  }

 private:
  // One code of the part after the other: call(row, words, value of its substring).
  template <typename Call>
  void each_code(int64_t part, const Call& call) const {
    std::vector<uint64_t> words(static_cast<size_t>(words_));
    const int64_t end = build_.nb * (part + 1) / parts_;
    for (int64_t row = build_.nb * part / parts_; row < end; ++row) {
      load_query(build_.codes + row * build_.bytes, build_.bytes, words.data());
      call(row, words.data(), substring(words.data(), build_.start, build_.width));
    }
  }

  void count(int64_t part) {
    uint32_t* counts = places_.data() + part * ranges_;
    each_code(part, [this, counts](int64_t, const uint64_t*, uint32_t value) { ++counts[value >> fine_]; });
  }

  // Counts become where the part's first code of each range goes: rows stay in order within a range.
  void find_places() {
    uint32_t next = 0;
    for (int64_t range = 0; range < ranges_; ++range) {
      starts_[range] = next;
      for (int64_t part = 0; part < parts_; ++part) next += std::exchange(places_[part * ranges_ + range], next);
    }
    starts_[ranges_] = next;
  }

  void deal(int64_t part) {
    uint32_t* places = places_.data() + part * ranges_;
    each_code(part, [this, places](int64_t row, const uint64_t* words, uint32_t value) {
      const int64_t to = places[value >> fine_]++;
      dealt_[to] = static_cast<uint64_t>(row) << 32 | value;
      if (copies_ != nullptr) std::copy_n(words, words_, dealt_codes_ + to * words_);
    });
  }

  void sort(int64_t range) {
    const uint32_t buckets = uint32_t{1} << fine_;
    uint32_t* offsets = offsets_ + range * buckets;
    std::vector<uint32_t> places(buckets, 0);
    for (uint32_t i = starts_[range]; i < starts_[range + 1]; ++i) ++places[dealt_[i] & (buckets - 1)];
    uint32_t next = starts_[range];
    for (uint32_t bucket = 0; bucket < buckets; ++bucket) {
      offsets[bucket] = next;
      next += std::exchange(places[bucket], next);
    }
    for (uint32_t i = starts_[range]; i < starts_[range + 1]; ++i) {
      const int64_t to = places[dealt_[i] & (buckets - 1)]++;
      rows_[to] = static_cast<uint32_t>(dealt_[i] >> 32);
      if (copies_ != nullptr) std::copy_n(dealt_codes_ + int64_t{i} * words_, words_, copies_ + to * words_);
    }
  }

  // call(0) to call(items - 1), on all threads. False: interrupted.
  template <typename Call>
  bool for_each(int64_t items, const Call& call) {
    std::atomic<int64_t> next{0};
    const auto work = [&](bool calling) {
      for (int64_t item = next++; item < items && !stop_; item = next++) {
        call(item);
        if (calling) ask();
      }
    };
    run_team(std::min<int64_t>(build_.threads, std::min(parts_, items)), work, [this] { ask(); });
    return !interrupted_;
  }

  void ask() {
    if (stop_ || !build_.interrupted || !build_.interrupted()) return;
    interrupted_ = true;
    stop_ = true;
  }

  const TableBuild& build_;
  uint32_t* const offsets_;
  uint32_t* const rows_;
  uint64_t* const copies_;
  const int words_;
  const int fine_;                // bits of a substring that tell the buckets of a range apart
  const int64_t ranges_, parts_;  // of buckets; of rows
  std::vector<uint32_t> places_;  // [parts, ranges]
  std::vector<uint32_t> starts_;  // [ranges + 1]
  uint64_t* const dealt_;         // [nb] row << 32 | value, by range, then by row
  uint64_t* const dealt_codes_;   // [nb, words] the same with copies
  std::atomic<bool> stop_{false};
  bool interrupted_ = false;  // the calling thread alone writes and reads this
};

}  // namespace

bool multi_index_build_cpu(const TableBuild& build, uint32_t* offsets, uint32_t* rows, uint64_t* copies) {
  return Builder(build, offsets, rows, copies).run();
}

}  // namespace fasthash
