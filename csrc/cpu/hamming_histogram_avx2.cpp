#include <immintrin.h>

#include "cpu/hamming_histogram_kernels.h"

namespace fasthash {
namespace {

// Exact doubles of the unsigned 32-bit values in the low halves: set into the mantissa of 2^52, which is taken off.
inline __m256d to_double(__m256i low_halves) {
  const __m256d base = _mm256_set1_pd(0x1p52);
  return _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(low_halves, _mm256_castpd_si256(base))), base);
}

}  // namespace

void add_precisions_avx2(const uint64_t* ranks, int64_t groups, double* lanes) {
  const __m256i low = _mm256_set1_epi64x(0xffffffff);
  __m256d sums[2] = {_mm256_loadu_pd(lanes), _mm256_loadu_pd(lanes + 4)};
  for (int64_t g = 0; g < groups; ++g)
    for (int half = 0; half < 2; ++half) {
      const __m256i counter =
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ranks + g * kLanes + half * (kLanes / 2)));
      const __m256d relevant = to_double(_mm256_srli_epi64(counter, 32));
      const __m256d rank = to_double(_mm256_and_si256(counter, low));
      sums[half] = _mm256_add_pd(sums[half], _mm256_div_pd(relevant, rank));
    }
  _mm256_storeu_pd(lanes, sums[0]);
  _mm256_storeu_pd(lanes + 4, sums[1]);
}

}  // namespace fasthash
