#define FASTHASH_VECTOR 8
#define FASTHASH_PROXY_TABLE kProxyPairAvx2
#include "cpu/proxy_pair_kernels.inl"
