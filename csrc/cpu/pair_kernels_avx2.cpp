#define FASTHASH_VECTOR 8
#define FASTHASH_PAIR_TABLE kPairAvx2
#include "cpu/pair_kernels.inl"
