#include "cpu/hamming_scan.h"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "cpu/hamming_threads.h"
#include "cpu/hamming_tile.h"

namespace fasthash {
namespace {

constexpr int64_t kMaxGroup = 64;                   // queries that share a tile: its loading then costs next to nothing
constexpr int64_t kGroupBytes = int64_t{16} << 20;  // scratch memory of a group
constexpr int64_t kWordsPerThread = int64_t{1} << 20;  // word pairs that repay starting a thread: 0.1 to 0.3 ms
constexpr int64_t kWordsPerItem = int64_t{1} << 19;
constexpr int64_t kItemsPerThread = 4;               // so that a slow thread leaves work to the others
constexpr int64_t kWordsPerPoll = int64_t{1} << 26;  // word pairs between two questions about an interrupt: 5 to 100 ms

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct FreeAligned {
  void operator()(uint64_t* p) const { std::free(p); }
};
using TileBuffer = std::unique_ptr<uint64_t, FreeAligned>;

TileBuffer make_tile(int words) {
  void* memory = std::aligned_alloc(64, sizeof(uint64_t) * kTileCodes * words);
  if (memory == nullptr) throw std::bad_alloc();
  return TileBuffer(static_cast<uint64_t*>(memory));
}

// Bit j % 64 of out[j / 64] = whether code first + j exists and is allowed.
void load_allow(const HammingSearch& search, int64_t first, int64_t count, uint64_t* out) {
  constexpr int kWords = kTileCodes / 64;
  if (search.allow == nullptr) {
    std::fill(out, out + kWords, ~uint64_t{0});
  } else {
    uint8_t bytes[kTileCodes / 8] = {};
    std::memcpy(bytes, search.allow + first / 8, static_cast<size_t>(ceil_div(count, 8)));
    for (int w = 0; w < kWords; ++w) {
      uint64_t bits;
      std::memcpy(&bits, bytes + 8 * w, sizeof bits);
      bits = (bits >> 1 & 0x5555555555555555u) | (bits & 0x5555555555555555u) << 1;  // turn each byte round
      bits = (bits >> 2 & 0x3333333333333333u) | (bits & 0x3333333333333333u) << 2;
      out[w] = (bits >> 4 & 0x0f0f0f0f0f0f0f0fu) | (bits & 0x0f0f0f0f0f0f0f0fu) << 4;
    }
  }
  for (int64_t w = count / 64; w < kWords; ++w)
    out[w] &= w == count / 64 ? (uint64_t{1} << (count % 64)) - 1 : uint64_t{0};
}

class Scan {
 public:
  Scan(const HammingSearch& search, const ScanPlan& plan, Collector& collector)
      : search_(search),
        plan_(plan),
        collector_(collector),
        words_(words_of(search.bytes)),
        kernel_(tile_scan(search.isa, words_)),
        in_place_(search.bytes == 8 && reinterpret_cast<uintptr_t>(search.database) % alignof(uint64_t) == 0),
        unfinished_(new std::atomic<int64_t>[plan.groups]) {
    for (int64_t g = 0; g < plan.groups; ++g) unfinished_[g] = plan.parts;
  }

  bool run() {
    run_team(plan_.threads, [this](bool calling) { work(calling); }, [this] { ask(); });
    return !interrupted_;
  }

 private:
  void work(bool calling) {
    try {
      TileBuffer tile = make_tile(words_);
      std::vector<uint64_t> queries(static_cast<size_t>(plan_.group * words_));
      std::vector<Sink*> sinks(static_cast<size_t>(plan_.group));
      for (;;) {
        const int64_t item = next_.fetch_add(1);
        if (stop_ || item >= plan_.groups * plan_.parts) return;
        const int64_t group = item / plan_.parts, part = item % plan_.parts;
        scan_item(group, part, calling, tile.get(), queries.data(), sinks.data());
        if (stop_) return;
        const int64_t first = group * plan_.group, last = std::min(first + plan_.group, search_.nq);
        for (int64_t q = first; q < last; ++q) collector_.finish(q, part);
        if (unfinished_[group].fetch_sub(1) == 1)
          for (int64_t q = first; q < last; ++q) collector_.close(q);
      }
    } catch (...) {
      stop_ = true;
      throw;
    }
  }

