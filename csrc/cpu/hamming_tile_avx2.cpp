// Four codes to a vector, bits counted by a table of nibbles (VPSHUFB); see hamming_tile.h for the contract.
#include <immintrin.h>

#include "cpu/hamming_tile.h"

namespace fasthash {
namespace {

constexpr int kVectors = 4;  // accumulators: 16 codes are decided by one comparison
constexpr int kCodes = 4 * kVectors;
constexpr int kWordsPerByte = 31;  // a byte holds the counts of 31 words: 31 * 8 = 248

inline __m256i load(const uint64_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }

// The number of set bits of each byte.
inline __m256i count_bytes(__m256i x) {
  const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                         0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i low = _mm256_shuffle_epi8(table, _mm256_and_si256(x, nibble));
  const __m256i high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble));
  return _mm256_add_epi8(low, high);
}

// sums[v], 64-bit lane i = distance to code 4 v + i. kWords 0: the count of words is known at run time only.
template <int kWords>
inline void block_distances(const uint64_t* query, const uint64_t* codes, int words, __m256i* sums) {
  const __m256i zero = _mm256_setzero_si256();
  for (int v = 0; v < kVectors; ++v) sums[v] = zero;
  for (int start = 0; start < (kWords ? kWords : words); start += kWordsPerByte) {
    const int stop = kWords ? kWords : (words < start + kWordsPerByte ? words : start + kWordsPerByte);
    __m256i bytes[kVectors] = {zero, zero, zero, zero};
    for (int w = start; w < stop; ++w) {
      const __m256i word = _mm256_set1_epi64x(static_cast<long long>(query[w]));
      for (int v = 0; v < kVectors; ++v)
        bytes[v] =
            _mm256_add_epi8(bytes[v], count_bytes(_mm256_xor_si256(word, load(codes + w * kTileStride + 4 * v))));
    }
    for (int v = 0; v < kVectors; ++v) sums[v] = _mm256_add_epi64(sums[v], _mm256_sad_epu8(bytes[v], zero));
  }
}

template <int kWords>
bool near(const uint64_t* query, const uint64_t* tile, int words, const uint64_t* allow, int limit, uint64_t* mask) {
  const __m256i bound = _mm256_set1_epi64x(limit);
  __m256i sums[kVectors];
  uint64_t found[kTileCodes / 64] = {}, any = 0;
  for (int block = 0; block < kTileCodes / kCodes; ++block) {
    const uint64_t allowed = allow[block / 4] >> (block % 4 * kCodes) & 0xffff;
    block_distances<kWords>(query, tile + block * kCodes, words, sums);
    const __m256i low = _mm256_min_epu32(_mm256_min_epu32(sums[0], sums[1]), _mm256_min_epu32(sums[2], sums[3]));
    if (_mm256_movemask_epi8(_mm256_cmpgt_epi64(bound, low)) == 0) continue;
    uint64_t nearer = 0;
    for (int v = 0; v < kVectors; ++v) {
      const __m256d less = _mm256_castsi256_pd(_mm256_cmpgt_epi64(bound, sums[v]));
      nearer |= static_cast<uint64_t>(_mm256_movemask_pd(less)) << (4 * v);
    }
    any |= nearer &= allowed;
    found[block / 4] |= nearer << (block % 4 * kCodes);
  }
  if (any != 0) __builtin_memcpy(mask, found, sizeof found);
  return any != 0;
}

}  // namespace

void tile_distances_avx2(const uint64_t* query, const uint64_t* tile, int words, uint16_t* out) {
  alignas(32) uint64_t sums[kCodes];
  __m256i vectors[kVectors];
  for (int64_t start = 0; start < kTileCodes; start += kCodes) {
    block_distances<0>(query, tile + start, words, vectors);
    for (int v = 0; v < kVectors; ++v) _mm256_store_si256(reinterpret_cast<__m256i*>(sums + 4 * v), vectors[v]);
    for (int j = 0; j < kCodes; ++j) out[start + j] = static_cast<uint16_t>(sums[j]);
  }
}

TileNear tile_near_avx2(int words) {
  switch (words) {
    case 1:
      return near<1>;
    case 2:
      return near<2>;
    case 3:
      return near<3>;
    case 4:
      return near<4>;
    default:
      return near<0>;
  }
}

}  // namespace fasthash
