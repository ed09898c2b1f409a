#define FASTHASH_VECTOR 16
#define FASTHASH_PROXY_TABLE kProxyPairAvx512
#include "cpu/proxy_pair_kernels.inl"
