// Which x86 instruction sets this machine has; kernels exist for each and are chosen once per call.
#pragma once

namespace fasthash {

enum class Isa { kScalar = 0, kAvx2 = 1, kAvx512 = 2 };

// The widest set that both this build and this machine have. kAvx512 means F, BW, DQ, VL, VPOPCNTDQ, VBMI and GFNI.
Isa best_isa();

}  // namespace fasthash
