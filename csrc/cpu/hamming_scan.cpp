#include "cpu/hamming_scan.h"

#include <cstring>
#include <memory>
#include <vector>

#include "cpu/count_bits.h"
#include "cpu/hamming_block.h"
#include "cpu/hamming_threads.h"
#include "cpu/line_buffer.h"
#include "cpu/row_words.h"

namespace fasthash {
namespace {

constexpr int64_t kMaxGroup = 512;                     // queries that share a block: preparing it then costs little
constexpr int64_t kGroupBytes = int64_t{16} << 20;     // scratch memory of a group
constexpr int64_t kWordsPerThread = int64_t{1} << 20;  // word pairs that repay starting a thread: 0.1 to 0.3 ms
constexpr int64_t kWordsPerItem = int64_t{1} << 19;
constexpr int64_t kItemsPerThread = 4;  // so that a slow thread leaves work to the others
// A block with so few allowed codes is not scanned, those are looked at: 12, or 4 for each word of a code where there
// are so many queries that scanning short codes costs them little.
constexpr int64_t kFewAllowed = 12, kFewOfWord = 4, kManyQueries = 24;
constexpr int64_t kBlocksPerCeiling = 32;            // between two looks at what other parts have proved
constexpr int64_t kWordsPerPoll = int64_t{1} << 26;  // word pairs between two questions about an interrupt: 5 to 100 ms
constexpr int64_t kWordsPerHit = 64;                 // that take as long as a hit

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Bit j % 64 of out[j / 64] = whether code first + j exists and is allowed.
void load_allow(const HammingSearch& search, int64_t first, int64_t count, uint64_t* out) {
  const uint8_t* from = search.allow + first / 8;
  uint64_t last[kMaskWords] = {};
  if (count < kTileCodes) {
    std::memcpy(last, from, static_cast<size_t>(ceil_div(count, 8)));
    from = reinterpret_cast<const uint8_t*>(last);
  }
  for (int w = 0; w < kMaskWords; ++w) {  // turn each byte round
    uint64_t bits = load_word(from + 8 * w);
    bits = (bits >> 1 & 0x5555555555555555u) | (bits & 0x5555555555555555u) << 1;
    bits = (bits >> 2 & 0x3333333333333333u) | (bits & 0x3333333333333333u) << 2;
    out[w] = (bits >> 4 & 0x0f0f0f0f0f0f0f0fu) | (bits & 0x0f0f0f0f0f0f0f0fu) << 4;
  }
  if (count < kTileCodes) {  // the last byte of a mask may name codes that do not exist
    uint64_t exist[kMaskWords];
    first_bits(count, exist);
    for (int w = 0; w < kMaskWords; ++w) out[w] &= exist[w];
  }
}

// Of a whole block, or a few codes at the end.
bool none_allowed(const HammingSearch& search, int64_t first, int64_t count) {
  const uint8_t* from = search.allow + first / 8;
  if (count < kTileCodes) return std::all_of(from, from + ceil_div(count, 8), [](uint8_t bits) { return bits == 0; });
  uint64_t any = 0;
  for (int w = 0; w < kMaskWords; ++w) any |= load_word(from + 8 * w);
  return any == 0;
}

// How many codes are allowed, where at least three of the words are empty: it need not be known of fuller masks.
int64_t count_sparse(const uint64_t* allow) {
  int empty = 0;
  for (int w = 0; w < kMaskWords; ++w) empty += allow[w] == 0;
  if (empty < 3) return kTileCodes;
  int64_t allowed = 0;
  for (int w = 0; w < kMaskWords; ++w) allowed += static_cast<int64_t>(count_bits(allow[w]));
  return allowed;
}

// What one thread works with: a group of queries, a block, and the hits of one in the other.
struct Worker {
  Worker(const BlockKernel& kernel, int64_t group, int64_t bytes)
      : words(group * padded_words(bytes)),
        prepared(group * kernel.query_bytes(bytes)),
        block(kernel.block_bytes(bytes) / 8),
        near(kMaxParts * group),
        masks(kMaxParts * group * kMaskWords),
        limits(static_cast<size_t>(group)),
        sinks(static_cast<size_t>(group)) {}

