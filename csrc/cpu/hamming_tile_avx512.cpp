// Eight codes to a vector, VPOPCNTQ on their words; see hamming_tile.h for the contract.
#include "cpu/avx512.h"
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
      const __m512i code = _mm512_loadu_si512(codes + w * kTileStride + v * 8);
      sums[v] = _mm512_add_epi64(sums[v], _mm512_popcnt_epi64(_mm512_xor_si512(word, code)));
    }
  }
}

// Which of the allowed ones of 64 codes are nearer than the bound; sums as above.
inline uint64_t nearer(const __m512i* sums, __m512i bound, uint64_t allowed) {
  // 32-bit minimum: one micro-op where the 64-bit one takes two, and the upper halves are zero.
  const __m512i low = _mm512_min_epu32(_mm512_min_epu32(sums[0], sums[1]), _mm512_min_epu32(sums[2], sums[3]));
  const __m512i high = _mm512_min_epu32(_mm512_min_epu32(sums[4], sums[5]), _mm512_min_epu32(sums[6], sums[7]));
  const uint64_t some = _mm512_cmplt_epu64_mask(_mm512_min_epu32(low, high), bound);
  uint64_t worth = some != 0 ? allowed : 0;
  asm("" : "+r"(worth));  // one branch for both, or that no code is allowed becomes one that cannot be foreseen
  if (worth == 0) return 0;
  uint64_t mask = 0;
  for (int v = 0; v < kVectors; ++v) mask |= static_cast<uint64_t>(_mm512_cmplt_epu64_mask(sums[v], bound)) << (8 * v);
  return mask & allowed;
}

template <int kWords>
bool near(const uint64_t* query, const uint64_t* tile, int words, const uint64_t* allow, int limit, uint64_t* mask) {
  const __m512i bound = _mm512_set1_epi64(limit);
  __m512i sums[kVectors];
  uint64_t found[kTileCodes / 64], any = 0;
  for (int block = 0; block < kTileCodes / 64; ++block) {
    block_distances<kWords>(query, tile + block * 64, words, sums);
    any |= found[block] = nearer(sums, bound, allow[block]);
  }
  if (any != 0) _mm512_storeu_si512(mask, _mm512_loadu_si512(found));
  return any != 0;
}

#include "cpu/hamming_words_avx512.inl"

template <int kWords>
void load_whole_words(const uint8_t* codes, uint64_t* tile) {
  for (int64_t start = 0; start < kTileCodes; start += 8) {
    const uint8_t* from = codes + start * (8 * kWords);
    __m512i words[kWords];
    load_eight<kWords>(from, words);
    for (int w = 0; w < kWords; ++w) _mm512_store_si512(tile + w * kTileStride + start, words[w]);
  }
}

// Codes of 1, 2 or 4 bytes.
template <int kBytes>
void load_short(const uint8_t* codes, uint64_t* tile) {
  for (int64_t start = 0; start < kTileCodes; start += 8) {
    const uint8_t* from = codes + start * kBytes;
    __m512i words;
    if constexpr (kBytes == 4)
      words = _mm512_cvtepu32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    else if constexpr (kBytes == 2)
      words = _mm512_cvtepu16_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    else
      words = _mm512_cvtepu8_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
    _mm512_store_si512(tile + start, words);
  }
}

// Any length, 64 bytes of eight rows at a time; the end of a row is loaded under a mask.
void load_any(const uint8_t* codes, int64_t count, int64_t bytes, uint64_t* tile) {
  for (int64_t start = 0; start < kTileCodes; start += 8) {
    const uint8_t* from = codes + start * bytes;
    for (int64_t at = 0; at < bytes; at += 64) {
      const int64_t left = bytes - at;
      const __mmask64 part = left >= 64 ? ~uint64_t{0} : (uint64_t{1} << left) - 1;
      __m512i rows[8];
      for (int c = 0; c < 8; ++c)
        rows[c] = start + c < count ? _mm512_maskz_loadu_epi8(part, from + c * bytes + at) : _mm512_setzero_si512();
      transpose_8(rows);
      for (int w = 0; w < 8 && w < (left + 7) / 8; ++w)
        _mm512_store_si512(tile + (at / 8 + w) * kTileStride + start, rows[w]);
    }
  }
}

}  // namespace

void load_tile_avx512(const uint8_t* codes, int64_t count, int64_t bytes, uint64_t* tile) {
  if (count == kTileCodes && bytes == 1)
    load_short<1>(codes, tile);
  else if (count == kTileCodes && bytes == 2)
    load_short<2>(codes, tile);
  else if (count == kTileCodes && bytes == 4)
    load_short<4>(codes, tile);
  else if (count == kTileCodes && bytes == 8)
    load_whole_words<1>(codes, tile);
  else if (count == kTileCodes && bytes == 16)
    load_whole_words<2>(codes, tile);
  else if (count == kTileCodes && bytes == 32)
    load_whole_words<4>(codes, tile);
  else
    load_any(codes, count, bytes, tile);
}

void tile_distances_avx512(const uint64_t* query, const uint64_t* tile, int words, uint16_t* out) {
  __m512i sums[kVectors];
  for (int64_t start = 0; start < kTileCodes; start += 64) {
    block_distances<0>(query, tile + start, words, sums);
    for (int v = 0; v < kVectors; ++v)
      _mm_store_si128(reinterpret_cast<__m128i*>(out + start + 8 * v), _mm512_cvtepi64_epi16(sums[v]));
  }
}

TileNear tile_near_avx512(int words) {
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
