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

}  // namespace fasthash