  LineBuffer<uint64_t> words;
  LineBuffer<uint8_t> prepared;
  LineBuffer<uint64_t> block;
  LineBuffer<uint16_t> near;
  LineBuffer<uint64_t> masks;
  std::vector<int> limits;
  std::vector<Sink*> sinks;
};

class Scan {
 public:
  Scan(const HammingSearch& search, const ScanPlan& plan, Collector& collector)
      : search_(search),
        plan_(plan),
        collector_(collector),
        kernel_(*plan.kernel),
        keys_of_(block_keys(search.isa)),
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
      Worker worker(kernel_, plan_.group, search_.bytes);
      for (;;) {
        const int64_t item = next_.fetch_add(1);
        if (stop_ || item >= plan_.groups * plan_.parts) return;
        const int64_t group = item / plan_.parts, part = item % plan_.parts;
        scan_item(group, part, calling, worker);
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

  void scan_item(int64_t group, int64_t part, bool calling, Worker& worker) {
    const int64_t first = group * plan_.group, n = std::min(plan_.group, search_.nq - first);
    const int64_t begin = part * plan_.part, end = std::min(begin + plan_.part, search_.nb);
    load_queries(first, n, part, end - begin, worker);
    int64_t blocks = 0;
    for (int64_t start = begin; start < end; start += kTileCodes) {
      if (stop_.load(std::memory_order_relaxed)) return;
      if (plan_.parts > 1 && ++blocks % kBlocksPerCeiling == 0)
        for (int64_t q = 0; q < n; ++q) refresh(q, worker);
      const int64_t count = std::min(kTileCodes, end - start);
      const int64_t hits = scan_filtered(start, count, end, n, worker);
      if (calling) poll(n * words_of(search_.bytes) * kTileCodes + hits * kWordsPerHit);
    }
  }

  void load_queries(int64_t first, int64_t n, int64_t part, int64_t codes, Worker& worker) {
    const int64_t words = padded_words(search_.bytes), bytes = kernel_.query_bytes(search_.bytes);
    std::fill(worker.words.data(), worker.words.data() + n * words, uint64_t{0});
    for (int64_t q = 0; q < n; ++q) {
      load_query(search_.queries + (first + q) * search_.bytes, search_.bytes, worker.words.data() + q * words);
      kernel_.prepare(worker.words.data() + q * words, search_.bytes, worker.prepared.data() + q * bytes);
      worker.sinks[q] = collector_.open(first + q, part, codes);
      worker.limits[q] = -1;  // so that refresh takes the first one
      refresh(q, worker);
    }
  }

  // The kernel works with limits of some time ago: only ever too large, which the sinks see to.
  void refresh(int64_t q, Worker& worker) const {
    const int limit = worker.sinks[q]->limit();
    if (limit == worker.limits[q]) return;
    worker.limits[q] = limit;
    kernel_.set_limit(limit, search_.bytes, worker.prepared.data() + q * kernel_.query_bytes(search_.bytes));
  }

  // Scans a block in the way that its filter makes cheapest. Returns the number of hits.
  int64_t scan_filtered(int64_t start, int64_t count, int64_t end, int64_t n, Worker& worker) const {
    uint64_t allow[kMaskWords];
    // One query reads short codes from front to back faster than it makes masks: it looks at those of near codes alone.
    const bool late = search_.allow != nullptr && n * search_.bytes < 16;
    if (search_.allow == nullptr || late) {
      if (late && none_allowed(search_, start, count)) return 0;
      first_bits(count, allow);
      return scan_block(start, count, end, allow, n, late, worker);
    }
    load_allow(search_, start, count, allow);
    const int64_t allowed = count_sparse(allow);
    if (allowed == 0) return 0;
    const int64_t few = n < kManyQueries ? kFewAllowed : std::min(kFewAllowed, kFewOfWord * words_of(search_.bytes));
    return allowed <= few ? scan_few(start, count, allow, n, worker)
                          : scan_block(start, count, end, allow, n, false, worker);
  }

  // A block of which little is allowed: those codes alone are looked at. Returns the number of hits.
  int64_t scan_few(int64_t start, int64_t count, const uint64_t* allow, int64_t n, Worker& worker) const {
    const Block block{search_.database + start * search_.bytes, count, search_.bytes, allow, nullptr, 0};
    uint64_t keys[kTileCodes + kKeySlack];
    int64_t hits = 0;
    for (int64_t q = 0; q < n; ++q) {
      const int allowed = keys_of_(worker.words.data() + q * padded_words(search_.bytes), block, allow, start, keys);
      int near = 0;
      for (int i = 0; i < allowed; ++i) {
        keys[near] = keys[i];
        near += distance_of(keys[i]) < worker.limits[q];
      }
      if (near == 0) continue;
      worker.sinks[q]->take(keys, near);
      refresh(q, worker);
      hits += near;
    }
    return hits;
  }

  // late: `allow` is all codes, and the filter is asked where some are near. Returns the number of hits.
  int64_t scan_block(int64_t start, int64_t count, int64_t end, const uint64_t* allow, int64_t n, bool late,
                     Worker& worker) const {
    const int64_t next = std::min(kTileCodes, end - start - count) * search_.bytes;
    Block block{search_.database + start * search_.bytes, count, search_.bytes, allow, nullptr, next};
    block.loaded = kernel_.load(block.codes, count, search_.bytes, worker.block.data());
    if (static_cast<const void*>(block.loaded) == block.codes) block.next_bytes = 0;  // the processor sees them coming
    const QueryGroup queries{n, worker.words.data(), worker.limits.data(), worker.prepared.data()};
    const int64_t found = kernel_.scan(queries, block, worker.near.data(), worker.masks.data());
    uint64_t keys[kTileCodes + kKeySlack], filter[kMaskWords];
    if (late && found != 0) load_allow(search_, start, count, filter);
    int64_t hits = 0;
    for (int64_t i = 0; i < found; ++i) {
      for (int w = 0; late && w < kMaskWords; ++w) worker.masks.data()[i * kMaskWords + w] &= filter[w];
      const int64_t q = worker.near.data()[i];
      const uint64_t* query = worker.words.data() + q * padded_words(search_.bytes);
      const int taken = keys_of_(query, block, worker.masks.data() + i * kMaskWords, start, keys);
      worker.sinks[q]->take(keys, taken);
      refresh(q, worker);
      hits += taken;
    }
    return hits;
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
  const BlockKernel& kernel_;
  const BlockKeys keys_of_;
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
  plan.kernel = search.kernel ? search.kernel : &choose_block_kernel(search.isa, search.bytes, plan.group, plan.part);
  return plan;
}

bool scan(const HammingSearch& search, const ScanPlan& plan, Collector& collector) {
  return Scan(search, plan, collector).run();
}

}  // namespace fasthash
