// Eight codes to a vector, VPOPCNTQ on their words; see hamming_tile.h for the contract.
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
// GCC 12 takes the intrinsics' own "undefined" placeholders for our uninitialised variables.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "cpu/hamming_tile.h"

namespace fasthash {
namespace {

constexpr int kVectors = 8;  // accumulators: 64 codes are decided by one comparison

// sums[v], lane i = distance to code 8 v + i. kWords 0: the count of words is known at run time only.
template <int kWords>
inline void block_distances(const uint64_t* query, const uint64_t* codes, int words, __m512i* sums) {
  for (int v = 0; v < kVectors; ++v) sums[v] = _mm512_setzero_si512();
  for (int w = 0; w < (kWords ? kWords : words); ++w) {
    const __m512i word = _mm512_set1_epi64(static_cast<long long>(query[w]));
    for (int v = 0; v < kVectors; ++v) {
      const __m512i code = _mm512_loadu_si512(codes + w * kTileCodes + v * 8);
      sums[v] = _mm512_add_epi64(sums[v], _mm512_popcnt_epi64(_mm512_xor_si512(word, code)));
    }
  }
}

// The keys of those of 64 codes that are allowed and nearer than the bound; sums as above.
inline int emit(const __m512i* sums, __m512i bound, uint64_t allowed, int64_t first, uint64_t* keys) {
  // 32-bit minimum: one micro-op where the 64-bit one takes two, and the upper halves are zero.
  const __m512i low = _mm512_min_epu32(_mm512_min_epu32(sums[0], sums[1]), _mm512_min_epu32(sums[2], sums[3]));
  const __m512i high = _mm512_min_epu32(_mm512_min_epu32(sums[4], sums[5]), _mm512_min_epu32(sums[6], sums[7]));
  if (_mm512_cmplt_epu64_mask(_mm512_min_epu32(low, high), bound) == 0) return 0;
  int found = 0;
  __m512i position = _mm512_add_epi64(_mm512_set1_epi64(first), _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0));
  for (int v = 0; v < kVectors; ++v) {
    const auto lanes = static_cast<__mmask8>(_mm512_cmplt_epu64_mask(sums[v], bound) & (allowed >> (8 * v)));
    const __m512i key = _mm512_or_si512(_mm512_slli_epi64(sums[v], kDistanceShift), position);
    // Compressed in a register and stored whole: compressing into memory is microcoded on some machines.
    _mm512_storeu_si512(keys + found, _mm512_maskz_compress_epi64(lanes, key));
    found += __builtin_popcount(lanes);
    position = _mm512_add_epi64(position, _mm512_set1_epi64(8));
  }
  return found;
}

template <int kWords>
int scan(const uint64_t* query, const uint64_t* tile, int words, const uint64_t* allow, int limit, int64_t first,
         uint64_t* keys) {
  const __m512i bound = _mm512_set1_epi64(limit);
  __m512i sums[kVectors];
  int found = 0;
  for (int block = 0; block < kTileCodes / 64; ++block) {
    const uint64_t allowed = allow ? allow[block] : ~uint64_t{0};
    if (allowed == 0) continue;
    block_distances<kWords>(query, tile + block * 64, words, sums);
    found += emit(sums, bound, allowed, first + block * 64, keys + found);
  }
  return found;
}

// Lane i of the result: the sum of the lanes of rows[i].
inline __m512i sum_rows(const __m512i* rows) {
  __m512i pairs[4], quads[2];
  for (int i = 0; i < 4; ++i)
    pairs[i] = _mm512_add_epi64(_mm512_unpacklo_epi64(rows[2 * i], rows[2 * i + 1]),
                                _mm512_unpackhi_epi64(rows[2 * i], rows[2 * i + 1]));
  for (int i = 0; i < 2; ++i)
    quads[i] = _mm512_add_epi64(_mm512_shuffle_i64x2(pairs[2 * i], pairs[2 * i + 1], 0x88),
                                _mm512_shuffle_i64x2(pairs[2 * i], pairs[2 * i + 1], 0xdd));
  return _mm512_add_epi64(_mm512_shuffle_i64x2(quads[0], quads[1], 0x88),
                          _mm512_shuffle_i64x2(quads[0], quads[1], 0xdd));
}

constexpr int64_t kAhead = 4096;  // bytes: one core alone does not keep the memory busy

// Distances to eight rows. The last vector of a row is loaded under a mask, so nothing outside the row is touched.
inline __m512i row_distances(const uint64_t* query, const uint8_t* codes, int64_t bytes, __mmask64 last) {
  const int64_t whole = (bytes - 1) / 64;
  __m512i rows[8];
  const __m512i tail = _mm512_maskz_loadu_epi8(last, query + whole * 8);
  for (int i = 0; i < 8; ++i) {
    const __m512i code = _mm512_maskz_loadu_epi8(last, codes + i * bytes + whole * 64);
    _mm_prefetch(reinterpret_cast<const char*>(codes + i * bytes + whole * 64 + kAhead), _MM_HINT_T0);
    rows[i] = _mm512_popcnt_epi64(_mm512_xor_si512(tail, code));
  }
  for (int64_t v = 0; v < whole; ++v) {
    const __m512i part = _mm512_loadu_si512(query + v * 8);
    for (int i = 0; i < 8; ++i) {
      const __m512i code = _mm512_loadu_si512(codes + i * bytes + v * 64);
      _mm_prefetch(reinterpret_cast<const char*>(codes + i * bytes + v * 64 + kAhead), _MM_HINT_T0);
      rows[i] = _mm512_add_epi64(rows[i], _mm512_popcnt_epi64(_mm512_xor_si512(part, code)));
    }
  }
  return sum_rows(rows);
}

// The same for rows of 32 bytes, two to a vector: half the work.
inline __m512i half_row_distances(const uint64_t* query, const uint8_t* codes) {
  const __m512i twice = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(query)));
  __m512i pairs[4], quads[2];
  for (int i = 0; i < 4; ++i) {
    _mm_prefetch(reinterpret_cast<const char*>(codes + i * 64 + kAhead), _MM_HINT_T0);
    pairs[i] = _mm512_popcnt_epi64(_mm512_xor_si512(twice, _mm512_loadu_si512(codes + i * 64)));
  }
  for (int i = 0; i < 2; ++i)
    quads[i] = _mm512_add_epi64(_mm512_unpacklo_epi64(pairs[2 * i], pairs[2 * i + 1]),
                                _mm512_unpackhi_epi64(pairs[2 * i], pairs[2 * i + 1]));
  const __m512i sums =
      _mm512_add_epi64(_mm512_shuffle_i64x2(quads[0], quads[1], 0x88), _mm512_shuffle_i64x2(quads[0], quads[1], 0xdd));
  return _mm512_permutexvar_epi64(_mm512_set_epi64(7, 5, 6, 4, 3, 1, 2, 0), sums);  // lanes hold rows 0 2 1 3 4 6 5 7
}

}  // namespace

