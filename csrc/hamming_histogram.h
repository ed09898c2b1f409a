// Evaluation of rankings by Hamming distance without sorting: two histograms a query, and one counting pass for ties.
#pragma once

#include <cstdint>
#include <functional>

#include "cpu/isa.h"

namespace fasthash {

// An item is relevant to a query when they share a label.
struct HammingEvaluation {
  const uint8_t* queries;  // [nq, bytes]
  int64_t nq;
  const uint8_t* database;  // [nb, bytes]; nb is below 2^32
  int64_t nb;
  int64_t bytes;  // 1 to 512
  int bits;       // bytes = ceil(bits / 8), unused bits zero
  // [nq, words] and [nb, words] bitmasks; with words = 0, [nq] and [nb] class ids; null: no item is relevant.
  // The database's labels take 8 (largest class id) bytes and at most 4 bytes for each label of an item.
  const uint64_t* query_labels;
  const uint64_t* database_labels;
  int words;
  int threads;
  Isa isa;
  std::function<bool()> interrupted;  // asked now and then by the calling thread; true abandons the evaluation
};

// counts, relevant: [nq, bits + 1] items, and relevant items, at each distance; equal for any threads and isa.
// False: interrupted, the outputs are incomplete (here and below).
bool hamming_histogram_cpu(const HammingEvaluation& evaluation, int64_t* counts, int64_t* relevant);

// The ranking by (distance, database index), cut after rank k (0: not cut), of histograms made by the call above:
//   sums  [nq] sum over the relevant items of precision at their rank, added in one order for any threads and isa
//   hits  [nq] number of the relevant items
bool hamming_stable_precision_cpu(const HammingEvaluation& evaluation, const int64_t* counts, const int64_t* relevant,
                                  int64_t k, double* sums, int64_t* hits);

// The same ranking under many cuts at once, each list ascending.
struct Cuts {
  const int64_t* ranks;  // the items of ranks 1 to ranks[i]
  int64_t rank_count;
  const int64_t* hits;  // the first hits[i] relevant items, wherever they are
  int64_t hit_count;
};

struct CutSums {
  double* rank_sums;   // [nq, rank_count] precision summed over the relevant items that the cut keeps
  int64_t* rank_hits;  // [nq, rank_count] their number
  double* hit_sums;    // [nq, hit_count] as rank_sums
};

bool hamming_stable_cuts_cpu(const HammingEvaluation& evaluation, const int64_t* counts, const int64_t* relevant,
                             const Cuts& cuts, const CutSums& out);

// Items by the number of labels that they share with the query; labels are bitmasks.
struct GradedHistogram {
  const double* gains;  // [grades] of 1, 2, .. common labels
  int64_t grades;       // no item shares more labels with any query
  int64_t* counts;      // [nq, bits + 1], and relevant: as hamming_histogram_cpu
  int64_t* relevant;
  double* gained;   // [nq, bits + 1] gains of the items at each distance, added up
  int64_t* totals;  // [nq, grades] items that share 1, 2, .. labels
};

bool hamming_graded_histogram_cpu(const HammingEvaluation& evaluation, const GradedHistogram& out);

// A cut that falls among n items at equal distance, r of them relevant, in random order, behind n0 items of which r0
// are relevant; arrays of one entry a query.
struct RankCut {
  const int64_t *n, *r, *n0, *r0;
  const int64_t* places;  // of the n that the cut keeps, 1 to n
  const double* before;   // expected precision summed over the r0
  const double* gap;      // 1 / (n0 + 1) + .. + 1 / (n0 + places)
};

// Precision averaged over the relevant items that the cut keeps (0 without any), and the probability that it keeps any.
void expected_rank_cut_cpu(const RankCut& cut, int64_t nq, int threads, double* expected, double* hit);

struct HitCut {
  const int64_t *n, *r, *n0, *r0;
  const int64_t* hits;   // of the r that the cut keeps, 1 to r - 1
  const int64_t* place;  // where the last of them is likeliest to stand among the n
  const double* gap;     // 1 / (n0 + 1) + .. + 1 / (n0 + place - 1)
};

// Precision summed over those hits.
void expected_hit_cut_cpu(const HitCut& cut, int64_t nq, int threads, double* expected);

}  // namespace fasthash
