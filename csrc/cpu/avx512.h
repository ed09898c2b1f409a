// The intrinsics of the files that are compiled for AVX-512.
#pragma once

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
// GCC 12 takes the intrinsics' own "undefined" placeholders for our uninitialised variables.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
