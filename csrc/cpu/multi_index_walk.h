// One query on its way outwards through the tables, until its hits are complete or the scan is cheaper.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/multi_index_kernels.h"
#include "multi_index.h"

namespace fasthash {

// Takes the codes that a walk finds: in any order, none twice.
class WalkSink {
 public:
  virtual ~WalkSink() = default;
  virtual void take(int distance, int64_t row) = 0;
  virtual int limit() const = 0;     // codes up to this distance are of use
  virtual bool settled() const = 0;  // whether the limit is already proved to be enough
};

// What is the same for all queries.
struct WalkPlan {
  WalkPlan(const HammingSearch& search, const SubstringTables& tables);

  const HammingSearch& search;
  const std::vector<SubstringTable>& tables;
  int words;
  std::vector<uint64_t> masks;  // [tables, words] the bits of each substring
  double bucket_cost;           // nanoseconds, as all costs: looking up one bucket
  double code_cost;             // comparing one code of it
  double scan_cost;             // one query by the scan, among as many queries as there are; times the patience
};

// The state of one thread, used for one query after the other.
class Walk {
 public:
  explicit Walk(const WalkPlan& plan);

  // Whether the sink has everything within its limit now. False: it does not, and the scan is to be preferred.
  bool run(int64_t query, WalkSink& sink);

  double spent() const { return spent_; }           // cost of the last run
  int64_t buckets() const { return all_buckets_; }  // looked up in all runs
  int64_t codes() const { return all_codes_; }      // compared

 private:
  struct Bucket {
    uint32_t begin, end;
  };

  void begin(int64_t query);
  int covered() const;
  double ring_cost(int table, int radius) const;
  int cheapest(const std::vector<int>& done) const;
  double cost_to_cover(int limit) const;
  bool gives_up(const WalkSink& sink, double next) const;
  double collect(int table, int radius);
  void take_buckets(int table, WalkSink& sink);
  void scan_buckets(const SubstringTable& table, WalkSink& sink);
  void prefetch(const SubstringTable& table, const Bucket& bucket) const;
  void gather_buckets(const SubstringTable& table, WalkSink& sink);
  void gather(int count, WalkSink& sink);
  void deliver(const uint32_t* rows, int found, WalkSink& sink) const;
  void check_row(uint32_t row) const;
  Probe make_probe() const;

  const WalkPlan& plan_;
  const BucketKernels& kernels_;
  std::vector<uint64_t> query_;     // [words]
  std::vector<int> done_;           // [tables] radius walked, -1: none
  std::vector<double> density_;     // [tables] codes a bucket in the last ring
  std::vector<uint32_t> values_;    // [tables] of the query's substrings
  std::vector<uint32_t> keys_;      // buckets of the ring
  std::vector<Bucket> buckets_;     // those of them that are not empty
  std::vector<uint32_t> gathered_;  // [kBucketStep]
  std::vector<BucketHit> hits_;     // [kBucketStep]
  double spent_ = 0;
  int64_t all_buckets_ = 0, all_codes_ = 0;
};

}  // namespace fasthash
