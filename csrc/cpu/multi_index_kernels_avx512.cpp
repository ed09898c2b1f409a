#define FASTHASH_BUCKETS kBucketsAvx512
#include "cpu/multi_index_kernels.inl"
