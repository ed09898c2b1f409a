// Row-major codes where they lie, VPOPCNTQ along the rows; see hamming_block.h for the contract. Nothing is prefetched:
// the codes are read in one line from front to back, and prefetching 4 KiB ahead took a third of the bandwidth away.
#include "cpu/avx512.h"
#include "cpu/hamming_block.h"
#include "cpu/hamming_rows.h"
#include "cpu/row_words.h"

namespace fasthash {
namespace {

inline uint64_t count_bits(uint64_t x) { return static_cast<uint64_t>(_mm_popcnt_u64(x)); }

#include "cpu/hamming_rows.inl"

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

// Distances to eight rows. The last vector of a row is loaded under a mask, so nothing outside the row is touched.
inline __m512i row_distances(const uint64_t* query, const uint8_t* codes, int64_t bytes, __mmask64 last) {
  const int64_t whole = (bytes - 1) / 64;
  __m512i rows[8];
  const __m512i tail = _mm512_maskz_loadu_epi8(last, query + whole * 8);
  for (int i = 0; i < 8; ++i) {
    const __m512i code = _mm512_maskz_loadu_epi8(last, codes + i * bytes + whole * 64);
    rows[i] = _mm512_popcnt_epi64(_mm512_xor_si512(tail, code));
  }
  for (int64_t v = 0; v < whole; ++v) {
    const __m512i part = _mm512_loadu_si512(query + v * 8);
    for (int i = 0; i < 8; ++i) {
      const __m512i code = _mm512_loadu_si512(codes + i * bytes + v * 64);
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
    pairs[i] = _mm512_popcnt_epi64(_mm512_xor_si512(twice, _mm512_loadu_si512(codes + i * 64)));
  }
  for (int i = 0; i < 2; ++i)
    quads[i] = _mm512_add_epi64(_mm512_unpacklo_epi64(pairs[2 * i], pairs[2 * i + 1]),
                                _mm512_unpackhi_epi64(pairs[2 * i], pairs[2 * i + 1]));
  const __m512i sums =
      _mm512_add_epi64(_mm512_shuffle_i64x2(quads[0], quads[1], 0x88), _mm512_shuffle_i64x2(quads[0], quads[1], 0xdd));
  return _mm512_permutexvar_epi64(_mm512_set_epi64(7, 5, 6, 4, 3, 1, 2, 0), sums);  // lanes hold rows 0 2 1 3 4 6 5 7
}

// Distances to eight rows of 16 bytes, four to a vector.
inline __m512i quarter_row_distances(const uint64_t* query, const uint8_t* codes) {
  const __m512i four = _mm512_broadcast_i64x2(_mm_loadu_si128(reinterpret_cast<const __m128i*>(query)));
  const __m512i low = _mm512_popcnt_epi64(_mm512_xor_si512(four, _mm512_loadu_si512(codes)));
  const __m512i high = _mm512_popcnt_epi64(_mm512_xor_si512(four, _mm512_loadu_si512(codes + 64)));
  const __m512i sums = _mm512_add_epi64(_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));
  return _mm512_permutexvar_epi64(_mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0), sums);  // lanes hold rows 0 4 1 5 2 6 3 7
}

// kBytes 0: the length is known at run time only.
template <int kBytes>
inline __m512i eight_rows(const uint64_t* query, const uint8_t* rows, int64_t bytes, __mmask64 last) {
  if constexpr (kBytes == 8)
    return _mm512_popcnt_epi64(
        _mm512_xor_si512(_mm512_set1_epi64(static_cast<long long>(*query)), _mm512_loadu_si512(rows)));
  else if constexpr (kBytes == 16)
    return quarter_row_distances(query, rows);
  else if constexpr (kBytes == 32)
    return half_row_distances(query, rows);
  else
    return row_distances(query, rows, bytes, last);
}

inline __mmask64 last_bytes(int64_t bytes) { return ~uint64_t{0} >> (63 - (bytes - 1) % 64); }

// Which of 64 rows are nearer than the limit.
template <int kBytes>
inline uint64_t near_64_rows(const uint64_t* query, const uint8_t* rows, int64_t length, int limit) {
  const int64_t bytes = kBytes ? kBytes : length;
  const __m512i bound = _mm512_set1_epi64(limit);
  __m512i sums[8];
  for (int v = 0; v < 8; ++v) sums[v] = eight_rows<kBytes>(query, rows + v * 8 * bytes, bytes, last_bytes(bytes));
  __m512i least = sums[0];
  for (int v = 1; v < 8; ++v) least = _mm512_min_epu32(least, sums[v]);  // the upper halves are zero
  if (_mm512_cmplt_epu64_mask(least, bound) == 0) return 0;
  uint64_t mask = 0;
  for (int v = 0; v < 8; ++v) mask |= static_cast<uint64_t>(_mm512_cmplt_epu64_mask(sums[v], bound)) << (8 * v);
  return mask;
}

template <int kBytes>
bool near_block(const uint64_t* query, const Block& block, int limit, uint64_t* mask) {
  uint64_t found[kMaskWords], any = 0;
  for (int w = 0; w < kMaskWords; ++w) {
    const int64_t left = block.count - 64 * w;
    const uint8_t* rows = block.codes + 64 * w * block.bytes;
    found[w] = 0;
    if (block.allow[w] == 0) continue;
    found[w] = left >= 64 ? near_64_rows<kBytes>(query, rows, block.bytes, limit) & block.allow[w]
                          : near_rows<kBytes>(query, rows, left, block.bytes, block.allow[w], limit);
    any |= found[w];
  }
  if (any != 0) _mm512_storeu_si512(mask, _mm512_loadu_si512(found));
  return any != 0;
}

// The keys of those of 64 rows that `mask` names: most of them, or decoding them singly would be faster.
template <int kBytes>
inline int dense_keys(const uint64_t* query, const uint8_t* rows, int64_t bytes, uint64_t mask, int64_t first,
                      uint64_t* keys) {
  int found = 0;
  __m512i position = _mm512_add_epi64(_mm512_set1_epi64(first), _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0));
  for (int v = 0; v < 8; ++v) {
    const auto lanes = static_cast<__mmask8>(mask >> (8 * v));
    const __m512i sums = eight_rows<kBytes>(query, rows + v * 8 * bytes, bytes, last_bytes(bytes));
    const __m512i key = _mm512_or_si512(_mm512_slli_epi64(sums, kDistanceShift), position);
    // Compressed in a register and stored whole: compressing into memory is microcoded on some machines.
    _mm512_storeu_si512(keys + found, _mm512_maskz_compress_epi64(lanes, key));
    found += __builtin_popcount(lanes);
    position = _mm512_add_epi64(position, _mm512_set1_epi64(8));
  }
  return found;
}

