#define FASTHASH_VECTOR 8
#define FASTHASH_ATTENTION_TABLE kAttentionAvx2
#include "cpu/cross_attention_kernels.inl"
