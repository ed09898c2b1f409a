#include "cpu/isa.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace fasthash {
namespace {

#if defined(__x86_64__)

// Whether the system saves the state of the tiles: bits 17 and 18 of XCR0, which only it can set.
bool system_knows_tiles() {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c >> 27 & 1) == 0) return false;  // OSXSAVE: xgetbv can be used
  asm volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  return (a >> 17 & 3) == 3;
}

bool processor_has_amx() {
  uint32_t a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  return (d >> 24 & 1) != 0 && (d >> 22 & 1) != 0;  // AMX-TILE, AMX-BF16
}

// Palette 1 as the kernels use it: eight tiles of 16 rows of 64 bytes.
bool tiles_fit() {
  uint32_t a, b, c, d;
  if (!__get_cpuid_count(0x1d, 1, &a, &b, &c, &d)) return false;
  return b >> 16 >= 8 && (b & 0xffff) >= 64 && (c & 0xffff) >= 16;
}

// Linux gives a process the tiles when it asks; other systems have no such call.
bool system_grants_tiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr int kGetPermitted = 0x1022, kRequest = 0x1023;  // ARCH_GET_XCOMP_PERM, ARCH_REQ_XCOMP_PERM
  constexpr unsigned long kTileData = 18;                   // XFEATURE_XTILEDATA
  unsigned long permitted = 0;
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0 && syscall(SYS_arch_prctl, kGetPermitted, &permitted) == 0 &&
         (permitted >> kTileData & 1) != 0;
#else
  return false;
#endif
}

const char* why_not_amx() {
  if (!processor_has_amx()) return "the processor has no AMX with bfloat16";
  if (!tiles_fit()) return "the processor's tiles are smaller than 16 rows of 64 bytes";
  if (!system_knows_tiles()) return "the operating system does not save AMX's tiles";
  if (!system_grants_tiles()) return "the operating system did not grant AMX's tiles";
  return "";
}

#endif

}  // namespace

Isa best_isa() {
#if defined(__x86_64__)
  static const Isa best = [] {
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
    if (!avx2) return Isa::kScalar;
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512vbmi") &&
                        __builtin_cpu_supports("gfni");
    return avx512 ? Isa::kAvx512 : Isa::kAvx2;
  }();
  return best;
#elif defined(__aarch64__)
  return Isa::kNeon;
#else
  return Isa::kScalar;
#endif
}

Bf16Support bf16_support() {
#if defined(__x86_64__)
  static const Bf16Support support = [] {
    if (best_isa() != Isa::kAvx512) return Bf16Support{Bf16::kNone, "the processor lacks the AVX-512 of these kernels"};
    if (!__builtin_cpu_supports("avx512bf16")) return Bf16Support{Bf16::kNone, "the processor has no AVX512_BF16"};
    const char* why = why_not_amx();
    return Bf16Support{*why == '\0' ? Bf16::kAmx : Bf16::kAvx512, why};
  }();
  return support;
#else
  return {Bf16::kNone, "not an x86 processor"};
#endif
}

}  // namespace fasthash
