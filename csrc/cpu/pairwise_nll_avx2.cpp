#define FASTHASH_NLL_VECTOR 8
#define FASTHASH_NLL_TABLE kNllAvx2
#include "cpu/pairwise_nll_kernels.inl"
