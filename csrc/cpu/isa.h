// Which instruction sets this machine has; kernels exist for each and are chosen once per call.
#pragma once

namespace fasthash {

// kAvx512 means F, BW, DQ, VL, VPOPCNTDQ, VBMI and GFNI. kNeon is part of every 64-bit Arm processor.
enum class Isa { kScalar = 0, kAvx2 = 1, kAvx512 = 2, kNeon = 3 };

// The widest set that both this build and this machine have.
Isa best_isa();

// Products of bfloat16 numbers with float32 sums: by vectors (AVX512_BF16), by AMX's tiles as well. Only with kAvx512.
enum class Bf16 { kNone = 0, kAvx512 = 1, kAmx = 2 };

struct Bf16Support {
  Bf16 best;
  const char* why_not_amx;  // "" for kAmx
};

// What both this build and this machine have. A tile instruction ends a process that did not ask the system for the
// tiles, so this asks, once.
Bf16Support bf16_support();

}  // namespace fasthash
