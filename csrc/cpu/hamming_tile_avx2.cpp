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
        bytes[v] = _mm256_add_epi8(bytes[v], count_bytes(_mm256_xor_si256(word, load(codes + w * kTileCodes + 4 * v))));
    }
    for (int v = 0; v < kVectors; ++v) sums[v] = _mm256_add_epi64(sums[v], _mm256_sad_epu8(bytes[v], zero));
  }
}

// The keys of those of kCodes codes that are allowed and nearer than the limit.
inline int emit(const uint64_t* sums, int limit, uint64_t allowed, int64_t first, uint64_t* keys) {
  int found = 0;
  for (int j = 0; j < kCodes; ++j) {
    keys[found] = key_of(sums[j], first + j);
    found += static_cast<int>(sums[j] < static_cast<uint64_t>(limit)) & static_cast<int>(allowed >> j & 1);
  }
  return found;
}

template <int kWords>
int scan(const uint64_t* query, const uint64_t* tile, int words, const uint64_t* allow, int limit, int64_t first,
         uint64_t* keys) {
  const __m256i bound = _mm256_set1_epi64x(limit);
  alignas(32) uint64_t sums[kCodes];
  __m256i vectors[kVectors];
  int found = 0;
  for (int block = 0; block < kTileCodes / kCodes; ++block) {
    const uint64_t allowed = allow ? allow[block / 4] >> (block % 4 * kCodes) : ~uint64_t{0};
    if ((allowed & 0xffff) == 0) continue;
    block_distances<kWords>(query, tile + block * kCodes, words, vectors);
    const __m256i low = _mm256_min_epu32(_mm256_min_epu32(vectors[0], vectors[1]),  //
                                         _mm256_min_epu32(vectors[2], vectors[3]));
    if (_mm256_movemask_epi8(_mm256_cmpgt_epi64(bound, low)) == 0) continue;
    for (int v = 0; v < kVectors; ++v) _mm256_store_si256(reinterpret_cast<__m256i*>(sums + 4 * v), vectors[v]);
    found += emit(sums, limit, allowed, first + block * kCodes, keys + found);
  }
  return found;
}

// kBytes 0: the length is known at run time only.
template <int kBytes>
inline uint64_t row_distance(const uint64_t* query, const uint8_t* code, int64_t length) {
  const int64_t bytes = kBytes ? kBytes : length;
  uint64_t sum = 0, word;
  int64_t b = 0;
  for (; b + 8 <= bytes; b += 8) {
    __builtin_memcpy(&word, code + b, sizeof word);
    sum += static_cast<uint64_t>(_mm_popcnt_u64(query[b / 8] ^ word));
  }
  if (b == bytes) return sum;
  __builtin_memcpy(&word, code + bytes - 8, sizeof word);  // the tail, with bytes before it that are shifted out
  return sum + static_cast<uint64_t>(_mm_popcnt_u64(query[b / 8] ^ word >> (8 * (b + 8 - bytes))));
}

template <int kBytes>
int scan_rows(const uint64_t* query, const uint8_t* codes, int64_t bytes, const uint64_t* allow, int limit,
              int64_t first, uint64_t* keys) {
  uint64_t sums[kCodes];
  int found = 0;
  for (int block = 0; block < kTileCodes / kCodes; ++block) {
    const uint64_t allowed = allow ? allow[block / 4] >> (block % 4 * kCodes) : ~uint64_t{0};
    uint64_t nearer = 0;  // the sign bit is set where a sum is below the limit
    for (int j = 0; j < kCodes; ++j) {
      sums[j] = row_distance<kBytes>(query, codes + (block * kCodes + j) * bytes, bytes);
      nearer |= sums[j] - static_cast<uint64_t>(limit);
    }
    if (nearer >> 63) found += emit(sums, limit, allowed, first + block * kCodes, keys + found);
  }
  return found;
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

int row_scan_avx2(const uint64_t* query, const uint8_t* codes, int64_t bytes, const uint64_t* allow, int limit,
                  int64_t first, uint64_t* keys) {
  switch (bytes) {
    case 32:
      return scan_rows<32>(query, codes, bytes, allow, limit, first, keys);
    case 64:
      return scan_rows<64>(query, codes, bytes, allow, limit, first, keys);
    default:
      return scan_rows<0>(query, codes, bytes, allow, limit, first, keys);
  }
}

TileScan tile_scan_avx2(int words) {
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
