// The inner loops of the substring tables, one variant for each instruction set.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace fasthash {

// A query and how far each table has been walked.
struct Probe {
  const uint64_t* query;  // [words]
  int words;
  int tables;
  const uint64_t* masks;  // [tables, words] the bits of each substring
  const int* done;        // [tables] a code this near in the substring has been seen in that table; -1: none yet
};

struct BucketHit {
  uint32_t at;  // position among the codes given
  int32_t distance;
};

constexpr int kBucketStep = 256;  // codes of one call

struct BucketKernels {
  // Writes the codes at distance <= limit that no table has shown before, in order, and returns how many.
  //   codes [count, words], count <= kBucketStep      hits [kBucketStep]
  int (*scan)(const Probe& probe, const uint64_t* codes, int count, int limit, BucketHit* hits);
  // The same for rows of a database; every row must be one of it.
  //   rows [count]      database [.., bytes]
  int (*gather)(const Probe& probe, const uint8_t* database, int64_t bytes, const uint32_t* rows, int count, int limit,
                BucketHit* hits);
};

const BucketKernels& bucket_kernels(Isa isa);

extern const BucketKernels kBucketsScalar;
#if defined(__x86_64__)
extern const BucketKernels kBucketsAvx2;
extern const BucketKernels kBucketsAvx512;
#endif

}  // namespace fasthash
