// The baseline of every target: 128-bit vectors, which are SSE2 on x86-64 and NEON on Arm.
#define FASTHASH_NLL_VECTOR 4
#define FASTHASH_NLL_TABLE kNllScalar
#include "cpu/pairwise_nll_kernels.inl"
