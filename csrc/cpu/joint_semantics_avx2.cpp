#define FASTHASH_VECTOR 8
#define FASTHASH_JOINT_TABLE kJointAvx2
#include "cpu/joint_semantics_kernels.inl"
