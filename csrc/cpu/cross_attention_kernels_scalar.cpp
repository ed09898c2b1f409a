// The baseline of every target: 128-bit vectors, which are SSE2 on x86-64 and NEON on Arm.
#define FASTHASH_VECTOR 4
#define FASTHASH_ATTENTION_TABLE kAttentionScalar
#include "cpu/cross_attention_kernels.inl"
