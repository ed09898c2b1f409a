// Histograms of Hamming distances on the GPU: the counts of csrc/hamming_histogram.h's hamming_histogram_cpu, to the
// bit. No CUDA header is needed to call it.
#pragma once

#include <cstdint>

namespace fasthash {

// All pointers are device memory; stream is a cudaStream_t.
struct HammingHistogram {
  const uint8_t* queries;   // [nq, bytes]
  int64_t nq;               // below 2^31
  const uint8_t* database;  // [nb, bytes], packed codes at any alignment
  int64_t nb;
  int64_t bytes;  // 1 to 512
  int bits;       // bytes = ceil(bits / 8); bits after it in the last byte count in no distance
  // [nq, words] and [nb, words] bitmasks, relevant: a common bit; with words = 0, [nq] and [nb] class ids, relevant:
  // equal; null: no item is relevant
  const uint64_t* query_labels;
  const uint64_t* database_labels;
  int words;
  void* stream;
};

// counts, relevant: [nq, bits + 1], all zero, to which the items, and the relevant items, at each distance are added;
// relevant is not touched where there are no labels. Takes no other memory and returns when everything is queued.
// Throws std::invalid_argument for sizes out of range, std::runtime_error where CUDA refuses a launch.
void hamming_histogram_cuda(const HammingHistogram& search, int64_t* counts, int64_t* relevant);

}  // namespace fasthash
