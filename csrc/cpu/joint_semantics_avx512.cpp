#define FASTHASH_VECTOR 16
#define FASTHASH_JOINT_TABLE kJointAvx512
#include "cpu/joint_semantics_kernels.inl"