  void scan_item(int64_t group, int64_t part, bool calling, uint64_t* buffer, uint64_t* queries, Sink** sinks) {
    const int64_t first = group * plan_.group, n = std::min(plan_.group, search_.nq - first);
    const int64_t begin = part * plan_.part, end = std::min(begin + plan_.part, search_.nb);
    for (int64_t q = 0; q < n; ++q) {
      load_query(search_.queries + (first + q) * search_.bytes, search_.bytes, queries + q * words_);
      sinks[q] = collector_.open(first + q, part, end - begin);
    }
    uint64_t allow[kTileCodes / 64];
    for (int64_t start = begin; start < end; start += kTileCodes) {
      if (calling) poll(n * words_ * kTileCodes);
      if (stop_.load(std::memory_order_relaxed)) return;
      const int64_t count = std::min(kTileCodes, end - start);
      const bool masked = search_.allow != nullptr || count < kTileCodes;
      if (masked) load_allow(search_, start, count, allow);
      if (masked && std::all_of(allow, allow + kTileCodes / 64, [](uint64_t bits) { return bits == 0; })) continue;
      scan_codes(start, count, masked ? allow : nullptr, n, buffer, queries, sinks);
    }
  }

  void scan_codes(int64_t start, int64_t count, const uint64_t* allow, int64_t n, uint64_t* buffer,
                  const uint64_t* queries, Sink** sinks) const {
    uint64_t keys[kTileCodes + kKeySlack];
    const uint8_t* codes = search_.database + start * search_.bytes;
    const RowScan rows = count == kTileCodes ? row_scan(search_.isa, search_.bytes, n) : nullptr;
    const uint64_t* tile = rows ? nullptr : load(codes, count, buffer);
    for (int64_t q = 0; q < n; ++q) {
      const uint64_t* query = queries + q * words_;
      const int limit = sinks[q]->limit();
      const int found = rows ? rows(query, codes, search_.bytes, allow, limit, start, keys)
                             : kernel_(query, tile, words_, allow, limit, start, keys);
      if (found != 0) sinks[q]->take(keys, found);
    }
  }

  const uint64_t* load(const uint8_t* codes, int64_t count, uint64_t* buffer) const {
    if (in_place_ && count == kTileCodes) return reinterpret_cast<const uint64_t*>(codes);
    load_tile(codes, count, search_.bytes, buffer);
    return buffer;
  }

  void poll(int64_t words) {
    unpolled_ += words;
    if (unpolled_ < kWordsPerPoll || !search_.interrupted) return;
    unpolled_ = 0;
    ask();
  }

  void ask() {
    if (stop_ || !search_.interrupted || !search_.interrupted()) return;
    interrupted_ = true;
    stop_ = true;
  }

  const HammingSearch& search_;
  const ScanPlan& plan_;
  Collector& collector_;
  const int words_;
  const TileScan kernel_;
  const bool in_place_;
  std::unique_ptr<std::atomic<int64_t>[]> unfinished_;  // parts of each group
  std::atomic<int64_t> next_{0};
  std::atomic<bool> stop_{false};
  bool interrupted_ = false;  // the calling thread alone writes and reads these
  int64_t unpolled_ = 0;
};

}  // namespace

ScanPlan plan_scan(const HammingSearch& search, int64_t query_bytes) {
  ScanPlan plan;
  plan.group = std::clamp<int64_t>(kGroupBytes / std::max<int64_t>(query_bytes, 1), 1, std::min(kMaxGroup, search.nq));
  plan.groups = ceil_div(search.nq, plan.group);
  const int64_t words = search.nb * words_of(search.bytes);  // of one pass over the database
  plan.threads = std::clamp<int64_t>(search.nq * words / kWordsPerThread, 1, search.threads);
  // More parts cost a little (each starts without a threshold of its own), so only as many as the threads need.
  const int64_t wanted = plan.threads == 1 ? 1 : ceil_div(kItemsPerThread * plan.threads, plan.groups);
  const int64_t parts = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(plan.group * words / kWordsPerItem, 1));
  plan.part = ceil_div(ceil_div(search.nb, parts), kTileCodes) * kTileCodes;
  plan.parts = ceil_div(search.nb, plan.part);
  plan.threads = std::min(plan.threads, plan.groups * plan.parts);
  return plan;
}

bool scan(const HammingSearch& search, const ScanPlan& plan, Collector& collector) {
  return Scan(search, plan, collector).run();
}

}  // namespace fasthash
