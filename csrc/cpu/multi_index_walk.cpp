#include "cpu/multi_index_walk.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "cpu/hamming_tile.h"
#include "cpu/multi_index_substring.h"

namespace fasthash {
namespace {

// The cost model: nanoseconds of one thread, measured with AVX-512 on 1 and 10 million codes. Other machines are slower
// in about the same proportions, and proportions are all that is used.
constexpr double kBucket = 18;            // the offset and the first line of a bucket, both prefetched
constexpr double kCodeWord = 0.75;        // a word of a code in a bucket, up to two words
constexpr double kLongCodeWord = 1.1;     // beyond
constexpr double kGather = 14;            // a code where the database has it: a line out of order
constexpr double kGatherWord = 0.7;       // and each word of it
constexpr double kScanWord = 0.4;         // a word of a code in a scan for one query, at the speed of the memory
constexpr double kScanWordShared = 0.05;  // in a scan that many queries share
constexpr double kScanStart = 3000;
constexpr double kScanThreads = 4;  // more do not make the scan for one query faster: the memory is busy

constexpr double kTrial = 1.0 / 64;  // a ring of this part of the scan's cost is walked whatever may come after it
constexpr double kHope = 1.5;        // the limit may still fall: the walk goes on while it would cost so many scans
constexpr size_t kAhead = 12;        // buckets whose lines are asked for in advance

double choose(int n, int k) {
  double ways = 1;
  for (int i = 0; i < k; ++i) ways = ways * (n - i) / (i + 1);
  return ways;
}

// The next larger number with as many bits set.
uint32_t next_same_weight(uint32_t v) {
  const uint32_t t = v | (v - 1);
  return (t + 1) | (((~t & (t + 1)) - 1) >> (__builtin_ctz(v) + 1));
}

}  // namespace

WalkPlan::WalkPlan(const HammingSearch& s, const SubstringTables& given)
    : search(s), tables(given.tables), words(words_of(s.bytes)), masks(given.tables.size() * words, 0) {
  const std::vector<SubstringTable>& t = tables;
  for (size_t i = 0; i < t.size(); ++i)
    for (int bit = t[i].start; bit < t[i].start + t[i].width; ++bit)
      masks[i * words + bit / 64] |= first_bit_on_top(uint64_t{1} << (63 - bit % 64));
  bucket_cost = kBucket;
  const bool copies = !t.empty() && t[0].codes != nullptr;
  code_cost = copies ? (words <= 2 ? kCodeWord : kLongCodeWord) * words : kGather + kGatherWord * words;
  const double queries = static_cast<double>(s.nq);
  const double idle = std::clamp(s.threads / queries, 1.0, kScanThreads);  // threads that a walk cannot use
  const double word = std::max(kScanWordShared, kScanWord / queries) / idle;
  scan_cost = given.patience * (kScanStart + word * words * static_cast<double>(s.nb));
}

Walk::Walk(const WalkPlan& plan)
    : plan_(plan),
      kernels_(bucket_kernels(plan.search.isa)),
      query_(plan.words),
      done_(plan.tables.size()),
      density_(plan.tables.size()),
      values_(plan.tables.size()),
      gathered_(kBucketStep),
      hits_(kBucketStep) {}

bool Walk::run(int64_t query, WalkSink& sink) {
  begin(query);
  while (covered() < sink.limit()) {
    const int table = cheapest(done_);
    if (gives_up(sink, ring_cost(table, done_[table] + 1))) return false;
    spent_ += collect(table, done_[table] + 1);
    if (spent_ > plan_.scan_cost) return false;
    take_buckets(table, sink);
    ++done_[table];
  }
  return true;
}

void Walk::begin(int64_t query) {
  load_query(plan_.search.queries + query * plan_.search.bytes, plan_.search.bytes, query_.data());
  std::fill(done_.begin(), done_.end(), -1);
  spent_ = 0;
  for (size_t t = 0; t < plan_.tables.size(); ++t) {
    const SubstringTable& table = plan_.tables[t];
    values_[t] = substring(query_.data(), table.start, table.width);
    density_[t] = table.offsets[values_[t] + 1] - table.offsets[values_[t]];
  }
}

// Every code at most this far has been seen.
int Walk::covered() const {
  int sum = -1;
  for (size_t t = 0; t < done_.size(); ++t) {
    if (done_[t] == plan_.tables[t].width) return std::numeric_limits<int>::max();
    sum += done_[t] + 1;
  }
  return sum;
}

// Expected: a ring's buckets hold codes like those of the ring before, thinning out to the average.
double Walk::ring_cost(int table, int radius) const {
  const int width = plan_.tables[table].width;
  const double average = static_cast<double>(plan_.search.nb) / static_cast<double>(int64_t{1} << width);
  const double codes = radius == 0 ? density_[table] : (density_[table] + average) / 2;
  return choose(width, radius) * (plan_.bucket_cost + codes * plan_.code_cost);
}

int Walk::cheapest(const std::vector<int>& done) const {
  int best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (size_t t = 0; t < done.size(); ++t) {
    const double cost = ring_cost(static_cast<int>(t), done[t] + 1);
    if (cost < least) least = cost, best = static_cast<int>(t);
  }
  return best;
}

// Of the rings that would follow if the limit stayed; counted until it is more than the walk may cost.
double Walk::cost_to_cover(int limit) const {
  std::vector<int> done = done_;
  double cost = 0;
  for (int rings = limit - covered(); rings > 0 && cost <= kHope * plan_.scan_cost; --rings) {
    const int table = cheapest(done);
    if (done[table] == plan_.tables[table].width) break;  // it has shown everything
    cost += ring_cost(table, ++done[table]);
  }
  return cost;
}

bool Walk::gives_up(const WalkSink& sink, double next) const {
  if (next <= kTrial * plan_.scan_cost) return false;
  if (spent_ + next > plan_.scan_cost) return true;
  return sink.settled() && spent_ + cost_to_cover(sink.limit()) > kHope * plan_.scan_cost;
}

// Finds the ring's buckets that are not empty; returns what they cost.
double Walk::collect(int table, int radius) {
  const SubstringTable& t = plan_.tables[table];
  const uint32_t value = values_[table];
  const uint64_t end = uint64_t{1} << t.width;
  keys_.clear();
  buckets_.clear();
  if (radius == 0) keys_.push_back(value);
  for (uint64_t flips = (uint64_t{1} << radius) - 1; radius > 0 && flips < end;
       flips = next_same_weight(static_cast<uint32_t>(flips)))
    keys_.push_back(value ^ static_cast<uint32_t>(flips));
  int64_t codes = 0;
  for (size_t i = 0; i < keys_.size(); ++i) {
    if (i + kAhead < keys_.size()) __builtin_prefetch(t.offsets + keys_[i + kAhead]);
    const Bucket bucket = {t.offsets[keys_[i]], t.offsets[keys_[i] + 1]};
    if (bucket.begin == bucket.end) continue;
    codes += bucket.end - bucket.begin;
    buckets_.push_back(bucket);
  }
  density_[table] = static_cast<double>(codes) / static_cast<double>(keys_.size());
  all_buckets_ += static_cast<int64_t>(keys_.size());
  all_codes_ += codes;
  return static_cast<double>(keys_.size()) * plan_.bucket_cost + static_cast<double>(codes) * plan_.code_cost;
}

void Walk::take_buckets(int table, WalkSink& sink) {
  const SubstringTable& t = plan_.tables[table];
  if (t.codes != nullptr)
    scan_buckets(t, sink);
  else
    gather_buckets(t, sink);
}

// The codes lie side by side in each bucket.
void Walk::scan_buckets(const SubstringTable& table, WalkSink& sink) {
  const Probe probe = make_probe();
  for (size_t i = 0; i < buckets_.size(); ++i) {
    if (i + kAhead < buckets_.size()) prefetch(table, buckets_[i + kAhead]);
    for (int64_t start = buckets_[i].begin; start < buckets_[i].end; start += kBucketStep) {
      const int count = static_cast<int>(std::min<int64_t>(kBucketStep, buckets_[i].end - start));
      const uint64_t* codes = table.codes + start * plan_.words;
      deliver(table.rows + start, kernels_.scan(probe, codes, count, sink.limit(), hits_.data()), sink);
    }
  }
}

void Walk::prefetch(const SubstringTable& table, const Bucket& bucket) const {
  constexpr int64_t kMost = 256;  // bytes; the processor itself goes on from there
  const char* codes = reinterpret_cast<const char*>(table.codes + int64_t{bucket.begin} * plan_.words);
  const int64_t bytes = std::min(int64_t{bucket.end - bucket.begin} * plan_.words * 8, kMost);
  for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(codes + b);
}

// The codes are read where the database has them: each is asked for when its row is met, compared when there are many.
void Walk::gather_buckets(const SubstringTable& table, WalkSink& sink) {
  int count = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    if (i + kAhead < buckets_.size()) __builtin_prefetch(table.rows + buckets_[i + kAhead].begin);
    for (int64_t at = buckets_[i].begin; at < buckets_[i].end; ++at) {
      const uint32_t row = table.rows[at];
      check_row(row);
      for (int64_t b = 0; b < plan_.search.bytes; b += 64)
        __builtin_prefetch(plan_.search.database + row * plan_.search.bytes + b);
      gathered_[count++] = row;
      if (count == kBucketStep) gather(std::exchange(count, 0), sink);
    }
  }
  gather(count, sink);
}

void Walk::gather(int count, WalkSink& sink) {
  const HammingSearch& search = plan_.search;
  const int found =
      kernels_.gather(make_probe(), search.database, search.bytes, gathered_.data(), count, sink.limit(), hits_.data());
  deliver(gathered_.data(), found, sink);
}

void Walk::deliver(const uint32_t* rows, int found, WalkSink& sink) const {
  const uint8_t* allow = plan_.search.allow;
  for (int i = 0; i < found; ++i) {
    const uint32_t row = rows[hits_[i].at];
    check_row(row);
    if (allow == nullptr || (allow[row / 8] >> (7 - row % 8) & 1) != 0) sink.take(hits_[i].distance, row);
  }
}

// A table may come from a file that anything could have been written to.
void Walk::check_row(uint32_t row) const {
  if (row >= plan_.search.nb)
    throw std::runtime_error("a table of the index names row " + std::to_string(row) + " of " +
                             std::to_string(plan_.search.nb) + ": its file is damaged");
}

Probe Walk::make_probe() const {
  return {query_.data(), plan_.words, static_cast<int>(done_.size()), plan_.masks.data(), done_.data()};
}

}  // namespace fasthash
