#define FASTHASH_NLL_VECTOR 16
#define FASTHASH_NLL_TABLE kNllAvx512
#include "cpu/pairwise_nll_kernels.inl"
