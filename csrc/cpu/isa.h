// Which vector instruction sets this machine has; kernels exist for each and are chosen once per call.
#pragma once

namespace fasthash {

// kAvx512 means F, BW, DQ, VL, VPOPCNTDQ, VBMI and GFNI. kNeon is part of every 64-bit Arm processor.
enum class Isa { kScalar = 0, kAvx2 = 1, kAvx512 = 2, kNeon = 3 };

// The widest set that both this build and this machine have.
Isa best_isa();

}  // namespace fasthash