void tile_distances_avx512(const uint64_t* query, const uint64_t* tile, int words, uint16_t* out) {
  __m512i sums[kVectors];
  for (int64_t start = 0; start < kTileCodes; start += 64) {
    block_distances<0>(query, tile + start, words, sums);
    for (int v = 0; v < kVectors; ++v)
      _mm_store_si128(reinterpret_cast<__m128i*>(out + start + 8 * v), _mm512_cvtepi64_epi16(sums[v]));
  }
}

int row_scan_avx512(const uint64_t* query, const uint8_t* codes, int64_t bytes, const uint64_t* allow, int limit,
                    int64_t first, uint64_t* keys) {
  const __m512i bound = _mm512_set1_epi64(limit);
  const __mmask64 last = ~uint64_t{0} >> (63 - (bytes - 1) % 64);
  __m512i sums[kVectors];
  int found = 0;
  for (int block = 0; block < kTileCodes / 64; ++block) {
    const uint64_t allowed = allow ? allow[block] : ~uint64_t{0};
    if (allowed == 0) continue;
    for (int v = 0; v < kVectors; ++v) {
      const uint8_t* rows = codes + (block * 64 + v * 8) * bytes;
      sums[v] = bytes == 32 ? half_row_distances(query, rows) : row_distances(query, rows, bytes, last);
    }
    found += emit(sums, bound, allowed, first + block * 64, keys + found);
  }
  return found;
}

TileScan tile_scan_avx512(int words) {
  switch (words) {
    case 1:
      return scan<1>;
    case 2:
      return scan<2>;
    case 3:
      return scan<3>;
    case 4:
      return scan<4>;
    default:
      return scan<0>;
  }
}

}  // namespace fasthash
