#define FASTHASH_BUCKETS kBucketsAvx2
#include "cpu/multi_index_kernels.inl"
