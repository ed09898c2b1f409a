#define FASTHASH_BUCKETS kBucketsScalar
#include "cpu/multi_index_kernels.inl"
