#define FASTHASH_VECTOR 16
#define FASTHASH_ATTENTION_TABLE kAttentionAvx512
#include "cpu/cross_attention_kernels.inl"
