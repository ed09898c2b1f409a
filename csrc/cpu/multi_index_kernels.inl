// The body of multi_index_kernels_*.cpp; FASTHASH_BUCKETS is the name of the table. Everything here is static, so that
// the linker cannot put the form of a wider instruction set in place of a narrower one.
#include <cstring>

#include "cpu/count_bits.h"
#include "cpu/multi_index_kernels.h"
#if defined(__AVX512VPOPCNTDQ__)
#include <immintrin.h>
#endif

namespace fasthash {
namespace {

// Whether no table has shown the code before: then it is farther in every substring than that table has been walked.
static inline bool is_new(const Probe& probe, const uint64_t* code) {
  for (int t = 0; t < probe.tables; ++t) {
    const uint64_t* mask = probe.masks + t * probe.words;
    int distance = 0;
    for (int w = 0; w < probe.words; ++w)
      distance += static_cast<int>(count_bits((probe.query[w] ^ code[w]) & mask[w]));
    if (distance <= probe.done[t]) return false;
  }
  return true;
}

template <int kWords>
static inline int distance_to(const Probe& probe, const uint64_t* code) {
  int distance = 0;
  for (int w = 0; w < (kWords > 0 ? kWords : probe.words); ++w)
    distance += static_cast<int>(count_bits(probe.query[w] ^ code[w]));
  return distance;
}

template <int kWords>
static int scan_rest(const Probe& probe, const uint64_t* codes, int first, int count, int limit, int found,
                     BucketHit* hits) {
  const int words = kWords > 0 ? kWords : probe.words;
  for (int j = first; j < count; ++j) {
    const uint64_t* code = codes + static_cast<int64_t>(j) * words;
    const int distance = distance_to<kWords>(probe, code);
    if (distance <= limit && is_new(probe, code)) hits[found++] = {static_cast<uint32_t>(j), distance};
  }
  return found;
}

#if defined(__AVX512VPOPCNTDQ__)
// The distances of eight codes.
template <int kWords>
static inline __m512i distances_of_eight(const Probe& probe, const uint64_t* codes) {
  const __m512i low = _mm512_loadu_si512(codes);
  if (kWords == 1) return _mm512_popcnt_epi64(_mm512_xor_si512(low, _mm512_set1_epi64(probe.query[0])));
  const __m512i query =
      _mm512_maskz_broadcast_i64x2(0xff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(probe.query)));
  const __m512i high = _mm512_loadu_si512(codes + 8);
  const __m512i a = _mm512_popcnt_epi64(_mm512_xor_si512(low, query));
  const __m512i b = _mm512_popcnt_epi64(_mm512_xor_si512(high, query));
  const __m512i even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
  const __m512i odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
  return _mm512_add_epi64(_mm512_permutex2var_epi64(a, even, b), _mm512_permutex2var_epi64(a, odd, b));
}

template <int kWords>
static int scan_eights(const Probe& probe, const uint64_t* codes, int count, int limit, BucketHit* hits) {
  const __m512i bound = _mm512_set1_epi64(limit);
  int found = 0, j = 0;
  for (; j + 8 <= count; j += 8) {
    const __m512i distances = distances_of_eight<kWords>(probe, codes + j * kWords);
    unsigned near = _mm512_cmple_epi64_mask(distances, bound);
    if (near == 0) continue;
    alignas(64) int64_t of[8];
    _mm512_store_si512(of, distances);
    for (; near != 0; near &= near - 1) {
      const int lane = __builtin_ctz(near);
      if (is_new(probe, codes + (j + lane) * kWords))
        hits[found++] = {static_cast<uint32_t>(j + lane), static_cast<int32_t>(of[lane])};
    }
  }
  return scan_rest<kWords>(probe, codes, j, count, limit, found, hits);
}
#endif

static int scan(const Probe& probe, const uint64_t* codes, int count, int limit, BucketHit* hits) {
#if defined(__AVX512VPOPCNTDQ__)
  if (probe.words == 1) return scan_eights<1>(probe, codes, count, limit, hits);
  if (probe.words == 2) return scan_eights<2>(probe, codes, count, limit, hits);
#endif
  if (probe.words == 1) return scan_rest<1>(probe, codes, 0, count, limit, 0, hits);
  if (probe.words == 2) return scan_rest<2>(probe, codes, 0, count, limit, 0, hits);
  return scan_rest<0>(probe, codes, 0, count, limit, 0, hits);
}

static int gather(const Probe& probe, const uint8_t* database, int64_t bytes, const uint32_t* rows, int count,
                  int limit, BucketHit* hits) {
  uint64_t code[64];  // 4096 bits
  code[probe.words - 1] = 0;
  int found = 0;
  for (int j = 0; j < count; ++j) {
    std::memcpy(code, database + rows[j] * bytes, static_cast<size_t>(bytes));
    const int distance = distance_to<0>(probe, code);
    if (distance <= limit && is_new(probe, code)) hits[found++] = {static_cast<uint32_t>(j), distance};
  }
  return found;
}

}  // namespace

const BucketKernels FASTHASH_BUCKETS = {scan, gather};

}  // namespace fasthash
