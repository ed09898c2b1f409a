#define FASTHASH_VECTOR 16
#define FASTHASH_PAIR_TABLE kPairAvx512
#include "cpu/pair_kernels.inl"
