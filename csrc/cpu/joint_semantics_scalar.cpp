// The baseline of every target: 128-bit vectors, which are SSE2 on x86-64 and NEON on Arm.
#define FASTHASH_VECTOR 4
#define FASTHASH_JOINT_TABLE kJointScalar
#include "cpu/joint_semantics_kernels.inl"
