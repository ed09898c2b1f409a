// Whether AMX computes what AVX-512 does.
#pragma once

#include "cpu/isa.h"

namespace fasthash {

// bf16_support(), without AMX where a small pairwise likelihood by its tiles disagrees with AVX-512's. Tries it once.
Bf16Support trusted_bf16();

// Of that trial: the likelihood and gradients of a few hundred rows, with and without bf16_codes.
bool amx_agrees_with_avx512();

}  // namespace fasthash