template <int kBytes>
int keys_by_density(const uint64_t* query, const Block& block, const uint64_t* mask, int64_t first, uint64_t* keys) {
  constexpr int kDense = 12;  // of 64
  int found = 0;
  for (int w = 0; w < kMaskWords; ++w) {
    if (mask[w] == 0) continue;
    const uint8_t* rows = block.codes + 64 * w * block.bytes;
    if (_mm_popcnt_u64(mask[w]) >= kDense && 64 * (w + 1) <= block.count)
      found += dense_keys<kBytes>(query, rows, block.bytes, mask[w], first + 64 * w, keys + found);
    else
      found += keys_of<kBytes>(query, rows, block.bytes, mask[w], first + 64 * w, keys + found);
  }
  return found;
}

}  // namespace

int64_t scan_rows_avx512(const QueryGroup& queries, const Block& block, uint16_t* near, uint64_t* masks) {
  const auto kernel = block.bytes == 8    ? near_block<8>
                      : block.bytes == 16 ? near_block<16>
                      : block.bytes == 32 ? near_block<32>
                      : block.bytes == 64 ? near_block<64>
                                          : near_block<0>;
  return scan_queries(queries, block, near, masks, [&](const uint64_t* query, int limit, uint64_t* mask) {
    return kernel(query, block, limit, mask);
  });
}

int block_keys_avx512(const uint64_t* query, const Block& block, const uint64_t* mask, int64_t first, uint64_t* keys) {
  const auto decode = block.bytes == 8    ? keys_by_density<8>
                      : block.bytes == 16 ? keys_by_density<16>
                      : block.bytes == 32 ? keys_by_density<32>
                                          : keys_by_density<0>;
  return decode(query, block, mask, first, keys);
}

}  // namespace fasthash
